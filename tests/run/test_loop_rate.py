"""The rate for a loop of one's own: with an optimiser in use, or what makes one; in a session."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import CosineAnnealingLR

from compressor import Budget, Rate, Session, rate_of
from compressor.inputs.losses import cross_entropy
from tests.helpers.tiny import equal, loader, refuses, tiny

CAPS = Budget(params=700)


def trained(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> None:
    batch = next(iter(loader(32)))
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model, batch).backward()
        optimizer.step()


def same(a: Any, b: Any) -> bool:
    """Whether two states of optimisers are equal."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_it_is_what_a_fine_tune_would_find() -> None:
    data = loader(192)
    found = rate_of(tiny(), data)
    assert isinstance(found, Rate)
    assert found.lr in dict(found.tried)
    assert found == rate_of(tiny(), data)
    assert str(found).startswith(f"rate {found.lr:.3g}, found among those of which 8 steps")


def test_an_optimizer_in_use_is_copied_with_its_state_and_stays() -> None:
    model = tiny()
    optimizer = SGD(model.parameters(), lr=0.02, momentum=0.9)
    trained(model, optimizer)
    before, held = copy.deepcopy(model), copy.deepcopy(optimizer.state_dict())
    grads = [p.grad.clone() for p in model.parameters()]
    found = rate_of(model, loader(192), optimizer=optimizer)
    assert {0.005, 0.01, 0.02, 0.04} <= dict(found.tried).keys()
    assert equal(model, before)
    assert same(optimizer.state_dict(), held)
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), grads, strict=True))
    fresh = rate_of(model, loader(192), optimizer=SGD(model.parameters(), lr=0.02, momentum=0.9))
    assert fresh.tried != found.tried, "momentum is part of it"


def test_what_a_scheduler_made_of_the_rate_is_not_looked_at() -> None:
    model = tiny()
    optimizer = Adam(model.parameters(), lr=1e-2)
    scheduler = CosineAnnealingLR(optimizer, 4)
    for _ in range(4):
        trained(model, optimizer, 1)
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0)
    before = copy.deepcopy(model)
    assert {2.5e-3, 5e-3, 1e-2, 2e-2} <= dict(
        rate_of(model, loader(192), optimizer=optimizer).tried
    ).keys()
    assert equal(model, before), "the scheduler's own step would move it"


def test_groups_keep_the_ratio_of_their_rates() -> None:
    """A second group at no rate at all stays where it is, in every trial."""
    model = tiny(norm=False)
    rest = [p for name, p in model.named_parameters() if not name.startswith("head")]
    frozen = [{"params": model.head.parameters()}, {"params": rest, "lr": 0.0}]
    alone = SGD(model.head.parameters(), lr=0.05)
    one = rate_of(model, loader(192), optimizer=SGD(frozen, lr=0.05))
    assert one.tried == rate_of(model, loader(192), optimizer=alone).tried


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"optimizer": SGD(tiny().parameters(), lr=1.0)}, "parameters that are not the model's"),
        ({"optimizer": 3}, r"optimizer is a int: pass what makes one"),
        ({"optimizer": torch.optim.LBFGS}, "LBFGS computes the loss several times"),
        ({"lr": 0}, r"rate_of\(lr=0\): must be a number, more than 0"),
        ({"clip": -1}, r"rate_of\(clip=-1\): must be a number, more than 0"),
        ({"weight_decay": -1}, r"rate_of\(weight_decay=-1\): must be a number, at least 0"),
        ({"loss": 3}, r"loss=3 is a int"),
        ({"loss": lambda *_: torch.zeros(())}, "has no gradient"),
        ({"data": 3}, "data"),
        ({"data": []}, "yields no batch"),
        ({"model": 3}, "model"),
        ({"seed": "one"}, "seed"),
    ],
)
def test_what_cannot_be_measured(options: dict[str, Any], match: str) -> None:
    given = {"model": tiny(), "data": loader(192)} | options
    with refuses(match):
        rate_of(given.pop("model"), given.pop("data"), **given)


def test_an_optimizer_at_rate_zero_has_nothing_around_it() -> None:
    model = tiny()
    with refuses(r"the optimiser's rate is 0.0, around which nothing .* as lr"):
        rate_of(model, loader(192), optimizer=SGD(model.parameters(), lr=0.0))


def test_a_session_finds_the_rate_of_what_is_left() -> None:
    model = tiny()
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)
    session = Session(model, budget=CAPS, optimizer=optimizer, data=loader(192))
    found = session.rate()
    assert {0.0125, 0.025, 0.05, 0.1} <= dict(found.tried).keys()
    assert optimizer.param_groups[0]["lr"] == 0.05, "what to do with it is the loop's affair"
    trained(session.model, optimizer)
    assert session.finish().report.rates == (found,)


def test_a_session_without_optimizer_tries_adamw_and_without_data_says_so() -> None:
    session = Session(tiny(), budget=CAPS)
    with refuses(r"session.rate\(\) measures rates on data and the session has none: pass"):
        session.rate()
    cut = rate_of(session.model, loader(192), start=lambda _: True)
    assert session.rate(loader(192)) == cut, "it was just cut"
    around = session.rate(loader(192), optimizer=SGD, lr=0.1)
    assert 0.1 in dict(around.tried)


def test_zeros_of_a_session_stay_in_its_trials() -> None:
    session = Session(tiny(), budget=CAPS)
    free = session.rate(loader(192))
    session.masks["down.weight"] = torch.zeros_like(session.model.down.weight, dtype=torch.bool)
    session.hold()
    assert session.rate(loader(192)).tried != free.tried


def test_an_optimizer_that_fabric_set_up_is_copied_too() -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    model = tiny()
    plain = rate_of(model, loader(192), optimizer=SGD(model.parameters(), lr=0.05))
    _, optimizer = fabric.setup(model, SGD(model.parameters(), lr=0.05))
    assert rate_of(model, loader(192), optimizer=optimizer, fabric=fabric).tried == plain.tried
