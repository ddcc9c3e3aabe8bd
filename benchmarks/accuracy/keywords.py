"""Dense audio transformers that `benchmarks.accuracy.transformer` compresses, and what they hear.

Speech commands, split by speakers (`benchmarks.common.sound.keywords`): 2,922 clips train, 970
validate, 998 are the test. The settings were chosen on validation clips, with seed 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from benchmarks.common.sound import KEYWORDS, RUNS, keywords
from benchmarks.common.weights import filled, keep
from compressor import Budget, Train, fit
from compressor.storage import write_bytes
from models import AudioTransformer
from recipes.features.logmel import MelSettings, log_mels
from recipes.training.augment import Augmentation, Mixup, Roll, SpecAugment
from recipes.training.epochs import Epochs
from recipes.training.training_plans import Plan

FOLDER = RUNS / "transformer"
MELS = MelSettings(window=0.030, hop=0.010, mels=40)
"""40 bands x 101 frames a second, as A. Berg et al., Interspeech 2021, but for their 98 unpadded
frames."""
DENSE = Train(epochs=50, lr=2e-3, weight_decay=0.05, warmup=3)
ANYTHING = Budget(macs="1G")
"""No bound: what is trained under it keeps its widths."""

build = partial(AudioTransformer, KEYWORDS, width=48)


@dataclass(frozen=True)
class Hearing(Plan):
    """Batches of 64 clips, shifted by up to 100 ms, masked and mixed; rates are those of `fit`."""

    batch: int = 64
    lr: float = 1e-3
    roll: int = 10
    bands: int = 8
    frames: int = 16
    mixup: float = 0.3

    def augmentations(self) -> tuple[Augmentation, ...]:
        masks = SpecAugment(self.bands, self.frames, fill=0.0)
        return (Roll(self.roll), masks, Mixup(self.mixup))


@cache
def clips(part: str) -> tuple[Tensor, Tensor]:
    """Log-mels (clips, 1, 40, 101) and labels (clips,) of a part, decoded once for all runs."""
    file = FOLDER / f"{part}.safetensors"
    if not file.exists():
        audio, labels = keywords((part,))
        heard = log_mels(audio, MELS, torch.device("cpu"))
        write_bytes(file, save({"clips": heard, "labels": labels}))
    found = load_file(file)
    return found["clips"], found["labels"]


def batches(seed: int) -> Epochs:
    """Training clips, in an order and with an augmentation of their own."""
    return Epochs(*clips("train"), KEYWORDS, Hearing(), seed=seed)


def file_of(seed: int) -> Path:
    """The weights of a dense network."""
    return FOLDER / f"dense-seed{seed}.safetensors"


def train(seed: int) -> nn.Module:
    """Train a dense network and keep its weights; a killed call goes on."""
    torch.manual_seed(seed)
    result = fit(
        build().train(),
        batches(seed),
        budget=ANYTHING,
        schedule=[DENSE],
        checkpoint=FOLDER / f"dense-seed{seed}",
        seed=seed,
    )
    keep(result.model, file_of(seed))
    return result.model


def dense(seed: int) -> nn.Module:
    """A dense network in training mode, trained first where its weights are not at hand."""
    file = file_of(seed)
    return (filled(build(), file) if file.is_file() else train(seed)).train()
