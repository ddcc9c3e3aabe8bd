"""Nearest points: projections onto sets and proximal operators, in a diagonal metric.

In the metric H, a positive weight for every entry, the distance of two points is
``sum of H * (x - y)^2``. With H the Fisher diagonal, distance is what the loss feels to second
order, so that a large weight that the loss ignores is no reason to keep it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from compressor.surgery import masks

Tensors = Mapping[str, Tensor]
"""Tensors by name: of a point, or of a metric."""

Projection = Callable[[Tensors, Tensors, float], Mapping[str, Tensor]]
"""Called as ``project(point, metric, rho)``: the z that minimises
``g(z) + rho / 2 * ||z - point||_H^2``. A set does not ask for rho (g is 0 inside of it and infinite
outside), a penalty does."""


def largest(
    values: Tensor, count: int, *, metric: Tensor | None = None, saliency: Tensor | None = None
) -> Tensor:
    """Choose the entries to keep, to lose as little as possible: the largest ``H * value^2``.

    Args:
        values: Any shape.
        count: Number of entries to keep.
        metric: H, of the same shape; ones by default.
        saliency: Decides between entries that lose the same, larger first, and between those whose
            saliency is the same too the first in row-major order: the same in every process.

    Returns:
        A boolean tensor of the shape of `values` with exactly `count` entries True.

    Raises:
        ValueError: If there are not `count` entries, or a value is not finite.
    """
    if not 0 <= count <= values.numel():
        raise ValueError(
            f"{count} entries were asked of {values.numel()}: ask for 0 to {values.numel()}"
        )
    kept = values.detach().double().square()
    if metric is not None:
        kept = kept * metric.double()
    if not bool(torch.isfinite(kept).all()):
        raise ValueError(
            f"{int((~torch.isfinite(kept)).sum())} of {kept.numel()} entries to choose from are "
            "NaN or infinite: lower the learning rate"
        )
    return masks.largest(kept, count, ties=saliency)


def cardinality(
    values: Tensor, count: int, *, metric: Tensor | None = None, saliency: Tensor | None = None
) -> Tensor:
    """Projection onto tensors with at most `count` non-zero entries (hard thresholding).

    The nearest such tensor keeps the largest ``H * value^2`` as they are. The count holds whatever
    the size of the values, where a fixed threshold would drift with it.

    Args, errors:
        As in `largest`.
    """
    mask = largest(values, count, metric=metric, saliency=saliency)
    return torch.where(mask, values, torch.zeros_like(values))
