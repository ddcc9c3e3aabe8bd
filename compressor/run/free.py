"""What can go of a model at no cost: found, folded into the rest, and checked on outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressor.graph.graph import Graph
from compressor.graph.structure import Structure, full
from compressor.inputs import randomness
from compressor.inputs.batches import Batch, call, examples
from compressor.inputs.losses import Loss
from compressor.inputs.tensors import named_tensors
from compressor.repair.activations import activations_of
from compressor.repair.by_weights import Spare, spare
from compressor.repair.folding import fold, redundant
from compressor.repair.layers import Forward
from compressor.repair.returned import apart, outputs
from compressor.surgery.attention import opened
from compressor.surgery.cutting import shrink

EQUAL = 1e-9
"""Squared difference, in parts of how outputs vary, up to which they are equal but for rounding."""

FEWEST = 64
"""Examples from which on a unit that is zero, or like others, on all of them is taken for such."""

DRAWN = 64
"""Random inputs on which a model without data is compared; as many at once as its example has."""


@dataclass(frozen=True)
class Free:
    """What was removed at no cost.

    Attributes:
        units: Number of units that went, by axis.
        difference: Largest root mean square difference of outputs, in parts of how they vary.
        reached: Costs by this alone, of those that are capped.
        enough: It alone met the caps.
    """

    units: Mapping[str, int]
    difference: float
    reached: Mapping[str, int]
    enough: bool


@dataclass(frozen=True)
class Folded:
    """A model that reads what is kept in the place of what is not.

    Attributes:
        model: A copy that computes the same.
        structure: What is needed of it.
        difference: Largest root mean square difference of outputs, in parts of how they vary.
    """

    model: nn.Module
    structure: Structure
    difference: float

    @property
    def gone(self) -> dict[str, int]:
        """Number of units that are not needed, by axis, where there are some."""
        axes, unused = self.structure.graph.axes, ~self.structure.keep
        counts = {axis.name: int(unused[axis.units].sum()) for axis in axes}
        return {name: count for name, count in counts.items() if count}


def folded_on(
    model: nn.Module, graph: Graph, batches: Sequence[Batch], loss: Loss, **widths: int
) -> Folded | None:
    """Fold what the data show to be needless; None where there is nothing, or too few examples.

    `widths` are `floor` and `round_to` of `compressor.repair.folding.redundant`.
    """
    if sum(examples(batch) or 1 for batch in batches) < FEWEST:
        return None
    return _folded(model, graph, batches, loss, None, **widths)


def folded_blind(
    model: nn.Module, graph: Graph, example: Sequence[Tensor], **widths: int
) -> Folded | None:
    """Fold what the weights alone show to be needless, whatever the input is."""
    found = spare(graph, dict(named_tensors(model)))
    if not found.units.any():
        return None
    draws = torch.Generator().manual_seed(0)
    count = max(2, DRAWN // (len(example[0]) if example[0].ndim else 1))
    batches = [tuple(_drawn(x, draws) for x in example) for _ in range(count)]
    return _folded(model, graph, batches, _forward, found, **widths)


def _forward(model: nn.Module, batch: Batch) -> Tensor:
    return call(model, batch)


def _drawn(x: Tensor, draws: torch.Generator) -> Tensor:
    """Random numbers in the place of an input; where these are whole ones, of those in it."""
    if not x.is_floating_point():
        values = x.flatten()
        return values[torch.randint(len(values), x.shape, generator=draws).to(x.device)]
    return torch.randn(x.shape, generator=draws, dtype=torch.float64).to(x)


def _folded(
    model: nn.Module,
    graph: Graph,
    batches: Sequence[Batch],
    forward: Forward,
    by_weights: Spare | None,
    **widths: int,
) -> Folded | None:
    """Fold what is needless in all axes, or in those of them in which outputs stay the same."""
    among = None if by_weights is None else by_weights.units
    sure = None if by_weights is None else by_weights.twinned
    twins = None if by_weights is None else by_weights.twins
    with randomness.preserved():
        whole = opened(model).eval()
        readings = activations_of(whole, batches, forward, exact=True)
        structure = redundant(graph, readings, among=among, sure=sure, **widths)
        wanted = [outputs(whole, batch, forward) for batch in batches]

        def tried(part: Structure) -> Folded | None:
            changed = opened(model)
            fold(changed, part, readings, twins=twins)
            small = shrink(changed, graph, part).eval()
            found = apart(
                (outputs(small, batch, forward), said)
                for batch, said in zip(batches, wanted, strict=True)
            )
            return Folded(changed, part, found**0.5) if found <= EQUAL else None

        if structure.keep.all() or (by_weights is None and not _vary(wanted)):
            return None
        found = tried(structure)
        if found is not None:
            return found
        keep = full(graph).keep.copy()
        for axis in graph.axes:
            alone = keep.copy()
            alone[axis.units] = structure.keep[axis.units]
            if not alone[axis.units].all():
                better = tried(Structure(graph, alone))
                keep, found = (keep, found) if better is None else (alone, better)
        return found


def _vary(said: Sequence[Sequence[Tensor]]) -> bool:
    """True if outputs of batches are not the same for all examples, which would prove nothing."""
    return any(
        one.shape[1:] != first.shape[1:] or not bool((one == first[:1]).all())
        for outputs in said
        for one, first in zip(outputs, said[0], strict=True)
    )
