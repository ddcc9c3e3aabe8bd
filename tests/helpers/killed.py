"""A run that draws on every random generator, for `test_checkpoint` and `test_killed`."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from compressor import Budget, Distill, FineTune, Prune, Recalibrate, Result, fit
from tests.helpers.tiny import scenes, tiny

CAPS = Budget(params=700, macs="30k")
SCHEDULE = (
    Prune(steps=3, epochs=1, distill=Distill()),
    Recalibrate(),
    FineTune(epochs=3, distill=Distill(), select=True),
)
LONG = (Prune(steps=4, epochs=3), Recalibrate(), FineTune(epochs=25, select=True))


class Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Clips changed anew at every reading, with each of the three global generators."""

    def __init__(self) -> None:
        self.clips, self.labels = scenes(64).tensors

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        clip = self.clips[index] + 0.1 * torch.randn(1, 8, 8)
        clip = clip * np.random.uniform(0.9, 1.1)  # noqa: NPY002
        return clip.roll(random.randrange(3), -1), self.labels[index]  # noqa: S311


def call(
    directory: Path | None, loss: Callable[..., Tensor] | None = None, **changes: Any
) -> Result:
    """The same call every time: dropout, augmentation, two shuffling loaders, a teacher."""
    train = DataLoader(
        Augmented(), batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(3)
    )
    val = DataLoader(scenes(32, seed=4), batch_size=16, shuffle=True)
    options: dict[str, Any] = {
        "budget": CAPS,
        "schedule": SCHEDULE,
        "val": val,
        "checkpoint": directory,
        "loss": loss,
    }
    return fit(tiny(dropout=0.3), train, **(options | changes))


def run_and_save(directory: Path, output: Path) -> None:
    """What the killed process does."""
    torch.set_num_threads(1)
    call(directory, schedule=LONG).save(output)
