"""The 2022 report's global threshold on single filters, against one written by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor import Budget, measure, trace
from compressor.counting.cost import cost_of
from compressor.errors import BudgetError
from compressor.importance import frobenius
from compressor.phases.filters.least import Least
from compressor.phases.filters.masking import verify
from compressor.phases.filters.one_threshold import smallest, survivors, threshold
from compressor.phases.filters.ranking import fixed, ranks, reachable_norms
from compressor.phases.filters.reach import Reach
from compressor.phases.filters.uncoupled import split
from compressor.tracing.trial import randomised
from models import BCResNetASC
from tests.helpers.filter_nets import Chain, empty, inputs_of, network, slimmed
from tests.zoo import FAMILIES


def by_hand(model: Chain, limit: float) -> list[np.ndarray]:
    """Survivors of three layers in a row: numpy, no graph."""
    reachable, kept = np.array([0]), []
    for layer in (model.a, model.b, model.c):
        weight = layer.weight.detach().double().numpy()[:, reachable]
        norms = np.sqrt((weight**2).sum((1, 2, 3)))
        alive = np.flatnonzero(norms > limit)
        alive = alive if len(alive) else np.array([norms.argmax()])
        kept.append(alive)
        reachable = alive
    return kept


def cost_by_hand(kept: list[np.ndarray]) -> tuple[int, int]:
    a, b, c = map(len, kept)
    return 9 * a + 9 * a * b + b * c + 3 * c, 36 * (9 * a + 9 * a * b + b * c) + 3 * c


@pytest.mark.parametrize("seed", range(12))
def test_on_a_chain_it_is_the_report_s_routine(seed: int) -> None:
    torch.manual_seed(seed)
    model = Chain().eval()
    parts = split(model, trace(model))
    reach = Reach(parts)
    ranking = reachable_norms(parts, dict(model.named_parameters()))
    norms = np.concatenate(
        [
            m.weight.detach().double().flatten(1).norm(dim=1).numpy()
            for m in (model.a, model.b, model.c)
        ]
    )
    caps = Budget(params=250, macs=7000)

    def within(limit: float) -> bool:
        params, macs = cost_by_hand(by_hand(model, limit))
        return params <= 250 and macs <= 7000

    limits = sorted([*norms.tolist(), math.inf])
    good = [within(limit) for limit in limits]
    chosen, limit = threshold(Least(reach), ranking, caps)
    kept = by_hand(model, limit)
    for place, alive in enumerate(kept):
        assert (np.flatnonzero(chosen.keep[parts.of(place)]) == alive).all()
    params, macs = cost_by_hand(kept)
    assert (params, macs) == (cost_of(chosen).params, cost_of(chosen).macs)
    if good == sorted(good):  # monotone: then it is the lowest threshold that fits
        assert limit == pytest.approx(limits[good.index(True)], rel=1e-12)


@pytest.mark.slow
@settings(deadline=None, max_examples=15)
@given(
    st.sampled_from(["tiny", "tied", "residual", "bc-resnet-asc", "shared", "concat_self"]),
    st.floats(0.2, 1.1),
    st.floats(0.2, 1.1),
    st.booleans(),
)
def test_caps_are_met_or_refused_with_the_smallest_cost(
    name: str,
    params: float,
    macs: float,
    uniform: bool,  # noqa: FBT001
) -> None:
    model, parts, reach = network(name)
    tensors = dict(model.named_parameters())
    ranking = reachable_norms(parts, tensors)
    if uniform:
        ranking = fixed(parts, ranks(parts, frobenius(parts.graph, tensors)))
    whole = measure(model, inputs_of(model))
    caps = Budget(params=max(1, int(params * whole.params)), macs=max(1, int(macs * whole.macs)))
    found = [cost_of(structure) for structure in smallest(Least(reach))]
    found.append(cost_of(survivors(Least(reach), ranking, math.inf)))
    if all(caps.excess(least) for least in found):
        with pytest.raises(BudgetError, match="cannot be reached") as refused:
            threshold(Least(reach), ranking, caps)
        said = str(refused.value)
        assert any(all(f"{getattr(c, n):,}" in said for n in caps.excess(c)) for c in found)
        return
    chosen, _ = threshold(Least(reach), ranking, caps)
    slim = slimmed(model, parts, chosen)
    assert caps.allows(measure(slim, inputs_of(model)))
    assert not empty(reach, chosen)
    if not chosen.keep.all():
        assert verify(model, parts, chosen, slim, inputs_of(model)) < 1e-11


@pytest.mark.parametrize("name", ["tiny", "tied", "concat_self"])
def test_the_search_ends_between_a_threshold_that_fits_and_one_that_does_not(name: str) -> None:
    model, parts, reach = network(name)
    ranking = reachable_norms(parts, dict(model.named_parameters()))
    whole = cost_of(reach.closed(np.ones(parts.graph.units, dtype=bool)))
    everything = np.ones(parts.coupled.units, dtype=bool)
    limits = [-math.inf, math.inf]
    for place, numbers in enumerate(parts.numbers):
        limits += ranking(place, everything)[numbers.filters >= parts.coupled.units].tolist()
    limits = sorted(set(limits))
    for share in (0.3, 0.5, 0.8):
        caps = Budget(params=int(share * whole.params))
        chosen, limit = threshold(Least(reach), ranking, caps)
        place = limits.index(limit)
        assert caps.allows(cost_of(survivors(Least(reach), ranking, limits[place])))
        assert not caps.allows(cost_of(survivors(Least(reach), ranking, limits[place - 1])))
        assert chosen == survivors(Least(reach), ranking, limit)


def test_a_network_that_fits_is_left_whole() -> None:
    model, parts, reach = network("tiny")
    ranking = reachable_norms(parts, dict(model.named_parameters()))
    chosen, limit = threshold(Least(reach), ranking, Budget(params=1e6))
    assert chosen.keep.all()
    assert limit == -math.inf


def test_more_than_one_filter_a_layer_can_be_asked_for() -> None:
    model, parts, reach = network("residual")
    ranking = reachable_norms(parts, dict(model.named_parameters()))
    for floor in (1, 3):
        least = survivors(Least(reach, floor), ranking, math.inf)
        left = [int(least.keep[parts.of(n)].sum()) for n in range(len(parts.banks))]
        assert {n for n in left if n} == {floor}


def test_ranks_keep_the_same_share_of_every_layer() -> None:
    model, parts, reach = network("residual")
    ranking = fixed(parts, ranks(parts, frobenius(parts.graph, dict(model.named_parameters()))))
    half = survivors(Least(reach), ranking, 0.5)
    for place in range(len(parts.banks)):
        own = parts.of(place)
        assert half.keep[own].sum() == len(own) / 2


def test_the_caps_of_the_2022_challenge_are_met_on_bc_resnet_asc_8() -> None:
    torch.manual_seed(0)
    model = BCResNetASC(80, mels=192).eval()
    parts = split(model, trace(model, check=False))
    caps = Budget(params=128_000, macs=30e6)
    ranking = reachable_norms(parts, dict(model.named_parameters()))
    chosen, _ = threshold(Least(Reach(parts)), ranking, caps)
    slim = slimmed(model, parts, chosen)
    counted = measure(slim)
    assert caps.allows(counted)
    assert counted.params > 0.95 * caps.params
    trunk = chosen.widths[: len(parts.coupled.axes)].sum()
    filters = chosen.keep[parts.free].sum()
    assert filters / 4680 < 0.65  # and yet
    assert trunk / 720 > 0.9  # the residual trunk stays dense


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "shufflenet_v2_x1_0"])
def test_published_networks_at_half_their_cost(name: str) -> None:
    model = randomised(FAMILIES[name]().eval())
    parts = split(model, trace(model, check=False))
    whole = measure(model)
    caps = Budget(params=whole.params // 2, macs=whole.macs // 2)
    ranking = fixed(parts, ranks(parts, frobenius(parts.graph, dict(model.named_parameters()))))
    chosen, _ = threshold(Least(Reach(parts)), ranking, caps)
    slim = slimmed(model, parts, chosen)
    assert cost_of(chosen).macs == measure(slim).macs
    assert caps.params * 0.97 < measure(slim).params <= caps.params
    assert verify(model, parts, chosen, slim, inputs_of(model)) < 1e-11
