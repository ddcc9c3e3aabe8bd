"""Training on log-mels that fit on the device: batches, schedule, loop, accuracy.

What the recipes and the benchmarks share, so that a dense network is trained in one way only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from recipes import augment


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a network is trained: AdamW, one warm-up, then a cosine to zero.

    Attributes:
        batch: Clips in a step.
        lr: Learning rate at its peak.
        warmup: Share of all steps in which the rate rises from 0.
        weight_decay: Of AdamW.
        mixup: Alpha of the Beta distribution; 0 for none.
        bands: Widest frequency mask, in mel bands; two are drawn.
        frames: Widest time mask, in frames; two are drawn.
    """

    batch: int = 32
    lr: float = 3e-3
    warmup: float = 0.1
    weight_decay: float = 0.02
    mixup: float = 0.3
    bands: int = 8
    frames: int = 16


class Epochs:
    """A loader over features in memory: every pass is shuffled, rolled, masked and blended anew.

    Attributes:
        generator: The only source of its randomness; checkpoints of `compressor.fit` keep it.
    """

    def __init__(
        self, x: Tensor, y: Tensor, classes: int, settings: Training, *, seed: int
    ) -> None:
        """Take the data.

        Args:
            x: Log-mels (clips, 1, mels, frames).
            y: Labels (clips,), below `classes`, on the same device.
            classes: Number of classes.
            settings: Batch size and augmentation.
            seed: Of `generator`.
        """
        self.x, self.y, self.classes, self.settings = x, y, classes, settings
        self.generator = torch.Generator(x.device).manual_seed(seed)

    def __len__(self) -> int:
        """Batches in a pass."""
        return math.ceil(len(self.x) / self.settings.batch)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of log-mels (batch, 1, mels, frames) and label distributions (batch, classes)."""
        order = torch.randperm(len(self.x), generator=self.generator, device=self.x.device)
        for rows in order.split(self.settings.batch):
            yield self._augmented(self.x[rows], self.y[rows])

    def _augmented(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        settings, generator = self.settings, self.generator
        x = augment.roll(x, generator)
        x = augment.mask(x, generator, bands=settings.bands, frames=settings.frames)
        targets = functional.one_hot(y, self.classes).to(x.dtype)
        if settings.mixup > 0:
            return augment.mixup(x, targets, generator, settings.mixup)
        return x, targets


def learning_rate(progress: float, settings: Training) -> float:
    """Rate after a share of all steps: linear warm-up, then half a cosine."""
    if progress < settings.warmup:
        return settings.lr * progress / settings.warmup
    over = (progress - settings.warmup) / (1 - settings.warmup)
    return settings.lr * (1 + math.cos(math.pi * over)) / 2


def train(
    model: nn.Module,
    batches: Epochs,
    epochs: int,
    *,
    on_epoch: Callable[[int, float], None] | None = None,
) -> None:
    """Train a network in place with cross entropy and leave it in evaluation mode.

    Args:
        model: The network.
        batches: What a pass over the data yields, and the settings.
        epochs: Passes over the data.
        on_epoch: Called with the epoch, from 1, and its mean loss.
    """
    settings = batches.settings
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
    )
    steps, step = epochs * len(batches), 0
    model.train()
    for epoch in range(1, epochs + 1):
        total = 0.0
        for x, targets in batches:
            optimizer.param_groups[0]["lr"] = learning_rate(step / steps, settings)
            loss = functional.cross_entropy(model(x), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
            step += 1
        if on_epoch is not None:
            on_epoch(epoch, total / len(batches.x))
    model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of clips classified right, in evaluation mode; the model's mode is put back."""
    was_training = model.training
    model.eval()
    parts = zip(x.split(50), y.split(50), strict=True)
    right = sum(int((model(part).argmax(1) == labels).sum()) for part, labels in parts)
    model.train(was_training)
    return right / len(x)
