"""What a refusal calls the smallest structure can be reached: asked for, it is what comes back."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compressor import Budget, Int8, Joint, Prune, Recalibrate, fit
from compressor.errors import BudgetError
from tests.laws.test_caps import random_network

CAPS = ("params", "nonzero", "macs", "bytes")
NAMED = re.compile(
    r"(params|nonzero|macs|bytes) <= [\d,]+ cannot be reached: the smallest structure has ([\d,]+)"
)
SHAPE = (1, 14, 14)


def network(seed: int) -> tuple[nn.Sequential, np.random.Generator]:
    """A random network as it is before training: many say nothing at one channel a layer."""
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    return random_network(random), random


def reached(model: nn.Module, names: tuple[str, ...], **arguments: Any) -> int:
    """Ask for less than there can be, then for what the refusals named; how many there were.

    Caps are refused together, each with its own number, so that one round of asking is enough.
    """
    arguments = {"example": torch.randn(1, *SHAPE), "progress": False, **arguments}
    with pytest.raises(BudgetError) as refusal:
        fit(model, budget=Budget(**dict.fromkeys(names, 1)), **arguments)
    found = {
        name: int(amount.replace(",", "")) for name, amount in NAMED.findall(str(refusal.value))
    }
    assert set(found) == set(names)
    result = fit(model, budget=Budget(**found), **arguments)
    sizes = result.report.files
    after = result.report.after
    for name, amount in found.items():
        spent = sizes[1] if name == "bytes" and sizes else getattr(after, name)
        assert spent <= amount
        if name in ("params", "macs"):
            assert spent == amount, "the smallest is not what was named"
    return len(found)


def schedule(kind: str, random: np.random.Generator, model: nn.Module) -> dict[str, Any]:
    """A schedule with data of its own, or none."""
    data = [(torch.randn(8, *SHAPE), torch.randint(0, 3, (8,)))]
    if kind == "int8":
        phases = [Prune(), Recalibrate(), Int8(epochs=1, batches=1)]
        return {"data": data, "schedule": phases}
    if kind == "joint":
        phases = [Joint(batches=1), Recalibrate(), Int8(epochs=1, batches=1)]
        return {"data": data, "schedule": phases}
    if kind == "steps":
        steps, floor, multiple = (int(n) for n in random.integers(1, 4, size=3))
        return {"schedule": [Prune(steps=steps, floor=floor, round_to=multiple)]}
    if kind == "keep":
        layers = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        return {"keep": [layers[int(random.integers(len(layers)))]]}
    return {}


def try_one(seed: int, kind: str, names: frozenset[str]) -> None:
    """One network, one schedule, some caps."""
    model, random = network(seed)
    extra = {"bytes"} if kind in ("int8", "joint") else set()
    wanted = tuple(name for name in CAPS if name in names | extra)
    if kind == "joint":
        wanted = ("bytes",)  # weights of three bits and half of them zero have other parameters
    assert reached(model, wanted, **schedule(kind, random, model))


def test_what_a_refusal_names_can_be_reached() -> None:
    try_one(1, "plain", frozenset({"params", "macs"}))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "kind", "names"),
    [(22, "keep", {"bytes"}), (6, "steps", {"bytes"}), (0, "joint", {"bytes"})],
)
def test_a_refusal_names_the_bytes_of_a_file(seed: int, kind: str, names: set[str]) -> None:
    try_one(seed, kind, frozenset(names))


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(["plain", "keep", "steps", "int8", "joint"]),
    names=st.frozensets(st.sampled_from(CAPS), min_size=1),
)
def test_whatever_a_refusal_names_can_be_reached(
    seed: int, kind: str, names: frozenset[str]
) -> None:
    try_one(seed, kind, names)
