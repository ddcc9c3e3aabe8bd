"""`FilterPruning` in a run: budgets, resuming, refusals, and ADMM never worse than its start."""

from __future__ import annotations

import copy
import itertools
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compressor import Budget, FineTune, Int8, Prune, Recalibrate, Session, fit, measure
from compressor.errors import BudgetError
from compressor.inputs.batches import Batches
from compressor.inputs.losses import cross_entropy
from compressor.network import to_network
from compressor.network.file.container import pack
from compressor.phases import Phase
from compressor.phases.filters import FilterPruning
from compressor.phases.filters.pruning import same_batches
from compressor.phases.filters.slimming import Slim
from compressor.reports.result import Result
from compressor.run.calibration import calibration_loss
from compressor.run.training import Training
from tests.helpers.tiny import equal, loader, refuses, tiny

EVERY = list(itertools.product(("oneshot", "admm"), (None, "threshold")))


def model() -> nn.Module:
    return tiny(width=10)


def budget(params: float = 0.5, macs: float = 0.6) -> Budget:
    whole = measure(model())
    return Budget(params=int(params * whole.params), macs=int(macs * whole.macs))


def pruning(strategy: str, allocator: str | None = None) -> FilterPruning:
    return FilterPruning(strategy, allocator=allocator, epochs=2, batches=2, lr=3e-3)


def run(*schedule: Phase, given: nn.Module | None = None, **options: object) -> Result:
    return fit(
        given or model(), loader(64, generator=torch.Generator()), budget=budget(),
        schedule=list(schedule), **options,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize(("strategy", "allocator"), EVERY)
def test_the_budget_is_met_on_the_recount_and_nothing_given_is_touched(
    strategy: str, allocator: str | None
) -> None:
    given = model()
    before = copy.deepcopy(given)
    phase = pruning(strategy, allocator)
    result = run(phase, Recalibrate(2), FineTune(1), given=given)
    assert budget().allows(measure(result.model))
    assert equal(given, before)
    assert result.report.after == measure(result.model)
    assert len(result.report.log) == phase.length
    assert result.report.shrinks[-1].difference is not None
    assert result.report.shrinks[-1].difference < 1e-11
    assert any(isinstance(module, Slim) for module in result.model.modules())


def test_one_shot_needs_no_data() -> None:
    result = fit(model(), budget=budget(), schedule=[FilterPruning()])
    assert budget().allows(measure(result.model))


class Killed(Exception):  # noqa: N818 - what happens to a run
    """The machine went down."""


class Judge:
    """Validates nothing, and goes down at a call."""

    def __init__(self, stop: int) -> None:
        self.stop, self.calls = stop, 0

    def __call__(self, _: nn.Module) -> float:
        self.calls += 1
        if self.calls == self.stop:
            raise Killed
        return 0.5


@pytest.mark.slow
def test_a_killed_run_ends_in_the_same_bits(tmp_path: Path) -> None:
    schedule = (pruning("admm"), FineTune(2))
    wanted = run(*schedule, val=Judge(-1))
    for stop in (2, 4):  # within the solver, and after its removal
        folder = tmp_path / str(stop)
        with pytest.raises(Killed):
            run(*schedule, val=Judge(stop), checkpoint=folder)
        again = Judge(-1)
        found = run(*schedule, val=again, checkpoint=folder)
        assert 0 < again.calls < len(wanted.report.log)
        assert equal(found.model, wanted.model)
        assert found.report.after == wanted.report.after


def calibrated(network: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> float:
    return calibration_loss(network, batches, cross_entropy)


@pytest.mark.parametrize("lr", [3e-3, 3.0])
def test_it_is_never_worse_than_its_own_start(lr: float) -> None:
    start = run(pruning("oneshot")).model
    end = run(replace(pruning("admm"), lr=lr)).model
    session = Session(
        model(), budget=budget(), prune=None, data=Batches(loader(64, generator=torch.Generator()))
    )
    batches = same_batches(session, 2)
    assert calibrated(end, batches) <= calibrated(start, batches) + 1e-6
    if lr > 1:  # training in vain: the start itself is returned
        assert [tuple(p.shape) for p in end.parameters()] == [
            tuple(p.shape) for p in start.parameters()
        ]
        assert calibrated(end, batches) == pytest.approx(calibrated(start, batches), rel=1e-6)


def test_residuals_flips_and_rho_are_logged() -> None:
    result = run(pruning("admm", "uniform"))
    extra = result.report.log[0].extra
    assert {"primal", "dual", "flips", "rho", "calibration"} <= set(extra)


def test_admm_comes_to_its_structure() -> None:
    phase = replace(pruning("admm", "uniform"), epochs=6)
    log = run(phase).report.log
    primal = [epoch.extra["primal"] for epoch in log if "primal" in epoch.extra]
    assert primal[-1] < phase.admm.tolerance < primal[0]
    assert len(primal) < len(log)  # it has arrived, and stopped


def trained(phase: FilterPruning, parts: int) -> tuple[Training, FilterPruning]:
    """A run by hand, some parts into a phase."""
    batches = Batches(loader(64, generator=torch.Generator().manual_seed(0)))
    torch.manual_seed(0)
    session = Session(model(), budget=budget(), prune=None, data=batches)
    training = Training(session, batches)
    for part in range(parts):
        phase.run(training, part)
    return training, phase


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["oneshot", "admm"])
def test_a_cap_on_the_bytes_of_the_file_is_met(strategy: str) -> None:
    given = model()
    whole = len(pack(to_network(given, given.example_input_array)))
    caps = Budget(bytes=int(0.8 * whole))
    phase = replace(pruning(strategy), epochs=1, updates=1)
    result = fit(given, loader(64), budget=caps, schedule=[phase])
    file = len(pack(to_network(result.model, given.example_input_array)))
    assert 0.6 * caps.bytes < file <= caps.bytes


def test_nothing_can_be_pruned_by_channels_after_single_filters() -> None:
    with refuses(r"Prune\(\) comes after FilterPruning\(\)"):
        run(FilterPruning(), Prune())
    training, _ = trained(pruning("oneshot"), 1)
    with refuses("layers are narrower than the channels between them"):
        training.session.shrink()


def test_channels_then_single_filters() -> None:
    half = Budget(params=int(0.3 * measure(model()).params))
    result = fit(
        model(),
        loader(64),
        budget=half,
        schedule=[Prune(steps=2, epochs=0), FilterPruning(), FineTune(1)],
    )
    assert half.allows(measure(result.model))


def test_zeros_stay_zero_through_the_removal_of_filters() -> None:
    training, phase = trained(pruning("oneshot"), 0)
    session = training.session
    live = torch.rand_like(dict(session.model.named_parameters())["down.weight"]) > 0.5
    session.masks["down.weight"] = live
    session.masks.hold(session.model)
    phase.run(training, 0)
    weight = dict(session.model.named_parameters())["down.weight"]
    assert session.masks["down.weight"].shape == weight.shape
    assert not weight[~session.masks["down.weight"]].any()
    assert 0.3 < float((weight == 0).double().mean()) < 0.7


def test_a_budget_that_no_filters_meet_is_refused_before_training() -> None:
    with refuses("cannot be reached with one filter a layer", BudgetError):
        fit(
            model(), loader(64), budget=Budget(params=20),
            schedule=[FilterPruning("admm")],
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("allocator", "later"), [(None, ()), ("threshold", (Int8(),))])
def test_the_smallest_file_that_is_named_is_reached(
    allocator: str | None, later: tuple[Phase, ...]
) -> None:
    schedule = [FilterPruning(allocator=allocator), *later]

    def asked(cap: int) -> Result:
        return fit(model(), loader(32), budget=Budget(bytes=cap), schedule=schedule)

    with refuses("one filter a layer", BudgetError) as refused:  # type: ignore[attr-defined]
        asked(500)
    least = int(re.findall(r"the smallest has ([\d,]+)", str(refused.value))[0].replace(",", ""))
    assert len(pack(asked(least).network)) <= least
    with refuses(f"the smallest has {least:,}", BudgetError):
        asked(least - 1)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"strategy": "amdm"}, "strategy='amdm'.*'oneshot', 'admm'"),
        ({"strategy": "gradual"}, r"strategy='gradual'.*Prune\(steps=5"),
        ({"granularity": "channels"}, r"granularity='channels'.*removed by Prune\(\)"),
        ({"allocator": "dual"}, "allocator='dual'.*chosen by one threshold"),
        ({"strategy": "admm", "epochs": 0}, "epochs=0"),
        ({"updates": 0}, "updates=0"),
        ({"floor": 0}, "floor=0"),
        ({"admm": 3}, "admm=3"),
    ],
)
def test_settings_are_checked(settings: dict[str, object], match: str) -> None:
    with refuses(match):
        FilterPruning(**settings)  # type: ignore[arg-type]


def test_training_needs_data() -> None:
    with refuses("FilterPruning.*needs data"):
        fit(model(), budget=budget(), schedule=[FilterPruning("admm")])
