"""Parts of a network: results, stored tensors, and the operations between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from torch._ops import OpOverload

from compressor.graph.operations import given
from compressor.inputs.tensors import leaves

Value = Any
"""An argument: a number, text, data type, `Ref`, `Weight`, None, or a tuple of such."""


@dataclass(frozen=True)
class Ref:
    """The result of an earlier step, or an input of the network, by name."""

    name: str


@dataclass(frozen=True)
class Weight:
    """A parameter or buffer of the network, by its dotted name."""

    name: str


@dataclass(frozen=True)
class Step:
    """One operation.

    Attributes:
        name: Name of its result, unique in the network.
        op: An operation of PyTorch, a Python function of sizes and tuples (see
            `compressor.network.operators`), or the dotted name of a submodule that is called.
        args: Positional arguments; nested tuples of plain values, `Ref` and `Weight`.
        kwargs: Keyword arguments, likewise.
        module: Name of the innermost module of the user's model that ran it (empty at the top);
            it says whose train or eval mode counts, and stands in messages and reports.
    """

    name: str
    op: OpOverload | Callable[..., Any] | str
    args: tuple[Value, ...] = ()
    kwargs: Mapping[str, Value] = field(default_factory=dict[str, Value])
    module: str = ""

    def __deepcopy__(self, memo: dict[int, Any]) -> Step:
        """Itself: nothing in a step changes."""
        return self

    @cached_property
    def refs(self) -> tuple[str, ...]:
        """Names of the results and inputs that it reads, in order, each once."""
        return self._read(Ref)

    @cached_property
    def weights(self) -> tuple[str, ...]:
        """Names of the parameters and buffers that it reads, in order, each once."""
        return self._read(Weight)

    @property
    def writes(self) -> bool:
        """True if it writes into a tensor that exists before it."""
        return isinstance(self.op, OpOverload) and self.op._schema.is_mutable  # noqa: SLF001

    def argument(self, name: str, default: Value = None) -> Value:
        """An argument by its name in the operation's schema; `default` where it is not given.

        Raises:
            ValueError: If the step does not run an operation of PyTorch.
        """
        if name in self.kwargs:
            return self.kwargs[name]
        return given(schema(self), self.args, name, default)

    def renamed(self, names: Mapping[str, str]) -> Step:
        """The same step, reading other results: `names` maps old names to new ones."""
        args, kwargs = renamed(self.args, names), renamed(self.kwargs, names)
        return Step(self.name, self.op, args, kwargs, self.module)

    def _read(self, kind: type[Ref | Weight]) -> tuple[str, ...]:
        found = leaves((self.args, tuple(self.kwargs.values())))
        return tuple(dict.fromkeys(leaf.name for leaf in found if isinstance(leaf, kind)))


def packet(step: Step) -> Any:
    """The operation without its overload, as ``torch.ops.aten.conv2d``; None for anything else."""
    return step.op.overloadpacket if isinstance(step.op, OpOverload) else None


def schema(step: Step) -> Any:
    """The schema of the step's operation.

    Raises:
        ValueError: If the step does not run an operation of PyTorch.
    """
    if not isinstance(step.op, OpOverload):
        raise ValueError(f"step {step.name!r} runs {step.op!r}, which has no schema")
    return step.op._schema  # noqa: SLF001 - written nowhere else


def mapped(value: Value, change: Callable[[Value], Value]) -> Value:
    """Nested tuples, lists and dictionaries with `change` applied to everything in them."""
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Value]", value).items()
        return {key: mapped(item, change) for key, item in items}
    if isinstance(value, tuple):
        return tuple(mapped(item, change) for item in cast("tuple[Value, ...]", value))
    if isinstance(value, list):
        return [mapped(item, change) for item in cast("list[Value]", value)]
    return change(value)


def renamed(value: Value, names: Mapping[str, str]) -> Value:
    """The same structure reading other results: `names` maps old names to new ones."""

    def change(leaf: Value) -> Value:
        return Ref(names.get(leaf.name, leaf.name)) if isinstance(leaf, Ref) else leaf

    return mapped(value, change)
