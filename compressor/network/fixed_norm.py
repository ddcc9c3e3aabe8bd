"""Residual Normalization as TensorFlow Lite Micro computes it: eight grids, each rounded twice.

``w * x + (x - mean) / root`` is ``(x - mean) * (1 / root + w) + w * mean``, which makes two tensors
of the size of `x` alive at a time enough: what is centred and its product. Mean and sum of squares
are whole sums with one move to a grid, so that quiet rows lose nothing on the way there: a
convolution of equal weights, and a product of every row with itself.

Source: B. Kim et al., "Domain Generalization on Efficient Acoustic Scene Classification using
Residual Normalization", DCASE Workshop 2021, equations 1 to 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from compressor.counting.stored import Integral, Role
from compressor.network.fixed import FULL_WEIGHT, sum_steps, whole
from compressor.network.fixed_point import scaled
from compressor.network.fixed_root import inverse_root_steps

GRIDS = "input", "mean", "centred", "power", "root", "gain", "shift", "product"
"""The grids of a normalisation, in the order of `FixedNorm.scales` and, but the first, `zeros`."""

ENDS = (-128, 127)
"""The smallest and the largest integer of each."""

MOST = 65_000
"""Entries of a row, channels times columns, whose sums 32 bits hold."""


@dataclass(frozen=True)
class Weighting:
    """A convolution of one entry, or of equal ones: what a sum is multiplied by, and what is added.

    Attributes:
        weight: The integer of every entry, int64 ().
        scale: What one step of it is worth, float32 ().
        bias: Added to the sums, int64 ().
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor


class FixedNorm(Integral):
    """A normalisation of every row of one example by its own mean and variance, in fixed point.

    Args:
        scales: What a step is worth on each of `GRIDS`, float32 (8,). Power is the sum of squares
            over a row, and the root that of this sum.
        zeros: The integers that stand for 0 on all but the input's, seven.
        eps: Added to the variance.
        weight: Share of the input that is passed on; None where it is a parameter, which every call
            is given.
    """

    scales: Tensor
    roles = MappingProxyType({"scales": Role.SCALE})

    def __init__(
        self, scales: Tensor, zeros: tuple[int, ...], eps: float, weight: float | None
    ) -> None:
        super().__init__()
        self.zeros, self.eps, self.weight = zeros, eps, weight
        self.register_buffer("scales", scales.detach().clone().float())

    def scale(self, name: str) -> Tensor:
        """What a step is worth on one of `GRIDS`, ()."""
        return self.scales[GRIDS.index(name)]

    def zero(self, name: str) -> int:
        """The integer that stands for 0 there; none for the input."""
        return self.zeros[GRIDS.index(name) - 1]

    def averaging(self, entries: int) -> Weighting:
        """What makes the mean of a row of so many entries out of its sum."""
        unit = self._number(1 / (FULL_WEIGHT * entries)).float()
        return Weighting(self._whole(FULL_WEIGHT), unit, self._whole(0))

    def added(self, entries: int) -> Tensor:
        """Steps, (), that are added to the power of a row of so many entries: `eps` for each."""
        steps = self.eps * entries / self.scale("power").double()
        return steps.round().clamp(max=ENDS[1] - ENDS[0]).long()

    def gaining(self, entries: int, weight: Tensor | float) -> Weighting:
        """What makes the gain out of the root: times the root of the entries, plus the weight."""
        unit = self._number(entries**0.5 / FULL_WEIGHT).float()
        bias = self._number(weight) / (self.scale("root").double() * unit.double())
        return Weighting(self._whole(FULL_WEIGHT), unit, bias.round().long())

    def shifting(self, weight: Tensor | float) -> Weighting:
        """What makes the shift out of the mean: times the weight."""
        own = self._number(weight)
        unit = torch.where(own == 0, 1.0, own.abs()) / FULL_WEIGHT
        return Weighting(own.sign().long() * FULL_WEIGHT, unit.float(), self._whole(0))

    def forward(self, x: Tensor, *, output_scale: Tensor, weight: Tensor | None = None) -> Tensor:
        """Normalise (batch, channel, rows, columns).

        Args:
            x: Values on the input's grid.
            output_scale: What one step of the result is worth, ().
            weight: Share of the input that is passed on, (), where it is a parameter.

        Returns:
            float32 of that shape, whole steps of the output scale, not yet limited to its grid.
        """
        entries, own = x.shape[1] * x.shape[3], self.weight if weight is None else weight
        if own is None:
            raise ValueError("a normalisation has to be told the share of its input")
        steps = whole(x, self.scale("input"))
        sums = steps.sum(dim=(1, 3), keepdim=True)
        mean = self._weighted(sums, self.averaging(entries), "input", "mean")
        scales = map(self.scale, ("input", "mean", "centred"))
        centred = self._on("centred", sum_steps(steps, mean, *scales, minus=True))
        root = self._root(centred.square().sum(dim=(1, 3), keepdim=True), entries)
        gain = self._weighted(root, self.gaining(entries, own), "root", "gain")
        shift = self._weighted(mean, self.shifting(own), "mean", "shift")
        unit = self.scale("centred").double() * self.scale("gain").double()
        product = self._on("product", scaled(centred * gain, unit / self.scale("product").double()))
        found = sum_steps(product, shift, self.scale("product"), self.scale("shift"), output_scale)
        return found.float() * output_scale

    def _root(self, squares: Tensor, entries: int) -> Tensor:
        """One over the root of sums of squares, in steps."""
        scale, unit = self.scale("power"), self.scale("centred")
        power = self._on("power", scaled(squares, (unit * unit).double() / scale.double()))
        power = self._on("power", power + self.added(entries))
        most = ENDS[1] - self.zero("root")
        return self._on("root", inverse_root_steps(power, scale, self.scale("root"), most))

    def _weighted(self, sums: Tensor, by: Weighting, source: str, target: str) -> Tensor:
        unit = self.scale(source).double() * by.scale.double() / self.scale(target).double()
        return self._on(target, scaled(sums * by.weight + by.bias, unit))

    def _on(self, name: str, steps: Tensor) -> Tensor:
        """Steps limited to one of `GRIDS`."""
        low, high = (end - self.zero(name) for end in ENDS)
        return steps.clamp(low, high)

    def _number(self, value: Tensor | float) -> Tensor:
        """One number in double precision, ()."""
        return torch.as_tensor(value, dtype=torch.float64, device=self.scales.device).reshape(())

    def _whole(self, value: int) -> Tensor:
        return torch.tensor(value, device=self.scales.device)
