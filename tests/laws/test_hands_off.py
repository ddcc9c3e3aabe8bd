"""Nothing of the caller's is written to; odd but honest forward passes are no reason to fail."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressor import Budget, fit, load, measure, trace
from compressor.errors import CountError, TraceError
from tests.helpers.tiny import equal

CAPS = Budget(params=1500)


class Plain(nn.Module):
    """Two convolutions; `before` is applied to the input, `between` after the norm."""

    def __init__(
        self,
        before: Callable[[Tensor], Tensor] = torch.clone,
        between: Callable[[Tensor], Tensor] = torch.relu,
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 5)
        self.before, self.between = before, between
        self.example_input_array = torch.randn(1, 3, 12, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.between(self.norm(self.first(self.before(x))))
        return self.head(self.second(x).relu().mean((2, 3)))


@pytest.mark.parametrize(
    "constant",
    [
        lambda x: x - x.new_tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1),
        lambda x: x * torch.linspace(0.1, 0.9, 12, dtype=x.dtype),
        lambda x: x + torch.full((12,), 0.1, dtype=x.dtype),
        lambda x: x * torch.tensor([0.1], dtype=x.dtype),
    ],
)
def test_constants_in_the_type_of_the_input(constant: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    assert measure(fit(Plain(constant), budget=CAPS).model).params <= 1500


def test_an_input_that_is_written_to() -> None:
    model = Plain(lambda x: x.sub_(0.25))
    before = model.example_input_array.clone()
    measure(model)
    fit(model, budget=CAPS)
    assert torch.equal(model.example_input_array, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_buffers_that_every_forward_pass_writes_to(dtype: torch.dtype) -> None:
    class Counts(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros((), dtype=torch.long))
            self.register_buffer("average", torch.tensor(5.0))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            self.average.mul_(0.9)
            return super().forward(x)

    model: Any = Counts().to(dtype)
    model.example_input_array = model.example_input_array.to(dtype)
    before = copy.deepcopy(model)
    small: Any = fit(model, budget=CAPS).model
    assert equal(model, before)
    assert (small.calls, small.average) == (0, 5)


def test_a_copy_that_is_none() -> None:
    class Shared(nn.Conv2d):
        def __deepcopy__(self, _: object) -> Shared:
            return self

    model = nn.Sequential(Shared(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    with pytest.raises(CountError, match=r"shares '0\.weight' with the original.*__deepcopy__"):
        fit(model, budget=CAPS, example=torch.randn(1, 3, 9, 9))


def test_functions_that_hold_the_model() -> None:
    model = Plain()
    inside = model.forward
    model.forward = lambda x: 2 * inside(x)  # type: ignore[method-assign]
    model.train()
    with pytest.raises(CountError, match="'forward' is a function that holds a module of the"):
        measure(model)
    assert model.norm.num_batches_tracked == 0


def test_vmap_is_refused_and_leaves_nothing_behind() -> None:
    class Mapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.vmap(lambda one: self.conv(one).relu().mean((1, 2)))(x)

    with pytest.raises(TraceError, match=r"uses torch\.vmap.*whole batches"):
        trace(Mapped(), torch.randn(1, 3, 8, 8))
    torch.randn(2)  # fails inside a vmap that was not left


def test_channels_that_hang_together_are_named() -> None:
    model = Plain(between=lambda x: torch.cat([t.relu() for t in x.split(1, 1)], 1))
    frozen = fit(model, budget=CAPS).report.frozen
    assert frozen["first"] == "its channels could only go all together"


def relu_of_a_view(x: Tensor) -> Tensor:
    x.view(x.shape[0], -1).relu_()
    return x


def relu_of_one_part(x: Tensor) -> Tensor:
    x.chunk(2, 1)[0].relu_()
    return x


def relu_of_a_permutation(x: Tensor) -> Tensor:
    x.permute(2, 3, 0, 1).relu_()
    return x


@pytest.mark.parametrize("between", [relu_of_a_view, relu_of_one_part, relu_of_a_permutation])
def test_views_that_are_written_to(between: Callable[[Tensor], Tensor]) -> None:
    graph = trace(Plain(between=between))
    assert set(graph.frozen) == {"head"}


def test_inputs_that_are_integers_alone() -> None:
    class Text(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.conv = nn.Embedding(20, 8), nn.Conv1d(8, 16, 3)
            self.head = nn.Linear(16, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(self.table(x).transpose(1, 2)).relu().mean(2))

    result = fit(Text(), budget=Budget(params=500), example=torch.arange(20)[None])
    assert result.report.after.params <= 500


def test_a_class_for_a_model_and_a_lazy_one(tmp_path: Path) -> None:
    fit(Plain(), budget=CAPS).save(tmp_path)
    with pytest.raises(ValueError, match=r"Plain is a class: build one first, Plain\("):
        load(tmp_path, Plain)  # type: ignore[arg-type]
    with pytest.raises(CountError, match=r"size of 'weight' is not known.*lazy"):
        fit(nn.LazyConv2d(8, 3), budget=CAPS, example=torch.randn(1, 3, 8, 8))
