"""The units to remove next: scores, one or several allocations, and the choice among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from compressor.allocation import Allocation, allocate
from compressor.allocation.candidates import Candidate, choose
from compressor.allocation.request import Form
from compressor.budget import Budget
from compressor.graph.structure import Structure
from compressor.importance import Evidence, Importance, Scores
from compressor.inputs import randomness
from compressor.inputs.arguments import name_of_function
from compressor.inputs.batches import Batch
from compressor.inputs.losses import Loss
from compressor.run.calibration import calibration_loss
from compressor.run.choice import WidthChoice
from compressor.run.file_size import Stored
from compressor.run.judge import Judge, measure_of
from compressor.run.progress import Bar
from compressor.run.scoring import agreed, scores_of
from compressor.run.smallest import allocated_within
from compressor.run.telling import Compared

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch import nn


def allocated(
    stored: Stored,
    choice: WidthChoice,
    caps: Budget,
    costs: Mapping[str, Form],
    *,
    final: Budget,
    data: Iterable[Batch] | None,
    loss: Loss,
    fabric: Fabric | None,
    bar: Bar | None = None,
) -> tuple[Allocation, Mapping[str, float]]:
    """The allocation, and the loss of every candidate where there were several.

    The model of `stored` is measured by `loss` on batches of `data`, if there are any, and left as
    it is. `caps` are those to reach now, `final` those to reach in the end; `costs` take the place
    of the graph's own forms. The processes of `fabric` agree.
    """
    batches = [] if data is None else list(islice(data, choice.batches))
    model, graph = stored.model, stored.graph
    candidates = choice.candidates(data=bool(batches))
    evidence = Evidence(model, batches, loss, clips=choice.clips, inputs=choice.inputs)
    tensors = {name: p.detach() for name, p in model.named_parameters()}
    scores: dict[Importance, Scores] = {}
    for importance in dict.fromkeys(way.importance for way in candidates):
        with randomness.preserved():  # a model may draw in eval mode
            found = scores_of(importance, graph, tensors, evidence, data=bool(batches))
            scores[importance] = agreed(fabric, found)
    floor, round_to = choice.floor, choice.round_to

    def by(way: Candidate, costs: Mapping[str, Form]) -> Allocation:
        return allocate(
            graph, scores[way.importance], caps, method=way.method, objective=way.objective,
            floor=floor, round_to=round_to, costs=costs,
        )  # fmt: skip

    def allocation(way: Candidate) -> Allocation:
        how = partial(by, way)
        found = allocated_within(stored, final, costs, how, floor=floor, round_to=round_to)
        named = len(scores) > 1
        return (
            replace(found, method=f"{name_of_function(way.importance)}, {found.method}")
            if named
            else found
        )

    judge = Judge(model, graph, batches, loss, choice.inputs * choice.repair, stored.masks)
    allocations = [allocation(way) for way in candidates]
    structures = {allocation.structure for allocation in allocations}
    if bar is not None and len(structures) > 1:
        _count(bar, judge, len(structures))
    other = fabric is not None and not fabric.is_global_zero
    compared = Compared(len(structures), measure_of(loss, repaired=choice.repair), quiet=other)

    @cache  # several ways may come to one structure
    def judged(structure: Structure) -> float:
        value = float(agreed(fabric, np.array(judge(structure))))
        if bar is not None and not judge.inputs:
            bar.advance()
        compared.one(value)
        return value

    chosen, losses = choose(allocations, judged)
    names = [allocation.name for allocation in allocations]
    return chosen, dict(zip(names, losses, strict=True)) if losses else {}


def _count(bar: Bar, judge: Judge, structures: int) -> None:
    """Show how far a comparison of so many structures is: layers repaired, where they are."""
    layers = len(judge.dense.layers) if judge.inputs else 1
    bar.begin(f"Prune: compare {structures}", structures * layers)
    judge.watch = bar.advance


def agreed_loss(
    fabric: Fabric | None, model: nn.Module, batches: Sequence[Batch], loss: Loss
) -> float:
    """Calibration loss of a model, the same in every process."""
    return float(agreed(fabric, np.array(calibration_loss(model, batches, loss))))
