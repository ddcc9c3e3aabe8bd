"""Parts of a recording: where it sounds, random crops to train on, even crops to decide by.

What the systems trained from scratch on ESC-50 have in common (Y. Tokozume et al., ICLR 2018,
appendix; M. Mohaimenuzzaman et al., "Environmental Sound Classification on the Edge", Pattern
Recognition 2023, section 3): silence at both ends does not count, a crop is played faster or
slower and louder or softer, and several crops of a clip decide together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from recipes.data.audio import FULL_SCALE

QUIET = 1e-3
"""Part of a clip's peak below which its ends are silence: decoded padding is not quite zero."""
LEAST = 4
"""Steps of 16 bits that sound has at least."""


@dataclass(frozen=True)
class Recordings:
    """Clips in memory, and where they sound.

    Attributes:
        audio: int16 (clips, samples).
        begins: (clips,), first sample that sounds.
        ends: (clips,), behind the last one; a silent clip sounds everywhere.
    """

    audio: Tensor
    begins: Tensor
    ends: Tensor

    @classmethod
    def of(cls, audio: Tensor) -> Recordings:
        """Clips, int16 (clips, samples).

        Raises:
            ValueError: If they are of another type or shape.
        """
        if audio.dtype != torch.int16 or audio.ndim != 2 or not audio.numel():
            raise ValueError(
                f"Recordings got {audio.dtype} of shape {tuple(audio.shape)}: int16 clips (clips, "
                "samples) are needed, at least one."
            )
        ranges = [_sounding(clip) for clip in audio]
        begins, ends = (torch.tensor(side) for side in zip(*ranges, strict=True))
        return cls(audio, begins, ends)

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.audio)

    def of_rows(self, rows: Tensor) -> Recordings:
        return Recordings(self.audio[rows], self.begins[rows], self.ends[rows])


def _sounding(clip: Tensor) -> tuple[int, int]:
    level = clip.int().abs()
    loud = (level >= max(LEAST, math.ceil(QUIET * int(level.max())))).nonzero()
    return (int(loud[0]), int(loud[-1]) + 1) if len(loud) else (0, len(clip))


@dataclass(frozen=True, kw_only=True)
class RandomCrops:
    """Crops of one length from random places, played faster or slower, louder or softer.

    Attributes:
        samples: Length of a crop.
        scale: Greatest factor of the speed, and one over the least; 1 for none. Speeds are uniform
            in their logarithm, samples between two are on the line through both, as in the
            systems' published code.
        gain: Greatest change of the level to either side, in dB.
    """

    samples: int
    scale: float = 1.25
    gain: float = 6.0

    def __post_init__(self) -> None:
        """Refuse what names no crop."""
        if self.samples < 1 or not 1 <= self.scale < math.inf or not 0 <= self.gain < math.inf:
            raise ValueError(
                f"{self}: samples and scale must be at least 1, gain at least 0, all finite."
            )

    def __call__(self, clips: Recordings, generator: Generator) -> Tensor:
        """Waveforms (clips, samples) in [-1, 1] times the gain, one crop of every clip."""
        draw = torch.rand(3, len(clips), 1, generator=generator, dtype=torch.float64)
        speed = self.scale ** (2 * draw[0] - 1)
        low, high = bounds(clips, speed.squeeze(1) * self.samples)
        start = low[:, None] + draw[1] * (high - low)[:, None]
        place = start + speed * torch.arange(self.samples, dtype=torch.float64)
        level = 10 ** (self.gain * (2 * draw[2] - 1) / 20)
        return between(clips.audio, place) * (level / FULL_SCALE).float()


def even_crops(clips: Recordings, samples: int, count: int) -> Tensor:
    """Crops (clips, count, samples) in [-1, 1], evenly over what sounds of every clip.

    The first begins with the sound and the last ends with it; of a sound shorter than a crop all
    hold the whole of it, at other places. One crop lies in the middle.

    Raises:
        ValueError: If none are asked for.
    """
    if samples < 1 or count < 1:
        raise ValueError(f"{count} crops of {samples} samples: at least one of each is needed.")
    low, high = bounds(clips, torch.full((len(clips),), float(samples), dtype=torch.float64))
    over = torch.linspace(0, 1, count, dtype=torch.float64) if count > 1 else torch.tensor([0.5])
    start = (low[:, None] + over * (high - low)[:, None]).round()
    place = start[..., None] + torch.arange(samples, dtype=torch.float64)
    flat = between(clips.audio, place.flatten(1))
    return flat.float().div_(FULL_SCALE).reshape(len(clips), count, samples)


def bounds(clips: Recordings, span: Tensor) -> tuple[Tensor, Tensor]:
    """First and last start (clips,) of a span (clips,) that holds nothing but sound, or all of it.

    A start may lie before the clip, or a span reach beyond it: there is silence.
    """
    begins, last = clips.begins.double(), clips.ends.double() - span
    return torch.minimum(begins, last), torch.maximum(begins, last)


def between(audio: Tensor, place: Tensor) -> Tensor:
    """Values of clips (clips, samples) at places (clips, places) between samples, float32.

    On the line through both neighbours; outside of a clip there is silence.
    """
    length = audio.shape[1]
    before = place.floor()
    over = (place - before).float()
    index = before.long()

    def at(where: Tensor) -> Tensor:
        inside = (where >= 0) & (where < length)
        return audio.gather(1, where.clamp(0, length - 1)).float() * inside

    return at(index) * (1 - over) + at(index + 1) * over
