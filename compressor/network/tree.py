"""The tree of names that a network keeps its tensors in."""

from __future__ import annotations

from torch import Tensor, nn


class Holder(nn.Module):
    """A branch of the tree of names: holds parameters, buffers and further branches, runs nothing.

    Its `training` flag stands for the flag of the user's module of the same name.
    """


def holders(model: nn.Module) -> Holder:
    """A tree like `model` that shares its tensors and holds none of its code.

    A module that a model has under two names becomes one branch under two names, so that tied
    parameters and buffers stay tied when they move to another device.
    """
    tree = Holder()
    _fill(tree, model, {}, whole=True)
    return tree


def adopt(owner: nn.Module, tree: nn.Module) -> None:
    """Give `owner` the tensors and branches of a tree; branches are new, other modules shared.

    They are put where PyTorch keeps them, whatever attributes of its own the owner has: a user's
    layer may well be named `steps` or `outputs`, and keeps its name (`state_dict` and all walks
    over modules and parameters find it; ``owner.steps`` is the owner's own).
    """
    _fill(owner, tree, {}, whole=False)


def branch(root: nn.Module, name: str) -> nn.Module:
    """The branch of this dotted name, made where there is none; ValueError inside other modules."""
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
    """Make a tensor a parameter or buffer of a module, as `adopt` does."""
    if tensor is None or isinstance(tensor, nn.Parameter):
        owner._parameters[leaf] = tensor  # noqa: SLF001 - register_parameter refuses attributes
        return
    owner._buffers[leaf] = tensor  # noqa: SLF001 - likewise
    temporary = owner._non_persistent_buffers_set  # noqa: SLF001 - likewise
    (temporary.discard if persistent else temporary.add)(leaf)


def planted(owner: nn.Module, leaf: str) -> Tensor | None:
    """The parameter or buffer of a module that has this name, if there is one."""
    found = owner._parameters.get(leaf)  # noqa: SLF001 - an attribute may have the name
    return owner._buffers.get(leaf) if found is None else found  # noqa: SLF001 - likewise


def _fill(twin: nn.Module, module: nn.Module, seen: dict[int, nn.Module], *, whole: bool) -> None:
    seen[id(module)] = twin
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
            if whole or isinstance(child, Holder):
                _fill(Holder(), child, seen, whole=whole)
            else:
                seen[id(child)] = child
        twin._modules[name] = seen[id(child)]  # noqa: SLF001 - add_module refuses attributes
