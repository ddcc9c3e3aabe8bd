"""Another network from a network: calls put in, steps replaced, what nobody reads left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import accumulate, chain, count
from typing import Any

from torch import nn

from compressor.inputs.tensors import all_tensors, leaves
from compressor.network.core import Network
from compressor.network.follow import counter
from compressor.network.steps import Ref, Step, Value, Weight, renamed
from compressor.network.tree import Holder, adopt, branch


class Rewrite:
    """Changes to a network, collected and then built; the network itself stays as it is.

    The new network shares the tensors and submodules of the old one. Names of results persist, so
    that a walk over the old network's steps can ask for changes of the new one.

    Attributes:
        steps: The steps as they will be, in order.
        outputs: What will be returned.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.steps: list[Step] = list(network.steps)
        self.outputs: Value = network.outputs
        self._tree = Holder()
        adopt(self._tree, network)

    def add(self, name: str, module: nn.Module) -> str:
        """Register a submodule that steps can call; returns its dotted name.

        Raises ValueError if the name is taken, or lies inside a module that runs.
        """
        owner, _, leaf = name.rpartition(".")
        place = branch(self._tree, owner)
        if hasattr(place, leaf):
            raise ValueError(f"the network has something named {name!r}: choose another name")
        place.add_module(leaf, module)
        return name

    def insert_after(self, result: str, module: str, *more: Value) -> Ref:
        """Call a submodule on a result (or input); all that read the result read the call instead.

        Args:
            result: Name of the result or input.
            module: Name of the submodule, from `add`.
            more: Further arguments.

        Returns:
            The new result, named after the old one and the last part of the submodule's name.
        """
        before = -1 if result in self.network.inputs else self._at(result)
        origin = self.steps[before].module if before >= 0 else ""
        name = self._fresh(f"{result}_{module.rpartition('.')[2]}")
        call = Step(name, module, (Ref(result), *more), {}, origin)
        self.redirect(result, call.name)
        self.steps.insert(before + 1, call)
        return Ref(call.name)

    def insert_before(self, step: str, new: Step) -> Ref:
        """Put a step before the one of this name; nobody reads it yet."""
        self.steps.insert(self._at(step), new)
        return Ref(new.name)

    def replace(self, names: Iterable[str], new: Step) -> None:
        """Put one step in the place of several: of the last, whose readers read the new one.

        Raises ValueError if the result of one of them but the last is read elsewhere.
        """
        gone = list(names)
        last = max(gone, key=self._at)
        for name in gone:
            readers = [s.name for s in self.steps if name in s.refs and s.name not in gone]
            if name != last and (readers or name in _returned(self.outputs)):
                who = repr(readers[0]) if readers else "the caller"
                raise ValueError(f"{name!r} cannot be replaced: {who} reads it too")
        self.steps[self._at(last)] = new
        self.steps = [step for step in self.steps if step.name not in gone or step is new]
        self.redirect(last, new.name)

    def edit(self, name: str, **changes: Any) -> None:
        """Change `op`, `args`, `kwargs` or `module` of one step."""
        at = self._at(name)
        self.steps[at] = replace(self.steps[at], **changes)

    def redirect(self, old: str, new: str) -> None:
        """Let all that read one result read another one."""
        self.steps = [s.renamed({old: new}) if old in s.refs else s for s in self.steps]
        self.outputs = renamed(self.outputs, {old: new})

    def build(self, *, tidy: bool = True) -> Network:
        """The new network; ValueError if a step reads what no step before it makes.

        `tidy` leaves out the steps whose results nobody reads, and the tensors and submodules that
        no step names.
        """
        if tidy:
            self.steps = _read_steps(self.steps, self.outputs)
            _drop_unread(self._tree, self.steps, self.outputs)
        old = self.network
        kept = old.example, old.open, old.guard
        return Network(self.steps, old.inputs, self.outputs, self._tree, *kept)

    def _at(self, name: str) -> int:
        for at, step in enumerate(self.steps):
            if step.name == name:
                return at
        raise KeyError(f"the network has no step {name!r}")

    def _fresh(self, wished: str) -> str:
        taken = {*self.network.inputs, *(step.name for step in self.steps)}
        names = chain([wished], (f"{wished}_{number}" for number in count(2)))
        return next(name for name in names if name not in taken)


def _returned(outputs: Value) -> set[str]:
    return {leaf.name for leaf in leaves(outputs) if isinstance(leaf, Ref)}


def _read_steps(steps: list[Step], outputs: Value) -> list[Step]:
    """The steps that the outputs need, and those that write into a tensor."""
    needed, kept = _returned(outputs), list[Step]()
    for step in reversed(steps):
        if step.name in needed or step.writes:
            needed.update(step.refs)
            kept.append(step)
    return kept[::-1]


def _drop_unread(tree: nn.Module, steps: list[Step], outputs: Value) -> None:
    """Remove the tensors, submodules and branches that no step names."""
    returned = [leaf.name for leaf in leaves(outputs) if isinstance(leaf, Weight)]
    counters = map(counter, steps)
    read = [*(name for step in steps for name in step.weights), *returned, *counters]
    tensors = all_tensors(tree)
    kept = {id(tensors[name]) for name in read if name in tensors}
    paths = [step.op for step in steps if isinstance(step.op, str)]
    paths += [step.module for step in steps]
    around = (accumulate(path.split("."), "{}.{}".format) for path in paths)
    _prune(tree, "", kept, set(chain.from_iterable(around)))


def _prune(owner: nn.Module, prefix: str, kept: set[int], paths: set[str]) -> None:
    """Leave tensors that are `kept`, modules on the way to one of `paths`, and what holds any."""
    for held in (owner._parameters, owner._buffers):  # noqa: SLF001 - delattr takes no tied names
        for leaf in [leaf for leaf, tensor in held.items() if id(tensor) not in kept]:
            del held[leaf]
    for name, child in list(owner.named_children()):
        path = f"{prefix}{name}"
        if isinstance(child, Holder):
            _prune(child, f"{path}.", kept, paths)
        empty = not any(True for _ in (*child.parameters(), *child.buffers()))
        if path not in paths and (empty or not isinstance(child, Holder)):
            delattr(owner, name)
