"""CP-Mobile, the network that won DCASE 2023 Task 1, and the official baseline of 2024 and 2025.

F. Schmid, T. Morocutti, S. Masoudian, K. Koutini, G. Widmer, "CP-JKU submission to DCASE23:
efficient acoustic scene classification with CP-Mobile", DCASE challenge, technical report, 2023.
The baseline of 2024 (F. Schmid et al., "Data-efficient low-complexity acoustic scene classification
in the DCASE 2024 challenge", 2024, section 5) is the same without response normalisation. What
reports leave open (paddings, the order of the last layers, the first weights) is as in the authors'
published code. Tensors are (batch, channel, frequency, time).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.sizes import at_least

STEP = 8
"""Every width is a multiple of it."""

STRIDES = {2: (2, 2), 4: (2, 1)}
"""Of the winner of 2023."""


def rounded_width(width: float) -> int:
    """The nearest multiple of 8, at least 8; the next one where that loses more than a tenth."""
    nearest = max(STEP, int(width + STEP / 2) // STEP * STEP)
    return nearest + STEP if nearest < 0.9 * width else nearest


def he_fan_out(module: nn.Module) -> None:
    """Start convolutions from He's normal distribution over the fan-out, as the authors do."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")


class ResponseNorm(nn.Module):
    """Global response normalisation: every channel by its share of the energy of all.

        y = x + gamma x n + beta,   n_c = |x_c| / (mean over channels of |x| + 1e-6)

    S. Woo et al., "ConvNeXt V2", CVPR 2023, equations 1 to 3; with one gamma and one beta for all
    channels, as CP-Mobile has it. |x_c| is the Euclidean norm over frequency and time. The mean is
    written as a sum over a number that stays: a channel that is zero and one that is removed then
    leave the same outputs.

    Args:
        channels: Of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.gamma = nn.Parameter(torch.zeros(1))
        self.beta = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """The shape is kept."""
        # A root would have no gradient at a channel that is silent; the norm's is zero there.
        energy = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)
        mean = energy.sum(dim=1, keepdim=True) / self.channels
        return x + self.gamma * (x * (energy / (mean + 1e-6))) + self.beta


class MobileBlock(nn.Module):
    """Wider by a 1x1 convolution, 3x3 of each channel by itself, back by a 1x1 convolution.

    Where the channels stay, the input is added; where the picture becomes smaller too, its means
    over 3x3.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        expansion: Factor of the channels in between.
        stride: Of the middle convolution, (frequency, time).
        response_norm: Whether a `ResponseNorm` follows the sum.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        expansion: float,
        stride: tuple[int, int],
        *,
        response_norm: bool,
    ) -> None:
        super().__init__()
        inner = rounded_width(inputs * expansion)
        self.expand = nn.Conv2d(inputs, inner, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(inner)
        self.depthwise = nn.Conv2d(
            inner, inner, 3, stride=stride, padding=1, groups=inner, bias=False
        )
        self.norm2 = nn.BatchNorm2d(inner)
        self.project = nn.Conv2d(inner, outputs, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(outputs)
        self.residual = inputs == outputs
        smaller = self.residual and stride != (1, 1)
        self.shortcut = nn.AvgPool2d(3, stride=stride, padding=1) if smaller else nn.Identity()
        self.response_norm = ResponseNorm(outputs) if response_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, frequency, time) -> (batch, outputs, frequency, time)."""
        y = self.norm1(self.expand(x)).relu()
        y = self.norm2(self.depthwise(y)).relu()
        y = self.norm3(self.project(y))
        if self.residual:
            y = y + self.shortcut(x)
        return self.response_norm(y).relu()


class CPMobile(nn.Module):
    """Two convolutions, blocks in stages of growing width, a 1x1 convolution, the mean.

    With the defaults the winner of 2023 without its int8 rounding: 126,952 parameters and, as the
    challenge counts, 28,893,268 MACs for one second of 64 frames: the authors' emphasis of high
    frequencies takes one sample, and with it a frame. `CPMobile.baseline2024()` is the official
    baseline of 2024 and 2025, which hears 65.

    Args:
        num_classes: Number of outputs.
        in_channels: Channels of the input.
        channels: Of the second convolution and the first stage.
        multiplier: Factor of the width from a stage to the next.
        expansion: Factor of the channels inside a block.
        blocks: Number of blocks in each stage.
        strides: Strides (frequency, time) by the number of a block, from 1; (1, 1) for all others.
            None for those of `STRIDES` whose blocks there are.
        response_norm: Whether blocks end in a `ResponseNorm`.
        mels: Frequency rows of the example input.
        frames: Time frames of the example input.

    Attributes:
        example_input_array: Zeros (1, in_channels, mels, frames); neither parameter nor buffer.

    Raises:
        ValueError: If a size is below 1 or no whole number, a factor is not above 0, there is no
            stage, or a stride is for a block that there is not.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        *,
        channels: int = 32,
        multiplier: float = 2.3,
        expansion: float = 3.0,
        blocks: Sequence[int] = (3, 2, 1),
        strides: Mapping[int, tuple[int, int]] | None = None,
        response_norm: bool = True,
        mels: int = 256,
        frames: int = 64,
    ) -> None:
        super().__init__()
        at_least(1, "CPMobile", num_classes=num_classes, in_channels=in_channels, channels=channels)
        at_least(1, "CPMobile", mels=mels, frames=frames)
        if strides is None:
            strides = {block: by for block, by in STRIDES.items() if block <= sum(blocks)}
        _check(multiplier, expansion, blocks, strides)
        stages = [rounded_width(channels * multiplier**stage) for stage in range(len(blocks))]
        widths = [stages[0], *(w for w, n in zip(stages, blocks, strict=True) for _ in range(n))]
        self.stem = nn.Sequential(
            *_halving(in_channels, stages[0] // 4), *_halving(stages[0] // 4, stages[0])
        )
        self.blocks = nn.Sequential(
            *(
                MobileBlock(
                    *pair,
                    expansion,
                    tuple(strides.get(number, (1, 1))),
                    response_norm=response_norm,
                )
                for number, pair in enumerate(pairwise(widths), start=1)
            )
        )
        self.classifier = nn.Sequential(
            nn.Conv2d(widths[-1], num_classes, 1, bias=False), nn.BatchNorm2d(num_classes)
        )
        self.apply(he_fan_out)
        self.example_input_array = torch.zeros(1, in_channels, mels, frames)

    @classmethod
    def baseline2024(
        cls, num_classes: int = 10, in_channels: int = 1, *, mels: int = 256, frames: int = 65
    ) -> CPMobile:
        """The official baseline of 2024 and 2025: 61,148 parameters, 29,419,156 MACs.

        Args:
            num_classes: Number of outputs.
            in_channels: Channels of the input.
            mels: Frequency rows of the example input.
            frames: Time frames of the example input.
        """
        return cls(
            num_classes, in_channels, multiplier=1.8, expansion=2.1,
            strides={3: (1, 2), 4: (2, 1)}, response_norm=False, mels=mels, frames=frames,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Spectrograms (batch, in_channels, mels, frames) -> class logits (batch, classes)."""
        return self.classifier(self.blocks(self.stem(x))).mean(dim=(2, 3))


def _halving(inputs: int, outputs: int) -> list[nn.Module]:
    """A convolution that halves frequency and time, its normalisation, a rectifier."""
    convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def _check(
    multiplier: float,
    expansion: float,
    blocks: Sequence[int],
    strides: Mapping[int, tuple[int, int]],
) -> None:
    if not (multiplier > 0 and expansion > 0):
        raise ValueError(
            f"CPMobile(multiplier={multiplier}, expansion={expansion}): both must be above 0."
        )
    if not blocks:
        raise ValueError("CPMobile(blocks=()): at least one stage is needed.")
    for count in blocks:
        at_least(1, "CPMobile", blocks=count)
    if unknown := sorted(set(strides) - set(range(1, sum(blocks) + 1))):
        raise ValueError(
            f"CPMobile(strides=...): there is no block {unknown[0]}, as there are {sum(blocks)} "
            "blocks, counted from 1."
        )
