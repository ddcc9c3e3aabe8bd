"""The tandem of 2022: a linear model and a BC-ResNet-ASC that corrects it.

Written from L. Schmidt, B. Kilic, N. Peters, technical report of the Friedrich-Alexander-
Universität Erlangen-Nürnberg for DCASE 2022 task 1, section 2.1 and Figure 1. Tensors are
(batch, channel, frequency, time).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.bcresnet import BCResNetASC
from models.linear import LinearMoments


class Tandem(nn.Module):
    """`log_softmax(linear(x) + cnn(x))`: 327,780 parameters at 256 bands, 324,580 at 192.

    The paper's two changes to the BC-ResNet (section 2.1): its last convolution has a bias, so that
    the linear model's can be adjusted before the log probabilities are normalised; and it starts
    "with zeros", so that "the model predictions only depend on the linear part" at first. Weight
    and bias of that convolution alone are meant: with zeros everywhere nothing but its bias would
    ever learn. The first step then moves the linear model and that convolution, the second all.

    Residual Normalization stands where the paper of 2021 has it, at the input and after the four
    stages. The report "adds residual normalization to all layers" (section 2.1), citing that paper,
    without saying where; nothing more is added here.

    The paper prints no count of the whole tandem; its 127.84k parameters and 17.383 million
    multiply-accumulates are those after feature selection and pruning. Cross-entropy of
    log-probabilities equals that of logits, so either loss fits.

    Args:
        mels: Frequency rows, a multiple of 32: 256, or 192 after the paper's feature selection.
        channels: Base width of the BC-ResNet-ASC; 80 is the paper's "Mod-8".
        num_classes: Number of outputs.
        order: Highest moment of the linear model.
        residual_norm: Weight of the identity in Residual Normalization; None for none.
        frames: Time frames of the example input; 34 are 1 s at a hop of 30 ms.
        linear: A linear model, trained before as in the paper, to take in as it is, not a copy.
            `order` is then its own.

    Attributes:
        example_input_array: Zeros (1, 1, mels, frames); neither parameter nor buffer.

    Raises:
        ValueError: If a size cannot be built, or `linear` is no `LinearMoments` or has other bands
            or classes.
    """

    def __init__(
        self,
        mels: int = 256,
        channels: int = 80,
        num_classes: int = 10,
        *,
        order: int = 5,
        residual_norm: float | None = 0.1,
        frames: int = 34,
        linear: LinearMoments | None = None,
    ) -> None:
        super().__init__()
        self.cnn = BCResNetASC(channels, num_classes, residual_norm, mels, frames=frames)
        if linear is None:
            linear = LinearMoments(mels, order, num_classes, frames=frames)
        self.linear = linear
        _check_fit(self.linear, mels, num_classes)
        nn.init.zeros_(self.cnn.classifier.weight)
        nn.init.zeros_(self.cnn.classifier.bias)
        self.example_input_array = torch.zeros(1, 1, mels, frames)

    def forward(self, x: Tensor) -> Tensor:
        """Log-mel spectrograms (batch, 1, mels, frames) -> log-probabilities (batch, classes)."""
        return torch.log_softmax(self.linear(x) + self.cnn(x), dim=1)


def _check_fit(linear: LinearMoments, mels: int, num_classes: int) -> None:
    """Refuse what is no linear model of moments, or one of other features or classes."""
    if not isinstance(linear, LinearMoments):
        raise ValueError(
            f"Tandem(linear={type(linear).__name__}): the linear model must be a LinearMoments, "
            "which makes its own features from spectrograms."
        )
    weight = linear.classifier.weight
    if weight.shape != (num_classes, linear.order * mels):
        classes, features = weight.shape
        raise ValueError(
            f"Tandem(mels={mels}, num_classes={num_classes}): the linear model has "
            f"{features // linear.order} bands and {classes} classes. Build both with the same."
        )
