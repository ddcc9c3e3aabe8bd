"""Norms follow: what they give has the moments that it has in the dense network."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from compressor.repair.norms import Met, Norms, moments, norms_of
from tests.helpers.tiny import tiny


class Scaled(nn.Module):
    """A norm, given what comes in times a factor and plus a term of every channel."""

    def __init__(self, factor: Tensor | float = 1.0, term: Tensor | float = 0.0) -> None:
        super().__init__()
        self.factor, self.term, self.norm = factor, term, nn.BatchNorm1d(3)
        self.norm.running_mean.copy_(torch.tensor([0.5, -1.0, 2.0]))
        self.norm.running_var.copy_(torch.tensor([1.0, 3.0, 0.5]))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(input=x * self.factor + self.term)


BATCHES = [torch.randn(40, 3, generator=torch.Generator().manual_seed(n)) for n in range(3)]
FACTOR, TERM = torch.tensor([2.0, 0.1, 1.0]), torch.tensor([0.0, 5.0, -1.0])


def met(model: nn.Module, batches: Sequence[Tensor] = BATCHES) -> Met:
    found = Met()
    with torch.no_grad(), found.looking(model.eval()):
        for x in batches:
            model(x)
    return found


def run(model: nn.Module, batches: Sequence[Tensor] = BATCHES) -> Tensor:
    with torch.no_grad():
        return torch.cat([model.eval()(x) for x in batches])


def test_moments_are_those_over_everything_but_the_channel() -> None:
    x = torch.randn(4, 3, 5, 2)
    mean, variance = moments(x)
    rows = x.transpose(0, 1).flatten(1).double()
    torch.testing.assert_close(mean, rows.mean(1))
    torch.testing.assert_close(variance, rows.var(1, correction=0))


def test_a_norm_takes_back_a_factor_and_a_term_of_every_channel() -> None:
    dense, small = Scaled(), Scaled(FACTOR, TERM)
    norms = Norms(small.eval(), met(dense).found, {})
    run(small)
    norms.close()
    batches = torch.cat(BATCHES)
    was, now = run(dense, [batches]), run(small, [batches])
    # Epsilon is the one thing that does not scale.
    torch.testing.assert_close(now.mean(0), was.mean(0), rtol=0.01, atol=0.1)
    torch.testing.assert_close(now.std(0), was.std(0), rtol=0.01, atol=0.01)
    wanted = dense.norm.running_var * FACTOR**2
    torch.testing.assert_close(small.norm.running_var, wanted, rtol=1e-4, atol=1e-5)


def test_norms_of_equal_networks_stay_as_they_are() -> None:
    dense, small = Scaled(), Scaled()
    norms = Norms(small.eval(), met(dense).found, {})
    run(small)
    norms.close()
    assert torch.equal(dense.norm.running_mean, small.norm.running_mean)
    assert torch.equal(dense.norm.running_var, small.norm.running_var)


@pytest.mark.parametrize("constant", ["dense", "small"])
def test_a_channel_that_stands_still_keeps_its_variance(constant: str) -> None:
    still = Scaled(torch.tensor([0.0, 1.0, 1.0]), torch.tensor([7.0, 0.0, 0.0]))
    dense, small = (still, Scaled()) if constant == "dense" else (Scaled(), still)
    norms = Norms(small.eval(), met(dense).found, {})
    run(small)
    norms.close()
    assert small.norm.running_var[0] == 1
    assert bool(small.norm.running_mean.isfinite().all())


def test_of_a_smaller_norm_the_channels_that_are_left_are_compared() -> None:
    dense = Scaled(FACTOR)
    kept = torch.tensor([0, 2])
    small = Scaled()
    small.norm = nn.BatchNorm1d(2)
    batches = [x[:, kept] * FACTOR[kept] for x in BATCHES]
    norms = Norms(small.eval(), met(dense).found, {"norm": kept})
    run(small, batches)
    norms.close()
    torch.testing.assert_close(small.norm.running_mean, torch.zeros(2))
    torch.testing.assert_close(small.norm.running_var, torch.ones(2))


def test_what_does_not_compare_leaves_a_norm_alone() -> None:
    small = Scaled(FACTOR, TERM)
    before = small.norm.running_var.clone()
    for dense in ({}, {"norm": [(torch.zeros(5).double(), torch.ones(5).double())] * 3}):
        norms = Norms(small.eval(), dense, {})
        run(small)
        norms.close()
        assert torch.equal(small.norm.running_var, before)
    assert not small.norm._forward_pre_hooks


def test_settled_norms_look_at_no_further_run() -> None:
    small = Scaled(FACTOR, TERM)
    norms = Norms(small.eval(), met(Scaled()).found, {})
    run(small)
    norms.settle()
    before = small.norm.running_mean.clone()
    run(small, [x + 100 for x in BATCHES])
    norms.close()
    assert torch.equal(small.norm.running_mean, before)


def test_norms_of_batches_alone_have_no_statistics_to_follow() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), nn.InstanceNorm1d(3))
    assert not norms_of(model)
    assert list(norms_of(tiny())) == ["norm", "norm2"]
