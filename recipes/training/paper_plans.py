"""Trainings of the three submissions, as their reports print them.

Every default is a number from the report, with its section; what a report leaves open is marked
"chosen". Seeds: S. Chang et al., "QTI Submission to DCASE 2020: Model Efficient Acoustic Scene
Classification" (2020); B. Kim et al., "Domain Generalization on Efficient Acoustic Scene
Classification using Residual Normalization", DCASE Workshop 2021 (2021); L. Schmidt, B. Kilic,
N. Peters, FAU submission to DCASE 2022 Task 1 (2022). The front ends are in `features/logmel.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn
from torch.optim import SGD, Adam, Optimizer

from recipes.training.augment import Augmentation, Either, FreqMix, Mixup, Roll, SpecAugment
from recipes.training.training_plans import Plan, warmup_cosine


@dataclass(frozen=True, kw_only=True)
class _Adam2020(Plan):
    """Adam, FreqMix and mixup of 2020.

    Attributes:
        epochs: Passes over the data.
        batch: Clips in a step; chosen. The report names none, and follows K. Koutini et al.,
            EUSIPCO 2019, in what it does not name.
        lr: Adam's learning rate at the start.
        last: Its rate at the end.
        freqmix: Alpha of FreqMix's Beta distribution (section 3.1); 0 for none.
        mixup: Alpha of mixup's; chosen likewise (section 3); 0 for none.
    """

    epochs: int
    batch: int = 32
    lr: float = 1e-4
    last: float = 1e-6
    freqmix: float = 1.0
    mixup: float = 0.2

    def augmentations(self) -> tuple[Augmentation, ...]:
        """FreqMix for one half of the examples, mixup for the other (`Either` says why)."""
        chosen: list[Augmentation] = [FreqMix(self.freqmix)] if self.freqmix > 0 else []
        chosen += [Mixup(self.mixup)] if self.mixup > 0 else []
        return (Either(*chosen),) if len(chosen) == 2 else tuple(chosen)

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        return Adam(parameters, lr=self.lr)


@dataclass(frozen=True, kw_only=True)
class _WarmSGD(Plan):
    """SGD with momentum, warm-up, cosine and mixup of 2021 and 2022.

    Attributes:
        epochs: Passes over the data.
        batch: Clips in a step.
        lr: SGD's learning rate at its peak, after the warm-up.
        last: Its rate at the end of half a cosine.
        warmup: Epochs in which it rises linearly from 0, fewer than `epochs`.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of SGD.
        mixup: Alpha of the Beta distribution; 0 for none.
    """

    epochs: int
    batch: int = 64
    lr: float
    last: float = 0.0
    warmup: int
    momentum: float = 0.9
    weight_decay: float = 0.001
    mixup: float

    def blending(self) -> tuple[Augmentation, ...]:
        return (Mixup(self.mixup),) if self.mixup > 0 else ()

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        return SGD(parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)

    def rate(self, progress: float) -> float:
        return warmup_cosine(progress, self.warmup / self.epochs, self.lr, self.last)


@dataclass(frozen=True, kw_only=True)
class Training2020(_Adam2020):
    """Shared-ResNet, dense (2020, section 6.1).

    Attributes:
        epochs: 50 + 200 + 100.
        steady: Epochs of the first stage, at `lr`.
        decay: Epochs of the second stage, in which the rate decays exponentially to `last`.
    """

    positive = ("epochs", "batch", "lr", "last", "decay")
    epochs: int = 350
    steady: int = 50
    decay: int = 200

    def rate(self, progress: float) -> float:
        """Constant, exponential decay, constant; stages keep their share when epochs differ."""
        total = self.steady + self.decay + 100  # the third stage (section 6.1)
        over = (progress * total - self.steady) / self.decay
        return self.lr * (self.last / self.lr) ** min(max(over, 0.0), 1.0)


@dataclass(frozen=True, kw_only=True)
class FineTune2020(_Adam2020):
    """Shared-ResNet after pruning 60 % of its convolution weights (2020, section 5.1).

    The rate falls linearly. That FreqMix and mixup go on is chosen; the report does not say it.
    """

    epochs: int = 200

    def rate(self, progress: float) -> float:
        return self.lr + (self.last - self.lr) * progress


@dataclass(frozen=True, kw_only=True)
class Training2021(_WarmSGD):
    """BC-ResNet-ASC (2021, section 3.1).

    Attributes:
        epochs: 300 for the models that are compressed (Table 4).
        roll: Largest roll to either side, in seconds.
        hop: From one frame to the next, in seconds.
        bands: Widest frequency mask of SpecAugment, in bands; two are drawn. 0 for none.
        frames: Widest time mask, in frames; two are drawn. 0 for none. The report masks for
            BC-ResNet-ASC-8 alone: `Training2021(bands=40, frames=80)`.
    """

    positive = ("epochs", "batch", "lr", "hop")
    epochs: int = 100
    lr: float = 0.06
    warmup: int = 5
    mixup: float = 0.3
    roll: float = 1.5
    hop: float = 0.030
    bands: int = 0
    frames: int = 0

    def augmentations(self) -> tuple[Augmentation, ...]:
        masks = (SpecAugment(self.bands, self.frames),) if self.bands or self.frames else ()
        return (Roll(round(self.roll / self.hop)), *masks, *self.blending())


@dataclass(frozen=True, kw_only=True)
class Training2022(_WarmSGD):
    """Linear moments in tandem with BC-ResNet-ASC-8 (2022, section 3.3).

    Attributes:
        epochs: 3 + 77.
        last: The cosine is chosen, the report says "decreased".
        roll: Largest roll as a share of the clip, here to either side: "a random roll of 40% of
            the signal length" does not say.
        clip: Frames of a clip, for the roll: 34 for one second every 30 ms.
        bands: Widest frequency mask of SpecAugment. How many is not said; two, as in 2021.
    """

    positive = ("epochs", "batch", "lr", "clip")
    epochs: int = 80
    lr: float = 0.035
    last: float = 0.00035
    warmup: int = 3
    mixup: float = 0.2
    roll: float = 0.4
    clip: int = 34
    bands: int = 20

    def augmentations(self) -> tuple[Augmentation, ...]:
        masks = (SpecAugment(self.bands, 0),) if self.bands else ()
        return (Roll(round(self.roll * self.clip)), *masks, *self.blending())
