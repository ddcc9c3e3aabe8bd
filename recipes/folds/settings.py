"""Settings of the five folds, and what is made in each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import nn

from compressor import Budget, Distill, FineTune, Int8, Joint, Prune, Recalibrate, Train
from compressor.phases import Phase
from models import ResidualCNN
from recipes.features.logmel import MelSettings
from recipes.training.crops import RandomCrops
from recipes.training.sound_batches import Hearing

FOLDS = (1, 2, 3, 4, 5)
CLASSES = 50
RATE = 16_000
DENSE, CONTROL = "dense", "dense, trained on"
PARAMS = 128_000
KIB64 = 65_536


@dataclass(frozen=True)
class Goal:
    """Caps of a decision about a clip, all its crops together.

    Attributes:
        macs: Multiply-accumulates.
        crops: Crops that decide together, evenly over what sounds of a clip.
        bytes: Bytes of the file, in integers of 8 bits; None to stay in floating point.
        accuracy: What is hoped for, in percent over five folds; None where it is to be within a
            point of the same caps without bytes.
    """

    macs: int
    crops: int
    bytes: int | None = None
    accuracy: float | None = None


GOALS = {
    "128k, 30M": Goal(30_000_000, 2, accuracy=76.0),
    "128k, 143M": Goal(143_000_000, 3, accuracy=82.0),
    "128k, 30M, 64 KiB": Goal(30_000_000, 2, KIB64),
    "128k, 143M, 64 KiB": Goal(143_000_000, 3, KIB64),
}
"""128,000 parameters each. 143 million are the ten crops of Micro-ACDNet, 131,474 parameters and
83.65 % with the best epoch chosen on the test folds (M. Mohaimenuzzaman et al., Pattern Recognition
2023); 30 million the caps of DCASE 2022, here for five seconds. Of the dense network below 128,000
parameters leave 45 million multiply-accumulates a crop, three times which fill 143 million."""
STAGES = (DENSE, CONTROL, *GOALS)


@dataclass(frozen=True, kw_only=True)
class FoldSettings:
    """Settings of a fold, the same in all of them; none was chosen on a fold that it is tested on.

    Training sees a half of a clip, and two or three of them decide. The dense network's stages are
    wide: on one thread of a CPU its multiply-accumulates take less time than those of narrow ones.

    Attributes:
        widths: Channels of the dense network's stages, each of which halves bands and frames.
        blocks: Residual blocks of each stage.
        dropout: Share of features dropped before its last layer.
        epochs: Passes over the data for the dense network, 1,600 clips each.
        lr: Its learning rate at the peak; AdamW, half a cosine.
        weight_decay: On filters alone.
        tune: Passes for a small network, and for the control.
        tune_lr: Their learning rate at the peak.
        round: Passes of training for int8.
        round_lr: Their learning rate at the peak.
        teacher: Distillation of the dense network into the small ones.
        crops: Crops by which the dense networks decide.
        hearing: How training clips are heard.
        seed: Of initial weights, order, crops and mixtures.
    """

    widths: tuple[int, ...] = (32, 64, 96, 128)
    blocks: tuple[int, ...] = (1, 2, 2, 1)
    dropout: float = 0.2
    epochs: int = 320
    lr: float = 3e-3
    weight_decay: float = 0.02
    tune: int = 200
    tune_lr: float = 2e-3
    round: int = 20
    round_lr: float = 3e-4
    teacher: Distill = field(default_factory=Distill)
    crops: int = 3
    hearing: Hearing = field(
        default_factory=lambda: Hearing(
            crops=RandomCrops(samples=5 * RATE // 2), mels=MelSettings(window=0.040, hop=0.020)
        )
    )
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what decides nothing."""
        if self.crops < 1:
            raise ValueError(f"FoldSettings(crops={self.crops}): at least one crop must decide.")

    def network(self) -> nn.Module:
        """The dense network, untrained, for a crop."""
        return ResidualCNN(
            CLASSES, self.widths, self.blocks, dropout=self.dropout,
            mels=self.hearing.mels.mels, frames=self.hearing.length,
        )  # fmt: skip

    def training(self) -> Train:
        """Of the dense network."""
        warmup = min(5.0, self.epochs / 10)
        return Train(self.epochs, self.lr, weight_decay=self.weight_decay, warmup=warmup)

    def tuning(self) -> FineTune:
        """Of a small network, and of the control."""
        return FineTune(
            self.tune, self.tune_lr, weight_decay=self.weight_decay,
            warmup=min(2.0, self.tune / 10), distill=self.teacher,
        )  # fmt: skip

    def budget(self, stage: str) -> Budget:
        """Caps on the network of a stage, which hears one crop of those that decide."""
        goal = GOALS[stage]
        return Budget(params=PARAMS, macs=goal.macs // goal.crops, bytes=goal.bytes)

    def deciding(self, stage: str) -> int:
        """Crops by which the network of a stage decides."""
        return GOALS[stage].crops if stage in GOALS else self.crops

    def schedule(self, stage: str) -> list[Phase]:
        """The way from the dense network to the small one of a stage."""
        if GOALS[stage].bytes is None:
            return [Prune(), Recalibrate(), self.tuning()]
        rounded = Int8(self.round, self.round_lr, distill=self.teacher)
        return [Joint(), Recalibrate(), self.tuning(), rounded]

    def epochs_of(self, stage: str) -> int:
        """Passes over the data that a stage takes."""
        if stage == DENSE:
            return self.epochs
        rounds = stage in GOALS and GOALS[stage].bytes is not None
        return self.tune + self.round * rounds


def short(settings: FoldSettings) -> FoldSettings:
    """An epoch of everything with a narrow network: does it run, in a minute?"""
    widths, blocks = (16, 32, 64, 96), (1, 1, 1, 1)
    return replace(settings, widths=widths, blocks=blocks, epochs=1, tune=1, round=1)
