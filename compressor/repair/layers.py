"""Layers in the order in which a network runs them: weights, each with how it is applied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from compressor.inputs import randomness
from compressor.inputs.batches import Batch
from compressor.repair.applied import Applied, Watch

Forward = Callable[[nn.Module, Batch], Tensor]
"""Runs a model on a batch: a loss, say."""

Key = tuple[str, int]
"""Name of a weight, and number of a part of it, of those that are applied for themselves."""


@dataclass(frozen=True)
class Layer:
    """A weight, or a part of its rows, as a network applies it.

    Attributes:
        key: Its name and the number of the part.
        calls: Applications in a run.
        normed: A batch norm follows each of them, so that a mean of the outputs has no effect.
        kernel: Taps of a convolution, by dimension of space; none of a product.
        example: One of the applications, its tensors without an example.
    """

    key: Key
    calls: int
    normed: bool
    kernel: tuple[int, ...]
    example: Applied


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


def watched(model: nn.Module, batch: Batch, forward: Forward, watch: Watch) -> None:
    """Run a model until it is over, or who watches has seen enough; no random state moves."""
    try:
        with randomness.preserved(), torch.no_grad(), watch:
            forward(model, batch)
    except EnoughError:
        pass


def layers_of(model: nn.Module, batch: Batch, forward: Forward) -> list[Layer]:
    """All layers that a run on a batch comes to, in the order of their first applications.

    Weights that are computed from other parameters have none of their own memory, and those of
    some recurrent layers are read inside of one operation: neither are among them. Nor is a weight
    that is applied in several ways, as one and as its transpose or as a table of words say (tied
    weights, or a loss that takes gradients): what is best for one need not be for the other.
    """
    found: dict[Key, list[Applied]] = {}
    normed: dict[Key, int] = {}
    parts = Parts()
    last: list[Key] = []

    def applied(one: Applied) -> None:
        last[:] = [parts.key(one)]
        none = replace(one, inputs=one.inputs[:0].clone(), outputs=one.outputs[:0].clone())
        found.setdefault(last[0], []).append(none)

    def norm() -> None:
        normed[last[0]] = normed.get(last[0], 0) + 1

    watch = Watch(model, applied, norm)
    watched(model, batch, forward, watch)
    shapes = {name: tuple(p.shape[2:]) for name, p in model.named_parameters()}
    return [
        Layer(
            key, len(calls), normed.get(key, 0) == len(calls),
            shapes[key[0]] if calls[0].geometry else (), calls[0],
        )
        for key, calls in found.items()
        if len({_way(one) for one in calls}) == 1 and key[0] not in watch.looked_up
    ]  # fmt: skip


def _way(applied: Applied) -> tuple[object, ...]:
    """All that two applications of one layer have in common."""
    channels = applied.inputs.shape[1], applied.outputs.shape[1]
    return applied.geometry, applied.flipped, applied.bias, applied.offset, *channels
