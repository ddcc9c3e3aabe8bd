"""The class-balanced focal loss against a plain loop over its equation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from recipes.training.losses import ClassBalancedFocal

COUNTS_2020 = (2704, 3757, 2724)
"""Training clips of 2020's Task 1B (report, Table 2)."""


def by_the_equation(
    logits: torch.Tensor, label: int, counts: tuple[int, ...], beta: float, gamma: float
) -> float:
    """Equation 2, term by term, with weights of mean one."""
    effective = [(1 - beta**n) / (1 - beta) for n in counts]
    scale = len(counts) / sum(1 / e for e in effective)
    total = 0.0
    for i, z in enumerate(logits.tolist()):
        p = 1 / (1 + math.exp(-z if i == label else z))
        total += (1 - p) ** gamma * math.log(p)
    return -scale / effective[label] * total


@given(
    logits=st.lists(st.floats(-20, 20), min_size=3, max_size=3),
    label=st.integers(0, 2),
    beta=st.floats(0, 0.9999),
    gamma=st.floats(0, 5),
)
@settings(max_examples=50, deadline=None)
def test_equation_2(logits: list[float], label: int, beta: float, gamma: float) -> None:
    z = torch.tensor([logits], dtype=torch.float64)
    found = ClassBalancedFocal(COUNTS_2020, beta, gamma).of_logits(z, torch.tensor([label]))
    assert float(found) == pytest.approx(
        by_the_equation(z[0], label, COUNTS_2020, beta, gamma), rel=1e-6, abs=1e-12
    )


def test_without_focus_and_balance_it_is_binary_cross_entropy() -> None:
    """Summed over the classes, as `torch` has it."""
    z, labels = torch.randn(7, 4), torch.randint(4, (7,))
    targets = functional.one_hot(labels, 4).float()
    expected = functional.binary_cross_entropy_with_logits(z, targets, reduction="sum") / 7
    found = ClassBalancedFocal((5, 50, 500, 5000), beta=0.0, gamma=0.0).of_logits(z, labels)
    torch.testing.assert_close(found, expected)


def test_weights_go_from_equal_to_inverse_frequency() -> None:
    """Their mean is one for every beta; rare classes never count less."""
    counts = (10, 100, 1000)
    assert ClassBalancedFocal(counts, beta=0.0).weights().tolist() == pytest.approx([1, 1, 1])
    towards = ClassBalancedFocal(counts, beta=1 - 1e-9).weights()
    inverse = 1 / torch.tensor(counts, dtype=torch.float64)
    torch.testing.assert_close(towards, 3 * inverse / inverse.sum(), rtol=1e-5, atol=0)
    middle = ClassBalancedFocal(counts).weights()
    assert float(middle.mean()) == pytest.approx(1)
    assert middle.tolist() == sorted(middle.tolist(), reverse=True)


def test_a_mixed_label_costs_the_mean_of_its_labels() -> None:
    loss, z = ClassBalancedFocal(COUNTS_2020), torch.randn(1, 3)
    both = loss.of_logits(z, torch.tensor([[0.3, 0.7, 0.0]]))
    each = [loss.of_logits(z, torch.tensor([label])) for label in (0, 1)]
    torch.testing.assert_close(both, 0.3 * each[0] + 0.7 * each[1])


def test_extreme_logits_stay_finite_with_their_gradients() -> None:
    z = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], requires_grad=True)
    ClassBalancedFocal(COUNTS_2020).of_logits(z, torch.tensor([0, 0])).backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_counts_come_as_they_are_counted(kind: type) -> None:
    expected = ClassBalancedFocal((3, 4, 5)).weights()
    assert torch.equal(ClassBalancedFocal(kind([3, 4, 5])).weights(), expected)


def test_it_is_a_loss_of_a_model_and_a_batch() -> None:
    model, loss = nn.Linear(5, 3), ClassBalancedFocal(COUNTS_2020)
    x, y = torch.randn(4, 5), torch.tensor([0, 1, 2, 1])
    torch.testing.assert_close(loss(model, (x, y)), loss.of_logits(model(x), y))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ClassBalancedFocal((3, 0)), "at least one training clip"),
        (lambda: ClassBalancedFocal(()), "at least one training clip"),
        (lambda: ClassBalancedFocal((3, 4), beta=1.0), r"beta must lie in \[0, 1\)"),
        (lambda: ClassBalancedFocal((3, 4), gamma=-1), "gamma must be finite"),
        (
            lambda: ClassBalancedFocal((3, 4)).of_logits(torch.zeros(2, 3), torch.tensor([0, 1])),
            r"counts of 2 classes .* \(2, 3\)",
        ),
        (lambda: ClassBalancedFocal((3, float("nan"))), "at least one training clip"),
        (
            lambda: ClassBalancedFocal((3, 4)).of_logits(torch.zeros(3, 2), torch.zeros(1, 2)),
            r"targets of shape \(1, 2\)",
        ),
    ],
)
def test_refused(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
