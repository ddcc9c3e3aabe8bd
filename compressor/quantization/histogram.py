"""The part of its range that an activation is given: a histogram, and the least squared error.

Values are collected while batches run, at the cost of a few passes over each and with nothing kept
but 2,048 counts. A scale then makes the mean squared error of rounding and limiting least.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

BINS = 2048
"""Bins between zero and the largest magnitude; a power of two, so that bins merge exactly."""

FRACTIONS = 91
"""Candidate limits, from 0.1 to 1.0 of the largest magnitude, each 2.6 % above the one before."""


class Histogram(nn.Module):
    """Counts of the magnitudes of all values seen, and their extremes.

    When a value lies beyond the last bin the range is doubled as often as needed, and bins are
    merged 2, 4, ... at a time: counts stay exact. Zeros are not counted, as no scale changes them.
    All state is in buffers.
    """

    counts: Tensor  # values in each bin, (2048,), whole numbers
    top: Tensor  # upper end of the last bin, 0 before the first value
    largest: Tensor  # magnitude
    least: Tensor  # value, at most 0

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(BINS, dtype=torch.int64))
        for name in ("top", "largest", "least"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def forward(self, x: Tensor) -> None:
        """Add all values of a tensor of any shape.

        Nothing is read back from a GPU except the size of the counts.
        """
        x = x.detach().float()
        magnitude = x.abs()
        largest = magnitude.amax().double()
        self._grow(largest)
        self.largest.copy_(torch.maximum(self.largest, largest))
        self.least.copy_(torch.minimum(self.least, x.amin().double()))
        place = (magnitude * (BINS / self.top).float()).long().clamp_(0, BINS - 1)
        self.counts.add_(torch.bincount(place.reshape(-1), minlength=BINS))
        self.counts[0] -= (magnitude == 0).sum()

    @property
    def signed(self) -> bool:
        """True if any value was negative."""
        return bool(self.least < 0)

    def scale(self, high: int) -> Tensor:
        """The scale with the least squared error, of shape (), in single precision.

        Args:
            high: Largest step of the grid; values on either side of zero are treated alike.

        Returns:
            The limit divided by `high`; 1 where every value was zero.

        Raises:
            ValueError: If a value was not finite.
        """
        if not torch.isfinite(self.largest):
            raise ValueError(
                "an activation was infinite or not a number while scales were calibrated: the "
                "network does not work on these batches. Calibrate a trained network"
            )
        if self.largest == 0:
            return torch.ones((), device=self.top.device)
        # Evenly spaced by ratio: with limits such as 67 and 68 hundredths scales would be in exact
        # ratios, and sums of two activations lie halfway between steps, where runtimes differ.
        powers = torch.linspace(-1, 0, FRACTIONS, dtype=torch.float64, device=self.top.device)
        limits = 10**powers
        scales = limits * self.largest / high
        return scales[self.errors(scales, high).argmin()].float()

    def errors(self, scales: Tensor, high: int) -> Tensor:
        """Mean squared error for each of some scales, values being spread evenly in their bins.

        Scales and result are (candidates,), the result in units of the values' square; `high` is
        the largest step.
        """
        ends = torch.linspace(0, 1, BINS + 1, dtype=torch.float64, device=self.top.device)
        summed = _summed(ends * self.top / scales[:, None], high)
        in_bins = summed.diff(dim=1) * self.counts
        width = self.top / BINS
        return in_bins.sum(dim=1) * scales**3 / (width * self.counts.sum().clamp(min=1))

    def _grow(self, largest: Tensor) -> None:
        """Double the range until it holds a value, merging bins; a first value sets it."""
        first = self.top == 0
        doublings = torch.ceil(torch.log2(largest / self.top)).clamp_(min=0)
        doublings = torch.where(first, 0.0, doublings).nan_to_num_(0, 0, 0)
        bins = torch.arange(BINS, device=self.counts.device)
        merged = (bins * torch.exp2(-doublings)).long()
        self.counts.copy_(torch.zeros_like(self.counts).index_add_(0, merged, self.counts))
        self.top.copy_(torch.where(first, largest, self.top * torch.exp2(doublings)))


def _summed(u: Tensor, high: int) -> Tensor:
    """Integral of the squared error from 0 to u, in steps; beyond `high` values are limited.

    Up to `high` the error is the distance d to the nearest integer k: every whole step brings 1/12
    and the rest d^3 / 3, counted from k (negative below it). Beyond, the error is u - high.
    """
    nearest = u.round()
    rounded = nearest / 12 + (u - nearest) ** 3 / 3
    limited = high / 12 + (u - high) ** 3 / 3
    return torch.where(u <= high, rounded, limited)
