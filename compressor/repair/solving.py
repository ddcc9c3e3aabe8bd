"""One layer's repair: what it should give, what it gets, and the weight in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressor.inputs.batches import Batch
from compressor.inputs.finite import is_finite
from compressor.repair.applied import Applied, Watch
from compressor.repair.dense import Dense
from compressor.repair.layers import EnoughError, Forward, Layer, Parts, watched
from compressor.repair.products import Products
from compressor.repair.ridge import Solution, solved
from compressor.repair.rows import Places, as_matrix, as_weight, part_of, read, shape_of

LARGE = 4608
"""Entries of a row of a weight beyond which the bias alone is chosen anew: (entries x entries)
numbers, about a gigabyte of them at this size, and a solution in their third power are too much."""


@dataclass(frozen=True)
class Wanted:
    """Outputs of the dense network that stay.

    Attributes:
        channels: Their numbers among those of the dense layer; None for all.
        factors: What they are multiplied with in the smaller network; None for one.
    """

    channels: Tensor | None = None
    factors: Tensor | None = None

    def of(self, outputs: Tensor) -> Tensor:
        """What the smaller layer should give in the place of the dense one, (rows, channel)."""
        kept = outputs if self.channels is None else outputs[:, self.channels]
        return kept if self.factors is None else kept * self.factors.to(kept)

    @property
    def highest(self) -> int:
        """The highest channel that is wanted, by number."""
        return -1 if self.channels is None or not len(self.channels) else int(self.channels[-1])


def answer(
    small: nn.Module, dense: Dense, layer: Layer, wanted: Wanted, *, mask: Tensor | None = None
) -> Solution | None:
    """The weight by which a layer gives what the dense one gave, as nearly as it can.

    The smaller network is run up to the layer's last application and no further; sums of products
    are kept, no activations. `mask` (like the weight) is True where an entry may be non-zero.

    Returns:
        The answer; None where the two do not compare, or hold numbers that are not finite.
    """
    weight = small.get_parameter(layer.key[0]).detach()
    matrix = part_of(as_matrix(weight, layer.example), layer.example).double().cpu()
    groups, out, entries = matrix.shape
    halves = [Products.none(groups, out, entries, means=entries > LARGE) for _ in range(2)]
    for number, targets in enumerate(dense.rows(layer.key)):
        batch = dense.batches[number]
        rows = _rows(small, batch, dense.forward, layer, [where for where, _ in targets])
        if len(targets) != layer.calls or len(rows) != layer.calls:
            return None
        for (where, outputs), u in zip(targets, rows, strict=True):
            if outputs.shape[1] <= wanted.highest:
                return None
            y = wanted.of(outputs)
            if y.shape[1] != groups * out or not (is_finite(u) and is_finite(y)):
                return None
            later = where.second(number)
            for products, mine in zip(halves, (~later, later), strict=True):
                products.add(u[mine], y[mine].reshape(-1, groups, out))
    biased = layer.example.bias is not None or layer.normed
    allowed = None if mask is None else part_of(as_matrix(mask, layer.example), layer.example).cpu()
    first, second = halves
    found = solved(first, second, matrix, biased=biased, mask=allowed)
    return found if is_finite(found.weight) else None


def write(model: nn.Module, layer: Layer, found: Solution) -> None:
    """Put an answer into a model: the weight, and the bias where there is one."""
    parameters, example = dict(model.named_parameters()), layer.example
    weight = parameters[layer.key[0]]
    with torch.no_grad():
        whole = as_matrix(weight, example)
        part_of(whole, example).copy_(found.weight)
        weight.copy_(as_weight(whole, weight, example))
        if example.bias is not None and found.bias is not None:
            part = found.bias.flatten()
            bias = parameters[example.bias].view(-1)
            bias[example.offset : example.offset + len(part)] = part.to(bias)


def _rows(
    small: nn.Module, batch: Batch, forward: Forward, layer: Layer, where: Sequence[Places]
) -> list[Tensor]:
    """What the smaller layer reads, at the places of each application."""
    found: list[Tensor] = []
    parts = Parts()

    def applied(one: Applied) -> None:
        if parts.key(one) != layer.key:
            return
        if len(found) == len(where) or shape_of(one) != where[len(found)].shape:
            raise EnoughError  # what is read is not what the dense layer reads
        found.append(read(one, layer.kernel, where[len(found)]))
        if len(found) == layer.calls:
            raise EnoughError

    watched(small, batch, forward, Watch(small, applied))
    return found
