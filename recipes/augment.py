"""Augmentation of log-mel batches (batch, 1, mels, frames), different for every example.

Each function draws from the `torch.Generator` it is given and from nothing else; generator and
batch must be on the same device.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Generator, Tensor

FREQUENCY, TIME = 2, 3
"""Dimensions of a batch."""


def roll(x: Tensor, generator: Generator) -> Tensor:
    """Roll every example in time by its own random number of frames; what falls off comes back."""
    batch, _, _, frames = x.shape
    shift = torch.randint(frames, (batch, 1), generator=generator, device=x.device)
    source = (torch.arange(frames, device=x.device) - shift) % frames
    return x.gather(TIME, source[:, None, None, :].expand(x.shape))


def mask(
    x: Tensor, generator: Generator, *, bands: int, frames: int, count: int = 2, fill: float = 0.0
) -> Tensor:
    """SpecAugment without time warping: `count` masks along frequency and `count` along time.

    D. S. Park et al., "SpecAugment", Interspeech 2019, section 2: a mask's width is uniform between
    0 and `bands` (rows) or `frames` (columns), its start uniform over the places where it fits.
    What is covered becomes `fill`, which should be the mean of the features (0 for `LogMel`).
    """
    for dim, widest in ((FREQUENCY, bands), (TIME, frames)) * count:
        size = x.shape[dim]
        draw = torch.rand(2, len(x), 1, generator=generator, device=x.device)
        width = (draw[0] * (min(widest, size) + 1)).floor()
        start = (draw[1] * (size - width + 1)).floor()
        place = torch.arange(size, device=x.device)
        covered = (place >= start) & (place < start + width)
        shape = (len(x), 1, size, 1) if dim == FREQUENCY else (len(x), 1, 1, size)
        x = x.masked_fill(covered.reshape(shape), fill)
    return x


def mixup(x: Tensor, targets: Tensor, generator: Generator, alpha: float) -> tuple[Tensor, Tensor]:
    """Blend every example, and its label distribution, with another one of the batch.

    H. Zhang, M. Cisse, Y. N. Dauphin, D. Lopez-Paz, "mixup", ICLR 2018, equation 1, with one
    Beta(alpha, alpha) weight an example.

    Args:
        x: Log-mel batch (batch, 1, mels, frames).
        targets: Label distributions (batch, classes).
        generator: Source of randomness.
        alpha: Parameter of the Beta distribution, above 0.

    Returns:
        The blended batch and its label distributions, of the same shapes.
    """
    # torch draws no Beta numbers from a given generator, numpy does.
    seed = torch.randint(2**62, (), generator=generator, device=x.device).item()
    draws = np.random.default_rng(int(seed)).beta(alpha, alpha, len(x))
    share = torch.from_numpy(draws).to(x)
    partner = torch.randperm(len(x), generator=generator, device=x.device)
    keep = share[:, None, None, None]
    blended = keep * x + (1 - keep) * x[partner]
    return blended, share[:, None] * targets + (1 - share[:, None]) * targets[partner]
