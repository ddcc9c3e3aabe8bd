"""Baselines of Residual Normalization in the 2021 report: two normalisations of the input.

B. Kim, S. Yang, J. Kim, S. Chang, DCASE Workshop 2021, section 3.1 ("Baselines") and Table 3. Both
have no parameters and stand before a network. Tensors are (batch, channel, frequency, time).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from models.sizes import at_least

SCALE = 2.0**31
"""PCEN's constants are for samples as whole numbers of 32 bits; ours lie between -1 and 1."""

LOUDEST = 60.0
"""Logarithms beyond are no sound; their energies would leave the range of single precision."""


class GlobalFreqNorm(nn.Module):
    """Every band by its mean and deviation over all training data ("Global FreqNorm").

    Args:
        mean: Of every band, (bands,).
        deviation: Likewise, above 0.

    Raises:
        ValueError: If there are not as many of both, or a deviation is not above 0.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        if mean.ndim != 1 or mean.shape != deviation.shape or not bool((deviation > 0).all()):
            raise ValueError(
                f"GlobalFreqNorm got means {tuple(mean.shape)} and deviations "
                f"{tuple(deviation.shape)}, the least {float(deviation.min()):g}: a deviation "
                "above 0 is needed for every band."
            )
        self.register_buffer("mean", mean.detach().clone()[:, None])
        self.register_buffer("deviation", deviation.detach().clone()[:, None])

    @classmethod
    def of(cls, x: Tensor) -> GlobalFreqNorm:
        """The one of some training data (clips, channels, bands, frames)."""
        bands = x.transpose(0, 2).flatten(1).double()
        return cls(bands.mean(1).float(), bands.std(1, correction=0).float())

    def forward(self, x: Tensor) -> Tensor:
        """The shape is kept."""
        return (x - self.mean) / self.deviation


class FixedPCEN(nn.Module):
    """Per-channel energy normalisation of log-mels, with constants that are not learned.

        PCEN = (E / (eps + M)^gain + bias)^power - bias^power,   M_t = (1 - s) M_{t-1} + s E_t

    Y. Wang, P. Getreuer, T. Hughes, R. F. Lyon, R. A. Saurous, "Trainable Frontend For Robust and
    Far-Field Keyword Spotting", ICASSP 2017, equations 1 and 2. The report does not say which
    constants; these are the defaults of `librosa.pcen`. The smoother starts at the first frame, as
    if that had been there before. It is a product with a matrix, which every runtime has.

    Args:
        frames: Frames of an input.
        hop: From one frame to the next, in seconds.
        seconds: Time constant of the smoother.
        gain, bias, power, eps: As in the equation.

    Raises:
        ValueError: If a number is not above 0.
    """

    smoother: Tensor

    def __init__(
        self,
        frames: int,
        hop: float,
        *,
        seconds: float = 0.4,
        gain: float = 0.98,
        bias: float = 2.0,
        power: float = 0.5,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        at_least(1, "FixedPCEN", frames=frames)
        if min(hop, seconds, power, eps) <= 0:
            raise ValueError(
                f"FixedPCEN(hop={hop}, seconds={seconds}, power={power}, eps={eps}): all must be "
                "above 0."
            )
        self.gain, self.bias, self.power, self.eps = gain, bias, power, eps
        span = seconds / hop
        share = (math.sqrt(1 + 4 * span**2) - 1) / (2 * span**2)
        self.register_buffer("smoother", _smoother(frames, share))

    def forward(self, x: Tensor) -> Tensor:
        """Natural logarithms of energies -> the same shape."""
        energy = x.clamp(max=LOUDEST).exp() * SCALE
        smooth = energy @ self.smoother
        # A mean of energies is never below 0; a tool that fills in random tensors may make it so.
        gained = energy * torch.exp(-self.gain * torch.log(smooth.clamp(min=0) + self.eps))
        return (gained + self.bias) ** self.power - self.bias**self.power


class Normalised(nn.Module):
    """A normalisation, then a network.

    Args:
        norm: Of spectrograms; keeps their shape.
        network: With an `example_input_array`, which becomes this one's.
    """

    def __init__(self, norm: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.norm, self.network = norm, network
        self.example_input_array = network.example_input_array

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network to it."""
        return self.network(self.norm(x))


def _smoother(frames: int, share: float) -> Tensor:
    """(frames, frames): column t holds what every earlier frame adds to M_t."""
    t = torch.arange(frames, dtype=torch.float64)
    age = t[None, :] - t[:, None]
    weights = torch.where(age >= 0, share * (1 - share) ** age.clamp(min=0), 0.0)
    weights[0] = (1 - share) ** t  # the first frame stands for all before it
    return weights.float()
