"""The plans of the papers: rates at the epochs they name, augmentation they name, and it trains."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from recipes.training.augment import Either, FreqMix, Mixup, Roll, SpecAugment
from recipes.training.epochs import Epochs
from recipes.training.loop import train
from recipes.training.paper_plans import FineTune2020, Training2020, Training2021, Training2022
from recipes.training.training_plans import Plan, Training

PLANS: list[Plan] = [Training2020(), FineTune2020(), Training2021(), Training2022()]


def test_rates_of_2020() -> None:
    """10^-4 for 50 epochs, a factor of 10 every 100 epochs in the next 200, 10^-6 for 100."""
    plan = Training2020()
    rates = {epoch: plan.rate(epoch / 350) for epoch in (0, 25, 50, 150, 250, 300, 350)}
    assert rates == pytest.approx(
        {0: 1e-4, 25: 1e-4, 50: 1e-4, 150: 1e-5, 250: 1e-6, 300: 1e-6, 350: 1e-6}
    )
    tune = FineTune2020()
    assert [tune.rate(x) for x in (0, 0.5, 1)] == pytest.approx([1e-4, 5.05e-5, 1e-6])


@pytest.mark.parametrize("epochs", [100, 300])
def test_rates_of_2021(epochs: int) -> None:
    """From 0 to 0.06 over five epochs, however many follow; half a cosine to 0."""
    plan = Training2021(epochs=epochs)
    assert plan.rate(0) == 0
    assert plan.rate(2.5 / epochs) == pytest.approx(0.03)
    assert plan.rate(5 / epochs) == pytest.approx(0.06)
    assert plan.rate((5 + epochs) / 2 / epochs) == pytest.approx(0.03)
    assert plan.rate(1) == pytest.approx(0, abs=1e-12)


def test_rates_of_2022() -> None:
    plan = Training2022()
    assert plan.rate(3 / 80) == pytest.approx(0.035)
    assert plan.rate(1) == pytest.approx(0.00035)


def test_augmentations() -> None:
    """1.5 s are 50 frames of 30 ms; SpecAugment for the large model of 2021 alone."""
    assert Training2021().augmentations() == (Roll(50), Mixup(0.3))
    large = Training2021(bands=40, frames=80)
    assert large.augmentations() == (Roll(50), SpecAugment(40, 80, count=2), Mixup(0.3))
    assert Training2022().augmentations() == (Roll(14), SpecAugment(20, 0), Mixup(0.2))
    assert Training2020().augmentations() == (Either(FreqMix(1.0), Mixup(0.2)),)
    assert Training2020(mixup=0.0).augmentations() == (FreqMix(1.0),)
    assert Training2020(freqmix=0.0).augmentations() == (Mixup(0.2),)
    assert Training2020(freqmix=0.0, mixup=0.0).augmentations() == ()


def test_optimizers() -> None:
    weight = nn.Parameter(torch.ones(1))
    for plan in (Training2021(), Training2022()):
        (group,) = plan.optimizer([weight]).param_groups
        assert (group["momentum"], group["weight_decay"]) == (0.9, 0.001)
        assert plan.batch == 64
    for plan in (Training2020(), FineTune2020()):
        optimizer = plan.optimizer([weight])
        assert type(optimizer) is torch.optim.Adam
        (group,) = optimizer.param_groups
        assert (group["lr"], group["weight_decay"], group["betas"]) == (1e-4, 0, (0.9, 0.999))


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: type(plan).__name__)
def test_every_plan_trains(plan: Plan) -> None:
    """A linear layer on separable levels gets better."""
    y = torch.arange(64) % 4
    x = torch.eye(4)[y].reshape(64, 1, 4, 1).expand(64, 1, 4, 6).contiguous()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(24, 4))
    losses: list[float] = []
    batches = Epochs(x, y, 4, plan, seed=0)
    train(model, batches, 6, on_epoch=lambda _, loss: losses.append(loss))
    assert len(losses) == 6
    assert min(losses[1:]) < losses[0]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: type(plan).__name__)
def test_every_step_has_the_rate_of_the_plan(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """The optimiser's own rate, read at every step of three epochs."""
    x, y = torch.randn(150, 1, 2, 3), torch.arange(150) % 4
    seen: list[float] = []
    kind = type(plan.optimizer([nn.Parameter(torch.ones(1))]))
    step = kind.step

    def look(self: torch.optim.Optimizer, *args: object) -> object:
        seen.append(self.param_groups[0]["lr"])
        return step(self, *args)

    monkeypatch.setattr(kind, "step", look)
    batches = Epochs(x, y, 4, plan, seed=0)
    train(nn.Sequential(nn.Flatten(), nn.Linear(6, 4)), batches, 3)
    steps = 3 * len(batches)
    assert seen == [plan.rate(i / steps) for i in range(steps)]
    assert len(set(seen)) > 1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Training2021(epochs=5), "a warm-up of 5 in a training of 5 never reaches"),
        (lambda: Training2022(epochs=3), "a warm-up of 3 in a training of 3 never reaches"),
        (lambda: Training2020(decay=0), "decay must be above 0"),
        (lambda: Training2021(batch=0), "batch must be above 0"),
        (lambda: Training2022(mixup=-1), "mixup must be at least 0"),
        (lambda: Training2021(lr=float("nan")), "lr must be above 0 and finite"),
        (lambda: FineTune2020(lr=float("inf")), "lr must be above 0 and finite"),
        (lambda: Training(warmup=1.0), "never reaches the peak"),
        (lambda: Training(weight_decay=-1.0), "weight_decay must be at least 0"),
    ],
)
def test_plans_by_which_nothing_trains(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
