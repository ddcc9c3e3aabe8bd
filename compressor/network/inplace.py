"""Operations that write into their input, replaced by those that make a new tensor.

``x += y`` and ``ReLU(inplace=True)`` make the value of a result depend on when it is read, which a
list that is to be rewritten must not. Each is replaced by its plain form where that is surely the
same: where nothing that may share memory with what it writes to is read afterwards. Others stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import count

import torch
from torch._ops import OpOverload

from compressor.graph.kinds import Kind
from compressor.graph.operations import operation_of
from compressor.inputs.tensors import leaves
from compressor.network.steps import Ref, Step, Value, Weight, renamed

aten = torch.ops.aten


def without_writing(
    steps: Sequence[Step], outputs: Value, types: Mapping[str, torch.dtype]
) -> tuple[list[Step], Value]:
    """The same steps and outputs with as many plain operations as possible.

    Args:
        steps: In order.
        outputs: Structure of `Ref`.
        types: Data type of every result that is a tensor, and of every input.
    """
    memory = _Memory()
    now: dict[str, str] = {}  # what a name of the original means by now
    written: list[Step] = []
    for position, original in enumerate(steps):
        step = original.renamed(now)
        plain = _plain(step, types)
        if plain is not None and memory.alone(step, _read(steps[position + 1 :], outputs, now)):
            target = step.args[0].name
            behind = [name for name, means in now.items() if means == target]
            now |= dict.fromkeys((target, *behind), step.name)
            step = Step(step.name, plain, step.args, step.kwargs, step.module)
        memory.note(step)
        written.append(step)
    return written, renamed(outputs, now)


class _Memory:
    """Groups of results that may share memory: each result has the number of its group."""

    def __init__(self) -> None:
        self._group: dict[Ref | Weight, int] = {}
        self._numbers = count()

    def note(self, step: Step) -> None:
        """A result lies in the memory of the operands that its operation may pass on."""
        sources = [self._of(leaf) for leaf in _passed_on(step)]
        group = sources[0] if sources else next(self._numbers)
        for leaf, other in self._group.items():
            if other in sources:
                self._group[leaf] = group
        self._group[Ref(step.name)] = group

    def alone(self, step: Step, later: set[str]) -> bool:
        """True if all that shares memory with the first operand is the operand, or not read."""
        target = step.args[0]
        mine = self._of(target)
        others = [leaf for leaf, group in self._group.items() if group == mine and leaf != target]
        return all(isinstance(leaf, Ref) and leaf.name not in later for leaf in others)

    def _of(self, leaf: Ref | Weight) -> int:
        if leaf not in self._group:
            self._group[leaf] = next(self._numbers)
        return self._group[leaf]


def _plain(step: Step, types: Mapping[str, torch.dtype]) -> OpOverload | None:
    """The form that makes a new tensor of an operation that writes into a result, if it is alike.

    Operands of several data types are left alone: the written tensor keeps its own, a new one takes
    the wider.
    """
    if not isinstance(step.op, OpOverload) or not step.args or not isinstance(step.args[0], Ref):
        return None
    name, _, overload = step.op.name().partition("::")[2].partition(".")
    twin = getattr(aten, name.removesuffix("_"), None) if step.op.namespace == "aten" else None
    if not name.endswith("_") or twin is None or (overload or "default") not in twin.overloads():
        return None
    if len({types[ref] for ref in step.refs if ref in types}) > 1:
        return None
    return getattr(twin, overload or "default")


def _passed_on(step: Step) -> list[Ref | Weight]:
    """Operands whose memory the result may lie in."""
    if not isinstance(step.op, OpOverload):
        return [leaf for leaf in leaves(step.args) if isinstance(leaf, Ref)]
    declared = step.op._schema.arguments  # noqa: SLF001 - written nowhere else
    # Of dropout, which in evaluation returns its very input, the schema does not say so.
    whole = operation_of(step.op).kind is Kind.DROPOUT
    pairs = zip(step.args, declared, strict=False)
    passed = [value for value, argument in pairs if whole or argument.alias_info is not None]
    return [leaf for leaf in leaves(passed) if isinstance(leaf, Ref | Weight)]


def _read(steps: Iterable[Step], outputs: Value, now: Mapping[str, str]) -> set[str]:
    """Names of the results that these steps, or the caller, read."""
    returned = [leaf.name for leaf in leaves(outputs) if isinstance(leaf, Ref)]
    names = [name for step in steps for name in step.refs] + returned
    return {now.get(name, name) for name in names}
