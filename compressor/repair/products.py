"""Sums of products over rows: all that least squares needs, whatever the number of rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_FLOAT32 = 4
"""Bytes of a number of single precision."""


def single(tensor: Tensor) -> Tensor:
    """At least single precision: sums of half precision overflow, or lose their digits."""
    return tensor.float() if tensor.element_size() < _FLOAT32 else tensor


@dataclass
class Products:
    """Sums over rows of a problem ``y = W u + b``, one problem a group, in float64.

    Attributes:
        count: Rows so far.
        uu: Of products of entries, (group, entry, entry).
        yu: Of products of outputs and entries, (group, out, entry).
        yy: Of squared outputs, (group, out).
        u: Of entries, (group, entry).
        y: Of outputs, (group, out).
    """

    count: int
    uu: Tensor
    yu: Tensor
    yy: Tensor
    u: Tensor
    y: Tensor

    @classmethod
    def none(cls, groups: int, out: int, entries: int, *, means: bool = False) -> Products:
        """Sums over no rows; with `means`, products of two entries, or with one, are left out."""
        pairs = ((0, 0), (out, 0)) if means else ((entries, entries), (out, entries))
        shapes = (*pairs, (out,), (entries,), (out,))
        return cls(0, *(torch.zeros(groups, *shape, dtype=torch.float64) for shape in shapes))

    def add(self, u: Tensor, y: Tensor) -> None:
        """Add rows: entries (rows, group, entry) and outputs (rows, group, out)."""
        u, y = single(u), single(y)
        left, right = u.permute(1, 2, 0), u.permute(1, 0, 2)
        outputs = y.permute(1, 2, 0)
        self.count += len(u)
        if self.uu.numel():
            self.uu += (left @ right).cpu().double()
            self.yu += (outputs @ right).cpu().double()
        self.yy += y.square().sum(0).cpu().double()
        self.u += u.sum(0).cpu().double()
        self.y += y.sum(0).cpu().double()

    def __add__(self, other: Products) -> Products:
        """The sums over the rows of both."""
        names = ("uu", "yu", "yy", "u", "y")
        sums = (getattr(self, name) + getattr(other, name) for name in names)
        return Products(self.count + other.count, *sums)

    def centred(self) -> Products:
        """Mean products around the means: those of a problem in which the bias is free."""
        n = max(self.count, 1)
        u, y = self.u / n, self.y / n
        uu = self.uu / n - u.unsqueeze(2) * u.unsqueeze(1)
        yu = self.yu / n - y.unsqueeze(2) * u.unsqueeze(1)
        return Products(n, uu, yu, (self.yy / n - y.square()).clamp(min=0), u, y)

    def mean(self) -> Products:
        """Mean products as they are: those of a problem without a bias."""
        n = max(self.count, 1)
        return Products(n, self.uu / n, self.yu / n, self.yy / n, self.u / n, self.y / n)

    def error(self, weight: Tensor) -> Tensor:
        """Squared error of a weight (group, out, entry), by (group, out)."""
        cross = (weight * self.yu).sum(2)
        return self.yy - 2 * cross + ((weight @ self.uu) * weight).sum(2)
