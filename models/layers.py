"""Normalisation layers for audio networks that `torch.nn` does not have.

Tensors are (batch, channel, frequency, time). Every size used in `forward` is read from the input's
shape, never from an attribute, so a layer stays right after channels were removed from around it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.sizes import at_least

SHORT = (torch.float16, torch.bfloat16)
"""Types whose squares soon leave their range (float16 above 256) or digits (bfloat16): statistics
of such tensors are made in single precision."""


class SubSpectralNorm(nn.Module):
    """Batch normalisation with its own statistics in each frequency sub-band.

    By default every channel and sub-band has an affine pair too, as in S. Chang, H. Park, J. Cho,
    H. Park, S. Yun, K. Hwang, "SubSpectral Normalization for Neural Audio Data Processing", ICASSP
    2021. `shared=True` is the layer of the same group's DCASE 2020 report (section 2.2): "the same
    transform for all frequency groups", one affine pair for every channel. Channel `k` owns the
    entries `k * sub_bands ... (k + 1) * sub_bands - 1` of every parameter and statistic of `norm`,
    and entry `k` of the shared `weight` and `bias`.

    Args:
        channels: Channels of the input.
        sub_bands: Number of equal sub-bands; the frequency extent must be a multiple of it.
        shared: Whether the sub-bands of a channel share one affine pair: 2 * channels parameters
            instead of 2 * channels * sub_bands.

    Raises:
        ValueError: If `channels` or `sub_bands` is below 1.
    """

    def __init__(self, channels: int, sub_bands: int, *, shared: bool = False) -> None:
        super().__init__()
        at_least(1, "SubSpectralNorm", channels=channels, sub_bands=sub_bands)
        self.sub_bands = sub_bands
        self.norm = nn.BatchNorm2d(channels * sub_bands, affine=not shared)
        self.weight = nn.Parameter(torch.ones(channels)) if shared else None
        self.bias = nn.Parameter(torch.zeros(channels)) if shared else None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (batch, channel, frequency, time); the shape is kept."""
        batch, channels, frequency, time = x.shape
        bands = self.sub_bands
        # (b, c, f, t) -> (b, c * S, f / S, t): rows of one channel stay together, band by band.
        split = x.reshape(batch, channels * bands, frequency // bands, time)
        x = self.norm(split).reshape(batch, channels, frequency, time)
        if self.weight is None or self.bias is None:
            return x
        return x * self.weight[:, None, None] + self.bias[:, None, None]

    def extra_repr(self) -> str:
        """Text that `print(model)` shows."""
        return f"sub_bands={self.sub_bands}, shared={self.weight is not None}"


class ResidualNorm(nn.Module):
    """Residual Normalization: `weight * x` plus `x` normalised in each frequency row.

    B. Kim, S. Yang, J. Kim, S. Chang, "Domain Generalization on Efficient Acoustic Scene
    Classification using Residual Normalization", DCASE Workshop 2021, equations 1 to 3. Mean and
    (biased) variance of one example and one frequency run over channels and time, so the layer has
    no statistics to keep, is the same in training and evaluation, and removes most of what a
    recording device's frequency response adds. Inputs of 16 bits are normalised in single precision
    and rounded at the end.

    The paper fixes the weight at 0.1 and leaves "the automatic update of the lambda" to the future
    (sections 3.2 and 4); `learned=True` is that, in its plainest form: one parameter a layer, which
    starts at `weight` and is free to become negative.

    Args:
        weight: Share of the input that is passed on unnormalised (lambda in equation 3); 0 leaves
            the normalised input alone (FreqIN, equation 1, "w/o shortcut" in Table 3).
        eps: Added to the variance (epsilon in equation 1).
        learned: Whether `weight` is a parameter, of shape ().

    Raises:
        ValueError: If `weight` is negative or not finite, or `eps` is not positive.
    """

    def __init__(self, weight: float = 0.1, eps: float = 1e-5, *, learned: bool = False) -> None:
        super().__init__()
        if not 0 <= weight < float("inf") or not 0 < eps < float("inf"):
            msg = (
                f"ResidualNorm(weight={weight}, eps={eps}): weight must be finite and at least 0, "
                "eps finite and above 0."
            )
            raise ValueError(msg)
        self.weight = nn.Parameter(torch.tensor(float(weight))) if learned else weight
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (batch, channel, frequency, time); shape and type are kept."""
        if x.dtype in SHORT:
            return self(x.float()).to(x.dtype)
        mean = x.mean(dim=(1, 3), keepdim=True)
        centred = x - mean
        variance = (centred * centred).mean(dim=(1, 3), keepdim=True)
        return self.weight * x + centred * torch.rsqrt(variance + self.eps)

    def extra_repr(self) -> str:
        """Text that `print(model)` shows."""
        learned = isinstance(self.weight, nn.Parameter)
        weight = self.weight.item() if isinstance(self.weight, nn.Parameter) else self.weight
        return f"weight={weight:g}, eps={self.eps}, learned={learned}"
