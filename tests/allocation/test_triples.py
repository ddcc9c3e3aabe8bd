"""Costs that are products of three widths. Oracle: brute force over all widths."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.allocation.elimination import Inner, maximise, plan
from compressor.allocation.filling import State, blocked, exchange, fill, trim
from compressor.allocation.forms import compile_forms
from compressor.allocation.lagrangian import Effort, dual
from compressor.allocation.logwidths import LogWidths
from compressor.allocation.milp import exact
from compressor.allocation.problem import Problem
from compressor.allocation.relaxation import describe, exact_oracle, make_plan, respond
from compressor.allocation.width_factor import uniform
from compressor.graph.graph import Polynomial
from tests.helpers.cases import cases
from tests.helpers.graphs import every_point, optimum
from tests.helpers.polynomials import polynomials, problems, transformer

SEEDS = st.integers(0, 2**31)
EFFORTS = [Effort(), Effort(easy_work=0), Effort(0, enough=0.0), Effort(0, 0)]


@given(polynomials(4), st.lists(st.integers(1, 50), min_size=4, max_size=4))
def test_a_polynomial_is_the_sum_of_its_monomials(cost: Polynomial, widths: list[int]) -> None:
    terms: list[tuple[int, Sequence[int]]] = [(cost.const, ())]
    terms += [(c, (axis,)) for axis, c in enumerate(cost.linear)]
    terms += zip(cost.coefs, cost.pairs, strict=True)
    terms += zip(cost.rates, cost.triples, strict=True)
    expected = sum(factor * prod(widths[axis] for axis in axes) for factor, axes in terms)
    assert cost(np.array(widths)) == expected


def test_a_polynomial_is_exact_beyond_64_bits() -> None:
    cost = Polynomial(1, (0,), triples=((0, 0, 0),), rates=(3,))
    assert cost(np.array([10**9])) == 3 * 10**27 + 1


@settings(deadline=None)
@given(problems(), SEEDS)
def test_forms_price_every_point_and_every_step_exactly(problem: Problem, seed: int) -> None:
    forms = compile_forms(problem)
    generator = np.random.default_rng(seed)
    for _ in range(5):
        places = generator.integers(0, forms.counts) if len(forms.free) else forms.counts
        everywhere = forms.everywhere(places) if len(forms.free) else problem.smallest
        widths = everywhere[forms.free]
        before = list(problem.spent(everywhere).values())
        assert forms.cost(widths).tolist() == before
        steps = generator.integers(-3, 4, len(widths))
        change = forms.change(widths, forms.marginal(widths), forms.bend(widths), steps)
        for k in range(len(widths)):
            moved = everywhere.copy()
            moved[forms.free[k]] += steps[k]
            after = list(problem.spent(moved).values())
            assert change[:, k].tolist() == [b - a for a, b in zip(before, after, strict=True)]


@settings(deadline=None)
@given(problems(), SEEDS)
def test_two_moves_at_once_cost_what_each_costs_and_what_they_meet_in(
    problem: Problem, seed: int
) -> None:
    forms = compile_forms(problem)
    generator, size = np.random.default_rng(seed), len(forms.free)
    if not size:
        return
    widths = forms.width(generator.integers(0, forms.counts))
    marginal, bend = forms.marginal(widths), forms.bend(widths)
    one, two = generator.integers(-2, 4, (2, size))
    alone = [forms.change(widths, marginal, bend, steps) for steps in (one, two)]
    assert forms.cross is not None
    met = forms.cross + forms.triples.meeting(widths, one, two)
    for g, h in itertools.permutations(range(size), 2):
        moved = widths.copy()
        moved[g] += one[g]
        moved[h] += two[h]
        both = alone[0][:, g] + alone[1][:, h] + met[:, g, h] * one[g] * two[h]
        assert (forms.cost(moved) - forms.cost(widths)).tolist() == both.tolist()


@settings(deadline=None)
@given(problems(), SEEDS, st.integers(1, 12))
def test_a_state_stays_what_it_would_be_from_scratch(
    problem: Problem, seed: int, moves: int
) -> None:
    forms = compile_forms(problem)
    if not len(forms.free):
        return
    generator = np.random.default_rng(seed)
    state = State.at(forms, generator.integers(0, forms.counts))
    for _ in range(moves):
        axis = int(generator.integers(len(forms.free)))
        by = int(generator.integers(0, forms.counts[axis]) - state.places[axis])
        change = state.steps(by)[2][:, axis]
        left = state.slack - change
        state.move(axis, by)
        assert state.slack.tolist() == left.tolist()
    fresh = State.at(forms, state.places)
    for part in ("widths", "marginal", "bend", "slack"):
        assert getattr(state, part).tolist() == getattr(fresh, part).tolist()


@settings(deadline=None)
@given(problems(), SEEDS)
def test_moves_end_within_every_cap_and_never_lose(problem: Problem, seed: int) -> None:
    forms = compile_forms(problem)
    if not len(forms.free):
        return
    generator = np.random.default_rng(seed)
    state = State.at(forms, generator.integers(0, forms.counts))
    prices = generator.exponential(1.0, len(forms.caps)) / forms.caps
    trim(state, prices)
    assert problem.fits(forms.everywhere(state.places))
    fill(state, prices)
    before = forms.gain(state.places)
    exchange(state, prices, reach=3, limit=20)
    widths = forms.everywhere(state.places)
    assert problem.fits(widths)
    assert forms.gain(state.places) >= before
    stopped = set[str]()
    for axis in forms.free[state.places < forms.last]:
        wider = widths.copy()
        wider[axis] = min(level for level in problem.levels[axis] if level > widths[axis])
        over = {name for name, spent in problem.spent(wider).items() if spent > problem.caps[name]}
        assert over, "nothing more fits"
        stopped |= over
    assert set(blocked(problem, widths)) == stopped


@st.composite
def inners(draw: st.DrawFn) -> Inner:
    """Up to five axes of up to four places, tied by twos and threes."""
    count = draw(st.integers(1, 5))
    sizes = draw(st.lists(st.integers(1, 4), min_size=count, max_size=count))
    generator = np.random.default_rng(draw(SEEDS))
    pairs = list(itertools.combinations(range(count), 2))
    axes = itertools.combinations_with_replacement(range(count), 3)
    triples = [three for three in axes if three[0] != three[2]]
    tied = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    threes = draw(st.lists(st.sampled_from(triples), unique=True)) if triples else []
    widths = [np.cumsum(generator.integers(1, 4, n)).astype(np.float64) for n in sizes]
    unary = [generator.normal(0.0, 30.0, n) for n in sizes]
    two = {pair: float(generator.exponential()) for pair in tied}
    return Inner(widths, unary, two, {three: float(generator.exponential()) for three in threes})


def value_at(inner: Inner, places: Sequence[int]) -> float:
    v = [float(w[k]) for w, k in zip(inner.widths, places, strict=True)]
    unary = sum(float(u[k]) for u, k in zip(inner.unary, places, strict=True))
    two = sum(c * v[i] * v[j] for (i, j), c in inner.products.items())
    return unary - two - sum(c * v[i] * v[j] * v[k] for (i, j, k), c in inner.triples.items())


@settings(deadline=None, max_examples=cases(100, 5_000))
@given(inners())
def test_elimination_equals_brute_force(inner: Inner) -> None:
    sizes = [len(width) for width in inner.widths]
    order = plan(sizes, inner.products, 10**6, inner.triples)
    assert order is not None
    value, places = maximise(inner, order)
    best = max(value_at(inner, p) for p in itertools.product(*map(range, sizes)))
    assert value == pytest.approx(best, rel=1e-9, abs=1e-9)
    assert value_at(inner, places.tolist()) == pytest.approx(best, rel=1e-9, abs=1e-9)


def test_no_axis_of_an_attention_block_needs_a_table_over_three() -> None:
    problem = transformer(blocks=12, trunk=192, heads=3, width=64, hidden=768)
    forms = compile_forms(problem)
    order = make_plan(forms, forms.counts, 10**5)
    assert order is not None
    assert max(len(step.scope) for step in order) == 2


@settings(deadline=None)
@given(problems(), SEEDS)
def test_every_oracle_is_at_least_the_lagrangian_of_every_point(
    problem: Problem, seed: int
) -> None:
    forms = compile_forms(problem)
    if not len(forms.free):
        return
    y = np.random.default_rng(seed).exponential(2.0, len(forms.caps))
    grid = itertools.product(*(range(n) for n in forms.counts.tolist()))
    points = [describe(forms, np.array(places)) for places in grid]
    best = max(point.gain - y @ point.excess for point in points)
    order = make_plan(forms, forms.counts, 10**7)
    assert order is not None
    found, seen = exact_oracle(forms, order)(y)
    assert found == pytest.approx(best, rel=1e-9, abs=1e-8)
    assert seen.gain - y @ seen.excess == pytest.approx(best, rel=1e-9, abs=1e-8)
    assert LogWidths(forms).oracle()(y)[0] >= best - 1e-8 * (1 + abs(best))


@settings(deadline=None)
@given(problems(), SEEDS)
def test_best_responses_never_lower_the_lagrangian(problem: Problem, seed: int) -> None:
    forms = compile_forms(problem)
    if not len(forms.free):
        return
    generator = np.random.default_rng(seed)
    y, places = generator.exponential(1.0, len(forms.caps)), generator.integers(0, forms.counts)
    before, after = describe(forms, places), describe(forms, respond(forms, y, places))
    assert after.gain - y @ after.excess >= before.gain - y @ before.excess - 1e-8


@settings(deadline=None, max_examples=cases(60, 2_000))
@given(problems(), st.sampled_from(EFFORTS))
def test_bound_is_above_the_optimum_and_the_optimum_above_the_value(
    problem: Problem, effort: Effort
) -> None:
    found, best = dual(problem, effort), optimum(problem)
    slight = 1e-9 * (1 + abs(best))
    assert found.bound is not None
    assert problem.fits(found.widths)
    assert found.bound >= best - slight
    assert problem.value(found.widths) <= best + slight


@settings(deadline=None)
@given(problems())
def test_one_width_factor_fits(problem: Problem) -> None:
    assert problem.fits(uniform(problem).widths)


@settings(deadline=None, max_examples=cases(12, 200))
@given(problems(most=4))
def test_mixed_integer_program_finds_the_optimum(problem: Problem) -> None:
    pytest.importorskip("cvxpy")
    found, best = exact(problem), optimum(problem)
    assert problem.fits(found.widths)
    assert problem.value(found.widths) == pytest.approx(best, rel=1e-5, abs=1e-5)
    assert found.bound is not None
    assert found.bound >= best - 1e-5 * (1 + abs(best))


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.25, 0.5])
def test_agrees_with_the_mixed_integer_program_on_attention(share: float) -> None:
    pytest.importorskip("cvxpy")
    problem = transformer(blocks=2, trunk=32, heads=4, width=16, hidden=64, share=share)
    ours, oracle = dual(problem), exact(problem)
    assert ours.bound is not None
    assert oracle.bound is not None
    assert problem.value(oracle.widths) <= ours.bound + 1e-6 * problem.scale
    assert problem.value(ours.widths) <= oracle.bound + 1e-6 * problem.scale
    assert problem.value(ours.widths) >= problem.value(oracle.widths) - 0.005 * problem.scale


@pytest.mark.parametrize("heads", [3, 6, 12])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_gap_of_a_transformer_is_below_one_percent(heads: int, share: float) -> None:
    problem = transformer(blocks=12, trunk=192, heads=heads, width=64, hidden=768, share=share)
    found = dual(problem)
    assert found.bound is not None
    assert problem.fits(found.widths)
    assert found.bound - problem.value(found.widths) < 0.01 * problem.scale


@settings(deadline=None)
@given(problems(most=4))
def test_an_axis_of_one_width_folds_into_products_of_lower_degree(problem: Problem) -> None:
    """Fixing an axis leaves the problem of the others, whose optimum brute force finds."""
    levels = (problem.levels[0][:1], *problem.levels[1:])
    fixed = replace(problem, levels=levels, gains=(problem.gains[0][:1], *problem.gains[1:]))
    forms = compile_forms(fixed)
    assert all(0 not in forms.free[triple] for triple in forms.triples.ends)
    for widths in itertools.islice(every_point(fixed), 50):
        assert forms.cost(widths[forms.free]).tolist() == list(fixed.spent(widths).values())


@pytest.mark.parametrize(
    ("triples", "rates", "says"),
    [
        (((0, 1, 2),), (-1,), "must not be negative"),
        (((0, 2, 1),), (1,), "must ascend"),
        (((0, 1, 3),), (1,), "between 0 and 2"),
        (((0, 1, 2), (0, 1, 2)), (1, 1), "twice: add them up"),
        (((0, 1, 2),), (2**62,), "larger unit"),
    ],
)
def test_bad_products_are_refused(
    triples: tuple[tuple[int, int, int], ...], rates: tuple[int, ...], says: str
) -> None:
    cost = Polynomial(0, (1, 1, 1), triples=triples, rates=rates)
    levels, gains = np.array([1, 2]), np.array([0.0, 1.0])
    with pytest.raises(ValueError, match=says):
        Problem((levels,) * 3, (gains,) * 3, {"params": cost}, {"params": 9})
