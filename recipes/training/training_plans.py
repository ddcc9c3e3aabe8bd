"""Trainings as values: batch, augmentation, optimiser, learning rate.

`Training` is ours; those of the papers are in `recipes.training.paper_plans`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import ClassVar, Protocol

from torch import nn
from torch.optim import AdamW, Optimizer

from recipes.training.augment import Augmentation, Mixup, Roll, SpecAugment


class Plan(Protocol):
    """Protocol of a training; every settings class here and in `paper_plans.py` follows it."""

    @property
    def batch(self) -> int:
        """Clips in a step."""
        ...

    def augmentations(self) -> tuple[Augmentation, ...]:
        """Augmentations of every batch, in order."""
        ...

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """A fresh optimiser; its learning rate is set before every step."""
        ...

    def rate(self, progress: float) -> float:
        """Learning rate after a share of all steps, 0 to 1."""
        ...


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """Base of plans: numbers by which something can be trained, all finite and at least 0.

    Raises:
        ValueError: If one is not, or `warmup` is not shorter than the whole training.
    """

    positive: ClassVar[tuple[str, ...]] = ("epochs", "batch", "lr")
    """Fields that must be above 0."""

    def __post_init__(self) -> None:
        """Refuse others."""
        numbers = asdict(self)
        warmup = numbers.pop("warmup", 0)
        for name, value in numbers.items():
            if not 0 <= value < math.inf or (name in self.positive and not value):
                least = "above 0" if name in self.positive else "at least 0"
                raise ValueError(
                    f"{type(self).__name__}({name}={value}): {name} must be {least} and finite."
                )
        if not 0 <= warmup < (whole := numbers.get("epochs", 1)):
            raise ValueError(
                f"{type(self).__name__}: a warm-up of {warmup:g} in a training of {whole:g} never "
                "reaches the peak of the learning rate. Make it shorter."
            )


def warmup_cosine(progress: float, warmup: float, peak: float, last: float = 0.0) -> float:
    """Learning rate that rises linearly from 0 to its peak, then falls along half a cosine.

    I. Loshchilov, F. Hutter, "SGDR", ICLR 2017, equation 5, for the fall. `progress` is the share
    of all steps that are done, 0 to 1, `warmup` that in which the rate rises, below 1.
    """
    if progress < warmup:
        return peak * progress / warmup
    over = (progress - warmup) / (1 - warmup)
    return last + (peak - last) * (1 + math.cos(math.pi * over)) / 2


@dataclass(frozen=True, kw_only=True)
class Training(Ranges):
    """Training by AdamW, one warm-up, then a cosine to zero.

    Attributes:
        batch: Clips in a step.
        lr: Learning rate at its peak.
        warmup: Share of all steps in which the rate rises from 0.
        weight_decay: Weight decay of AdamW.
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

    def augmentations(self) -> tuple[Augmentation, ...]:
        blending = (Mixup(self.mixup),) if self.mixup > 0 else ()
        return (Roll(), SpecAugment(self.bands, self.frames, fill=0.0), *blending)

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        return AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay)

    def rate(self, progress: float) -> float:
        return warmup_cosine(progress, self.warmup, self.lr)
