"""Small networks that have each of the operations a `.tflite` file can hold, by its name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from models import ResidualNorm, SubSpectralNorm


class Net(nn.Module):
    """Layers, an input of some shape, and what is done with them."""

    def __init__(
        self, shape: tuple[int, ...], forward: Callable[[Net, Tensor], Tensor], *layers: nn.Module
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.does = forward
        self.example_input_array = torch.zeros(1, *shape)

    def forward(self, x: Tensor) -> Tensor:
        return self.does(self, x)


def chain(shape: tuple[int, ...], *layers: nn.Module) -> Net:
    """One layer behind the other."""

    def does(net: Net, x: Tensor) -> Tensor:
        for layer in net.layers:
            x = layer(x)
        return x

    return Net(shape, does, *layers)


def conv(
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, int],
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int = 1,
    groups: int = 1,
) -> nn.Sequential:
    """Convolution, normalisation, ReLU."""
    made = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False)
    return nn.Sequential(made, nn.BatchNorm2d(outputs), nn.ReLU())


def _gated(net: Net, x: Tensor) -> Tensor:
    first, squeeze, last = net.layers
    x = first(x)
    return last(x * torch.sigmoid(squeeze(x.mean((2, 3), keepdim=True))))


def _joined(net: Net, x: Tensor) -> Tensor:
    one, other, last = net.layers
    return last(torch.cat([one(x), other(x), x], 1))


def _twice(net: Net, x: Tensor) -> Tensor:
    one, last = net.layers
    y = one(x)
    return last(functional.relu(y) + y)


def _cut(net: Net, x: Tensor) -> Tensor:
    one, last = net.layers
    y = one(x)
    return last(y[:, :, 1:5]) + last(y[:, :, 2:6])


def _turned(net: Net, x: Tensor) -> Tensor:
    one, last = net.layers
    return last(one(x).permute(0, 2, 3, 1).flatten(1))


def _sums(net: Net, x: Tensor) -> Tensor:
    one, last = net.layers
    y = one(x)
    return last(y + y.mean(2, keepdim=True)).flatten(1)


def _outputs_of_planes(net: Net, x: Tensor) -> Tensor:
    (one,) = net.layers
    return one(x)


def _flat(net: Net, x: Tensor) -> Tensor:
    one, last = net.layers
    return last(one(x).flatten(1))


MICRO: dict[str, Callable[[], Net]] = {
    "plain": lambda: chain(
        (1, 12, 9),
        conv(1, 4, 3, 2, 1),
        conv(4, 6, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    ),
    "channels": lambda: chain(
        (3, 8, 8), conv(3, 4, 3, 1, 1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 5)
    ),
    "depthwise": lambda: chain(
        (2, 9, 10),
        conv(2, 6, 1),
        conv(6, 6, 3, 2, 1, groups=6),
        conv(6, 12, 3, 1, 1, groups=6),
        nn.Conv2d(12, 4, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ),
    "grouped": lambda: chain(
        (4, 8, 8),
        conv(4, 8, 3, 1, 1, groups=2),
        conv(8, 6, 1, groups=2),
        nn.AdaptiveAvgPool2d((2, 2)),
        nn.Flatten(),
        nn.Linear(24, 3),
    ),
    "dilated": lambda: chain(
        (1, 14, 14),
        conv(1, 6, 3, 1, 2, dilation=2),
        conv(6, 6, 3, 1, 2, dilation=2, groups=6),
        nn.Conv2d(6, 2, 3, dilation=3),
    ),
    "padded": lambda: chain(
        (1, 20, 21),
        conv(1, 6, 3, 2, 1),
        conv(6, 6, (5, 3), 1, (0, 1)),
        nn.MaxPool2d(2, 1, 1),
        conv(6, 8, 4, 2, 2),
        nn.Conv2d(8, 3, 2, 3, 1),
    ),
    "bands": lambda: chain(
        (1, 12, 7),
        conv(1, 4, 3, 1, 1),
        nn.Conv2d(4, 4, (3, 1), padding=(1, 0), groups=4),
        SubSpectralNorm(4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, (2, 1), 1),
        SubSpectralNorm(6, 2),
    ),
    "silu": lambda: chain(
        (2, 6, 7),
        conv(2, 4, 3),
        nn.Conv2d(4, 4, 1),
        nn.BatchNorm2d(4),
        nn.SiLU(),
        nn.Conv2d(4, 4, 3),
        nn.Sigmoid(),
        nn.Conv2d(4, 2, 1),
    ),
    "relu6": lambda: chain((1, 6, 6), nn.Conv2d(1, 4, 3), nn.ReLU6(), nn.Conv2d(4, 2, 3)),
    "gated": lambda: Net(
        (2, 6, 6), _gated, conv(2, 4, 3, 1, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 3, 1)
    ),
    "joined": lambda: Net(
        (2, 6, 6), _joined, conv(2, 4, 3, 1, 1), nn.Conv2d(2, 3, 1), nn.Conv2d(9, 3, 1)
    ),
    "moved": lambda: Net((2, 6, 6), _twice, nn.Conv2d(2, 4, 3), nn.Conv2d(4, 2, 1)),
    "sliced": lambda: Net((2, 8, 5), _cut, nn.Conv2d(2, 4, 3, 1, 1), nn.Conv2d(4, 2, 1)),
    "turned": lambda: Net((2, 5, 4), _turned, conv(2, 3, 3, 1, 1), nn.Linear(60, 4)),
    "broadcast": lambda: Net((2, 5, 4), _sums, conv(2, 3, 3, 1, 1), nn.Conv2d(3, 2, 1)),
    "planes": lambda: Net((2, 5, 4), _outputs_of_planes, nn.Conv2d(2, 3, 3)),
    "flat": lambda: Net((3, 4, 5), _flat, nn.Conv2d(3, 4, 2), nn.Linear(48, 3)),
    "norm first": lambda: chain(
        (1, 8, 8),
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 2, 1),
    ),
    "rows": lambda: chain(
        (1, 8, 9),
        ResidualNorm(),
        conv(1, 6, 3, 1, 1),
        ResidualNorm(0.3, learned=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 3, 1),
    ),
    "averages": lambda: chain(
        (2, 9, 10),
        nn.Conv2d(2, 6, 3, padding=1),
        nn.AvgPool2d(3, (2, 1), 1),
        conv(6, 4, 1),
        nn.AvgPool2d((2, 3), 2, (1, 0)),
        nn.Conv2d(4, 3, 1),
    ),
    "time": lambda: chain(
        (5, 20),
        nn.Conv1d(5, 6, 3, padding=1),
        nn.BatchNorm1d(6),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(6, 6, 5, stride=2, padding=2, groups=6),
        nn.Conv1d(6, 4, 1),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    ),
    "products": lambda: chain(
        (16,), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 16)
    ),
}
"""What is tried: each has one input and one output."""
