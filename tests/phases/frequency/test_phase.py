"""The phase that selects rows of a spectrogram: scores, learned masks, budgets, resuming."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.accuracy.masks_to_learn import DecayedMask, L1Mask, TopKMask
from compressor import (
    Budget,
    BudgetError,
    Distill,
    FineTune,
    Prune,
    Result,
    Session,
    Unstructured,
    fit,
    measure,
)
from compressor.inputs.batches import Batch, Batches
from compressor.inputs.losses import cross_entropy
from compressor.phases import Phase
from compressor.phases.admm import Best
from compressor.phases.frequency import (
    AdmmMask,
    Learned,
    Rows,
    fisher,
    select_rows,
    taylor,
)
from compressor.phases.frequency.masks import RowScores
from compressor.phases.frequency.phase import FrequencyMask
from compressor.phases.frequency.removal import SessionRows, remove
from compressor.run.training import Training
from models import LinearMoments
from models.layers import SubSpectralNorm
from tests.helpers.tiny import equal, loader, tiny

MACS = measure(tiny()).macs
MASKS = [AdmmMask(), AdmmMask(metric=False), L1Mask(), DecayedMask(), TopKMask()]
QUICK = {"epochs": 1, "fine_tune": 1, "batches": 2}


def named(value: object) -> str:
    return getattr(value, "__name__", type(value).__name__)


# --------------------------------------------------------------------------------------- the phase


def run(*schedule: Phase, model: nn.Module | None = None, **settings: Any) -> Result:
    budget = settings.pop("budget", Budget(macs=0.6 * MACS))
    return fit(model or tiny(), loader(), budget=budget, schedule=list(schedule), **settings)


@pytest.mark.parametrize("by", [fisher, *MASKS], ids=named)
def test_the_macs_are_met_with_as_many_rows_as_they_allow(by: RowScores | Learned) -> None:
    result = run(FrequencyMask(by=by, **QUICK))
    model = result.model
    assert isinstance(model, Rows)
    assert result.report.after.macs <= 0.6 * MACS
    # One row more would be too much: tried by hand.
    more = select_rows(tiny(), None, range(len(model.rows) + 1))
    assert measure(more).macs > 0.6 * MACS
    assert measure(model).macs == measure(model.network).macs == result.report.after.macs


def test_the_highest_scores_stay() -> None:
    def second_half(gradients: Tensor) -> Tensor:
        return torch.arange(gradients.shape[1]) % 4

    keep = run(FrequencyMask(keep=3, by=second_half, epochs=0, fine_tune=0)).model.rows
    assert keep.tolist() == [2, 3, 7]  # 3 and 7, then the first of 2 and 6


def test_no_more_is_removed_than_asked() -> None:
    none = FrequencyMask(epochs=0, fine_tune=0)
    unmoved = run(none, budget=Budget(macs=MACS))
    assert equal(unmoved.model, tiny())
    first = run(none)
    assert equal(first.model, run(none, model=first.model).model)
    kept = run(FrequencyMask(keep=7, **QUICK), model=first.model).model
    assert torch.equal(kept.rows, first.model.rows)


def test_what_rows_cannot_save_is_left_to_others() -> None:
    half = FrequencyMask(least=0.5, **QUICK)
    result = run(half, Prune(), budget=Budget(macs=0.2 * MACS))
    assert len(result.model.rows) == 4
    assert result.report.after.macs <= 0.2 * MACS
    with pytest.raises(BudgetError, match="MACs with 4 of its 8 rows: put Prune"):
        run(half, budget=Budget(macs=0.2 * MACS))
    few = run(replace(half, least=0.0), budget=Budget(macs=0.2 * MACS))
    assert len(few.model.rows) < 4


@pytest.mark.parametrize(
    ("phase", "budget", "match"),
    [
        (FrequencyMask(), Budget(params=100), "says nothing of MACs"),
        (FrequencyMask(keep=1), Budget(macs=MACS / 50), "MACs with 1 of its 8 rows"),
    ],
)
def test_what_cannot_be_met_is_refused_before_training(
    phase: Phase, budget: Budget, match: str
) -> None:
    with pytest.raises(BudgetError, match=match):
        run(phase, budget=budget)


class Banded(nn.Module):
    """Four sub-bands: rows in multiples of four."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = SubSpectralNorm(1, 4)
        self.head = nn.Linear(1, 4)
        self.example_input_array = torch.zeros(1, 1, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(x).mean((2, 3)))


def test_what_cannot_be_run_is_refused_before_training() -> None:
    with pytest.raises(ValueError, match=r"does not run on 6 of its 8 rows .* Ask for 4 or 8"):
        run(FrequencyMask(keep=6), model=Banded())
    once = FrequencyMask(keep=3, epochs=0, fine_tune=0)
    with pytest.raises(ValueError, match="measures and trains on data and fit was given none"):
        fit(tiny(), budget=Budget(macs=MACS), schedule=[once])


@pytest.mark.parametrize(
    "wrong",
    [{"keep": 0}, {"epochs": -1}, {"lr": 0}, {"least": 2}, {"by": AdmmMask}, {"by": "fisher"}],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FrequencyMask(**wrong)
    with pytest.raises(ValueError, match="a mask that is learned needs epochs"):
        FrequencyMask(by=AdmmMask(), epochs=0)


def test_the_learning_rate_falls_from_one_to_the_other_over_both_parts() -> None:
    phase = FrequencyMask(by=AdmmMask())
    assert phase.length == 5 + 1 + 2
    assert [phase.lr * phase.rate(over) for over in (0, 0.5, 1)] == pytest.approx(
        [1e-3, 5.5e-4, 1e-4]
    )


def test_residuals_flips_and_rho_are_in_the_log() -> None:
    result = run(FrequencyMask(by=AdmmMask(), epochs=3, fine_tune=1, settle=None, batches=2))
    extras = [dict(epoch.extra) for epoch in result.report.log]
    assert [epoch.phase for epoch in result.report.log] == ["FrequencyMask"] * 4
    for extra in extras[:3]:
        assert {"primal", "dual", "flips", "rho", "calibration loss"} <= extra.keys()
        assert all(math.isfinite(value) for value in extra.values())
    assert extras[3] == {}
    assert extras[2]["primal"] < extras[0]["primal"]


def test_rows_go_once_the_mask_has_settled() -> None:
    """What is left of the epochs then trains on the removed form, one after the other."""
    heights: list[int] = []

    class Heard(FineTune):
        def run(self, training: Any, part: int) -> None:
            del part
            heights.append(training.session.model.rows.numel())

    phase = FrequencyMask(by=AdmmMask(), epochs=4, fine_tune=1, settle=1, batches=2)
    result = run(phase, Heard(epochs=1))
    learned = [bool(epoch.extra) for epoch in result.report.log]
    assert learned == [True, False, False, False, False]  # the mask stays as it starts, here
    assert [epoch.epoch for epoch in result.report.log] == [1, 2, 3, 4, 5]
    assert heights == [result.model.rows.numel()]


class Stop(Exception):  # noqa: N818 - no error: somebody pulled the plug
    pass


class Stopping:
    """Cross entropy that gives up after some calls."""

    def __init__(self, after: float = math.inf) -> None:
        self._left = [after, 0]

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        self._left[1] += 1
        if self._left[1] > self._left[0]:
            raise Stop
        return cross_entropy(model, batch)

    def __repr__(self) -> str:
        return "Stopping"

    @property
    def calls(self) -> float:
        return self._left[1]


@pytest.mark.slow
@pytest.mark.parametrize("by", [fisher, AdmmMask()], ids=named)
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_a_stopped_run_ends_in_the_same_bits(
    by: RowScores | Learned, share: float, tmp_path: Path
) -> None:
    phases = (
        Unstructured(amount=0.2),
        FrequencyMask(by=by, epochs=3, fine_tune=1, settle=1, batches=2),
        FineTune(epochs=1),
    )
    loss = Stopping()
    whole = run(*phases, loss=loss)
    with pytest.raises(Stop):
        run(*phases, loss=Stopping(share * loss.calls), checkpoint=tmp_path)
    again = run(*phases, loss=Stopping(), checkpoint=tmp_path)
    assert equal(whole.model, again.model)
    assert [e.extra for e in whole.report.log] == [e.extra for e in again.report.log]


def test_a_teacher_hears_whole_spectrograms() -> None:
    result = run(FrequencyMask(by=AdmmMask(), distill=Distill(), **QUICK))
    assert len(result.model.rows) == 4


@pytest.mark.slow
def test_a_second_selection_is_one_of_what_the_first_left() -> None:
    result = run(
        FrequencyMask(keep=6, **QUICK), Prune(), FrequencyMask(keep=3, **QUICK),
        budget=Budget(macs=0.3 * MACS),
    )  # fmt: skip
    first = run(FrequencyMask(keep=6, epochs=0, fine_tune=0), budget=Budget(macs=MACS))
    assert {*result.model.rows.tolist()} <= {*first.model.rows.tolist()}
    assert len(result.model.rows) == 3
    again = fit(
        result.model, loader(), budget=Budget(macs=MACS / 9), schedule=[Prune(), FineTune(epochs=1)]
    )
    assert torch.equal(again.model.rows, result.model.rows)


def test_masks_of_single_weights_are_cut_with_their_rows() -> None:
    model = LinearMoments(8, order=2, num_classes=4, frames=8)
    batch = torch.randn(16, 1, 8, 8), torch.randint(4, (16,))
    session = Session(model, budget=Budget(params=1000), prune=None, data=[batch])
    live = torch.rand(4, 16) > 0.5
    session.masks["classifier.weight"] = live
    remove(session, [1, 4, 5])
    assert torch.equal(
        session.masks["network.classifier.weight"], live.view(4, 2, 8)[:, :, [1, 4, 5]].flatten(1)
    )
    assert SessionRows.of(session, 2).seen == [1, 4, 5]
    assert not any(session.model is m for m in (model, session.original))


# -------------------------------------------------------------------- what is chosen, and kept


def planted(clips: int, *, seed: int = 0) -> Batch:
    """Twelve bands of noise, of which 2, 5 and 9 say by their level which of four classes it is."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (clips,), generator=random)
    x = torch.randn(clips, 1, 12, 8, generator=random)
    levels = torch.tensor([[1.0, 1, 0], [1, 0, 1], [0, 1, 1], [0, 0, 0]])[labels]
    x[:, 0, [2, 5, 9]] += 1.5 * levels[:, :, None]
    return x, labels


class Levels(nn.Module):
    """Filters over time, a mean, a linear layer over bands: (batch, 1, bands, time)."""

    def __init__(self, bands: int = 12) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, (1, 3), padding=(0, 1), bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4 * bands, 4)
        self.example_input_array = torch.zeros(1, 1, bands, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x)).relu().mean(3).flatten(1))


def trained() -> nn.Module:
    torch.manual_seed(0)
    model, (x, y) = Levels(), planted(512)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(15):
        for part in torch.arange(512).split(64):
            optimizer.zero_grad()
            cross_entropy(model, (x[part], y[part])).backward()
            optimizer.step()
    return model


LISTED: list[Callable[[], RowScores | Learned]] = [
    lambda: fisher, lambda: taylor, AdmmMask, TopKMask,
]  # fmt: skip


@pytest.mark.parametrize("by", LISTED)
def test_planted_bands_are_found(by: Callable[[], RowScores | Learned]) -> None:
    x, y = planted(512)
    batches = [(x[p], y[p]) for p in torch.arange(512).split(64)]
    phase = FrequencyMask(keep=3, by=by(), epochs=3, fine_tune=1)
    found = fit(trained(), batches, budget=Budget(macs="1M"), schedule=[phase]).model
    assert found.rows.tolist() == [2, 5, 9]
    right = found.eval()(planted(400, seed=1)[0]).argmax(1) == planted(400, seed=1)[1]
    assert float(right.float().mean()) > 0.9


class Worse(Learned):
    """A mask that chooses the least useful rows."""

    def chosen(self, state: dict[str, Any]) -> Tensor:
        wrong = dict(state, mask=-state["saliency"].float(), saliency=-state["saliency"])
        mask = torch.zeros(len(state["mask"]), dtype=torch.bool)
        mask[wrong["mask"].argsort(descending=True)[: state["keep"]]] = True
        return mask


def test_no_learned_mask_is_worse_than_the_one_it_started_from() -> None:
    x, y = planted(256)
    model, budget = trained(), Budget(macs="1M")
    session = Session(model, budget=budget, prune=None, data=Batches([(x, y)]))
    training = Training(session, Batches([(x, y)]))
    phase = FrequencyMask(keep=3, by=Worse(), epochs=2, fine_tune=0)
    losses: list[float] = []
    for part in range(2):
        phase.run(training, part)
        losses.append(Best.of(training.state["best"]).loss)
        assert Best.of(training.state["best"]).update == 0
    phase.run(training, 2)
    assert isinstance(session.model, Rows)
    assert session.model.rows.tolist() == [2, 5, 9]
    # The weights are those that mask was measured with, not those of two epochs later.
    assert torch.equal(session.model.network.conv.weight, model.conv.weight)
    assert losses[0] == losses[1]
