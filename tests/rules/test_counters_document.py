"""Every number of docs/counting.md, counted again; run as a module it prints the table."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from compressor.counting.measuring import measure
from compressor.inputs.example import one_input
from compressor.rules import RULES, Rule
from compressor.rules.counters import Count, fvcore_count, thop_count, torchinfo_count
from models import BCResNet, BCResNetASC
from tests.zoo import FAMILIES

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "counting.md"


class ByHand(nn.Module):
    """A functional convolution, einsum and a matrix product of own parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.ones(8, 4, 3, 3))
        self.mixing = nn.Parameter(torch.ones(8, 6))
        self.head = nn.Parameter(torch.ones(6, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.conv2d(x, self.kernel, padding=1)
        x = torch.einsum("bcft,cd->bdft", x, self.mixing)
        return x.mean((2, 3)) @ self.head


class Thrice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.conv(self.conv(x)))


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(64, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x)[0]


Case = tuple[Callable[[], nn.Module], tuple[int, ...]]
CASES: dict[str, Case] = {
    "BC-ResNet-8, 1x256x34": (lambda: BCResNet(8, 10, 4), (1, 1, 256, 34)),
    "BC-ResNet-ASC-8, 1x256x34": (lambda: BCResNetASC(80), (1, 1, 256, 34)),
    "BC-ResNet-ASC-1, 1x256x34": (lambda: BCResNetASC(10), (1, 1, 256, 34)),
    "ResNet-18, 3x224x224": (FAMILIES["resnet18"], (1, 3, 224, 224)),
    "`F.conv2d`, einsum, `@`": (ByHand, (1, 4, 16, 16)),
    "one convolution called three times": (Thrice, (1, 4, 16, 16)),
    "`Linear(64, 64)`, 4 rows": (lambda: nn.Sequential(nn.Linear(64, 64)), (1, 4, 64)),
    "GRU 16 to 16, 10 steps": (
        lambda: nn.Sequential(nn.GRU(16, 16, batch_first=True)),
        (1, 10, 16),
    ),
    "LSTM 16 to 16, 10 steps": (
        lambda: nn.Sequential(nn.LSTM(16, 16, batch_first=True)),
        (1, 10, 16),
    ),
    "multi-head attention 64, 10 steps": (SelfAttention, (1, 10, 64)),
}


def row(name: str) -> str:
    """One line of the table of counters: MACs by each, and the parameters."""
    build, shape = CASES[name]
    model = build()
    x = torch.zeros(shape)
    with torch.no_grad(), FlopCounterMode(display=False) as plain:
        copy.deepcopy(model).eval()(*one_input(model, x))
    cost = measure(model, x)
    others = torchinfo_count(model, x), fvcore_count(model, x), thop_count(model, x)
    macs = [cost.macs, plain.get_total_flops() // 2, *(said(count).macs for count in others)]
    return f"| {name} | {cost.params:,} | " + " | ".join(f"{n:,}" for n in macs) + " |"


def said(count: Count | None) -> Count:
    assert count is not None, "thop and fvcore belong to the test environment"
    return count


def rule_row(rule: Rule) -> str:
    """One line of the table of rules."""

    def yes(flag: object) -> str:
        return "yes" if flag else "no"

    macs = "torchinfo" if rule.torchinfo_macs else "-"
    bits = f"{rule.weight_bits}" if rule.weight_bits else "as stored"
    cells = [rule.year, yes(rule.zeros), yes(rule.norm_affine), yes(rule.norm_statistics)]
    cells += [bits, macs, rule.kilobyte, rule.budget]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_table_of_counters(name: str) -> None:
    assert row(name) in DOCUMENT.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.year))
def test_the_table_of_rules(rule: Rule) -> None:
    assert rule_row(rule) in DOCUMENT.read_text(encoding="utf-8").splitlines()


def test_no_number_stands_alone() -> None:
    """A long number outside the tables is one that tests/rules/test_rules.py asserts."""
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    tables = {row_ for row_ in lines if row_.startswith("|")}
    numbers = {
        n for line in lines if line not in tables for n in re.findall(r"\d[\d,]{4,}\d", line)
    }
    asserted = (Path(__file__).parent / "test_rules.py").read_text(encoding="utf-8")
    missing = {n for n in numbers if n.replace(",", "_") not in asserted and n not in asserted}
    assert not missing


if __name__ == "__main__":
    for case in CASES:
        print(row(case))  # noqa: T201 - its purpose
    for known in RULES:
        print(rule_row(known))  # noqa: T201
