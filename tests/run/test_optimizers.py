"""Factories of optimisers are tried before any work; optimisers go on, and are stored by name."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn

from compressor import Budget, FineTune, Prune, Recalibrate, fit
from compressor.run.optimizers import adamw, fill, groups, hand_on, is_scaled, stored
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


def trained(model: nn.Module, kind: type[torch.optim.Optimizer]) -> torch.optim.Optimizer:
    optimizer = kind(groups(model), lr=0.1)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    optimizer.step()
    return optimizer


class Turned(nn.Module):
    """A module's children in another order."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for name, child in reversed(list(model.named_children())):
            self.add_module(name, child)


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adagrad])
def test_what_is_stored_is_found_by_name(kind: type[torch.optim.Optimizer]) -> None:
    model = tiny()
    one = trained(model, kind)
    twin = Turned(copy.deepcopy(model))
    two = kind(groups(twin), lr=0.7)
    fill(two, twin, copy.deepcopy(stored(one, model)))  # as from a file
    names = {name: one.state[p] for name, p in model.named_parameters()}
    for name, p in twin.named_parameters():
        for key, value in names[name].items():
            assert torch.equal(two.state[p][key], value)
    assert [g["lr"] for g in two.param_groups] == [0.1, 0.1]
    one.step()
    for name, p in twin.named_parameters():
        p.grad = model.get_parameter(name).grad
    two.step()
    assert all(torch.equal(p, model.get_parameter(n)) for n, p in twin.named_parameters())


def test_other_groups_are_refused() -> None:
    model = tiny()
    one = trained(model, torch.optim.AdamW)
    with pytest.raises(ValueError, match="holds other parameters, or other groups of them"):
        fill(torch.optim.AdamW(model.parameters()), model, stored(one, model))


def test_an_optimiser_goes_on_with_what_takes_a_models_place() -> None:
    model = tiny()
    one = trained(model, torch.optim.AdamW)
    state = {name: dict(one.state[p]) for name, p in model.named_parameters()}
    other = nn.Module()
    other.network = copy.deepcopy(model)  # as many, in the same order
    with torch.no_grad():
        other.network.head.weight = nn.Parameter(torch.zeros(4, 3))
    hand_on(one, model, other)
    own = [p for group in one.param_groups for p in group["params"]]
    assert {id(p) for p in own} == {id(p) for p in other.parameters()}
    for name, p in other.network.named_parameters():
        if name == "head.weight":
            assert p not in one.state  # of another shape, it begins anew
        else:
            assert torch.equal(one.state[p]["exp_avg"], state[name]["exp_avg"])
    one.step()
    with pytest.raises(ValueError, match="a module of other parameters, which an optimiser in use"):
        hand_on(one, other, nn.Linear(2, 2))
