"""Inputs alone: what they are, and a direction of outputs that stands in for a loss."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from compressor.importance import gradients
from compressor.inputs.unlabelled import Unlabelled, is_unlabelled

X = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))


class Named(NamedTuple):
    """A batch of one field."""

    inputs: Tensor


class Returns(nn.Module):
    """A layer, and what a function makes of it."""

    def __init__(self, make: Any = lambda x: x, width: int = 4) -> None:
        super().__init__()
        self.layer, self.make = nn.Linear(3, width), make

    def forward(self, x: Tensor, more: Tensor | None = None) -> Any:
        return self.make(self.layer(x if more is None else x + more))


@pytest.mark.parametrize(
    ("batch", "alone"),
    [
        (X, True),
        ([X], True),
        ((X,), True),
        (Named(X), True),
        ((X, X), False),
        ([X, torch.zeros(5).long()], False),
        ({"x": X}, False),
        (([X, X],), False),
        ([], False),
        ("text", False),
        (None, False),
    ],
)  # fmt: skip
def test_a_tensor_or_one_and_nothing_else_is_inputs_alone(batch: Any, *, alone: bool) -> None:
    assert is_unlabelled(batch) is alone


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x,
        lambda x: {"logits": x, "classes": x.argmax(1)},
        lambda x: (x[:, :2], [x[:, 2:]]),
        lambda x: x[:, :, None, None].expand(-1, -1, 2, 3),
        lambda x: x.sum(1),
    ],
    ids=["tensor", "mapping", "several", "map", "vector"],
)
def test_the_direction_is_of_signs_and_the_same_every_time(make: Any) -> None:
    model = Returns(make)
    loss = Unlabelled()
    state = torch.get_rng_state()
    value = loss(model, X)
    assert value.ndim == 0
    assert torch.equal(value, loss(model, [X]))
    assert torch.equal(torch.get_rng_state(), state)
    assert value.requires_grad
    half = (loss(model, X[:2]) * 2 + loss(model, X[2:]) * 3) / 5
    torch.testing.assert_close(half, value)  # a mean over examples
    if make(torch.ones(5, 4)) is not None and isinstance(model(X), Tensor) and model(X).ndim > 1:
        other = Unlabelled(seed=1)(model, X)
        assert not torch.equal(other, value)


def test_squared_gradients_are_the_size_of_the_jacobian_in_expectation() -> None:
    """Of a linear layer of one example: E (s_o x_i)^2 = x_i^2, for every output."""
    model = Returns(width=400)
    (gradient,) = gradients(model, [X[:1]], Unlabelled())
    wanted = X[:1].square().expand(400, 3)
    torch.testing.assert_close(gradient["layer.weight"].square(), wanted)


def test_several_inputs_come_as_a_tuple() -> None:
    model = Returns()
    torch.testing.assert_close(Unlabelled()(model, (X, X)), Unlabelled()(model, 2 * X))


@pytest.mark.parametrize("make", [lambda x: x.argmax(1), lambda x: x.mean(), lambda _: None, str])
def test_a_model_of_which_nothing_can_be_compared_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r"Returns returns no tensor .* pass batches with targets"):
        Unlabelled()(Returns(make), X)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_precisions(dtype: torch.dtype) -> None:
    model = Returns().to(dtype)
    assert Unlabelled()(model, X.to(dtype)).dtype == dtype
