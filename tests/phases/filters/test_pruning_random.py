"""Single filters on random networks: no layer is left empty, caps are met, slim is masked."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
import torch
from torch import nn

from compressor import Budget, Cost, fit, measure, trace
from compressor.counting.cost import cost_of
from compressor.errors import BudgetError
from compressor.graph.structure import Structure
from compressor.importance import frobenius
from compressor.phases.filters import FilterPruning
from compressor.phases.filters.least import Least
from compressor.phases.filters.masking import verify
from compressor.phases.filters.one_threshold import smallest, survivors, threshold
from compressor.phases.filters.ranking import Ranking, fixed, ranks, reachable_norms
from compressor.phases.filters.reach import Reach
from compressor.phases.filters.uncoupled import Split, split
from tests.helpers.cases import cases
from tests.helpers.filter_nets import empty, inputs_of, slimmed
from tests.helpers.random_nets import drawn
from tests.helpers.tiny import loader

SHARES = ((0.9, 1.0), (0.6, 0.5), (0.3, 0.35), (0.15, 1.0), (0.02, 0.05))
NAMED = re.compile(r"(\w+) <= [\d,]+ \(the smallest has ([\d,]+)\)")


def parted(seed: int) -> tuple[nn.Module, Split, Reach]:
    model = drawn(seed)
    parts = split(model, trace(model, check=False))
    return model, parts, Reach(parts)


def ranking_of(model: nn.Module, parts: Split, *, uniform: bool) -> Ranking:
    tensors = dict(model.named_parameters())
    if uniform:
        return fixed(parts, ranks(parts, frobenius(parts.graph, tensors)))
    return reachable_norms(parts, tensors)


def shares_of(whole: Cost, params: float, macs: float) -> Budget:
    return Budget(params=max(1, int(params * whole.params)), macs=max(1, int(macs * whole.macs)))


def named_in(error: BudgetError, caps: Budget) -> Budget:
    """The budget with the caps that a refusal says can be had."""
    found = {name: int(least.replace(",", "")) for name, least in NAMED.findall(str(error))}
    assert found, error
    assert all(found[name] > caps.caps[name] for name in found)
    return Budget(**{name: found.get(name, cap) for name, cap in caps.caps.items()})


def check(model: nn.Module, parts: Split, structure: Structure, caps: Budget) -> None:
    """Built, counted and run: nothing here knows how the structure was chosen."""
    slim = slimmed(model, parts, structure)
    counted = measure(slim, inputs_of(model))
    assert caps.allows(counted)
    assert (counted.params, counted.macs) == (cost_of(structure).params, cost_of(structure).macs)
    assert all(p.numel() for p in slim.parameters())
    assert verify(model, parts, structure, slim, inputs_of(model)) < 1e-9


def hold_to_the_laws(seed: int) -> int:
    """Five budgets; returns how many were refused, with a cost that then was reached."""
    model, parts, reach = parted(seed)
    whole, refused = measure(model, inputs_of(model)), 0
    for number, (params, macs) in enumerate(SHARES):
        caps = shares_of(whole, params, macs)
        ranking = ranking_of(model, parts, uniform=(seed + number) % 2 == 0)
        floor = 1 + (seed + number) % 7 // 6
        try:
            chosen, _ = threshold(Least(reach, floor), ranking, caps)
        except BudgetError as error:
            refused += 1
            caps = named_in(error, caps)
            chosen, _ = threshold(Least(reach, floor), ranking, caps)
        for bank in range(len(parts.banks)):
            own = parts.of(bank)
            assert chosen.keep[own].sum() >= min(floor, len(own))
        check(model, parts, chosen, caps)
    return refused


def test_a_few_random_networks() -> None:
    assert sum(hold_to_the_laws(seed) for seed in range(2)) >= 1


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize("first", range(0, cases(51, 102), 17))
def test_random_networks_at_any_budget(first: int) -> None:
    for seed in range(first, first + 17):
        hold_to_the_laws(seed)


@pytest.mark.parametrize("seed", range(6))
def test_a_layer_gets_back_what_it_cannot_do_without_and_nothing_more(seed: int) -> None:
    _model, parts, reach = parted(seed)
    least = Least(reach)
    scores = np.random.default_rng(seed).random(parts.graph.units)
    nothing = reach.closed(np.zeros(parts.graph.units, dtype=bool))
    found = least.filled(nothing, scores)
    assert least.met(found)
    assert not empty(reach, found)
    for unit in np.flatnonzero(found.keep & parts.free):
        fewer = found.keep.copy()
        fewer[unit] = False
        assert not least.met(reach.closed(fewer))


@pytest.mark.parametrize("seed", range(3))
def test_a_budget_that_the_smallest_structure_meets_is_met_whatever_the_weights(seed: int) -> None:
    _model, parts, reach = parted(seed)
    for structure in itertools.islice(smallest(Least(reach)), 3):
        caps = Budget(params=cost_of(structure).params, macs=cost_of(structure).macs)
        for draw in range(3):
            scores = np.random.default_rng(draw).random(parts.graph.units)
            chosen, _ = threshold(Least(reach), fixed(parts, scores), caps)
            assert caps.allows(cost_of(chosen))
            least = survivors(Least(reach), fixed(parts, scores), math.inf)
            assert Least(reach).met(least)


STRATEGIES = (("oneshot", None), ("oneshot", "threshold"), ("admm", "uniform"))


def fitted(seed: int, strategy: str, allocator: str | None) -> None:
    model = drawn(seed)
    model[0] = nn.Conv2d(1, model[0].out_channels, 3, padding=1)  # type: ignore[operator, union-attr]
    model.example_input_array = torch.zeros(1, 1, 8, 8)
    phase = FilterPruning(strategy, allocator=allocator, epochs=1, updates=1, batches=1)
    whole = measure(model)
    for params, macs in SHARES[1:4:2]:
        caps = shares_of(whole, params, macs)
        try:
            result = fit(model, loader(16), budget=caps, schedule=[phase], progress=False)
        except BudgetError as error:
            caps = named_in(error, caps)
            result = fit(model, loader(16), budget=caps, schedule=[phase], progress=False)
        assert caps.allows(measure(result.model, inputs_of(model)))
        assert result.report.shrinks[-1].difference < 1e-9  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "allocator"), STRATEGIES)
def test_every_strategy_on_random_networks(strategy: str, allocator: str | None) -> None:
    for seed in range(5):
        fitted(seed, strategy, allocator)
