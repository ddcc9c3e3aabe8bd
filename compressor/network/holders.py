"""The tree of names that a network keeps its tensors in."""

from __future__ import annotations

from torch import Tensor, nn

from compressor.errors import TraceError


class Holder(nn.Module):
    """A branch of the tree of names: holds parameters, buffers and further branches, runs nothing.

    Its `training` flag stands for the flag of the user's module of the same name.
    """


def holders(model: nn.Module) -> Holder:
    """A tree like `model` that shares its tensors and holds none of its code.

    A module that a model has under two names becomes one branch under two names, so that tied
    parameters and buffers stay tied when they move to another device.
    """
    return _holder(model, {}, whole=True)


def adopt(owner: nn.Module, tree: nn.Module) -> None:
    """Give `owner` the tensors and branches of a tree; branches are new, other modules shared."""
    _fill(owner, tree, {id(tree): owner}, whole=False)


def refuse_names(owner: nn.Module, tree: nn.Module) -> None:
    """Refuse names that `owner` uses itself.

    Raises:
        TraceError: Names the first.
    """
    names = (*tree._modules, *tree._parameters, *tree._buffers)  # noqa: SLF001 - those alone
    taken = [name for name in names if hasattr(owner, name)]
    if taken:
        raise TraceError(
            f"a layer or tensor of the model is named {taken[0]!r}, as an attribute of every "
            "network is: give it another name, or put the model into one that calls it"
        )


def branch(root: nn.Module, name: str) -> nn.Module:
    """The branch of this dotted name, made where there is none.

    Raises:
        ValueError: If something else than a branch has the name.
    """
    for part in name.split(".") if name else ():
        below = root._modules.get(part)  # noqa: SLF001 - absent is no error here
        if below is None:
            below = Holder()
            root.add_module(part, below)
        if not isinstance(below, Holder):
            raise ValueError(f"{name!r} lies inside a module that runs, {type(below).__name__}")
        root = below
    return root


def plant(owner: nn.Module, leaf: str, tensor: Tensor | None, *, persistent: bool = True) -> None:
    """Register a parameter or buffer."""
    if tensor is None or isinstance(tensor, nn.Parameter):
        owner.register_parameter(leaf, tensor)
    else:
        owner.register_buffer(leaf, tensor, persistent=persistent)


def _holder(module: nn.Module, seen: dict[int, nn.Module], *, whole: bool) -> Holder:
    twin = Holder()
    seen[id(module)] = twin
    _fill(twin, module, seen, whole=whole)
    return twin


def _fill(twin: nn.Module, module: nn.Module, seen: dict[int, nn.Module], *, whole: bool) -> None:
    twin.training = module.training
    temporary = module._non_persistent_buffers_set  # noqa: SLF001 - written nowhere else
    for leaf, tensor in module.named_parameters(recurse=False, remove_duplicate=False):
        plant(twin, leaf, tensor)
    for leaf, tensor in module.named_buffers(recurse=False, remove_duplicate=False):
        plant(twin, leaf, tensor, persistent=leaf not in temporary)
    for name, child in module._modules.items():  # noqa: SLF001 - named_children skips the second
        if child is None:
            continue
        if id(child) not in seen:
            shared = not whole and not isinstance(child, Holder)
            seen[id(child)] = child if shared else _holder(child, seen, whole=whole)
        twin.add_module(name, seen[id(child)])
