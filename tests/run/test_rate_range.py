"""Rates are tried on copies: what is taken, what diverges, what is left as it was."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from compressor import Budget, FineTune, Prune, Unstructured, fit
from compressor.inputs.batches import Batch, Batches
from compressor.inputs.losses import cross_entropy
from compressor.run.optimizers import OptimizerFactory, adamw, groups
from compressor.run.rate_range import (
    FALLBACK,
    FIRST,
    FURTHER,
    HELD,
    SHARE,
    STEPS,
    Trials,
    course,
    first_rates,
    measured,
    search,
    steps_of,
    taken,
)
from tests.helpers.tiny import equal, loader, tiny

CAPS = Budget(params=700, macs="30k")


def made(factory: OptimizerFactory, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    return factory(groups(model), lr=lr, weight_decay=0.0)


def of(
    model: nn.Module, factory: OptimizerFactory = adamw, *, scaled: bool = True
) -> Callable[[Sequence[Batch], Sequence[Batch], int], Trials]:
    """Trials of a model with cross entropy, as `measured` asks for them."""
    return lambda batches, held, steps: Trials(
        model, partial(made, factory), cross_entropy, batches, held, steps, scaled=scaled
    )


def swapped(factory: OptimizerFactory) -> Callable[[nn.Module, float], torch.optim.Optimizer]:
    return partial(made, factory)


class Bowl(nn.Module):
    """A point; the loss is half of ten times its squared length, whatever the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Parameter(torch.ones(3))


def height(model: nn.Module, batch: Batch) -> Tensor:
    return 5 * (model.point**2).sum() + 0 * batch[0].sum()


def bowl(  # noqa: ANN201
    known: float | None = None, *, scaled: bool = False, steps: int = 8, cut: bool = False
):
    batch = (torch.zeros(2, 1), torch.zeros(2))
    trials = Trials(
        Bowl(), swapped(SGD), height, [batch] * 3, [batch], steps, scaled=scaled,
        start=lambda _: cut,
    )  # fmt: skip
    return search(trials, known, "FineTune")


def test_the_largest_rate_that_gains_a_share_of_the_best_gain_is_taken() -> None:
    tried = {1.0: 3.0, 2.0: 1.0, 4.0: 2.0, 8.0: 2.1}
    assert taken(tried, 5.0, 0.75) == 4.0
    assert taken(tried, 5.0, 1.0) == 2.0, "the best one"
    assert taken({1.0: 3.0, 2.0: math.inf}, 5.0, SHARE) == 1.0
    assert taken({1.0: 5.0, 2.0: 6.0}, 5.0, SHARE) is None, "nothing was gained"
    assert taken({1.0: 1.0}, math.inf, SHARE) == 1.0
    assert taken({1.0: math.inf}, math.nan, SHARE) is None


def test_a_trial_is_gradient_descent_on_a_copy() -> None:
    """On a bowl of curvature 10 every step multiplies the point by 1 - 10 rate."""
    found = bowl(0.1)
    for rate, loss in found.tried:
        left = math.prod(1 - 10 * rate * course((step + 0.5) / 8) for step in range(8))
        assert loss == pytest.approx(15 * left**2, rel=1e-4), rate
    assert found.start == 15
    assert found.steps == 8


def test_a_rate_that_diverges_is_out_and_the_range_goes_on_below() -> None:
    """All rates around 1e6 diverge or gain nothing: the search goes down so far, and then says it.

    With 64 steps a factor of -1e5 or more a step leaves the range of single precision.
    """
    found = bowl(1e6, steps=64)
    assert found.lr == 1e6
    assert "no rate lowered" in found.why
    assert [loss for rate, loss in found.tried if rate >= 2.5e5] == [math.inf] * 4
    found = bowl(1.0)
    assert found.lr < 1
    assert not found.why


def test_beyond_the_largest_rate_only_where_a_rate_says_little() -> None:
    """SGD on a bowl asks for more than 8e-3; Adam's steps have that length."""
    assert max(rate for rate, _ in bowl().tried) > 2 * max(FIRST)
    assert max(rate for rate, _ in bowl(scaled=True).tried) == max(FIRST)
    assert len(bowl().tried) <= len(FIRST) + 2 * FURTHER
    assert max(rate for rate, _ in bowl(1e-4).tried) == 2e-4, "it is known, and its double tried"


def test_after_a_cut_the_best_rate_is_taken() -> None:
    """Where it was not, the largest one that gains three quarters as much."""
    cut, uncut = bowl(0.1, cut=True), bowl(0.1)
    assert cut.tried == uncut.tried
    losses = dict(cut.tried)
    assert losses[cut.lr] == min(losses.values())
    assert uncut.lr > cut.lr
    assert 15 - losses[uncut.lr] >= SHARE * (15 - losses[cut.lr])


def test_a_trial_takes_the_steps_of_half_an_epoch() -> None:
    least, most = STEPS
    assert steps_of(1000) == most
    assert steps_of(None) == most
    assert steps_of(20) == 10
    assert steps_of(4) == least
    assert first_rates(8e-3) == pytest.approx((2e-3, 4e-3, 8e-3, 1.6e-2))


def test_it_is_reproducible_and_moves_nothing() -> None:
    generator = torch.Generator().manual_seed(3)
    data = loader(96 * 3, batch=24, generator=generator)
    model = tiny(dropout=0.3).train()
    before = tiny(dropout=0.3)
    torch.manual_seed(1)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    order = generator.get_state()
    first, second = (measured(Batches(data), of(model), None, "FineTune") for _ in range(2))
    assert first == second
    assert first.lr in FIRST
    assert equal(model, before)
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    assert states[2] == random.getstate()
    assert torch.equal(order, generator.get_state())


def test_batches_are_read_once_and_some_are_held_back() -> None:
    seen: list[tuple[int, int, int]] = []
    model = tiny()

    def trials(batches: Sequence[Batch], held: Sequence[Batch], steps: int) -> Trials:
        seen.append((len(batches), len(held), steps))
        assert not {id(b) for b in batches} & {id(b) for b in held}
        return of(model)(batches, held, steps)

    for batches in (4, 12, 40, 200):
        measured(Batches(loader(4 * batches, batch=4)), trials, None, "")
    most = STEPS[1]
    assert seen == [(3, 1, 8), (9, 3, 8), (most, HELD, most), (most, HELD, most)]


def test_too_few_batches_are_said_and_a_known_rate_or_the_default_is_taken() -> None:
    few = Batches(loader(96))  # three batches
    found = measured(few, of(tiny()), None, "FineTune")
    assert found.lr == FALLBACK
    assert str(found) == (
        "rate 0.001, not measured: 3 batches are too few to measure rates on (4 are needed)"
    )
    assert measured(few, of(tiny()), 5e-3, "").lr == 5e-3


def test_batches_that_are_not_finite_are_left_to_training() -> None:
    x, y = torch.full((4, 1, 8, 8), math.nan), torch.zeros(4, dtype=torch.long)
    found = measured(Batches([(x, y)] * 8), of(tiny()), None, "")
    assert "NaN or infinity" in found.why


def test_the_trials_of_a_masked_network_keep_its_zeros() -> None:
    """Judged by the masked network's own trials: those of an unmasked one give other losses."""
    schedule = [Unstructured(), FineTune(epochs=1)]
    result = fit(tiny(), loader(256), budget=Budget(nonzero=500), schedule=schedule)
    assert result.report.after.nonzero <= 500
    masked = result.report.rates[0]
    zeros = fit(tiny(), loader(256), budget=Budget(nonzero=500), schedule=schedule[:1]).model
    free = measured(Batches(loader(256)), of(zeros), None, "FineTune")
    assert masked.start == pytest.approx(free.start, rel=0.2)
    assert masked.tried != free.tried


def test_a_diverging_trial_of_adam_is_survived_by_the_fit() -> None:
    """A rate known to be absurd: the smaller ones are tried, and the report says so."""
    result = fit(tiny(), loader(256), budget=CAPS, schedule=[Prune(), FineTune(1)], lr=1e-1)
    (rate,) = result.report.rates
    assert rate.lr <= 0.2
    assert f"FineTune: {rate}." in result.report.markdown()
    assert result.report.data()["rates"][0]["lr"] == rate.lr
