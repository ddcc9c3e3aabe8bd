"""The dense network's side of a repair: what its layers give, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import torch
from torch import Tensor, nn

from compressor.inputs import randomness
from compressor.inputs.batches import Batch
from compressor.inputs.evaluation import evaluating
from compressor.inputs.finite import not_finite, on
from compressor.repair.applied import Applied, Key, Watch
from compressor.repair.course import Trail
from compressor.repair.layers import (
    EnoughError,
    Forward,
    Layer,
    Parts,
    layers_of,
    watched,
)
from compressor.repair.norms import Met, Moments
from compressor.repair.returned import outputs
from compressor.repair.rows import Places, as_matrix, at, places, rows_of, written

MEMORY = 2**28
"""Bytes of outputs, at some places each, that are remembered; beyond them layers are run again."""


@dataclass
class Said:
    """What one application of a layer gave at some places.

    Attributes:
        where: The places.
        outputs: (rows, channel).
        rest: What is added to them, (rows, channel); None where nothing is.
    """

    where: Places
    outputs: Tensor
    rest: Tensor | None = None

    @property
    def width(self) -> int:
        """Channels that the layer writes."""
        return self.outputs.shape[1]


Rows = list[Said]
"""Of the applications of a layer in one run."""


class Dense:
    """A network as the target of a repair, run as seldom as memory allows.

    Attributes:
        model: In eval mode.
        batches: Data.
        forward: Runs a model on a batch.
        layers: Its layers, in order.
    """

    def __init__(
        self, model: nn.Module, batches: Sequence[Batch], forward: Forward, *, memory: int = MEMORY
    ) -> None:
        """Look at the model's layers; `memory` is in bytes."""
        self.model, self.batches, self.forward = model.eval(), batches, forward
        self.layers = {one.key: one for one in layers_of(model, batches[0], forward)}
        self._memory = memory
        self._rows: dict[Key, list[Rows]] = {}
        self._outputs: dict[int, list[Tensor]] = {}

    def outputs(self, number: int) -> list[Tensor]:
        """What the model returns for a batch, by its number."""
        if number in self._outputs:
            return self._outputs[number]
        return self._remember(number, outputs(self.model, self.batches[number], self.forward))

    def _remember(self, number: int, found: list[Tensor]) -> list[Tensor]:
        """Keep the outputs of a batch if there is room.

        Raises:
            TrainingError: If one is no number.
        """
        if any(bool(t.isnan().any()) for t in found):
            batch = self.batches[number]
            raise not_finite(
                self.model, on(self.forward, batch), "an output",
                f"on batch {number + 1} of the data that repair goes by", batch,
            )  # fmt: skip
        held = sum(_bytes(t) for one in self._outputs.values() for t in one)
        if held + sum(map(_bytes, found)) <= self._memory / 4:
            self._outputs[number] = found
        return found

    @cached_property
    def moments(self) -> Mapping[str, list[Moments]]:
        """What its batch norms are given, by name and call, on all batches."""
        met = Met()
        with torch.no_grad(), randomness.preserved(), met.looking(self.model):
            for number, batch in enumerate(self.batches):
                self._outputs.pop(number, None)
                self._remember(number, outputs(self.model, batch, self.forward))
        return met.found

    def rows(self, key: Key) -> list[Rows]:
        """What a layer gives at some places, of every batch; the same at every call."""
        if key not in self._rows:
            self._load(key)
        return self._rows[key]

    def _load(self, key: Key) -> None:
        """Run the model for a layer and as many of the next as are remembered."""
        number = list(self.layers).index(key)
        wanted: list[Layer] = []
        held = 0
        for layer in islice(self.layers.values(), number, None):
            outputs = layer.calls + _joins(layer)
            held += self._most(layer) * outputs * len(self.batches) * _width(layer)
            if wanted and held > self._memory:
                break
            wanted.append(layer)
        self._rows = {layer.key: [[] for _ in self.batches] for layer in wanted}
        with evaluating(self.model):
            for index, batch in enumerate(self.batches):
                self._run(index, batch, sum(layer.calls + _joins(layer) for layer in wanted))

    def _run(self, index: int, batch: Batch, events: int) -> None:
        """Remember what one batch gives; so many applications and sums there are in all."""
        parts = Parts()
        left = events
        numbers = {key: number for number, key in enumerate(self.layers)}

        def seen() -> None:
            nonlocal left
            left -= 1
            if not left:
                raise EnoughError

        def joined(key: Key, call: int, rest: Tensor) -> None:
            if key in self._rows and self.layers[key].courses[call].added:
                said = self._rows[key][index][call]
                said.rest = at(rest, said.where)
                seen()

        trail = Trail(self.model, joined)

        def applied(one: Applied) -> None:
            key = parts.key(one)
            if key not in self._rows:
                return
            trail.start(key, one)
            seed = (numbers[key] * len(self.batches) + index) * 1009 + one.call
            draws = torch.Generator().manual_seed(seed)
            where = places(one, self._most(self.layers[key]), draws)
            self._rows[key][index].append(Said(where, written(one, where)))
            seen()

        watched(self.model, batch, self.forward, Watch(self.model, applied), trail)

    def _most(self, layer: Layer) -> int:
        """Rows of one application."""
        weight = self.model.get_parameter(layer.key[0])
        entries = as_matrix(weight.detach(), layer.example).shape[2]
        return rows_of(entries, len(self.batches) * layer.calls)


def _joins(layer: Layer) -> int:
    """Applications that something is added to."""
    return sum(course.added for course in layer.courses)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _width(layer: Layer) -> int:
    """Bytes of a row of outputs."""
    return layer.example.outputs.shape[1] * layer.example.outputs.element_size()
