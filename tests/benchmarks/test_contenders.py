"""Every contender meets the caps or says that it does not."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from benchmarks.accuracy.contenders import (
    RIVALS,
    STRUCTURES,
    RefusedError,
    caps,
    cut,
    pruning,
)
from compressor import Budget, measure
from compressor.allocation.candidates import CANDIDATES
from compressor.importance import taylor
from models import TCResNet


def network() -> nn.Module:
    torch.manual_seed(0)
    return TCResNet(5, (8, 12), mels=8, frames=20).eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", RIVALS)
def test_rivals_meet_both_caps(name: str) -> None:
    cost = measure(network())
    budget = Budget(params=cost.params // 2, macs=cost.macs // 2)
    small = cut(RIVALS[name], network(), budget)
    assert budget.allows(measure(small))
    assert small(small.example_input_array).shape == (1, 5)


def test_caps_are_the_shares_rounded_down() -> None:
    assert caps("TC-ResNet", "deep").caps == {"params": 21_641, "macs": 674_294}


def test_what_takes_too_long_is_refused() -> None:
    def slow(_: nn.Module, __: Budget) -> nn.Module:
        raise TimeoutError("not done after 1 CPU seconds")

    with pytest.raises(RefusedError, match="TimeoutError: not done"):
        cut(slow, network(), Budget(params=1))


def test_what_is_over_the_caps_is_an_error_of_ours() -> None:
    with pytest.raises(RuntimeError, match="exceeds"):
        cut(lambda model, _: copy.deepcopy(model), network(), Budget(params=1))


def test_the_candidates_of_fit_are_among_ours() -> None:
    """The grid that its default stands beside holds whatever it may choose."""
    ways = [STRUCTURES[name] for name in STRUCTURES]
    assert all(candidate in ways for candidate in CANDIDATES)
    found = pruning("Taylor, one factor", repair=False)
    assert (found.method, found.importance, found.repair) == ("uniform", taylor, False)
