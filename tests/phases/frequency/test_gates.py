"""Factors on the rows of an input: where they stand, and what their gradients say."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from compressor.inputs.losses import cross_entropy
from compressor.phases.frequency import fisher, select_rows, taylor, trace_rows
from compressor.phases.frequency.gates import gated, places, row_gradients
from models import LinearMoments, Tandem
from models.layers import ResidualNorm
from tests.helpers.tiny import equal, loader, tiny


def test_a_factor_of_zero_is_removal_where_rows_meet_a_linear_layer() -> None:
    model = LinearMoments(8, order=4, frames=6).eval()
    model.standardise.running_mean.uniform_(0.5, 1)
    graph = trace_rows(model)
    x, keep = torch.randn(5, 1, 8, 6, generator=torch.Generator().manual_seed(0)), [1, 2, 6]
    factors = torch.zeros(8)
    factors[keep] = 1
    with torch.no_grad(), gated(model, graph, factors):
        masked = model(x)
    assert torch.allclose(masked, select_rows(model, None, keep)(x), atol=1e-6)
    # Multiplying the input is something else: bands of zeros have moments, too.
    with torch.no_grad():
        assert not torch.allclose(model(x * factors[:, None]), masked, atol=1e-2)


def test_factors_of_one_change_nothing_and_hooks_go() -> None:
    model = Tandem(32, 10, frames=8).eval()
    graph, x = trace_rows(model), torch.randn(2, 1, 32, 8)
    assert {*places(model, graph)} == {"cnn.stem.0", "linear.classifier"}
    before = model(x)
    with gated(model, graph, torch.ones(32)):
        assert torch.equal(model(x), before)
    with pytest.raises(ZeroDivisionError), gated(model, graph, torch.zeros(32)):
        1 / 0  # noqa: B018 - what goes wrong inside
    assert torch.equal(model(x), before)


class Normed(nn.Module):
    """Bands are normalised, then mixed: (batch, 1, 12, time) -> (batch, 4)."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.conv = nn.Conv2d(1, 6, (12, 3))
        self.head = nn.Linear(6, 4)
        self.example_input_array = torch.zeros(1, 1, 12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(self.norm(x)).relu().mean((2, 3)))


def test_behind_a_norm_the_loss_is_flat_in_a_factor_on_the_input_and_not_behind_it() -> None:
    # The third pitfall. What a row is worth is seen from removing it; a factor says as much only
    # where no norm of the row follows.
    torch.manual_seed(0)
    model = Normed(ResidualNorm(weight=0.0, eps=1e-9)).eval()
    batch = torch.randn(64, 1, 12, 5), torch.randint(4, (64,))
    graph = trace_rows(model)
    behind = row_gradients(model, graph, [batch])
    ones = torch.ones(12, requires_grad=True)
    scaled = cross_entropy(model, (batch[0] * ones[:, None], batch[1]))
    (before,) = torch.autograd.grad(scaled, [ones])
    assert {*places(model, graph)} == {"conv"}
    assert before.abs().max() < 1e-6
    assert behind.mean(0).abs().min() > 1e-5
    # The same by finite differences of the factor behind the norm.
    step = torch.zeros(12)
    step[3] = 1e-3
    with torch.no_grad():
        values = []
        for sign in (1, -1):
            with gated(model, graph, 1 + sign * step):
                values.append(float(cross_entropy(model, batch)))
    assert (values[0] - values[1]) / 2e-3 == pytest.approx(float(behind.mean(0)[3]), abs=1e-4)


def test_where_rows_end_elsewhere_the_input_is_multiplied() -> None:
    class Global(Normed):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x - x.mean(2, keepdim=True))

    class Functional(Normed):
        def forward(self, x: Tensor) -> Tensor:
            weight = self.conv.weight
            return self.head(nn.functional.conv2d(x, weight).relu().mean((2, 3)))

    class Left(Normed):
        def __init__(self, norm: nn.Module) -> None:
            super().__init__(norm)
            self.mix = nn.Parameter(torch.rand(12, 12))

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + (self.mix @ x)[:, 0, :4, 0]

    for kind in (Global, Functional, Left):
        model = kind(nn.Identity()).eval()
        graph = trace_rows(model)
        assert {*places(model, graph)} == {""}
        x, factors = torch.randn(2, 1, 12, 5), torch.rand(12)
        with gated(model, graph, factors):
            assert torch.equal(model(x), bare(model, x * factors[:, None]))


def bare(model: nn.Module, x: Tensor) -> Tensor:
    """What a model says without its hooks."""
    twin = copy.copy(model)
    twin._forward_pre_hooks = type(model._forward_pre_hooks)()
    return twin(x)


def test_gradients_are_those_of_every_micro_batch_and_leave_the_model_alone() -> None:
    model = tiny()
    before = copy.deepcopy(model)
    x, y = next(iter(loader(24, batch=24)))
    found = row_gradients(model, trace_rows(model), [(x, y)], clips=8)
    assert found.shape == (3, 8)
    assert equal(model, before)
    assert all(p.grad is None for p in model.parameters())
    assert model.training
    assert torch.allclose(fisher(found), (found**2).mean(0))
    assert torch.allclose(taylor(found), found.abs().mean(0))
    with pytest.raises(ValueError, match="there was no batch with a label"):
        row_gradients(model, trace_rows(model), [(x, torch.full_like(y, -100))])
