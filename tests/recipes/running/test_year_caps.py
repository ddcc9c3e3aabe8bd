"""What is not rounded counts with the bits that it has: before training, and as handed in."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

import compressor
from compressor import Budget, Int8, Result, rules
from compressor.errors import BudgetError, VerificationError
from recipes.running.run_folder import RunFolder
from recipes.running.stages import Stage
from recipes.running.year_caps import caps, cost_by_rule, not_rounded
from tests.helpers.recurrent_nets import SceneGru
from tests.helpers.tiny import tiny


@cache
def integers(hidden: int) -> tuple[nn.Module, Result]:
    """A network and what `Int8` makes of it. Not to be changed."""
    torch.manual_seed(0)
    model = SceneGru(10, hidden).eval()
    with torch.no_grad():
        model.norm.running_mean.fill_(0.1)  # else it would be one that was never trained
    data = [torch.randn(4, 1, 64, 32) for _ in range(2)]
    budget = Budget(params=10**6)
    return model, compressor.fit(
        model, data, budget=budget, schedule=[Int8(epochs=0)], progress=False
    )


def recurrent(hidden: int) -> int:
    return 3 * hidden * (8 + hidden)


def kept(folder: Path, model: nn.Module, year: int) -> RunFolder:
    """A run that has come to its pruned network."""
    run = RunFolder(folder)
    Stage("pruned", run.stages, year).keep(model, (model.example_input_array,))
    return run


def test_what_cannot_be_rounded_is_known_before_training() -> None:
    model, result = integers(160)
    assert not_rounded(model) == result.report.floating == {"gru": recurrent(160)}
    assert not_rounded(tiny()) == {}


@pytest.mark.parametrize("year", [2024, 2025])
def test_its_true_bits_are_planned_for(year: int) -> None:
    """Parameters of a byte each would be a plan that nothing can keep."""
    model, asked = SceneGru(10), Budget(macs=30e6)
    planned = caps(year, asked, model)
    assert (planned.params, planned.bytes) == (None, 128_000)
    assert caps(year, asked, model, bits=16).params == 64_000
    data = [torch.randn(4, 1, 64, 32)]
    with pytest.raises(BudgetError, match=r"bytes <= 128,000 was asked of a SceneGru"):
        compressor.fit(model, data, budget=planned, schedule=[Int8(epochs=0)], progress=False)


@pytest.mark.parametrize("year", [2022, 2023])
def test_where_the_rule_has_8_bits_it_is_refused(year: int) -> None:
    said = rf"gru \({recurrent(160):,} weights\) cannot be rounded to the 8 bits .* {year}"
    with pytest.raises(BudgetError, match=said):
        caps(year, Budget(macs=30e6), SceneGru(10))


@pytest.mark.parametrize("hidden", [16, 160])
def test_what_is_handed_in_is_what_is_stored(hidden: int, tmp_path: Path) -> None:
    """Counted by hand: a byte for what was rounded, four for every number of the GRU."""
    model, result = integers(hidden)
    run = kept(tmp_path, model, 2025)
    others = sum(p.numel() for p in model.parameters())
    gru = sum(p.numel() for p in model.gru.parameters())
    stored = others - gru + 4 * gru
    if stored > 128_000:
        with pytest.raises(VerificationError, match=f"{stored:,} of 128,000 bytes"):
            cost_by_rule(2025, Budget(macs=30e6), run, result)
        assert not rules.DCASE2025.check(result).met
        return
    cost = cost_by_rule(2025, Budget(macs=30e6), run, result)
    assert cost.bytes == stored <= rules.DCASE2025.count(result).bytes


@pytest.mark.parametrize("year", [2022, 2023])
def test_another_type_than_the_rules_is_not_handed_in(year: int, tmp_path: Path) -> None:
    model, result = integers(16)
    run = kept(tmp_path, model, year)
    with pytest.raises(VerificationError, match=r"gru .* in floating point, not in 8 bits"):
        cost_by_rule(year, Budget(macs=30e6), run, result)
