"""Several allocations are compared by a loss on data, and which one was taken is reported."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor import Budget, Prune, Session, allocate, fit, trace
from compressor.allocation import Allocation, LogRetention
from compressor.allocation.candidates import CANDIDATES, MARGIN, choose, clearly_less
from compressor.graph.structure import Structure
from compressor.importance import frobenius
from compressor.inputs.batches import Batch
from compressor.inputs.evaluation import evaluating
from compressor.inputs.losses import cross_entropy
from compressor.run.calibration import calibration_loss, recalibrate
from tests.helpers.tiny import equal, loader, scenes, tiny

CAPS = Budget(params=700, macs="30k")


def allocations(budgets: Sequence[int]) -> list[Allocation]:
    """Allocations of one graph that differ."""
    graph = trace(tiny())
    return [allocate(graph, np.ones(graph.units), Budget(params=cap)) for cap in budgets]


def pick(losses: Sequence[float]) -> int:
    """Which of so many allocations is taken."""
    found = allocations([700, 650, 600][: len(losses)])
    values = iter(losses)
    chosen, seen = choose(found, lambda _: next(values))
    assert seen == tuple(losses)
    return found.index(chosen)


@pytest.mark.parametrize(
    ("losses", "taken"),
    [
        ([2.0, 1.0, 1.5], 1),
        ([2.0, 1.99, 1.985], 0),
        ([2.0, 2.0 * (1 - 2 * MARGIN), 1.99], 1),
        ([math.inf, 3.0, 4.0], 1),
        ([math.inf, math.inf], 0),
        ([1.0, math.inf], 0),
        ([-1.0, -1.5], 1),
        ([-1.0, -1.001], 0),
        ([0.0, 0.0], 0),
    ],
)
def test_the_first_stays_unless_another_is_clearly_better(losses: list[float], taken: int) -> None:
    assert pick(losses) == taken


def test_a_loss_is_never_clearly_less_than_itself() -> None:
    for loss in (0.0, 1.0, -1.0, math.inf):
        assert not clearly_less(loss, loss)


def test_nothing_is_measured_where_there_is_no_choice() -> None:
    (one,) = allocations([700])

    def never(_: Structure) -> float:
        raise AssertionError

    assert choose([one], never) == (one, ())
    assert choose([one, one], never) == (one, ())


def test_calibration_loss_is_that_of_the_recalibrated_model() -> None:
    model = tiny().train()
    batches = [tuple(scenes(16, seed=s).tensors) for s in range(3)]
    before, random = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    found = calibration_loss(model, batches, cross_entropy)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert model.training
    assert torch.equal(random, torch.get_rng_state())
    recalibrate(model, batches, cross_entropy)
    model.eval()
    with torch.no_grad():
        wanted = np.mean([cross_entropy(model, batch).item() for batch in batches])
    assert found == pytest.approx(wanted)


def test_a_loss_that_is_not_finite_counts_as_the_worst() -> None:
    def broken(model: nn.Module, batch: Batch) -> Tensor:
        return cross_entropy(model, batch) * torch.nan

    assert calibration_loss(tiny(), [tuple(scenes(4).tensors)], broken) == math.inf


def mean_loss(model: nn.Module, batches: Sequence[Batch]) -> float:
    with evaluating(model), torch.no_grad():
        return float(np.mean([cross_entropy(model, batch).item() for batch in batches]))


def test_the_structure_taken_is_the_one_with_the_least_loss() -> None:
    batches = list(loader())
    session = Session(tiny(), budget=CAPS, data=batches)
    (shrink,) = session.shrinks
    assert len(shrink.tried) == len(CANDIDATES)
    graph = session.dense
    for way, (name, loss) in zip(CANDIDATES, shrink.tried.items(), strict=True):
        prune = Prune(way.method, way.objective, way.importance)
        alone = Session(tiny(), budget=CAPS, data=batches, prune=prune)
        assert not alone.shrinks[0].tried
        assert name == f"{way.importance.__name__}, {alone.shrinks[0].method}"
        assert mean_loss(alone.model, batches) == pytest.approx(loss)
        if name == shrink.method:
            assert (alone.structure.keep == session.structure.keep).all()
            assert equal(alone.model, session.model)
    least, first = min(shrink.tried.values()), next(iter(shrink.tried.values()))
    taken = shrink.tried[shrink.method]
    assert taken == (least if clearly_less(least, first) else first)
    assert graph.units > len(session.alive)


def test_a_method_or_an_objective_ends_the_comparison() -> None:
    for prune in (Prune(method="uniform"), Prune(objective=LogRetention())):
        result = fit(tiny(), loader(), budget=CAPS, schedule=[prune])
        assert not result.report.shrinks[0].tried
        assert "Compared by loss" not in str(result.report)


def test_the_comparison_is_in_the_report() -> None:
    report = fit(tiny(), loader(), budget=CAPS, schedule=[Prune(importance=frobenius)]).report
    text = " ".join(str(report).split())
    assert "Compared by loss after repair: " in text
    assert f"Taken: {report.shrinks[0].method}" in text


def test_without_data_there_is_a_proven_bound() -> None:
    (shrink,) = fit(tiny(), budget=CAPS).report.shrinks
    assert shrink.method == "dual harmonic mean"
    assert shrink.bound is not None
    assert shrink.bound >= shrink.value
