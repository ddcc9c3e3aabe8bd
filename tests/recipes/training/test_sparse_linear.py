"""l1 regression: its optimality condition, cvxpy's optimum, and the model that it pre-trains."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from models import LinearMoments, Tandem, moments
from recipes.training.sparse_linear import fit, gradients, pretrain, select, strongest, violation


def planted(
    clips: int, features: int, classes: int, useful: int, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Correlated features of unit variance, of which the first few decide the label."""
    source = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=source, dtype=torch.float64)

    x = normal(clips, features) + normal(clips, 1)
    weight = normal(useful, classes)
    y = (x[:, :useful] @ weight + normal(clips, classes)).argmax(dim=1)
    return (x - x.mean(0)) / x.std(0), y


def objective(
    x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, strength: float
) -> float:
    logits = functional.linear(x, weight, bias)
    return float(functional.cross_entropy(logits, y) + strength * weight.abs().sum())


@pytest.mark.parametrize("share", [0.02, 0.2, 0.6])
def test_the_optimum_is_that_of_cvxpy(share: float) -> None:
    """Value, weights and zeros, at three strengths."""
    x, y = planted(60, 12, 3, useful=4)
    strength = share * strongest(x, y, 3)
    found = fit(x, y, 3, strength, tolerance=1e-6, steps=100_000)
    weight, bias = cp.Variable((3, 12)), cp.Variable((1, 3))
    logits = x.numpy() @ weight.T + np.ones((60, 1)) @ bias
    entropy = cp.sum(cp.log_sum_exp(logits, axis=1)) - cp.sum(
        cp.multiply(np.eye(3)[y.numpy()], logits)
    )
    problem = cp.Problem(cp.Minimize(entropy / 60 + strength * cp.norm1(weight)))
    expected = problem.solve(solver=cp.CLARABEL)
    assert objective(x, y, found.weight, found.bias, strength) == pytest.approx(expected, rel=1e-7)
    np.testing.assert_allclose(found.weight.numpy(), weight.value, atol=2e-3)
    assert np.array_equal(found.weight.numpy() != 0, np.abs(weight.value) > 1e-5)


@given(seed=st.integers(0, 10_000), share=st.floats(0.05, 0.9))
@settings(max_examples=15, deadline=None)
def test_the_optimality_condition_holds_at_the_end(seed: int, share: float) -> None:
    """And the violation says so: no entry of the subdifferential is further from 0 than it says."""
    x, y = planted(80, 15, 4, useful=3, seed=seed)
    strength = share * strongest(x, y, 4)
    found = fit(x, y, 4, strength, tolerance=1e-3, steps=50_000)
    assert found.violation <= 1e-3
    by_weight, by_bias = gradients(x, y, found.weight, found.bias)
    zero = found.weight == 0
    assert (by_weight[zero].abs() <= strength * 1.001).all()
    breach = by_weight[~zero] + strength * found.weight[~zero].sign()
    assert (breach.abs() <= strength * 1.001e-3).all()
    assert float(by_bias.abs().max()) <= strength * 1.001e-3


def test_gradients_are_those_of_autograd() -> None:
    x, y = planted(20, 6, 3, useful=2)
    weight = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)
    functional.cross_entropy(functional.linear(x, weight, bias), y).backward()
    by_weight, by_bias = gradients(x, y, weight.detach(), bias.detach())
    torch.testing.assert_close(by_weight, weight.grad)
    torch.testing.assert_close(by_bias, bias.grad)


def test_a_solution_that_is_none_is_seen() -> None:
    x, y = planted(40, 5, 3, useful=2)
    strength = 0.1 * strongest(x, y, 3)
    assert violation(x, y, torch.ones(3, 5, dtype=x.dtype), x.new_zeros(3), strength) > 1


def test_nothing_remains_at_the_strongest_and_something_just_below() -> None:
    x, y = planted(100, 10, 3, useful=3)
    most = strongest(x, y, 3)
    assert not fit(x, y, 3, 1.001 * most, tolerance=1e-4).kept.any()
    assert fit(x, y, 3, 0.95 * most, tolerance=1e-4).kept.any()


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_select_leaves_about_the_share_and_keeps_what_matters(share: float) -> None:
    x, y = planted(600, 100, 4, useful=10)
    found = select(x, y, 4, share)
    assert float(found.kept.double().mean()) == pytest.approx(share, abs=0.021)
    assert found.kept[:10].double().mean() > 0.8


@pytest.mark.slow
def test_clips_too_few_for_the_share_give_the_nearest() -> None:
    """12 clips of 60 features are told apart by far fewer than half of them."""
    x, y = planted(12, 60, 3, useful=3)
    with pytest.warns(UserWarning, match=r"50% of 60 features .* for 12 clips; the nearest"):
        found = select(x, y, 3, 0.5)
    assert 0.02 < float(found.kept.double().mean()) < 0.4
    assert found.strength >= 0.7e-3 * strongest(x, y, 3)


def test_pretraining_fills_the_linear_model_and_the_tandem_begins_with_it() -> None:
    """Bands that say nothing are dropped; the tandem's first prediction is the linear model's."""
    source = torch.Generator().manual_seed(0)
    y = torch.arange(200) % 4
    x = torch.randn(200, 1, 32, 20, generator=source)
    x[:, 0, :8] += y[:, None, None] * torch.linspace(-0.15, 0.15, 8)[:, None]
    model = LinearMoments(mels=32, num_classes=4, frames=20)
    found = pretrain(model, x, y)
    assert float(found.kept.float().mean()) == pytest.approx(0.5, abs=0.05)
    model.eval()
    features = moments(x, 5).flatten(1)
    standard = (features - features.mean(0)) / (features.var(0, correction=0) + 1e-5).sqrt()
    expected = functional.linear(standard, found.weight, found.bias)
    torch.testing.assert_close(model(x), expected, atol=1e-4, rtol=1e-4)
    assert (model(x).argmax(1) == y).float().mean() > 0.6
    tandem = Tandem(mels=32, channels=4, num_classes=4, frames=20, linear=model).eval()
    assert torch.equal(tandem(x), functional.log_softmax(model(x), dim=1))


def test_a_refused_pretraining_leaves_the_model_as_it_was() -> None:
    model = LinearMoments(mels=8, num_classes=3, frames=20)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    silence, y = torch.zeros(6, 1, 8, 20), torch.arange(6) % 3
    for x, labels, message in (
        (silence, y, "do not vary"),
        (torch.randn(6, 1, 8, 20), y + 1, "Labels reach from 1 to 3"),
        (torch.randn(6, 1, 9, 20), y, "a model of 8 bands"),
        (torch.randn(6, 2, 8, 20), y, r"takes \(clips, 1, 8, frames\)"),
    ):
        with pytest.raises(ValueError, match=message):
            pretrain(model, x, labels)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: fit(x, y, 3, 0.0), "strength of the l1 term is 0.0"),
        (lambda x, y: fit(x, y, 2, 0.1), "Labels reach from 0 to 2"),
        (lambda x, y: fit(x, y[:4], 3, 0.1), r"labels of shape \(4,\)"),
        (lambda x, y: fit(x / 0, y, 3, 0.1), "features that are not finite"),
        (lambda x, y: fit(x[:0], y[:0], 3, 0.1), "at least one clip"),
        (lambda x, y: select(x, y, 3, 1.0), "between 0 and 1"),
        (lambda x, y: select(0 * x, y, 3), "do not vary between the classes"),
        (lambda x, y: select(0 * x + 1, y, 3), "do not vary between the classes"),
        (lambda x, y: select(x, 0 * y, 3), "do not vary between the classes"),
    ],
)
def test_refused(call: object, message: str) -> None:
    x, y = planted(30, 5, 3, useful=2)
    with pytest.raises(ValueError, match=message):
        call(x, y)
