"""What is returned, and how far two networks are apart in it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressor.inputs.batches import call
from compressor.repair.returned import apart, outputs


class Returns(nn.Module):
    """Whatever a function makes of what comes in."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        self.make, self.drop = make, nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Any:
        return self.make(self.drop(x))


X = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("make", "shapes"),
    [
        (lambda x: x, [(6, 3)]),
        (lambda x: (x, x.argmax(1), x[:, :2]), [(6, 3), (6, 2)]),
        (lambda x: {"a": x, "b": [x, None, 3]}, [(6, 3), (6, 3)]),
        (lambda x: x.mean(), []),
        (lambda x: x.argmax(1), []),
    ],
)
def test_floating_tensors_are_found_wherever_they_are(make: Any, shapes: list[Any]) -> None:
    model = Returns(make).train()
    found = outputs(model, X, call)
    assert [tuple(one.shape) for one in found] == shapes
    assert model.training
    assert not model._forward_hooks
    assert all(torch.equal(one, X[:, : one.shape[1]]) for one in found), "without dropout"


def test_equal_outputs_are_at_no_distance_and_their_mean_is_at_one() -> None:
    assert apart([([X], [X])]) == 0
    mean = X.mean(0, keepdim=True).expand_as(X)
    assert apart([([mean], [X])]) == pytest.approx(1)


def test_distance_does_not_hang_on_a_unit_or_an_offset() -> None:
    other = X + 0.1 * torch.randn(6, 3)
    wanted = apart([([other], [X])])
    assert apart([([7 * other + 5], [7 * X + 5])]) == pytest.approx(wanted, rel=1e-4)


def test_batches_count_by_what_is_in_them() -> None:
    other = X + 0.1
    parts = [([other[:2]], [X[:2]]), ([other[2:]], [X[2:]])]
    difference = (other.double() - X.double()).square().sum()
    spread = sum((p - p.mean(0)).double().square().sum() for p in (X[:2], X[2:]))
    assert apart(parts) == pytest.approx(float(difference / spread), rel=1e-5)


@pytest.mark.parametrize(
    ("mine", "wanted"),
    [
        ([X], [X[:, :2]]),
        ([X], []),
        ([X / 0], [X]),
        ([X * math.nan], [X]),
        ([], []),
    ],
    ids=["other shapes", "other numbers", "infinity", "nan", "nothing"],
)
def test_what_does_not_compare_is_at_infinity(mine: list[Tensor], wanted: list[Tensor]) -> None:
    assert math.isinf(apart([(mine, wanted)]))


def test_where_nothing_varies_the_difference_counts_as_it_is() -> None:
    ones = torch.ones(6, 3)
    assert apart([([ones + 0.5], [ones])]) == pytest.approx(18 * 0.25)
    assert apart([([ones], [ones])]) == 0


def test_classes_that_are_ruled_out_are_no_distance() -> None:
    ruled = X.clone()
    ruled[:, 0] = -math.inf
    other = X * 1.1
    other[:, 0] = -math.inf
    assert apart([([other], [ruled])]) == pytest.approx(apart([([X[:, 1:] * 1.1], [X[:, 1:]])]))


def test_one_example_is_compared_with_its_own_size() -> None:
    one = X[:1]
    assert apart([([one * 1.1], [one])]) == pytest.approx(0.01, rel=1e-4)
    assert apart([([one], [one])]) == 0
