"""The linear model of the 2022 tandem: moments of every mel band over time, then one layer.

Written from L. Schmidt, B. Kilic, N. Peters, technical report of the Friedrich-Alexander-
Universität Erlangen-Nürnberg for DCASE 2022 task 1, sections 2.1 and 3.2 (there called SVC, and
linear model in its Table 2: 12.81k parameters). Tensors are (batch, channel, frequency, time).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.layers import SHORT
from models.sizes import at_least

EPS = 1e-5
"""Added to the variance: a band that deviates by far less than its root (0.003) counts as even."""

HIGHEST_ORDER = 10
"""One frame that stands out among T has a standardised moment of about T ** (order / 2 - 1)."""


def moments(x: Tensor, order: int, eps: float = EPS) -> Tensor:
    """Moments of every band over time: mean, variance, skewness, kurtosis, hyperskewness, ...

    Moment 1 is the mean m_1, moment 2 the biased variance m_2, and moment k >= 3 the central moment
    m_k / (m_2 + eps) ** (k / 2). The kurtosis is therefore Pearson's, 3 for a normal distribution.
    The deviations are divided before they are raised, which is the same and cannot overflow, and
    taken from the first frame, so that an even band has deviations of exactly zero at any level.
    Values and gradients are finite for levels up to 1e18 in single precision. Inputs of 16 bits are
    computed in single precision and rounded at the end: what float16 cannot hold, a variance or a
    moment beyond 65,504, becomes infinite there, and in bfloat16 nothing does.

    Args:
        x: Spectrograms (batch, 1, mels, frames).
        order: How many moments.
        eps: What keeps silence and even bands finite; their moments from 2 on are 0.

    Returns:
        (batch, order, mels), of the type of `x`.
    """
    if x.dtype in SHORT:
        return moments(x.float(), order, eps).to(x.dtype)
    x = x.squeeze(1)  # (batch, 1, mels, frames) -> (batch, mels, frames)
    first = x[..., :1]
    shifted = x - first
    offset = shifted.mean(dim=-1, keepdim=True)
    centred = shifted - offset
    variance = centred.square().mean(dim=-1, keepdim=True)
    standard = centred * torch.rsqrt(variance + eps)
    higher = [standard.pow(k).mean(dim=-1) for k in range(3, order + 1)]
    found = [(first + offset).squeeze(-1), variance.squeeze(-1), *higher]
    return torch.stack(found[:order], dim=1)  # order times (batch, mels) -> (batch, order, mels)


class LinearMoments(nn.Module):
    """Moments, standardisation, one linear layer: 12,810 parameters at 256 bands and 10 classes.

    The moments differ in scale by a factor of a hundred, and the paper does not say what it did
    about it. Here each feature is standardised by running statistics (a batch normalisation without
    parameters), so that one learning rate and one l1 penalty suit them all and no parameter is
    added. Feature `(k - 1) * mels + band` is moment `k` of `band`.

    Args:
        mels: Mel bands.
        order: Highest moment, 1 to 10; the paper has 5.
        num_classes: Number of outputs.
        frames: Time frames of the example input.

    Attributes:
        example_input_array: Zeros (1, 1, mels, frames); neither parameter nor buffer.

    Raises:
        ValueError: If a size is below 1, or `order` above 10.
    """

    def __init__(
        self, mels: int = 256, order: int = 5, num_classes: int = 10, *, frames: int = 34
    ) -> None:
        super().__init__()
        sizes = {"mels": mels, "order": order, "num_classes": num_classes, "frames": frames}
        at_least(1, "LinearMoments", **sizes)
        if order > HIGHEST_ORDER:
            raise ValueError(
                f"LinearMoments(order={order}): order must be at most {HIGHEST_ORDER}; higher "
                "moments measure little but their greatest frame."
            )
        self.order = order
        self.standardise = nn.BatchNorm1d(order * mels, affine=False)
        self.classifier = nn.Linear(order * mels, num_classes)
        self.example_input_array = torch.zeros(1, 1, mels, frames)

    def forward(self, x: Tensor) -> Tensor:
        """Log-mel spectrograms (batch, 1, mels, frames) -> class logits (batch, classes)."""
        features = moments(x, self.order).flatten(1)  # (batch, order, mels) -> (b, order * mels)
        return self.classifier(self.standardise(features))

    def extra_repr(self) -> str:
        """Text that `print(model)` shows."""
        return f"order={self.order}"
