"""Small networks whose arithmetic runs across channels: norms and reductions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .sandwich import WIDTH, through, within

if TYPE_CHECKING:
    from collections.abc import Callable


def residual_norm(x: Tensor) -> Tensor:
    """Residual Normalization: statistics over channels and time per frequency (arXiv:2111.06531).

    A dead channel is revived by it, and moves the statistics of the live ones.
    """
    mean = x.mean((1, 3), keepdim=True)
    variance = x.var((1, 3), keepdim=True, correction=0)
    return 0.1 * x + (x - mean) / torch.sqrt(variance + 1e-5)


def concat_mean(x: Tensor) -> Tensor:
    """Adds a seventeenth channel: the mean of the others."""
    return torch.cat([x, x.mean(1, keepdim=True)], 1)


STATISTICS: dict[str, Callable[[], nn.Module]] = {
    "group_norm": within(lambda: nn.GroupNorm(4, WIDTH)),
    "group_norm_one_group": within(lambda: nn.GroupNorm(1, WIDTH)),
    "instance_norm_affine": within(lambda: nn.InstanceNorm2d(WIDTH, affine=True)),
    "batch_norm_no_affine": within(lambda: nn.BatchNorm2d(WIDTH, affine=False)),
    "batch_norm_no_running_stats": within(lambda: nn.BatchNorm2d(WIDTH, track_running_stats=False)),
    "local_response_norm": within(lambda: nn.LocalResponseNorm(5)),
    "prelu_channels": within(lambda: nn.PReLU(WIDTH)),
    "residual_norm": through(residual_norm),
    "mean_channels": through(lambda x: x - x.mean(1, keepdim=True)),
    "concat_mean": through(concat_mean, WIDTH + 1),
    "max_channels": through(lambda x: x.amax(1, keepdim=True), 1),
    "softmax_channels": through(lambda x: x.softmax(1)),
    "l2_norm_channels": through(lambda x: x / (x.norm(dim=1, keepdim=True) + 1e-6)),
    "sum_by_constant": through(lambda x: x * (x.sum(1, keepdim=True) / 16)),
    "cumulative_sum": through(lambda x: x.cumsum(1)),
}
