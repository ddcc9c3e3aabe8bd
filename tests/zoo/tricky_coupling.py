"""Small networks whose channels are tied: sums, concatenations, groups, shared weights, gates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from .layers import Apply, Branches, SqueezeExcite, conv_norm, example
from .sandwich import CLASSES, WIDTH, Chain, Sandwich, through, within

if TYPE_CHECKING:
    from collections.abc import Callable


class Sum(nn.Module):
    """First module plus second module of the same input."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + self.second(x)


def constant_conv(bias: float) -> nn.Conv2d:
    """1x1 convolution of zero weights: importance zero, yet its channels are those of the sum."""
    conv = nn.Conv2d(WIDTH, WIDTH, 1)
    nn.init.zeros_(conv.weight)
    nn.init.constant_(conv.bias, bias)  # pyright: ignore[reportArgumentType]
    return conv


class ConcatInput(nn.Module):
    """Joins features with the raw image, whose three channels can never go."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, 8, 3)
        self.tail = conv_norm(11, 12, 3)
        self.classifier = nn.Linear(12, CLASSES)
        self.example_input_array = example(1, 3, 12, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.tail(torch.cat([self.stem(x), x], 1)).mean((2, 3)))


class Thrice(nn.Module):
    """One convolution applied three times, each time with a norm of its own, and added."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(WIDTH, WIDTH, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(WIDTH) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for norm in self.norms:
            x = torch.relu(x + norm(self.conv(x)))
        return x


class SharedNorm(nn.Module):
    """Two convolutions whose outputs pass through the very same BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(WIDTH, 8, 1, bias=False)
        self.second = nn.Conv2d(WIDTH, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.norm(self.first(x)), torch.relu(self.norm(self.second(x)))], 1)


class Tied(nn.Module):
    """Two convolutions hold one Parameter: its rows are written twice, its columns read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)
        self.second = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)))


class TiedDepthwise(nn.Module):
    """Two depthwise convolutions hold one Parameter; each remembers its number of groups."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH)
        self.second = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)))


class FunctionalConv(nn.Module):
    """A convolution that is no module: functional.conv2d of two Parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.1 * torch.randn(12, WIDTH, 3, 3))
        self.bias = nn.Parameter(0.1 * torch.randn(12))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(functional.conv2d(x, self.weight, self.bias, padding=1))


class Scale(nn.Module):
    """A raw Parameter (16, 1, 1) times the map."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(1.0 + 0.1 * torch.randn(WIDTH, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x


class Buffer(nn.Module):
    """A buffer of 16 values that the forward pass uses channel by channel."""

    offset: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("offset", torch.linspace(-1.0, 1.0, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x - self.offset.view(1, -1, 1, 1))


class Unused(nn.Module):
    """A convolution whose output nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Conv2d(WIDTH, WIDTH, 1)
        self.unused = nn.Conv2d(WIDTH, 24, 3)

    def forward(self, x: Tensor) -> Tensor:
        _ = self.unused(x)
        return self.used(x)


class FiLM(nn.Module):
    """Adds a (batch, channel, 1, 1) bias computed by a linear layer from the global mean."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.linear(x.mean((2, 3)))[:, :, None, None]


class ExpandedGate(nn.Module):
    """Squeeze and excite of linear layers, its gate brought to the size of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(WIDTH, 4), nn.ReLU(), nn.Linear(4, WIDTH), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, _, _ = x.shape
        return x * self.gate(x.mean((2, 3))).view(batch, channels, 1, 1).expand_as(x)


class SpatialGate(nn.Module):
    """A one-channel gate, from the mean and maximum over channels, broadcast over all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.conv(seen))


class FrequencyBroadcast(nn.Module):
    """A branch on the mean over frequency, added back to every frequency (BC-ResNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(WIDTH, WIDTH, (1, 3), padding=(0, 1), groups=WIDTH)
        self.pointwise = conv_norm(WIDTH, WIDTH, act=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.pointwise(self.depthwise(x.mean(2, keepdim=True))))


class TwoOutputs(nn.Module):
    """Returns the class scores and the features: the features' channels are an output too."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, WIDTH, 3, stride=2)
        self.features = conv_norm(WIDTH, 6, 3)
        self.classifier = nn.Linear(6, CLASSES)
        self.example_input_array = example(1, 3, 16, 16)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.features(self.stem(x))
        return self.classifier(x.mean((2, 3))), x


class TwoInputs(nn.Module):
    """An image and a vector, joined after the image has been pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, WIDTH, 3, stride=2)
        self.embed = nn.Linear(4, 6)
        self.classifier = nn.Linear(WIDTH + 6, CLASSES)
        self.example_input_array = (example(1, 3, 16, 16), example(1, 4))

    def forward(self, x: Tensor, side: Tensor) -> Tensor:
        pooled = self.stem(x).mean((2, 3))
        return self.classifier(torch.cat([pooled, torch.tanh(self.embed(side))], 1))


def nested() -> nn.Module:
    """Sequentials nested three deep."""
    inner = nn.Sequential(nn.Sequential(conv_norm(WIDTH, 8), nn.Sequential(conv_norm(8, 12, 3))))
    return Sandwich(nn.Sequential(nn.Identity(), inner), 12)


def pad_channels(x: Tensor) -> Tensor:
    """Pads 16 channels to 24 with zeros, the parameter-free shortcut of the first ResNets."""
    return functional.pad(x, (0, 0, 0, 0, 0, 8))


def conv1d() -> nn.Module:
    """Two one-dimensional convolutions on a waveform."""
    body = (nn.Conv1d(1, 12, 9, 2), nn.BatchNorm1d(12), nn.ReLU(), nn.Conv1d(12, 8, 3), nn.ReLU())
    head = (nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, CLASSES))
    return Chain((1, 1, 64), *body, *head)


def conv3d() -> nn.Module:
    """Two three-dimensional convolutions."""
    body = (nn.Conv3d(1, 8, 3), nn.BatchNorm3d(8), nn.ReLU(), nn.Conv3d(8, 6, 3), nn.ReLU())
    head = (nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(6, CLASSES))
    return Chain((1, 1, 8, 8, 8), *body, *head)


def fully_convolutional() -> nn.Module:
    """The output is a map: its channels are the answer and must never shrink."""
    return Chain((1, 3, 12, 12), conv_norm(3, WIDTH, 3), nn.Conv2d(WIDTH, 4, 1))


COUPLING: dict[str, Callable[[], nn.Module]] = {
    "residual_sum": within(lambda: Sum(nn.Identity(), conv_norm(WIDTH, WIDTH, 3))),
    "residual_projection": within(
        lambda: Sum(conv_norm(WIDTH, 24, act=None), conv_norm(WIDTH, 24, 3)), 24
    ),
    "residual_padded_shortcut": within(
        lambda: Sum(Apply(pad_channels), conv_norm(WIDTH, 24, 3)), 24
    ),
    "residual_zero_branch": within(lambda: Sum(nn.Identity(), constant_conv(0.0))),
    "residual_constant_branch": within(lambda: Sum(nn.Identity(), constant_conv(0.3))),
    "residual_one_channel_branch": within(lambda: Sum(nn.Identity(), nn.Conv2d(WIDTH, 1, 1))),
    "depthwise": within(lambda: conv_norm(WIDTH, WIDTH, 3, groups=WIDTH)),
    "depthwise_multiplier_2": within(lambda: conv_norm(WIDTH, 32, 3, groups=WIDTH), 32),
    "grouped_equal": within(lambda: conv_norm(WIDTH, WIDTH, 3, groups=4)),
    "grouped_unequal": within(lambda: conv_norm(WIDTH, 24, 3, groups=2), 24),
    "concat_three": within(
        lambda: Branches(conv_norm(WIDTH, 4), conv_norm(WIDTH, 6, 3), nn.MaxPool2d(3, 1, 1)), 26
    ),
    "concat_self": through(lambda x: torch.cat([x, x], 1), 32),
    "concat_input": ConcatInput,
    "squeeze_excite": within(lambda: SqueezeExcite(WIDTH, 4)),
    "squeeze_excite_expand_as": within(ExpandedGate),
    "mask_expand_as": through(lambda x: x * x.mean(1, keepdim=True).sigmoid().expand_as(x)),
    "film": within(FiLM),
    "spatial_gate": within(SpatialGate),
    "frequency_broadcast": within(FrequencyBroadcast),
    "shared_conv": within(Thrice),
    "shared_norm": within(SharedNorm),
    "tied_parameter": within(Tied),
    "tied_depthwise": within(TiedDepthwise),
    "functional_conv": within(FunctionalConv, 12),
    "scale_parameter": within(Scale),
    "channel_buffer": within(Buffer),
    "unused_conv": within(Unused),
    "weight_norm": within(
        lambda: parametrizations.weight_norm(nn.Conv2d(WIDTH, 12, 3, padding=1)), 12
    ),
    "conv_transpose": within(lambda: nn.ConvTranspose2d(WIDTH, 12, 2, stride=2), 12),
    "conv_transpose_grouped": within(
        lambda: nn.ConvTranspose2d(WIDTH, 24, 4, stride=2, padding=1, groups=2), 24
    ),
    "conv1d": conv1d,
    "conv3d": conv3d,
    "stride_and_dilation": within(
        lambda: nn.Conv2d(WIDTH, 12, 3, stride=2, padding=2, dilation=2), 12
    ),
    "one_channel": within(
        lambda: nn.Sequential(conv_norm(WIDTH, 1, act=None), conv_norm(1, 12, 3)), 12
    ),
    "nested_sequential": nested,
    "fully_convolutional": fully_convolutional,
    "two_outputs": TwoOutputs,
    "two_inputs": TwoInputs,
    "dropout2d": within(lambda: nn.Sequential(nn.Dropout2d(0.2), conv_norm(WIDTH, WIDTH))),
}
