"""What becomes of a layer's outputs, channel by channel: a norm, a sum with others, a rectifier.

What a layer has to give depends on it. Where a sum follows, the layer can make up for what the
other operand lacks; below zero, before a rectifier, any output is as good as any other. Modules are
not asked: operations are followed by the memory of their operands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import ReferenceType, ref

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode  # the documented name has no other home

from compressor.inputs.batches import tensors
from compressor.repair.applied import NORMS, Applied, Key
from compressor.repair.norms import norms_of

_aten = torch.ops.aten


@dataclass(frozen=True)
class Course:
    """What is done to the outputs y of an application: ``clamp(scale * y + shift + rest)``.

    Attributes:
        norm: Name of the batch norm that gives scale and shift, by what its statistics are; empty
            where none does.
        scale: By channel; None for one.
        shift: By channel; None for zero.
        rest: Layers that the other operand of a sum depends on; None where there is no sum.
        summed: They are that other operand themselves, and the larger layer makes up for them.
        low: Least value that is let through; minus infinity for any.
        high: Greatest.
    """

    norm: str = ""
    scale: Tensor | None = None
    shift: Tensor | None = None
    rest: frozenset[Key] | None = None
    summed: bool = False
    low: float = -math.inf
    high: float = math.inf

    @property
    def added(self) -> bool:
        """True where a sum follows."""
        return self.rest is not None

    @property
    def rectified(self) -> bool:
        """True where not every value is let through."""
        return self.low > -math.inf or self.high < math.inf


@dataclass(frozen=True)
class _Value:
    """A tensor on its course.

    Attributes:
        tensor: The tensor, while it is alive.
        key: The layer that gave it.
        call: Number of the application among those of the layer.
        size: Entries of the weight, and number of the application among all.
        course: What was done so far.
    """

    tensor: ReferenceType[Tensor]
    key: Key
    call: int
    size: tuple[int, int]
    course: Course

    @property
    def free(self) -> bool:
        """True before a sum or a rectifier."""
        return not self.course.added and not self.course.rectified


class Trail(TorchDispatchMode):
    """Follows outputs that it is told of, by a watch that was entered before.

    Attributes:
        courses: What became of every application so far, by layer and call.
        norms: Layers that what each batch norm was given depends on, by its name.
    """

    def __init__(
        self,
        model: nn.Module,
        on_joined: Callable[[Key, int, Tensor], None] | None = None,
    ) -> None:
        """Follow operations.

        Args:
            model: Whose operations.
            on_joined: Called with what is added to outputs of a layer, before it is.
        """
        super().__init__()
        self._names = {
            _memory(norm.get_buffer("running_mean")): name for name, norm in norms_of(model).items()
        }
        self._sizes = {name: p.numel() for name, p in model.named_parameters()}
        self._on_joined = on_joined
        self._values: dict[int, _Value] = {}
        self._read: set[int] = set()
        self._ended: dict[tuple[Key, int], Course] = {}
        self._origins: dict[int, frozenset[Key]] = {}
        self._count = 0
        self._started: _Value | None = None
        self.courses: dict[tuple[Key, int], Course] = {}
        self.norms: dict[str, frozenset[Key]] = {}

    def start(self, key: Key, applied: Applied) -> None:
        """Follow what a layer gives by the operation at hand."""
        self._count += 1
        size = self._sizes[applied.weight], self._count
        self._started = _Value(ref(applied.outputs), key, applied.call, size, Course())

    def origins(self, tensor: Tensor) -> frozenset[Key]:
        """Layers that a tensor depends on."""
        return self._origins.get(_memory(tensor), frozenset())

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation and look at what it does to what is followed."""
        kwargs = kwargs or {}
        operands = list(tensors((args, kwargs)))
        depends = self._depends(operands)
        value = None if kwargs else self._step(func, args)
        self._end_others(operands, value)
        self._started = None
        out = func(*args, **kwargs)
        if self._started is not None:
            value, depends = self._started, depends | {self._started.key}
        given = list(tensors(out))
        for tensor in given:
            place = _memory(tensor)
            self._origins[place] = depends
            self._values.pop(place, None)
            self._read.discard(place)
        if value is not None:
            self._keep(given[0], value)
        return out

    def _step(self, func: Any, args: Sequence[Any]) -> _Value | None:
        """What is followed after this operation, in the place of one of its operands."""
        if func in _SUMS:
            return self._joined(args)
        value = self._value(args[0] if args else None)
        if func in NORMS:
            return self._normed(args, value)
        if func in _BOUNDS and value is not None and not value.course.rectified:
            low, high = _BOUNDS[func](args)
            return replace(value, course=replace(value.course, low=low, high=high))
        return None

    def _end_others(self, operands: Sequence[Tensor], step: _Value | None) -> None:
        """What is read by two operations has its course up to there, and no further."""
        for place in {_memory(tensor) for tensor in operands}:
            value = self._values.get(place)
            if value is None or value.course.rectified:
                continue
            mine = step is not None and (value.key, value.call) == (step.key, step.call)
            if mine and place not in self._read:
                self._read.add(place)
                continue
            name, course = (value.key, value.call), value.course
            before = self._ended.get(name)
            if before is None or (before.added and not course.added):
                self._ended[name] = self.courses[name] = course

    def _depends(self, operands: Sequence[Tensor]) -> frozenset[Key]:
        found = frozenset[Key]()
        for tensor in operands:
            origins = self.origins(tensor)
            found = found if origins <= found else found | origins
        return found

    def _value(self, tensor: object) -> _Value | None:
        """What is followed, if it is this very tensor."""
        if not isinstance(tensor, Tensor):
            return None
        value = self._values.get(_memory(tensor))
        return value if value is not None and value.tensor() is tensor else None

    def _keep(self, tensor: Tensor, value: _Value) -> None:
        self._values[_memory(tensor)] = replace(value, tensor=ref(tensor))
        if (value.key, value.call) not in self._ended:
            self.courses[value.key, value.call] = value.course

    def _normed(self, args: Sequence[Any], value: _Value | None) -> _Value | None:
        mean, variance = args[3:5]
        name = "" if mean is None else self._names.get(_memory(mean), "")
        if name:
            self.norms[name] = self.norms.get(name, frozenset()) | self.origins(args[0])
        if not name or value is None or value.course != Course():
            return None
        scale = (variance + args[-1]).rsqrt()
        scale = scale if args[1] is None else scale * args[1]
        shift = (0.0 if args[2] is None else args[2]) - mean * scale
        return replace(value, course=Course(name, scale.detach(), shift.detach()))

    def _joined(self, args: Sequence[Any]) -> _Value | None:
        """The operand of a sum that can make up for the other one, which is told of.

        That is the one of the larger weight, which can do more, and that nothing in the other
        depends on.
        """
        found: list[tuple[_Value, Tensor]] = []
        for one, other in (args[:2], args[1::-1]):
            value = self._value(one)
            if value is None or not value.free or not isinstance(other, Tensor):
                continue
            if other.shape == one.shape and value.key not in self.origins(other):
                found.append((value, other))
        if not found:
            return None
        value, other = max(found, key=lambda pair: pair[0].size)
        loser = self._value(other)
        if loser is not None and loser.free:
            summed = replace(loser, course=replace(loser.course, summed=True))
            self._values[_memory(other)] = summed
        if self._on_joined is not None:
            self._on_joined(value.key, value.call, other)
        return replace(value, course=replace(value.course, rest=self.origins(other)))


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _clamped(args: Sequence[Any]) -> tuple[float, float]:
    low, high = (*args[1:], None, None)[:2]
    return (-math.inf if low is None else float(low), math.inf if high is None else float(high))


def _bounds() -> Iterator[tuple[Any, Callable[[Sequence[Any]], tuple[float, float]]]]:
    for func in (_aten.relu.default, _aten.relu_.default):
        yield func, lambda _: (0.0, math.inf)
    for func in (_aten.hardtanh.default, _aten.hardtanh_.default):
        yield func, lambda args: (float((*args, -1)[1]), float(args[2]) if len(args) > 2 else 1.0)
    for func in (_aten.clamp.default, _aten.clamp_.default):
        yield func, _clamped


_SUMS = {_aten.add.Tensor, _aten.add_.Tensor}

_BOUNDS = dict(_bounds())
