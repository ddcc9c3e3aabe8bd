"""Layers in the order in which a network runs them: weights, each with how it is applied."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from compressor.inputs import randomness
from compressor.inputs.batches import Batch
from compressor.repair.applied import Applied, Key, Watch
from compressor.repair.course import Course, Trail

Forward = Callable[[nn.Module, Batch], Tensor]
"""Runs a model on a batch: a loss, say."""


@dataclass(frozen=True)
class Layer:
    """A weight, or a part of its rows, as a network applies it.

    Attributes:
        key: Its name and the number of the part.
        calls: Applications in a run.
        normed: A batch norm follows each of them, so that a mean of the outputs has no effect.
        kernel: Taps of a convolution, by dimension of space; none of a product.
        example: One of the applications, its tensors without an example.
        courses: What becomes of the outputs, by call.
        needs: Layers that its inputs depend on.
    """

    key: Key
    calls: int
    normed: bool
    kernel: tuple[int, ...]
    example: Applied
    courses: tuple[Course, ...] = ()
    needs: frozenset[Key] = field(default_factory=frozenset[Key])

    @property
    def aims(self) -> bool:
        """True where what comes of its outputs says how near they are, and not their moments."""
        return any(one.added or one.summed or one.rectified for one in self.courses)

    @property
    def norms(self) -> frozenset[str]:
        """Names of the batch norms that its outputs go through, where it aims beyond them."""
        return frozenset(one.norm for one in self.courses if one.norm) if self.aims else frozenset()

    @property
    def rests(self) -> frozenset[Key]:
        """Layers that what is added to its outputs depends on."""
        return frozenset[Key]().union(*(course.rest or () for course in self.courses))


@dataclass(frozen=True)
class Layers:
    """What a run comes to.

    Attributes:
        order: Layers, each after all that its inputs, and what is added to its outputs, depend on.
        norms: Layers that what a batch norm is given depends on, by its name.
    """

    order: Sequence[Layer]
    norms: Mapping[str, frozenset[Key]]


class Parts:
    """Numbers of the parts of weights, in the order in which a run comes to them."""

    def __init__(self) -> None:
        self._seen: dict[str, list[int]] = {}

    def key(self, applied: Applied) -> Key:
        """The key of what is applied."""
        seen = self._seen.setdefault(applied.weight, [])
        if applied.row not in seen:
            seen.append(applied.row)
        return applied.weight, seen.index(applied.row)


class EnoughError(Exception):
    """A run need not go on: raised by who watches it."""


def watched(
    model: nn.Module, batch: Batch, forward: Forward, watch: Watch, trail: Trail | None = None
) -> None:
    """Run a model until it is over, or who watches has seen enough; no random state moves."""
    try:
        with randomness.preserved(), torch.no_grad(), watch, trail or nullcontext():
            forward(model, batch)
    except EnoughError:
        pass


def layers_of(model: nn.Module, batch: Batch, forward: Forward) -> list[Layer]:
    """The layers of `all_of`."""
    return list(all_of(model, batch, forward).order)


def all_of(model: nn.Module, batch: Batch, forward: Forward) -> Layers:
    """All layers that a run on a batch comes to.

    Weights that are computed from other parameters have none of their own memory, and those of
    some recurrent layers are read inside of one operation: neither are among them. Nor is a weight
    that is applied in several ways, as one and as its transpose or as a table of words say (tied
    weights, or a loss that takes gradients): what is best for one need not be for the other.
    """
    found: dict[Key, list[Applied]] = {}
    normed: dict[Key, int] = {}
    needs: dict[Key, frozenset[Key]] = {}
    parts = Parts()
    last: list[Key] = []
    trail = Trail(model)

    def applied(one: Applied) -> None:
        key = parts.key(one)
        last[:] = [key]
        # Of layers that come again in a later round only those of the first are asked for.
        before = frozenset(found)
        needs[key] = needs.get(key, (trail.origins(one.inputs) - {key}) & before)
        trail.start(key, one)
        none = replace(one, inputs=one.inputs[:0].clone(), outputs=one.outputs[:0].clone())
        found.setdefault(key, []).append(none)

    def norm() -> None:
        normed[last[0]] = normed.get(last[0], 0) + 1

    watch = Watch(model, applied, norm)
    watched(model, batch, forward, watch, trail)
    shapes = {name: tuple(p.shape[2:]) for name, p in model.named_parameters()}
    layers = [
        Layer(
            key, len(calls), normed.get(key, 0) == len(calls),
            shapes[key[0]] if calls[0].geometry else (), calls[0],
            tuple(trail.courses.get((key, one.call), Course()) for one in calls), needs[key],
        )
        for key, calls in found.items()
        if len({_way(one) for one in calls}) == 1 and key[0] not in watch.looked_up
    ]  # fmt: skip
    return Layers(ordered(layers), trail.norms)


def ordered(layers: Sequence[Layer]) -> list[Layer]:
    """Layers in the order of a run, but each after those that what is added to it depends on.

    Where that leads in a circle, nothing is said of the sum.
    """
    order: list[Layer] = []
    left = list(layers)
    while left:
        waiting = {layer.key for layer in left}
        first = next((one for one in left if _ready(one, waiting)), None)
        if first is None:
            courses = tuple(Course() for _ in left[0].courses)
            left[0] = replace(left[0], courses=courses)
            first = next((one for one in left if _ready(one, waiting)), left[0])
        order.append(first)
        left.remove(first)
    return order


def _ready(layer: Layer, waiting: Collection[Key]) -> bool:
    return not (((layer.needs | layer.rests) - {layer.key}) & set(waiting))


def _way(applied: Applied) -> tuple[object, ...]:
    """All that two applications of one layer have in common."""
    channels = applied.inputs.shape[1], applied.outputs.shape[1]
    return applied.geometry, applied.flipped, applied.bias, applied.offset, *channels
