"""Rows whose worth is known: spectrograms of noise in which some bands say which class it is.

64 bands and 8 frames. Twelve bands, at random places, carry a level of their own for every class,
from strong to weak; twelve others carry the same levels at 0.3 of the strength, under noise of
their own; forty carry nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor import Budget, fit
from compressor.phases.frequency.phase import FrequencyMask
from models.layers import ResidualNorm

BANDS, FRAMES, CLASSES = 64, 8, 6
TRUE, PROXIES = 12, 12
TRAIN, TEST = 1500, 2000
"""Clips."""
BATCH = 64


@dataclass(frozen=True)
class Planted:
    """Clips (clips, 1, 64, 8), labels (clips,) and the bands that matter."""

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    true: frozenset[int]

    def batches(self, seed: int) -> list[tuple[Tensor, Tensor]]:
        """The training clips in an order of their own."""
        order = torch.randperm(len(self.train[0]), generator=torch.Generator().manual_seed(seed))
        return [(self.train[0][part], self.train[1][part]) for part in order.split(BATCH)]


@cache
def drawn(seed: int) -> Planted:
    """Draw the bands, their levels and the clips."""
    random = torch.Generator().manual_seed(seed)
    places = torch.randperm(BANDS, generator=random)
    true, proxies = places[:TRUE], places[TRUE : TRUE + PROXIES]
    levels = torch.randn(CLASSES, TRUE, generator=random)
    levels = (levels - levels.mean(0)) / levels.std(0) * torch.linspace(1.0, 0.5, TRUE)
    parts: list[tuple[Tensor, Tensor]] = []
    for clips in (TRAIN, TEST):
        labels = torch.randint(CLASSES, (clips,), generator=random)
        x = torch.randn(clips, 1, BANDS, FRAMES, generator=random)
        said = levels[labels] + torch.randn(clips, TRUE, generator=random)
        heard = 0.3 * levels[labels] + torch.randn(clips, PROXIES, generator=random)
        x[:, 0, true] += said[..., None]
        x[:, 0, proxies] += heard[..., None]
        parts.append((x, labels))
    return Planted(*parts, frozenset(true.tolist()))


class BandNet(nn.Module):
    """Perhaps a norm; filters over time, BatchNorm, ReLU, a mean over time, a layer over bands."""

    def __init__(self, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.front = norm or nn.Identity()
        self.filters = nn.Conv2d(1, 4, (1, 3), padding=(0, 1), bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4 * BANDS, CLASSES)
        self.example_input_array = torch.zeros(1, 1, BANDS, FRAMES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.filters(self.front(x))).relu()
        return self.head(x.mean(3).flatten(1))


NETS: dict[str, Callable[[], nn.Module]] = {
    "plain": BandNet,
    "ResidualNorm in front": lambda: BandNet(ResidualNorm()),
}


@dataclass(frozen=True)
class Oracle:
    """The bands that matter."""

    seed: int

    def __call__(self, gradients: Tensor) -> Tensor:
        true = drawn(self.seed).true
        return torch.tensor([float(band in true) for band in range(gradients.shape[1])])


@cache
def trained(net: str, seed: int, epochs: int) -> nn.Module:
    """A network trained on all bands."""
    torch.manual_seed(seed)
    model, data = NETS[net](), drawn(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for epoch in range(epochs):
        for x, y in data.batches(epoch):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model


def run(
    net: str, phase: FrequencyMask, seed: int, *, epochs: tuple[int, int, int] = (15, 10, 5)
) -> dict[str, float]:
    """Select twelve bands of a network of `NETS` and fine-tune: share of true bands, and accuracy.

    Epochs are those before selection, of it and after it: 360, 240 and 120 steps. The seed is that
    of data, weights and order; accuracy is in percent.
    """
    before, select, after = epochs
    data, budget = drawn(seed), Budget(macs="1G")
    phase = replace(phase, keep=TRUE, epochs=select, fine_tune=after)
    model = trained(net, seed, before)
    found = fit(model, data.batches(seed), budget=budget, schedule=[phase], verify=False).model
    x, y = data.test
    with torch.no_grad():
        right = found.eval()(x).argmax(1) == y
    chosen = set(found.rows.tolist())
    return {"found": len(chosen & data.true) / TRUE, "accuracy": 100 * float(right.float().mean())}
