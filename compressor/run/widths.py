"""Which units a session removes next: scores, one or several allocations, and the choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from compressor.allocation import Allocation, allocate
from compressor.allocation.candidates import Candidate, choose
from compressor.budget import Budget
from compressor.graph.graph import Quadratic
from compressor.graph.structure import Structure
from compressor.importance import Scores, frobenius, gradients
from compressor.inputs import randomness
from compressor.inputs.batches import Batch
from compressor.phases.prune import Prune
from compressor.run.calibration import calibration_loss
from compressor.run.smallest import allocated_within
from compressor.surgery.cutting import shrink

if TYPE_CHECKING:
    from compressor.session import Session


def allocated(
    session: Session, prune: Prune, caps: Budget, forms: Mapping[str, Quadratic]
) -> tuple[Allocation, Mapping[str, float]]:
    """The allocation, and the loss of every candidate where there were several.

    Args:
        session: Its model is measured, and left as it is.
        prune: How widths are chosen.
        caps: What is to be reached.
        forms: Forms of cost that take the place of the graph's own.
    """
    batches = [] if session.data is None else list(islice(session.data, prune.batches))
    scores = partial(_reachable, session) if prune.reachable else measured(session, prune, batches)
    floor, round_to = prune.floor, prune.round_to

    def by(way: Candidate, costs: Mapping[str, Quadratic]) -> Allocation:
        return allocate(
            session.graph, scores, caps, method=way.method, objective=way.objective,
            floor=floor, round_to=round_to, costs=costs,
        )  # fmt: skip

    found = [
        allocated_within(session, forms, partial(by, way), floor=floor, round_to=round_to)
        for way in prune.candidates(data=bool(batches))
    ]
    chosen, losses = choose(found, partial(_loss, session, batches))
    names = [allocation.name for allocation in found]
    return chosen, dict(zip(names, losses, strict=True)) if losses else {}


def measured(session: Session, prune: Prune, batches: Sequence[Batch]) -> Scores:
    """One score per unit, the same in every process."""
    importance = prune.scored_by(data=session.data is not None)
    with randomness.preserved():  # a model may draw in eval mode
        found = gradients(session.model, batches, session.loss, clips=prune.clips)
        scores = importance(session.graph, _tensors(session.model), found)
    return agreed(session, scores)


def agreed(session: Session, values: Scores) -> Scores:
    """The mean over all processes."""
    fabric = session.fabric
    if fabric is None or fabric.world_size == 1:
        return values
    mine = fabric.to_device(torch.from_numpy(values))
    return cast("Tensor", fabric.all_reduce(mine, reduce_op="mean")).cpu().numpy()


def _loss(session: Session, batches: Sequence[Batch], structure: Structure) -> float:
    """Loss of what a structure leaves, the same in every process."""
    small = shrink(session.model, session.graph, structure)
    loss = np.array(calibration_loss(small, batches, session.loss))
    return float(agreed(session, loss))


def _reachable(session: Session, structure: Structure) -> Scores:
    """Raw filter norms over the inputs that `structure` keeps, as the 2022 report has it."""
    tensors = _tensors(session.model)
    return frobenius(
        session.graph, tensors, normalise=False, filters_only=True, structure=structure
    )


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in model.named_parameters()}
