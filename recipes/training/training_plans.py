"""Trainings as values: batch, augmentation, optimiser, learning rate.

`Training` is ours; those of the papers are in `recipes.training.paper_plans`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from torch import nn
from torch.optim import AdamW, Optimizer

from recipes.training.augment import Augmentation, FreqMixStyle, Mixup, Roll, SpecAugment


class Plan:
    """Base of all trainings: frozen dataclasses of numbers, all finite and at least 0.

    Attributes:
        batch: Clips in a step.
        lr: Learning rate at its peak.
        positive: Names of the numbers that must be above 0.

    Raises:
        ValueError: If one is not, or `warmup` is not shorter than the whole training.
    """

    batch: int
    lr: float
    positive: ClassVar[tuple[str, ...]] = ("epochs", "batch", "lr")

    def __post_init__(self) -> None:
        """Refuse other numbers."""
        numbers, kind = dict(vars(self)), type(self).__name__
        warmup = numbers.pop("warmup", 0)
        for name, value in numbers.items():
            if not 0 <= value < math.inf or (name in self.positive and not value):
                least = "above 0" if name in self.positive else "at least 0"
                raise ValueError(f"{kind}({name}={value}): {name} must be {least} and finite.")
        if not 0 <= warmup < (whole := numbers.get("epochs", 1)):
            raise ValueError(
                f"{kind}: a warm-up of {warmup:g} in a training of {whole:g} never reaches the "
                "peak of the learning rate. Make it shorter."
            )

    def augmentations(self) -> tuple[Augmentation, ...]:
        """Augmentations of every batch, in order."""
        return ()

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """A fresh optimiser; its learning rate is set before every step."""
        raise NotImplementedError

    def rate(self, progress: float) -> float:  # noqa: ARG002 - by default one throughout
        """Learning rate after a share of all steps, 0 to 1."""
        return self.lr


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
class Training(Plan):
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


@dataclass(frozen=True, kw_only=True)
class SceneTraining(Plan):
    """Training of the official baselines of DCASE 2024 and 2025 Task 1, by their public code.

    CPJKU/dcase2024_task1_baseline, run_training.py. It rolls waveforms and masks mel power before
    the logarithm; here both are done on log-mels: a roll in whole frames, a mask with the clip's
    mean.

    Attributes:
        epochs: Passes over the data.
        batch: Clips in a step.
        lr: AdamW's learning rate at its peak, from which it falls along a cosine to zero.
        warmup: Epochs in which it rises; 2,000 steps there, of 546 an epoch.
        weight_decay: Weight decay of AdamW.
        mixstyle: Probability that a batch goes through Freq-MixStyle; 0 for none.
        mixstyle_alpha: Parameter of its Beta distribution.
        bands: Widest frequency mask, in mel bands, one a clip; 0 for none.
        roll: Largest roll to either side, in s; 0 for none.
        hop: From one frame to the next, in s.
        mixup: Alpha of mixup; the baseline has none, 0.
    """

    positive = ("epochs", "batch", "lr", "hop", "mixstyle_alpha")
    epochs: int = 150
    batch: int = 256
    lr: float = 5e-3
    warmup: float = 4
    weight_decay: float = 1e-4
    mixstyle: float = 0.4
    mixstyle_alpha: float = 0.3
    bands: int = 48
    roll: float = 0.1
    hop: float = 500 / 32_000
    mixup: float = 0.0

    def augmentations(self) -> tuple[Augmentation, ...]:
        """Roll, frequency mask, Freq-MixStyle, mixup: what is there of them."""
        rolled = (Roll(round(self.roll / self.hop)),) if self.roll else ()
        masks = (SpecAugment(self.bands, 0, count=1),) if self.bands else ()
        style = (FreqMixStyle(self.mixstyle_alpha, self.mixstyle),) if self.mixstyle else ()
        blending = (Mixup(self.mixup),) if self.mixup else ()
        return (*rolled, *masks, *style, *blending)

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        return AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay)

    def rate(self, progress: float) -> float:
        return warmup_cosine(progress, self.warmup / self.epochs, self.lr)
