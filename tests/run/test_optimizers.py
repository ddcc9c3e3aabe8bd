"""Factories of optimisers are tried before any work, and those that cannot train are refused."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from compressor import Budget, FineTune, Prune, Recalibrate, fit
from compressor.run.optimizers import adamw, is_scaled
from tests.helpers.tiny import loader, scenes, tiny
from tests.test_fitting_errors import Counting, refuses

CAPS = Budget(params=700, macs="30k")
QUICK = (Prune(), Recalibrate(), FineTune(epochs=2))


def test_optimisers_without_weight_decay_are_made_by_a_function() -> None:
    result = fit(
        tiny(), loader(), budget=CAPS, schedule=QUICK,
        optimizer=lambda groups, lr, weight_decay: torch.optim.Rprop(groups, lr=lr),  # noqa: ARG005
    )  # fmt: skip
    assert len(result.report.log) == 2


@pytest.mark.parametrize(
    ("optimizer", "match"),
    [
        (torch.optim.Rprop, r"optimizer=Rprop takes no weight_decay, .* pass a function that"),
        (torch.optim.LBFGS, r"optimizer=LBFGS computes the loss several times a step"),
        (
            lambda groups, **_: torch.optim.LBFGS([p for g in groups for p in g["params"]]),
            r"optimizer=LBFGS computes the loss several times a step",
        ),
        (
            lambda groups, **_: torch.optim.SparseAdam(groups),
            r"makes no step on parameters like those of the Tiny: SparseAdam does not",
        ),
        (partial(torch.optim.SGD, momentum=-1), r"optimizer=SGD cannot be made by .* momentum"),
        (lambda *_, **__: None, r"must return an optimiser, it returns a NoneType"),
        (
            lambda *_, **__: torch.optim.SGD(tiny().parameters()),
            r"holds other parameters than those it is called with",
        ),
    ],
)  # fmt: skip
def test_optimisers_that_cannot_train(optimizer: object, match: str) -> None:
    data = Counting(scenes(8))
    with refuses(match):
        fit(tiny(), data, budget=CAPS, optimizer=optimizer)
    assert data.passes <= 1  # no more than the first batch was looked at
    assert fit(tiny(), data, budget=CAPS, optimizer=optimizer, schedule=[Prune()]).model


def test_whose_steps_are_as_long_as_their_rate() -> None:
    torch_made = (torch.optim.AdamW, torch.optim.Adam, torch.optim.RMSprop, torch.optim.Adagrad)
    assert all(is_scaled(factory) for factory in (adamw, *torch_made))
    assert not is_scaled(torch.optim.SGD)
    assert not is_scaled(partial(torch.optim.SGD, momentum=0.9))
