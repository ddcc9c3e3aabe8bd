"""Small networks whose weights are computed: normed, standardised, scaled, multiplied, mixed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from .sandwich import WIDTH, within

if TYPE_CHECKING:
    from collections.abc import Callable


class Standardised(nn.Conv2d):
    """Every filter with mean 0 and variance 1 (Qiao et al. 2019)."""

    def forward(self, x: Tensor) -> Tensor:
        mean = self.weight.mean(dim=(1, 2, 3), keepdim=True)
        variance = self.weight.var(dim=(1, 2, 3), keepdim=True, unbiased=False)
        weight = (self.weight - mean) / torch.sqrt(variance + 1e-5)
        return functional.conv2d(
            x, weight, self.bias, self.stride, self.padding, groups=self.groups
        )


class ScaledStandardised(nn.Conv2d):
    """As NFNets have it: a gain for each filter, and the number of inputs as a number."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)
        self.gain = nn.Parameter(torch.ones(outputs, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        flat = self.weight.flatten(1)
        mean, std = flat.mean(1)[:, None, None, None], flat.std(1)[:, None, None, None]
        weight = self.gain * (self.weight - mean) / (std * 6.0 + 1e-4)
        return functional.conv2d(x, weight, self.bias, padding=1)


class ByInputs(nn.Conv2d):
    """As NFNets were published: the number of inputs is read off the weight (Brock et al. 2021)."""

    def forward(self, x: Tensor) -> Tensor:
        inputs = self.weight[0].numel()
        mean = self.weight.mean(dim=(1, 2, 3), keepdim=True)
        variance = self.weight.var(dim=(1, 2, 3), keepdim=True, unbiased=False)
        scale = torch.rsqrt(torch.clamp(variance * inputs, min=1e-4))
        return functional.conv2d(x, (self.weight - mean) * scale, self.bias, padding=1)


class NormedByBatchNorm(nn.Conv2d):
    """A weight standardised by ``batch_norm``, each filter as a channel."""

    def forward(self, x: Tensor) -> Tensor:
        flat = self.weight.reshape(1, self.out_channels, -1)
        weight = functional.batch_norm(flat, None, None, training=True, momentum=0.0)
        return functional.conv2d(x, weight.reshape_as(self.weight), self.bias, padding=1)


class MeanSquare(nn.Module):
    """A norm by the root of the mean square, with the mean written as a sum."""

    def forward(self, x: Tensor) -> Tensor:
        return x / torch.sqrt(x.pow(2).sum(1, keepdim=True) / x.shape[1] + 1e-5)


class Scaled(nn.Module):
    """A linear layer over channels with an equalised learning rate (Karras et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(12, WIDTH))
        self.bias = nn.Parameter(torch.zeros(12))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.linear(x.permute(0, 2, 3, 1), self.weight * 0.3, self.bias * 0.5)
        return y.permute(0, 3, 1, 2)


class LowRank(nn.Module):
    """A weight that is the product of two."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.randn(12, 5) / 3)
        self.right = nn.Parameter(torch.randn(5, WIDTH) / 3)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, (self.left @ self.right)[:, :, None, None])


class Snake(nn.Module):
    """``x + sin(a x)^2 / a`` with `a` for each channel, as its logarithm (Ziyin et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.rand(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        alpha = torch.exp(self.alpha)[None, :, None, None]
        return x + (alpha + 1e-9).reciprocal() * torch.sin(alpha * x).pow(2)


class Gates(nn.Module):
    """A sigmoid and a softplus of a parameter for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.randn(1, WIDTH, 1, 1))
        self.shift = nn.Parameter(torch.randn(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.gate) + functional.softplus(self.shift).view(1, -1, 1, 1)


class Mixed(nn.Module):
    """A convolution whose kernel is mixed of four by what comes in (Chen et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = nn.Parameter(0.1 * torch.randn(4, 12, WIDTH, 3, 3))
        self.attention = nn.Linear(WIDTH, 4)

    def forward(self, x: Tensor) -> Tensor:
        batch = x.shape[0]
        share = self.attention(x.mean((2, 3))).softmax(1)
        kernel = torch.einsum("bk,koihw->boihw", share, self.kernels).flatten(0, 1)
        y = x.reshape(1, -1, *x.shape[2:])
        y = functional.conv2d(y, kernel, padding=1, groups=batch)
        return y.reshape(batch, -1, *x.shape[2:])


WEIGHTS: dict[str, Callable[[], nn.Module]] = {
    "standardised": within(lambda: Standardised(WIDTH, 12, 3, padding=1), 12),
    "standardised_depthwise": within(
        lambda: Standardised(WIDTH, WIDTH, 3, padding=1, groups=WIDTH), WIDTH
    ),
    "scaled_standardised": within(lambda: ScaledStandardised(WIDTH, 12), 12),
    "scaled_by_inputs": within(lambda: ByInputs(WIDTH, 12, 3, padding=1), 12),
    "normed_by_batch_norm": within(lambda: NormedByBatchNorm(WIDTH, 12, 3, padding=1), 12),
    "mean_square_by_sum": within(MeanSquare),
    "scaled_weight": within(Scaled, 12),
    "weight_norm_transposed": within(
        lambda: parametrizations.weight_norm(nn.ConvTranspose2d(WIDTH, 12, 3, padding=1), dim=1), 12
    ),
    "spectral_norm": within(
        lambda: parametrizations.spectral_norm(nn.Conv2d(WIDTH, 12, 3, padding=1)), 12
    ),
    "low_rank": within(LowRank, 12),
    "snake": within(Snake),
    "gates_of_parameters": within(Gates),
    "mixed_kernels": within(Mixed, 12),
}
