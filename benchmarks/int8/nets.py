"""Networks that were trained for a moment on real sound, and clips that they never heard.

A network of random numbers gives nearly the same outputs for all clips, so that there is nothing to
compare. Most see the clips of ESC-50's first classes here, as many as they have outputs, from folds
1 to 4, for a few epochs; clips are cut to their first second where a network was made for one. What
is compared is said of all clips of fold 5.

One is trained until it has learned, on keywords (`benchmarks.common.sound`), and compared on all
clips of unheard speakers: what rounding does to classes depends on how sure a network is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from torch import Tensor, nn

from benchmarks.common.sound import KEYWORDS, RATE, esc50, keywords
from compressor.phases.frequency import select_rows
from models import BCResNet, BCResNetASC, DCASEBaseline, ResidualCNN, SharedResNet, Tandem
from recipes.features.logmel import MELS_2021, MelSettings, log_mels
from recipes.training.epochs import Epochs
from recipes.training.loop import train
from recipes.training.training_plans import Training

KEYWORD_MELS = MelSettings(window=0.030, hop=0.010, mels=40, transform=1024)
"""40 rows, 101 frames a second, as for keyword spotting."""
SCALED = replace(MELS_2021, level=-7.0, spread=5.0)
"""256 rows, 34 frames a second; scaled for networks that do not normalise their input."""
BASELINE = MelSettings(window=0.040, hop=0.020, mels=40, transform=1024)
"""40 rows, 51 frames a second, of the sample rate that the clips have."""

PLAN = Training(batch=16, mixup=0.0, bands=0, frames=0)
HEARD, UNHEARD = (1, 2, 3, 4), (5,)
CALIBRATION = (2, 32)
"""Batches, and clips in each, that the scales of activations are chosen from."""


@dataclass(frozen=True)
class Ground:
    """Source of clips (clips, samples) and labels: those to train on, those to compare on."""

    name: str
    heard: Callable[[], tuple[Tensor, Tensor]]
    unheard: Callable[[], tuple[Tensor, Tensor]]


ESC50 = Ground("ESC-50", cache(partial(esc50, HEARD)), cache(partial(esc50, UNHEARD)))
SPEECH = Ground(
    "speech commands", partial(keywords, ("train",)), partial(keywords, ("validation", "test"))
)


@dataclass(frozen=True)
class Case:
    """A network and what it hears: the first seconds of every clip, through its front end.

    Attributes:
        lr: Learning rate at its peak; too high a one lets a network say the same of all clips.
        both: Whether both of torchao's quantisers are tried: each takes half a minute.
    """

    name: str
    build: Callable[[], nn.Module]
    mels: MelSettings
    epochs: int
    lr: float = 3e-3
    classes: int = 10
    seconds: int = 1
    both: bool = False
    ground: Ground = ESC50


def tandem() -> nn.Module:
    """Three of four mel rows, all of which it is given, in the place of a selection by data."""
    return select_rows(Tandem(), None, [row for row in range(256) if row % 4 != 3])


CASES = (
    Case(
        "BC-ResNet-1", partial(BCResNet, 1, KEYWORDS, 5, mels=40, frames=101), KEYWORD_MELS,
        epochs=25, lr=5e-3, classes=KEYWORDS, both=True, ground=SPEECH,
    ),
    Case(
        "BC-ResNet-8", partial(BCResNet, 8, 12, 5, mels=40, frames=101), KEYWORD_MELS,
        epochs=2, lr=1e-3, classes=12,
    ),
    Case("BC-ResNet-ASC, 20 channels", partial(BCResNetASC, 20), MELS_2021, epochs=3),
    Case("BC-ResNet-ASC, 80 channels", BCResNetASC, MELS_2021, epochs=1),
    Case(
        "Shared-ResNet", partial(SharedResNet, num_classes=10, frames=34), SCALED,
        epochs=2, both=True,
    ),
    Case("tandem, 192 of 256 rows", tandem, MELS_2021, epochs=1),
    Case("DCASE baseline 2022", partial(DCASEBaseline, 2022), BASELINE, epochs=5, both=True),
    Case("ResidualCNN", ResidualCNN, MelSettings(), epochs=3, seconds=5, both=True),
)  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """A network in evaluation mode, batches it was trained on, and all clips that are compared on.

    Clips are (clips, channels, mels, frames), in the batches too.
    """

    model: nn.Module
    calibration: tuple[Tensor, ...]
    clips: Tensor
    labels: Tensor


def trained(case: Case) -> Trained:
    """Build and train a network, always the same."""
    torch.manual_seed(0)
    model = case.build()
    shape = model.example_input_array.shape
    audio, labels = case.ground.heard()
    known = labels < case.classes
    x, plan = heard(case, audio[known], shape), replace(PLAN, lr=case.lr)
    train(model, Epochs(x, labels[known], case.classes, plan, seed=0), case.epochs)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    batches, size = CALIBRATION
    calibration = x[order[: batches * size]].split(size)
    unheard, targets = case.ground.unheard()
    return Trained(model.eval(), calibration, heard(case, unheard, shape), targets)


def heard(case: Case, audio: Tensor, shape: torch.Size) -> Tensor:
    """Spectrograms in the shape of a network's input, a channel repeated for stereo."""
    x = log_mels(audio[:, : case.seconds * RATE], case.mels, torch.device("cpu"))
    return x[..., : shape[-1]].expand(-1, shape[1], -1, -1).contiguous()
