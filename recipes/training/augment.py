"""Augmentation of log-mel batches (batch, channel, mels, frames), different for every example.

An augmentation is a frozen dataclass that is called with the batch, its label distributions
(batch, classes) and a `torch.Generator`, and gives both back. It draws from that generator and from
nothing else; generator and batch must be on the same device, where all of the work happens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

FREQUENCY, TIME = 2, 3
"""Dimensions of a batch."""

STEADY = 1e-6
"""Added to a variance, so that a band of equal values can be divided by its deviation."""

Batch = tuple[Tensor, Tensor]
"""Features (batch, channel, mels, frames) and label distributions (batch, classes)."""


class Augmentation(Protocol):
    """Protocol of the classes of this file."""

    def __call__(self, x: Tensor, targets: Tensor, generator: Generator, /) -> Batch:
        """The batch, changed; shapes and devices are kept."""
        ...


def apply(
    augmentations: Sequence[Augmentation], x: Tensor, targets: Tensor, generator: Generator
) -> Batch:
    """One augmentation after the other."""
    for augmentation in augmentations:
        x, targets = augmentation(x, targets, generator)
    return x, targets


@dataclass(frozen=True)
class Roll:
    """Roll every example in time by its own random number of frames; what falls off comes back.

    Attributes:
        most: Largest shift to either side, in frames; None for any shift.
    """

    most: int | None = None

    def __post_init__(self) -> None:
        """Refuse a negative shift."""
        if self.most is not None and self.most < 0:
            raise ValueError(f"{self}: most must be at least 0 frames, or None for any shift.")

    def __call__(self, x: Tensor, targets: Tensor, generator: Generator, /) -> Batch:
        """The batch with every example rolled; targets as they came."""
        batch, _, _, frames = x.shape
        low, high = (0, frames) if self.most is None else (-self.most, self.most + 1)
        shift = torch.randint(low, high, (batch, 1), generator=generator, device=x.device)
        source = (torch.arange(frames, device=x.device) - shift) % frames
        return x.gather(TIME, source[:, None, None, :].expand(x.shape)), targets


@dataclass(frozen=True)
class SpecAugment:
    """`count` masks along frequency and `count` along time, no time warping.

    D. S. Park et al., "SpecAugment", Interspeech 2019, section 2: a mask's width is uniform between
    0 and `bands` (rows) or `frames` (columns), its start uniform over the places where it fits.

    Attributes:
        bands: Widest frequency mask, in mel bands; 0 for none.
        frames: Widest time mask, in frames; 0 for none.
        count: Masks along each axis.
        fill: Value of covered entries; None for the mean of each example. So is the paper's 0, as
            its features are made to have mean 0.
    """

    bands: int
    frames: int
    count: int = 2
    fill: float | None = None

    def __post_init__(self) -> None:
        """Refuse negative sizes."""
        if min(self.bands, self.frames, self.count) < 0:
            raise ValueError(f"{self}: bands, frames and count must be at least 0.")

    def __call__(self, x: Tensor, targets: Tensor, generator: Generator, /) -> Batch:
        """The batch with rows and columns covered; targets as they came."""
        fill = x.mean(dim=(1, 2, 3), keepdim=True) if self.fill is None else x.new_tensor(self.fill)
        for dim, widest in ((FREQUENCY, self.bands), (TIME, self.frames)) * self.count:
            size = x.shape[dim]
            draw = torch.rand(2, len(x), 1, generator=generator, device=x.device)
            width = (draw[0] * (min(widest, size) + 1)).floor()
            start = (draw[1] * (size - width + 1)).floor()
            covered = _between(start, start + width, size)
            shape = (len(x), 1, size, 1) if dim == FREQUENCY else (len(x), 1, 1, size)
            x = torch.where(covered.reshape(shape), fill, x)
        return x, targets


@dataclass(frozen=True)
class _Blend:
    """Base of augmentations that mix two examples, in a share that a Beta distribution gives."""

    alpha: float

    def __post_init__(self) -> None:
        """Refuse what names no distribution."""
        if not 0 < self.alpha < float("inf"):
            raise ValueError(
                f"{self}: alpha must be above 0 and finite; leave the augmentation out for none."
            )


@dataclass(frozen=True)
class Mixup(_Blend):
    """Blend every example, and its label distribution, with another one of the batch.

    H. Zhang, M. Cisse, Y. N. Dauphin, D. Lopez-Paz, "mixup", ICLR 2018, equation 1, with one
    Beta(alpha, alpha) weight an example.

    Attributes:
        alpha: Parameter of the Beta distribution; small values blend little.
    """

    def __call__(self, x: Tensor, targets: Tensor, generator: Generator, /) -> Batch:
        """The blended batch and its label distributions."""
        share = _beta(self.alpha, x, generator)
        partner = torch.randperm(len(x), generator=generator, device=x.device)
        return blend(x, targets, share, partner)


@dataclass(frozen=True)
class FreqMix(_Blend):
    """Keep one frequency band of every example and take the rest from another of the batch.

    S. Chang et al., QTI submission to DCASE 2020, section 3.1: the band starts at a row drawn from
    Unif(0, F) and has F * lambda rows, lambda ~ Beta(alpha, alpha). A band that would reach beyond
    the last row ends there; the report does not say what happens to it. The label's weight is the
    share of rows that was really kept, so that both are always mixed in one ratio.

    Attributes:
        alpha: Parameter of the Beta distribution; the report's 1 makes lambda uniform.
    """

    alpha: float = 1.0

    def __call__(self, x: Tensor, targets: Tensor, generator: Generator, /) -> Batch:
        """The mixed batch and its label distributions."""
        rows = x.shape[FREQUENCY]
        share = _beta(self.alpha, x, generator)
        draw = torch.rand(len(x), generator=generator, device=x.device)
        partner = torch.randperm(len(x), generator=generator, device=x.device)
        start = (draw * rows).floor()[:, None]
        # The band's rows are whole; so is its share.
        kept = _between(start, start + (share[:, None] * rows).round(), rows)
        return blend_bands(x, targets, kept, partner)


@dataclass(frozen=True)
class FreqMixStyle(_Blend):
    """Give every example the statistics of each band mixed with those of another of the batch.

        x' = (x - mu) / sigma * (l sigma + (1 - l) sigma_2) + l mu + (1 - l) mu_2

    mu and sigma are those of a mel band of one example, over channels and frames; index 2 is the
    partner's, l ~ Beta(alpha, alpha) one an example. Labels stay. F. Schmid et al., CP-JKU
    submissions to DCASE 2022 and 2023 Task 1, after K. Zhou, Y. Yang, Y. Qiao, T. Xiang, "Domain
    Generalization with MixStyle", ICLR 2021. As in the official baseline of 2024 (helpers/utils.py
    of CPJKU/dcase2024_task1_baseline) one draw decides for the whole batch.

    Attributes:
        alpha: Parameter of the Beta distribution; the baseline's is 0.3.
        share: Probability that a batch is mixed, 0 to 1; the baseline's is 0.4.
    """

    alpha: float = 0.3
    share: float = 0.4

    def __post_init__(self) -> None:
        """Refuse what is no probability, or names no distribution."""
        super().__post_init__()
        if not 0 <= self.share <= 1:
            raise ValueError(f"{self}: share must lie between 0 and 1.")

    def __call__(self, x: Tensor, targets: Tensor, generator: Generator, /) -> Batch:
        """The batch in mixed styles; targets as they came."""
        share = _beta(self.alpha, x, generator)[:, None, None, None].to(x.dtype)
        partner = torch.randperm(len(x), generator=generator, device=x.device)
        mixed = torch.rand(1, generator=generator, device=x.device) < self.share
        if x[0, :, 0].numel() < 2:  # a band of one value has no deviation
            return x, targets
        mean = x.mean((1, TIME), keepdim=True)
        spread = (x.var((1, TIME), keepdim=True) + STEADY).sqrt()
        new_mean = share * mean + (1 - share) * mean[partner]
        new_spread = share * spread + (1 - share) * spread[partner]
        return torch.where(mixed, (x - mean) / spread * new_spread + new_mean, x), targets


@dataclass(frozen=True, eq=False)
class OtherDevices:
    """Some examples as another device records them: a gain for every mel band.

    To convolve a waveform with a short response is to multiply its spectrum; in a log-mel that is a
    gain a band, up to what a response does within one band and beyond one window (a test holds it
    to the convolution itself). So the log-mels can stay in memory. T. Morocutti et al.,
    "Device-Robust Acoustic Scene Classification via Impulse Response Augmentation", EUSIPCO 2023,
    convolve waveforms, of device a alone; here any clip may be drawn.

    Attributes:
        gains: Factors of the mel power (devices, mels), of `recipes.features.responses.mel_gains`.
        share: Probability that an example is changed, 0 to 1.
        level: `MelSettings.level` of the log-mels.
        spread: Likewise.
        floor: What was added to the mel power before the logarithm.
    """

    gains: Tensor
    share: float
    level: float
    spread: float
    floor: float

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        if not 0 <= self.share <= 1:
            raise ValueError(f"OtherDevices(share={self.share}): it must lie between 0 and 1.")

    def __call__(self, x: Tensor, targets: Tensor, generator: Generator, /) -> Batch:
        """The batch with some examples heard by a device drawn for each; targets as they came."""
        gains = self.gains.to(x)
        drawn = torch.randint(len(gains), (len(x),), generator=generator, device=x.device)
        changed = torch.rand(len(x), generator=generator, device=x.device) < self.share
        power = (x * self.spread + self.level).exp() - self.floor
        power = power.clamp_min(0) * gains[drawn][:, None, :, None] + self.floor
        heard = (power.log() - self.level) / self.spread
        return torch.where(changed[:, None, None, None], heard, x), targets


@dataclass(frozen=True)
class Either:
    """One of two augmentations for each example: what the 2020 report may mean by combining both.

    It trains with FreqMix and mixup together (sections 1 and 3) and does not say how. Blending an
    example twice would bury it among four, so each gets one of them.

    Attributes:
        first: Chosen with probability `share`.
        second: Chosen otherwise.
        share: Between 0 and 1.
    """

    first: Augmentation
    second: Augmentation
    share: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        if not 0 <= self.share <= 1:
            raise ValueError(f"{self}: share must lie between 0 and 1.")

    def __call__(self, x: Tensor, targets: Tensor, generator: Generator, /) -> Batch:
        """The batch with each example as one of the two made it."""
        # Both are made for all: to look at a draw, a GPU would have to be waited for.
        first = torch.rand(len(x), generator=generator, device=x.device) < self.share
        (x1, targets1), (x2, targets2) = (
            augmentation(x, targets, generator) for augmentation in (self.first, self.second)
        )
        mixed = torch.where(first[:, None, None, None], x1, x2)
        return mixed, torch.where(first[:, None], targets1, targets2)


def blend(x: Tensor, targets: Tensor, share: Tensor, partner: Tensor) -> Batch:
    """`share * example + (1 - share) * partner`, features and label distributions alike.

    `share` (batch,) of each example stays, 0 to 1; `partner` (batch,) is the position of the other.
    """
    keep = share[:, None, None, None].to(x.dtype)
    mixed = keep * x + (1 - keep) * x[partner]
    keep = share[:, None].to(targets.dtype)
    return mixed, keep * targets + (1 - keep) * targets[partner]


def blend_bands(x: Tensor, targets: Tensor, kept: Tensor, partner: Tensor) -> Batch:
    """The kept mel bands of every example, the others of its partner; labels in the same share.

    `kept` (batch, mels) masks the bands that stay; `partner` (batch,) is the position of the other.
    """
    mixed = torch.where(kept[:, None, :, None], x, x[partner])
    share = kept.to(targets.dtype).mean(dim=1, keepdim=True)
    return mixed, share * targets + (1 - share) * targets[partner]


def _between(start: Tensor, stop: Tensor, size: int) -> Tensor:
    """Mask (batch, size) of the places in [start, stop), which are (batch, 1) each."""
    place = torch.arange(size, device=start.device)
    return (place >= start) & (place < stop)


def _beta(alpha: float, x: Tensor, generator: Generator) -> Tensor:
    """One Beta(alpha, alpha) number an example (batch,), float64, on the batch's device.

    The share of one Gamma(alpha) number in the sum of two, each of which is a Gamma(alpha + 1)
    number times u^(1 / alpha), u uniform: in logarithms, as for a small alpha both are too small
    for any type (L. Devroye, "Non-Uniform Random Variate Generation", 1986, IX.3.4).
    """
    shape = torch.full((2, len(x)), alpha + 1, dtype=torch.float64, device=x.device)
    # What `torch.distributions` calls; that, however, takes no generator, and numbers drawn
    # elsewhere would make a GPU wait for them in every step.
    gamma = torch._standard_gamma(shape, generator)  # noqa: SLF001
    uniform = 1 - torch.rand(shape.shape, generator=generator, dtype=torch.float64, device=x.device)
    first, second = gamma.log() + uniform.log() / alpha
    return torch.sigmoid(first - second)
