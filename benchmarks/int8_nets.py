"""Networks that were trained for a moment on real sound, and clips that they never heard.

A network of random numbers gives nearly the same outputs for all clips, so that there is nothing to
compare. Most see the clips of ESC-50's first classes here, as many as they have outputs, from folds
1 to 4, for a few epochs; how well they then do is not looked at. Clips are cut to their first
second where a network was made for one. What is compared is said of all clips of fold 5.

One is trained until it has learned, on keywords (`benchmarks.keywords`), and compared on all clips
of speakers that it never heard: what rounding does to classes depends on how sure a network is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.dense import ROOT, data_root
from benchmarks.keywords import CLASSES, keywords
from compressor.phases.frequency import select_rows
from models import BCResNet, BCResNetASC, DCASEBaseline, ResidualCNN, SharedResNet, Tandem
from recipes.data.cache import waveforms
from recipes.data.esc50 import FORMAT, read_esc50
from recipes.features.logmel import MELS_2021, MelSettings, log_mels
from recipes.training.epochs import Epochs
from recipes.training.loop import train
from recipes.training.training_plans import Training

KEYWORDS = MelSettings(window=0.030, hop=0.010, mels=40, transform=1024)
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
    """Where clips come from.

    Attributes:
        name: In the tables.
        heard: Makes clips (clips, samples) and labels to train on.
        unheard: Makes those to compare on.
    """

    name: str
    heard: Callable[[], tuple[Tensor, Tensor]]
    unheard: Callable[[], tuple[Tensor, Tensor]]


@cache
def sound(folds: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """int16 (clips, samples) and labels (clips,) of some folds of ESC-50."""
    listing = read_esc50(data_root() / "esc50", folds)
    clips = waveforms(listing.paths, FORMAT, ROOT / "runs" / "cache").audio[:, 0]
    return torch.from_numpy(np.array(clips)), torch.from_numpy(listing.labels)


ESC50 = Ground("ESC-50", partial(sound, HEARD), partial(sound, UNHEARD))
SPEECH = Ground(
    "speech commands", partial(keywords, ("train",)), partial(keywords, ("validation", "test"))
)


@dataclass(frozen=True)
class Case:
    """A network and what it hears.

    Attributes:
        name: In the tables.
        build: Makes it.
        mels: Its front end.
        epochs: Of training.
        lr: Learning rate at its peak; too high a one lets a network say the same of all clips.
        classes: Outputs.
        seconds: Of every clip.
        both: Whether both of torchao's quantisers are tried: each takes half a minute.
        ground: Where its clips come from.
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
        "BC-ResNet-1",
        partial(BCResNet, 1, CLASSES, 5, mels=40, frames=101),
        KEYWORDS,
        epochs=25,
        lr=5e-3,
        classes=CLASSES,
        both=True,
        ground=SPEECH,
    ),
    Case(
        "BC-ResNet-8",
        partial(BCResNet, 8, 12, 5, mels=40, frames=101),
        KEYWORDS,
        epochs=2,
        lr=1e-3,
        classes=12,
    ),
    Case("BC-ResNet-ASC, 20 channels", partial(BCResNetASC, 20), MELS_2021, epochs=3),
    Case("BC-ResNet-ASC, 80 channels", BCResNetASC, MELS_2021, epochs=1),
    Case(
        "Shared-ResNet",
        partial(SharedResNet, num_classes=10, frames=34),
        SCALED,
        epochs=2,
        both=True,
    ),
    Case("tandem, 192 of 256 rows", tandem, MELS_2021, epochs=1),
    Case("DCASE baseline 2022", partial(DCASEBaseline, 2022), BASELINE, epochs=5, both=True),
    Case("ResidualCNN", ResidualCNN, MelSettings(), epochs=3, seconds=5, both=True),
)


@dataclass(frozen=True)
class Trained:
    """A network after its training.

    Attributes:
        model: In evaluation mode.
        calibration: Batches (clips, channels, mels, frames) that it was trained on.
        clips: All that are compared on, of the same shape.
        labels: Of these clips.
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
    x = log_mels(audio[:, : case.seconds * FORMAT.rate], case.mels, torch.device("cpu"))
    return x[..., : shape[-1]].expand(-1, shape[1], -1, -1).contiguous()
