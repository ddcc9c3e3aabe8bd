"""After a repair rates are tried on the weights as they were cut, until these are trained."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from compressor import Budget, FineTune, Prune, Session, fit, measure
from compressor.inputs.losses import cross_entropy
from compressor.run.unrepaired import Unrepaired, parameters
from tests.helpers.tiny import loader, tiny

CAPS = Budget(params=400)
DATA = list(loader(192))
"""In one order for all."""


def shrunk(*, repair: bool) -> Session:
    """Pruned by one way, so that the structure does not depend on repair."""
    prune = Prune(method="uniform", repair=repair, fold=False)
    return Session(tiny(), budget=CAPS, data=DATA, prune=prune)


def moved(model: nn.Module) -> None:
    with torch.no_grad():
        next(model.parameters()).add_(1.0)


def test_the_weights_as_cut_come_back_while_repair_was_the_last_word() -> None:
    model = tiny()
    cut = parameters(model)
    moved(model)
    found = Unrepaired.of(cut, model)
    twin = copy.deepcopy(model)
    found.put_into(twin)
    assert all(torch.equal(p, cut[name]) for name, p in twin.named_parameters())
    moved(model)
    twin = copy.deepcopy(model)
    found.put_into(twin)
    assert all(
        torch.equal(p, q) for p, q in zip(twin.parameters(), model.parameters(), strict=True)
    )


def test_rates_are_those_of_the_network_as_it_was_cut() -> None:
    repaired, plain = shrunk(repair=True), shrunk(repair=False)
    assert repaired.shrinks[0].repaired is not None
    pairs = zip(repaired.model.parameters(), plain.model.parameters(), strict=True)
    assert not all(torch.equal(p, q) for p, q in pairs), "repair has changed something"
    found = repaired.rate(DATA)
    assert found.start == pytest.approx(plain.rate(DATA).start, abs=0)
    assert found.tried == plain.rates[-1].tried


def test_what_was_trained_since_is_tried_as_it_is() -> None:
    session = shrunk(repair=True)
    before = session.rate(DATA)
    optimizer = torch.optim.SGD(session.model.parameters(), lr=0.1)
    cross_entropy(session.model, next(iter(loader(32)))).backward()
    optimizer.step()
    after = session.rate(DATA)
    assert after.start != before.start
    session.unrepaired = None
    assert session.rate(DATA).start == after.start


def test_a_fit_finds_the_rate_of_the_cut_network_and_goes_on_from_the_repaired_one() -> None:
    prune = Prune(method="uniform", fold=False)
    result = fit(tiny(), DATA, budget=CAPS, schedule=[prune, FineTune(epochs=1)])
    without = Prune(method="uniform", fold=False, repair=False)
    plain = fit(tiny(), DATA, budget=CAPS, schedule=[without, FineTune(epochs=1)])
    assert result.report.rates == plain.report.rates
    assert result.report.log[0].loss != plain.report.log[0].loss


def test_a_cut_without_repair_is_remembered_as_well() -> None:
    """Until the weights are trained: then a rate is taken by the rule for any network."""
    session = shrunk(repair=False)
    assert session.unrepaired is not None
    twin = copy.deepcopy(session.model)
    assert session.unrepair(twin)
    pairs = zip(twin.parameters(), session.model.parameters(), strict=True)
    assert all(torch.equal(p, q) for p, q in pairs)
    moved(session.model)
    assert not session.unrepair(copy.deepcopy(session.model))


def test_what_goes_at_no_cost_is_no_cut_to_recover_from() -> None:
    model = tiny()
    with torch.no_grad():
        for parameter in model.down.parameters():
            parameter[12:] = 0.0
    session = Session(model, budget=Budget(params=measure(model).params - 1), data=DATA)
    assert session.structure.keep.sum() < len(session.structure.keep)
    assert session.unrepaired is None
