"""What goes wrong with ADMM on networks, each with what is done about it.

The third, a norm that makes the loss flat in the size of what is constrained, is about where a mask
stands: `tests/phases/frequency/test_gates.py`.
"""

from __future__ import annotations

import math
from itertools import combinations

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
    clipped,
    rescaled,
    start,
    tied,
    update,
)
from tests.helpers.pull import penalty

OFF = float("inf")
PLAIN = Admm(clip=OFF, balance=OFF)


def keep(count: int, saliency: Tensor | None = None) -> Projection:
    def project(point: Tensors, metric: Tensors, rho: float) -> Tensors:
        del rho
        return {
            n: cardinality(x, count, metric=metric[n], saliency=saliency) for n, x in point.items()
        }

    return project


def support(state: State) -> list[int]:
    return state.z["w"].nonzero().flatten().tolist()


# 1. ties at w = 1


@given(st.permutations(range(9)))
def test_the_first_mask_is_the_saliencys_not_the_orders(order: list[int]) -> None:
    saliency = torch.arange(9.0)[order]
    ones = {"w": torch.ones(9)}
    assert set(support(start(ones, keep(4, saliency), rho=1.0))) == {
        i for i in range(9) if saliency[i] >= 5
    }
    # A metric does it too: H * 1^2 is the Fisher score itself.
    state = start(ones, keep(4), rho=1.0, metric={"w": saliency + 1})
    assert set(support(state)) == {i for i in range(9) if saliency[i] >= 5}


# 2. abs(w) is not an importance


def test_with_the_metric_admm_keeps_what_the_loss_needs() -> None:
    # f(w) = sum h (w - a)^2 / 2: the useful entries are small, the useless ones large.
    h = torch.tensor([9.0, 8.0, 7.0, 0.1, 0.1, 0.1])
    a = torch.tensor([0.5, 0.6, 0.7, 1.0, 1.1, 1.2])
    best = max(combinations(range(6), 3), key=lambda s: float((h * a**2)[list(s)].sum()))

    def found(metric: Tensor) -> list[int]:
        w = {"w": a.clone()}
        state = start(w, keep(3), rho=1.0, metric={"w": metric})
        for _ in range(50):
            pull = state.rho * state.metric["w"]
            w["w"] = (h * a + pull * (state.z["w"] - state.u["w"])) / (h + pull)
            state, _ = update(PLAIN, state, w, keep(3))
        return support(state)

    assert found(h) == list(best) == [0, 1, 2]
    assert found(torch.ones(6)) != list(best)


# 4. rho and step sizes


@pytest.mark.parametrize("lr", [1e-3, 1e-2, 0.1])
@pytest.mark.parametrize("steps", [10, 37, 200])
def test_a_tied_rho_closes_the_gap_alike_whatever_the_schedule(lr: float, steps: int) -> None:
    # Nothing but the penalty: v must come as near to z for every learning rate and length.
    w = torch.ones(4, requires_grad=True)
    state = start({"w": w}, keep(2), rho=tied(2.0, lr, steps))
    for _ in range(steps):
        (slope,) = torch.autograd.grad(penalty(state, {"w": w}), [w])
        with torch.no_grad():
            w -= lr * slope
    left = float((w.detach() - state.z["w"]).norm() / (1 - state.z["w"]).norm())
    assert left == pytest.approx(math.exp(-2), abs=0.03)
    # A rho that is not tied to it is not felt: 0.01 over ten steps of 0.001 moves nothing.
    assert (1 - 1e-3 * 0.01) ** 10 > 0.9999


def test_a_rho_that_cannot_be_tied_is_refused() -> None:
    with pytest.raises(ValueError, match="which are 0 and 5: both must be positive"):
        tied(1.0, 0, 5)


# 5. dual wind-up


def swaps(settings: Admm, updates: int = 100) -> tuple[int, float]:
    """Flips, and the largest u in sizes of w, while w cannot move at all."""
    w = {"w": torch.ones(12)}
    metric = torch.tensor([20.0] * 4 + [1.0] * 8)
    state, total = start(w, keep(4), rho=1.0, metric={"w": metric}), 0
    for _ in range(updates):
        state, done = update(settings, state, w, keep(4))
        total += done.flips
    return total, float(state.u["w"].abs().max())


def test_clipping_keeps_a_support_that_winding_up_would_turn_round() -> None:
    free, wound = swaps(PLAIN)
    held, bounded = swaps(Admm(balance=OFF))
    assert free > 100  # round and round
    assert held == 0
    assert bounded <= Admm().clip < wound


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=8), st.floats(0.1, 5))
def test_clipping_bounds_every_entry_by_sizes_of_its_tensor(
    values: list[float], most: float
) -> None:
    u, v = {"w": torch.tensor(values)}, {"w": torch.full((len(values),), -2.0)}
    after = clipped(u, v, most)["w"]
    assert float(after.abs().max()) <= most * 2 * (1 + 1e-6)
    inside = u["w"].abs() <= most * 2
    assert torch.equal(after[inside], u["w"][inside])


# 6. rho changes, the dual stays


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_rescaling_leaves_the_dual_variable_alone(before: float, after: float) -> None:
    u = {"w": torch.tensor([1.0, -2.0], dtype=torch.float64)}
    assert torch.allclose(rescaled(u, before, after)["w"] * after, u["w"] * before)


def test_a_falling_learning_rate_raises_rho_and_not_the_dual_variable() -> None:
    w = {"w": torch.tensor([1.0, 0.8, 0.6])}
    state = start(w, keep(1), rho=tied(2.0, 0.1, 10))
    state, _ = update(PLAIN, state, w, keep(1), lr=0.1, steps=10)
    after, done = update(PLAIN, state, w, keep(1), lr=0.01, steps=10)
    assert after.rho == pytest.approx(10 * state.rho) == pytest.approx(done.rho)
    step = w["w"] - after.z["w"]
    assert torch.allclose(after.u["w"] * after.rho, (state.u["w"] + step) * state.rho)


def balanced_rhos(size: float) -> list[float]:
    """On a quadratic whose optimum is of this size."""
    target = torch.tensor([3.0, -2.0, 1.0, 0.5], dtype=torch.float64) * size
    w = {"w": target.clone()}
    state, found = start(w, keep(2), rho=0.01), []
    for _ in range(20):
        w["w"] = (target + state.rho * (state.z["w"] - state.u["w"])) / (1 + state.rho)
        state, done = update(Admm(clip=OFF), state, w, keep(2))
        found.append(done.rho)
    return found


@pytest.mark.parametrize("size", [2.0**-10, 2.0**13])
def test_balancing_does_not_depend_on_the_scale_of_the_problem(size: float) -> None:
    # Wohlberg's point: residuals that are not relative would balance otherwise for other units.
    found = balanced_rhos(size)
    assert found == balanced_rhos(1.0)
    assert len(set(found)) > 1


# 7. the budget holds at every update


@given(st.floats(1e-6, 1.0), st.integers(0, 10))
def test_the_count_holds_however_the_weights_shrink(shrinking: float, count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    w = {"w": torch.randn(10, generator=generator)}
    state = start(w, keep(count), rho=1.0)
    for _ in range(5):
        w["w"] = w["w"] * shrinking  # as weight decay does: fewer and fewer pass a fixed threshold
        state, _ = update(Admm(), state, w, keep(count))
        assert len(support(state)) == count


# 8. when to stop


def test_it_stops_after_three_updates_without_a_flip_and_with_v_arrived() -> None:
    settings = Admm(balance=OFF, clip=0.3, patience=3, tolerance=0.02)
    apart = {"w": torch.tensor([1.0, 0.9, 0.5])}
    state = start(apart, keep(2), rho=1.0)
    for _ in range(5):
        state, done = update(settings, state, apart, keep(2))
    assert done.flips == 0
    assert done.primal > 0.02
    assert not state.stopped  # nothing flips, but v is not there
    arrived = {"w": torch.tensor([1.0, 0.9, 0.0])}
    state, states = start(arrived, keep(2), rho=1.0), []
    for _ in range(4):
        state, _ = update(settings, state, arrived, keep(2))
        states.append(state.stopped)
    assert states == [False, False, True, True]
    state, done = update(settings, state, {"w": torch.tensor([0.0, 0.9, 1.0])}, keep(2))
    assert done.flips == 2
    assert state.still == 0
    assert not state.stopped


# 8. the best point is kept


@given(st.lists(st.floats(0, 10), min_size=1, max_size=8))
def test_the_best_is_never_worse_than_the_start(losses: list[float]) -> None:
    best = Best.none()
    weights = {"w": torch.zeros(1)}
    for number, loss in enumerate(losses):
        weights["w"].fill_(number)  # trained on, in place
        best = best.or_better(loss, number, {"mask": torch.tensor(number)}, weights)
    first = losses.index(min(losses))
    assert best.loss == min(losses) <= losses[0]
    assert best.update == first == int(best.point["mask"]) == int(best.weights["w"])


def test_a_start_without_a_finite_loss_is_still_a_point() -> None:
    best = Best.none().or_better(math.inf, 0, {"mask": torch.ones(1)}, {})
    assert best.point
    assert best.or_better(3.0, 1, {"mask": torch.zeros(1)}, {}).loss == 3.0


# 9. rho is constant in the end


def test_rho_settles_before_the_end() -> None:
    w = {"w": torch.tensor([1.0, 0.9, 0.8])}
    state, found = start(w, keep(1), rho=1.0), []
    for number in range(20):
        state, done = update(Admm(balance=1.1), state, w, keep(1), over=number / 20)
        found.append(done.rho)
    assert len(set(found[:16])) > 1
    assert len(set(found[15:])) == 1
