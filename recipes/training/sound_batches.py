"""Batches of log-mels made anew from waveforms in every pass: cropped, mixed by ear, masked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor
from torch.nn import functional

from recipes.features.logmel import LogMel, MelSettings
from recipes.training.augment import SpecAugment
from recipes.training.between_classes import mixed
from recipes.training.crops import RandomCrops, Recordings


@dataclass(frozen=True, kw_only=True)
class Hearing:
    """How training clips are heard.

    Attributes:
        crops: Length of a crop, and how its speed and level vary.
        mels: Front end.
        batch: Clips in a step.
        mix: True to mix every clip with another one by between-class learning.
        bands: Widest frequency mask of SpecAugment, in bands; two are drawn. 0 for none.
        frames: Widest time mask, in frames; likewise.
    """

    crops: RandomCrops
    mels: MelSettings = field(default_factory=MelSettings)
    batch: int = 64
    mix: bool = True
    bands: int = 8
    frames: int = 12

    @property
    def length(self) -> int:
        """Frames of a crop."""
        return self.mels.frames(self.crops.samples)


class SoundBatches:
    """A loader over recordings.

    Clips that a pass has beyond whole batches are left out of it, others in every pass: a small
    last batch has too few partners to mix with.

    Attributes:
        generator: The only source of its randomness; checkpoints of `compressor.fit` keep it.
    """

    def __init__(
        self, clips: Recordings, labels: Tensor, classes: int, hearing: Hearing, *, seed: int
    ) -> None:
        """Take clips, and labels (clips,), whole numbers below `classes`.

        Raises:
            ValueError: If there is not a label for each, or not two clips.
        """
        if labels.shape != (len(clips),) or len(clips) < 2:
            raise ValueError(
                f"{len(clips)} clips and labels of shape {tuple(labels.shape)}: a label for each "
                "of at least two clips is needed."
            )
        self.clips, self.labels, self.classes, self.hearing = clips, labels, classes, hearing
        self.generator = torch.Generator().manual_seed(seed)
        self._front_end = LogMel(hearing.mels)

    def __len__(self) -> int:
        """Batches in a pass."""
        return max(1, len(self.clips) // self.hearing.batch)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Log-mels (batch, 1, mels, frames) and label distributions (batch, classes)."""
        order = torch.randperm(len(self.clips), generator=self.generator)
        for rows in order[: len(self) * self.hearing.batch].split(self.hearing.batch):
            yield self._heard(rows, self.generator)

    def _heard(self, rows: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        hearing, front_end = self.hearing, self._front_end
        targets = functional.one_hot(self.labels[rows].long(), self.classes).float()
        crops = hearing.crops(self.clips.of_rows(rows), generator)
        spectrum = front_end.spectrum(crops).unflatten(0, (len(rows), -1))
        if hearing.mix:
            spectrum, targets = mixed(spectrum, targets, hearing.mels.sample_rate, generator)
        x = front_end.of_spectrum(spectrum.flatten(0, 1), len(rows))
        return SpecAugment(hearing.bands, hearing.frames)(x, targets, generator)
