"""Axes that the model's own code does not survive are found without a search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressor.tracing import blame
from compressor.tracing.thinning import thinned
from compressor.tracing.tracer import trace
from compressor.tracing.trial import _culprits, freeze
from compressor.tracing.ways import Trials

WIDTH, COUNT = 8, 20
X = torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def viewed(x: Tensor) -> Tensor:
    """Raises: a number of channels is written down, where the program has one in any case."""
    return x.view(len(x), WIDTH, 36).flip(2).view(len(x), WIDTH, 6, 6)


def centred(x: Tensor) -> Tensor:
    """Differs and does not raise: the program has a number there, the code what there is."""
    return x - x.sum(1, keepdim=True) / (x.shape[1] + 3)


def split(x: Tensor) -> Tensor:
    """Raises in either of the two dimensions in which it could shrink."""
    return x.view(len(x), 4, WIDTH // 4, -1).flip(1).reshape(len(x), WIDTH, 6, 6)


def mixed(x: Tensor) -> Tensor:
    return x.view(-1, 6, 6)[: WIDTH * len(x)].view(-1, WIDTH, 6, 6)


class Block(nn.Module):
    def __init__(self, trap: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.trap = trap
        self.a, self.b = nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(self.trap(torch.relu(self.a(x))))


class Flat(nn.Module):
    """Everything in one forward."""

    def __init__(self, trap: Callable[[Tensor], Tensor], layers: list[nn.Module]) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, WIDTH, 1), nn.Linear(WIDTH, 5)
        self.trap, self.layers = trap, nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = self.trap(layer(x)) if isinstance(layer, nn.Conv2d) else layer(x)
        return self.head(x.mean((2, 3)))


def network(kind: str, count: int, trap: Callable[[Tensor], Tensor]) -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = [
        Block(trap) if kind == "blocks" else nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        for _ in range(count)
    ]
    return Flat(trap, layers).eval()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often structures are compared in full, and run part by part."""
    counts = {"trials": 0, "runs": 0}
    attempt, suspects = Trials.attempt, blame._suspects

    def trial(self: Trials, *args: Any) -> str | None:
        counts["trials"] += 1
        return attempt(self, *args)

    def run(*args: Any, **kwargs: Any) -> Any:
        counts["runs"] += 1
        return suspects(*args, **kwargs)

    monkeypatch.setattr(Trials, "attempt", trial)
    monkeypatch.setattr(blame, "_suspects", run)
    return counts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "trap", "readings", "runs"),
    [
        ("blocks", viewed, 1, 7), ("blocks", centred, 1, 7), ("blocks", split, 2, 6),
        ("flat", centred, 1, 6), ("flat", viewed, 2, COUNT + 6),
    ],
)  # fmt: skip
def test_twenty_failing_axes_take_no_search(
    kind: str,
    trap: Callable[[Tensor], Tensor],
    readings: int,
    runs: int,
    counted: dict[str, int],
) -> None:
    """In each of the ways to read the program, of which one run asks for another; in two turns."""
    graph = trace(network(kind, COUNT, trap), X)
    failing = [n for n, why in graph.frozen.items() if "breaks the forward pass" in why]
    assert len(failing) == COUNT
    assert counted["trials"] <= 2 * readings + 2
    assert counted["runs"] <= runs * readings


@pytest.mark.parametrize("kind", ["blocks", "flat"])
@pytest.mark.parametrize("trap", [viewed, centred, split, mixed])
def test_the_axes_are_those_that_a_search_finds(
    kind: str, trap: Callable[[Tensor], Tensor]
) -> None:
    model = network(kind, 3, trap)
    graph = trace(model, X, check=False)
    trials = Trials(model, (X,))
    free = [number for number, axis in enumerate(graph.axes) if not axis.frozen]
    wanted = _culprits(trials, graph, free)
    left = [number for number in free if number not in wanted]
    assert trials.attempt(freeze(graph, wanted), thinned(graph, left)) is None
    found = trace(model, X)
    assert {n for n in free if found.axes[n].frozen} == set(wanted)


def test_the_part_that_went_wrong_is_named() -> None:
    reasons = trace(network("blocks", 2, viewed), X).frozen
    assert "it does not run in 'layers.1' (RuntimeError: shape" in reasons["layers.1.a"]
    reasons = trace(network("blocks", 2, centred), X).frozen
    assert "values differ in 'layers.0.b'" in reasons["layers.0.a"]
