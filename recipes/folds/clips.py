"""Clips of ESC-50 by folds, all of them there before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from compressor.inputs.evaluation import evaluating
from recipes.data.cache import waveforms
from recipes.data.esc50 import FORMAT, read_esc50
from recipes.features.logmel import LogMel
from recipes.folds.settings import FOLDS, FoldSettings
from recipes.training.crops import Recordings, even_crops

PARTS = 32
"""Clips that are cropped and transformed at a time."""


@dataclass(frozen=True)
class Folds:
    """Recordings, and of each its label and fold.

    Attributes:
        clips: The recordings.
        labels: (clips,), int64.
        folds: (clips,), int64, 1 to 5.
    """

    clips: Recordings
    labels: Tensor
    folds: Tensor

    def split(self, fold: int) -> tuple[tuple[Recordings, Tensor], tuple[Recordings, Tensor]]:
        """Clips and labels to train on, of all other folds, and to test on, of this one."""
        held = self.folds == fold
        if not bool(held.any()) or bool(held.all()):
            there = sorted(set(self.folds.tolist()))
            raise ValueError(f"Fold {fold} was asked for, of {there}: both parts need clips.")
        parts = (torch.nonzero(~held).flatten(), torch.nonzero(held).flatten())
        train, test = ((self.clips.of_rows(rows), self.labels[rows]) for rows in parts)
        return train, test


def read_folds(root: Path, cache: Path) -> Folds:
    """All five folds, decoded once into the cache.

    Raises:
        FileNotFoundError: If a clip of any fold is not there: five folds take a day, and the last
            would find out at its end.
        ValueError: If a file cannot be decoded.
    """
    listing = read_esc50(root, FOLDS)
    audio = waveforms(listing.paths, FORMAT, cache).audio[:, 0]
    folds = torch.tensor(listing.table["fold"].to_numpy())
    return Folds(
        Recordings.of(torch.from_numpy(np.array(audio))), torch.from_numpy(listing.labels), folds
    )


def crops_of(clips: Recordings, settings: FoldSettings, count: int) -> Tensor:
    """Log-mels of the crops that decide, (clips, count, 1, mels, frames)."""
    front_end, samples = LogMel(settings.hearing.mels), settings.hearing.crops.samples
    parts = [
        front_end(even_crops(clips.of_rows(rows), samples, count).flatten(0, 1))
        for rows in torch.arange(len(clips)).split(PARTS)
    ]
    return torch.cat(parts).unflatten(0, (len(clips), count))


@torch.no_grad()
def decided(model: nn.Module, crops: Tensor) -> Tensor:
    """Classes (clips,) by the mean of the probabilities of the crops of a clip."""
    with evaluating(model):
        found = [
            torch.softmax(model(part.flatten(0, 1)), 1).unflatten(0, part.shape[:2]).mean(1)
            for part in crops.split(PARTS)
        ]
    return torch.cat(found).argmax(1)
