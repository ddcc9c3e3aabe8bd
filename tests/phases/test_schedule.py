"""Schedules that can never work are refused before a step is made; others that look odd work."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from benchmarks.accuracy.masks_to_learn import TopKMask
from compressor import Budget, FineTune, Prune, Session, fit, measure
from compressor.errors import BudgetError
from compressor.inputs.losses import cross_entropy
from compressor.phases import Phase
from compressor.phases.filters import FilterPruning
from compressor.phases.frequency import AdmmMask, fisher
from compressor.phases.frequency.phase import FrequencyMask
from compressor.phases.half import Half
from compressor.phases.int8 import Int8
from compressor.phases.joint import Joint
from compressor.phases.unstructured import Unstructured
from compressor.run.training import Training
from tests.helpers.tiny import Tiny, loader, refuses, scenes, tiny

MACS = measure(tiny()).macs
FILTERS = FilterPruning()
ROWS = FrequencyMask(keep=6, epochs=1, fine_tune=1)


@pytest.fixture(autouse=True)
def _untrained(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A step of an optimiser fails the test, unless it is marked ``trains``."""
    if "trained" in request.fixturenames:
        return

    def step(*_: object) -> float:
        raise AssertionError("it was trained")

    monkeypatch.setattr(Training, "_step", step)


@pytest.fixture
def trained() -> None:
    """For tests that train."""


def before_training(*schedule: Phase, budget: Budget, match: str, **options: object) -> None:
    model = options.pop("model", None) or tiny()
    with refuses(match):
        fit(
            model, options.pop("data", None) or loader(32), budget=budget,
            schedule=[FineTune(epochs=1), *schedule], **options,
        )  # fmt: skip


# ----------------------------------------------------------------- what cuts after single filters


@pytest.mark.parametrize(
    "following",
    [[Prune()], [FILTERS], [ROWS], [FineTune(1), Joint(), Int8(1)]],
    ids=lambda phases: type(phases[0]).__name__,
)
def test_nothing_is_cut_after_single_filters(following: Sequence[Phase]) -> None:
    first = FilterPruning("admm", "filters", epochs=1)
    caps = Budget(macs=0.6 * MACS, bytes=100_000)
    name = next(type(p).__name__ for p in following if not isinstance(p, FineTune))
    twice = following == [FILTERS]
    advice = "leave one of the two out" if twice else rf"put {name}\(\) before"
    match = rf"{name}\(\) comes after FilterPruning\(\).*{advice}"
    before_training(first, *following, budget=caps, match=match)


def test_what_cuts_says_so() -> None:
    """Else a new solver would be refused by `Session` alone, after training."""
    assert all(phase.cuts for phase in (Prune(), FILTERS, ROWS, Joint()))
    assert not any(getattr(p, "cuts", False) for p in (Unstructured(), Int8(), Half(), FineTune()))


@pytest.mark.slow
@pytest.mark.usefixtures("trained")
def test_rows_and_channels_before_single_filters_work() -> None:
    whole = measure(tiny(width=12))
    caps = Budget(macs=0.4 * whole.macs, params=0.6 * whole.params)
    schedule = [ROWS, FILTERS, Unstructured(amount=0.3), Int8(1)]
    result = fit(tiny(width=12), loader(32), budget=caps, schedule=schedule)
    assert result.report.after.macs <= caps.macs
    assert result.report.after.params <= caps.params


# ------------------------------------------------------------------------ bytes are spent once


@pytest.mark.parametrize("second", [Unstructured(), Unstructured(amount=0.2), Joint()])
def test_nobody_spends_the_bytes_again_after_joint(second: Phase) -> None:
    name = type(second).__name__
    match = rf"{name}\(\) comes after Joint\(\), which divides the bytes.*leave one of the two out"
    before_training(Joint(), second, Int8(1), budget=Budget(bytes=9_000), match=match)


@pytest.mark.slow
@pytest.mark.usefixtures("trained")
def test_joint_does_not_spend_what_earlier_zeros_save() -> None:
    """Their saving is in the bound already, and in the price of a code once more."""
    caps = Budget(bytes=20_000)
    schedule = [FineTune(1), Unstructured(amount=0.5), Joint(), Int8(1)]
    result = fit(tiny(width=48), loader(64), budget=caps, schedule=schedule)
    assert result.report.files[1] <= caps.bytes


# ------------------------------------------------------------------------------- rows of the input


def by_layers(model: Tiny, batch: Sequence[Tensor]) -> Tensor:
    """A loss that calls the model's layers and never the model."""
    x = model.norm(model.stem(batch[0])).relu()
    x = (x + model.norm2(model.pointwise(model.depthwise(x)))).relu()
    return cross_entropy(model.head, (model.down(x).relu().mean((2, 3)), batch[1]))


@pytest.mark.parametrize("by", [fisher, AdmmMask(), TopKMask()])
def test_a_loss_that_calls_layers_is_refused(by: object) -> None:
    phase = FrequencyMask(by=by, epochs=1)
    caps = Budget(macs=0.6 * MACS)
    match = r"FrequencyMask leaves a Rows.*loss\(model, batch\) fails.*Call the model itself"
    before_training(phase, budget=caps, loss=by_layers, match=match)
    match = r"Int8 makes a network of the Tiny.*Holder.*Call the model itself"
    before_training(Prune(), Int8(1), budget=caps, loss=by_layers, match=match)


@pytest.mark.usefixtures("trained")
def test_a_loss_may_call_layers_where_no_row_goes() -> None:
    caps = Budget(macs=MACS)
    fit(tiny(), loader(32), budget=caps, schedule=[FrequencyMask(epochs=1)], loss=by_layers)


def heights(*rows: int) -> list[tuple[Tensor, Tensor]]:
    x, y = scenes(16).tensors
    return [(torch.nn.functional.pad(x, (0, 0, 0, n - x.shape[2])), y) for n in rows]


@pytest.mark.parametrize("by", [fisher, AdmmMask()])
def test_a_first_batch_of_another_height_is_refused(by: object) -> None:
    phase, caps = FrequencyMask(by=by, epochs=1), Budget(macs=0.6 * MACS)
    match = r"of which the example has 8, .*with 10 in dimension 2: give all inputs 8 rows"
    before_training(phase, budget=caps, data=heights(10, 10), match=match)


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("by", [fisher, AdmmMask()])
@pytest.mark.parametrize("batches", [1, 16])  # while training, and when scores are measured
def test_batches_of_mixed_heights_are_refused_when_they_come(by: object, batches: int) -> None:
    """Longer inputs would lose their last rows without a word."""
    phase, caps = FrequencyMask(by=by, epochs=1, batches=batches), Budget(macs=0.6 * MACS)
    with refuses("the example has 8, .*with 10 in dimension 2"):
        fit(tiny(), heights(8, 10), budget=caps, schedule=[phase])


@pytest.mark.usefixtures("trained")
def test_no_hook_is_left_behind() -> None:
    session = Session(tiny(), budget=Budget(macs=0.6 * MACS), prune=None, data=heights(8))
    training = Training(session, None)
    phase = FrequencyMask(epochs=0, fine_tune=0)
    phase.check(session, ())
    phase.run(training, 0)
    assert not any(module._forward_pre_hooks for module in session.model.modules())


# ---------------------------------------------------------------- what no file can be written of


class Bessel(Tiny):
    """Runs an operation that a file may not name."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.special.i0(x.clamp(-1, 1)))


@pytest.mark.parametrize(
    ("schedule", "budget"),
    [
        ([Prune()], Budget(bytes=6_000)),
        ([Prune(), Unstructured()], Budget(bytes=6_000, params=900)),
        ([], Budget(bytes=600_000)),
        ([Prune(), Int8(1)], Budget(params=900)),
        ([Prune(), Half()], Budget(params=900)),
        ([Joint(), Int8(1)], Budget(bytes=4_000)),
    ],
)
def test_what_cannot_be_stored_is_refused(schedule: list[Phase], budget: Budget) -> None:
    match = "was asked of a Bessel of which no file can be written: the operation 'special_i0'"
    before_training(*schedule, budget=budget, model=Bessel(), match=match)


def test_what_needs_no_file_may_run_anything() -> None:
    whole = measure(Bessel())
    result = fit(Bessel(), budget=Budget(params=whole.params // 2), schedule=[Prune()])
    assert result.report.after.params <= whole.params // 2


def test_a_budget_is_still_refused_as_one() -> None:
    with refuses("cannot be reached", BudgetError):
        fit(tiny(), loader(32), budget=Budget(bytes=900), schedule=[Joint(), Int8(1)])
