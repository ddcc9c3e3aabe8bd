"""The pieces of ADMM against brute force and against a convex solver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import cvxpy
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compressor.phases.admm import (
    Admm,
    Best,
    Projection,
    State,
    Tensors,
    cardinality,
    implicit,
    largest,
    start,
    update,
)
from compressor.storage import flatten, restore
from tests.helpers.pull import penalty

EXACT = Admm(clip=float("inf"), tolerance=1e-12)
"""For convex problems, whose dual may be large."""

numbers = st.lists(st.integers(-4, 4), min_size=1, max_size=10)


def tensor(values: object) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def optimum(cost: cvxpy.Expression, limits: Sequence[cvxpy.Constraint] = ()) -> None:
    problem = cvxpy.Problem(cvxpy.Minimize(cost), list(limits))
    problem.solve(cvxpy.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12)


# ------------------------------------------------------------------------------------- projections


@given(numbers, st.data())
def test_cardinality_is_the_nearest_point_by_brute_force(
    values: list[int], data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, len(values)))
    weights = data.draw(st.lists(st.integers(1, 3), min_size=len(values), max_size=len(values)))
    saliency = data.draw(st.lists(st.integers(0, 2), min_size=len(values), max_size=len(values)))
    found = largest(tensor(values), count, metric=tensor(weights), saliency=tensor(saliency))
    kept = set(np.flatnonzero(found.numpy()))
    # What is lost, then (among equals) the saliency that is kept: the best of every choice.
    best = min(
        (
            sum(weights[i] * values[i] ** 2 for i in range(len(values)) if i not in chosen),
            sorted(-saliency[i] for i in chosen),
        )
        for chosen in map(set, combinations(range(len(values)), count))
    )
    lost = sum(weights[i] * values[i] ** 2 for i in range(len(values)) if i not in kept)
    assert len(kept) == count
    assert lost == best[0]
    point = cardinality(tensor(values), count, metric=tensor(weights), saliency=tensor(saliency))
    assert torch.equal(point, tensor(values) * found)


def test_between_equals_saliency_decides_and_then_the_first() -> None:
    ones = torch.ones(6)
    by_saliency = largest(ones, 2, saliency=tensor([0, 3, 1, 3, 3, 0]))
    assert by_saliency.tolist() == [False, True, False, True, False, False]
    assert largest(ones, 2).tolist() == [True, True, False, False, False, False]
    # Shape and sign play no part.
    assert largest(-torch.ones(2, 3), 1, saliency=torch.arange(6).reshape(2, 3))[1, 2]


@given(st.permutations(range(8)), st.integers(0, 8))
def test_a_choice_among_ties_follows_the_entries_not_their_places(
    order: list[int], count: int
) -> None:
    saliency = torch.arange(8.0)
    plain = largest(torch.ones(8), count, saliency=saliency)
    moved = largest(torch.ones(8), count, saliency=saliency[order])
    assert torch.equal(plain[order], moved)


def test_what_cannot_be_projected_is_refused_with_numbers() -> None:
    with pytest.raises(ValueError, match="7 entries were asked of 6: ask for 0 to 6"):
        largest(torch.ones(6), 7)
    with pytest.raises(ValueError, match="2 of 3 entries to choose from are NaN or infinite"):
        largest(tensor([float("nan"), 1, float("inf")]), 1)


# -------------------------------------------------------------------------------- convex problems


def least_squares(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(columns)
    return tensor(rng.normal(size=(rows, columns))), tensor(rng.normal(size=rows))


def solve(
    a: Tensor, b: Tensor, project: Projection, metric: Tensors | None, *, rounds: int = 400
) -> State:
    """ADMM on ``||a v - b||^2 / 2``, every v exact."""
    v = {"v": torch.zeros(a.shape[1], dtype=torch.float64)}
    state = start(v, project, rho=float(len(b)), metric=metric)
    for number in range(rounds):
        h = state.rho * state.metric["v"]
        left = a.T @ a + torch.diag(h)
        v["v"] = torch.linalg.solve(left, a.T @ b + h * (state.z["v"] - state.u["v"]))
        state, _ = update(EXACT, state, v, project, over=number / rounds)
    return state


def shrunk(values: Tensor, by: Tensor) -> Tensor:
    """The proximal operator of the l1 norm (soft thresholding)."""
    return values.sign() * (values.abs() - by).clamp(min=0)


def lasso(weight: float) -> Projection:
    def project(point: Tensors, metric: Tensors, rho: float) -> Tensors:
        return {n: shrunk(x, weight / (rho * metric[n])) for n, x in point.items()}

    return project


def in_box(point: Tensors, metric: Tensors, rho: float) -> Tensors:
    del metric, rho  # a box is a box in every diagonal metric
    return {name: x.clamp(-0.1, 0.2) for name, x in point.items()}


@pytest.mark.parametrize("weighted", [False, True])
def test_admm_solves_the_lasso(weighted: bool) -> None:  # noqa: FBT001 - pytest's
    a, b = least_squares(30, 12)
    metric = {"v": torch.linspace(0.2, 4, 12, dtype=torch.float64)} if weighted else None
    found = solve(a, b, lasso(5.0), metric).z["v"].numpy()
    x = cvxpy.Variable(12)
    cost = cvxpy.sum_squares(a.numpy() @ x - b.numpy()) / 2 + 5.0 * cvxpy.norm1(x)
    optimum(cost)
    assert np.allclose(found, x.value, atol=1e-6)
    assert 0 < (found == 0).sum() < 12  # a lasso worth the name


@pytest.mark.parametrize("weighted", [False, True])
def test_admm_solves_least_squares_in_a_box(weighted: bool) -> None:  # noqa: FBT001 - pytest's
    a, b = least_squares(30, 12)
    metric = {"v": torch.linspace(4, 0.2, 12, dtype=torch.float64)} if weighted else None
    found = solve(a, b, in_box, metric).z["v"].numpy()
    x = cvxpy.Variable(12)
    optimum(cvxpy.sum_squares(a.numpy() @ x - b.numpy()), [x >= -0.1, x <= 0.2])
    assert np.allclose(found, x.value, atol=1e-6)


@pytest.mark.parametrize("mean", [0.5, 3.0])
def test_gradient_steps_between_updates_reach_the_same_optimum(mean: float) -> None:
    # The way a network does it: some steps of gradient descent on loss and penalty, then an update.
    a, b = least_squares(30, 12)
    a = a / torch.linalg.matrix_norm(a, 2)
    lr, steps = 0.5, 20
    v = torch.zeros(12, dtype=torch.float64, requires_grad=True)
    state = start({"v": v}, lasso(0.1), rho=mean / (lr * steps))
    for _ in range(3000):
        for _ in range(steps):
            loss = (a @ v - b).square().sum() / 2 + penalty(state, {"v": v})
            (slope,) = torch.autograd.grad(loss, [v])
            with torch.no_grad():
                v -= lr * slope
        state, done = update(EXACT, state, {"v": v}, lasso(0.1), over=1.0)
        if done.primal < 1e-9 and done.dual < 1e-9:
            break
    x = cvxpy.Variable(12)
    cost = cvxpy.sum_squares(a.numpy() @ x - b.numpy()) / 2 + 0.1 * cvxpy.norm1(x)
    optimum(cost)
    assert np.allclose(state.z["v"], x.value, atol=1e-5)


# ------------------------------------------------------------------------------------------- state


def any_state() -> State:
    v = {"a": torch.tensor([1.0, -2.0, 3.0]), "b": torch.tensor([[0.5]])}
    return start(v, keeping(2), rho=0.7, metric={n: t.abs() for n, t in v.items()})


def keeping(count: int) -> Callable[[Tensors, Tensors, float], Tensors]:
    def project(point: Tensors, metric: Tensors, rho: float) -> Tensors:
        del rho
        return {
            n: cardinality(x, min(count, x.numel()), metric=metric[n]) for n, x in point.items()
        }

    return project


def test_penalty_is_the_formula_and_pulls_v_to_z_minus_u() -> None:
    state = any_state()
    v = {n: (z + 1).requires_grad_() for n, z in state.z.items()}
    value = penalty(state, v)
    by_hand = sum(
        float((state.metric[n] * (v[n].detach() - z) ** 2).sum()) for n, z in state.z.items()
    )
    assert float(value.detach()) == pytest.approx(0.7 / 2 * by_hand)
    value.backward()
    for name, x in v.items():
        assert x.grad is not None
        assert torch.allclose(x.grad, 0.7 * state.metric[name])  # rho * H * (v - z + u)


def test_an_implicit_step_solves_its_equation_and_is_stable_at_any_rho() -> None:
    v, slope = tensor([3.0, -1.0]), tensor([0.5, 0.5])
    for rho in (1e-3, 1.0, 1e6):
        state = start({"v": v}, keeping(1), rho=rho)
        after = implicit(state, "v", v, slope, 0.1)
        inside = slope + rho * (after - state.z["v"] + state.u["v"])
        assert torch.allclose(after + 0.1 * inside, v)
        assert after.abs().max() < 4


def test_the_metric_has_mean_one_and_no_zero() -> None:
    v = {"a": torch.ones(4)}
    state = start(v, keeping(1), rho=1.0, metric={"a": torch.tensor([0.0, 2.0, 4.0, 10.0])})
    assert state.metric["a"].tolist() == pytest.approx([1e-6, 0.5, 1.0, 2.5])
    with pytest.raises(ValueError, match="must be finite, at least 0 and not 0 everywhere"):
        start(v, keeping(1), rho=1.0, metric={"a": torch.zeros(4)})


def test_state_and_best_are_trees_that_come_back() -> None:
    state = any_state()
    best = Best.none().or_better(1.5, 0, state.z, {"w": torch.ones(2)})
    for value, kind in ((state, State), (best, Best), (Best.none(), Best)):
        tensors: dict[str, Tensor] = {}
        plain = flatten(value.tree(), tensors)
        again = kind.of(restore(plain, tensors))
        assert str(again) == str(value)


@pytest.mark.parametrize(
    "wrong", [{"pull": 0}, {"factor": 1}, {"clip": 0}, {"balance": 1}, {"patience": 0}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Admm(**wrong)
