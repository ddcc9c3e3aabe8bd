"""Small networks that cut their channels into parts, equal or not, and join them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from .layers import conv_norm
from .sandwich import WIDTH, through, within

if TYPE_CHECKING:
    from collections.abc import Callable


class Res2(nn.Module):
    """Res2Net: parts of a remembered width, each filtered with what came of the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.width = 4
        self.enter, self.leave = nn.Conv2d(WIDTH, 16, 1), nn.Conv2d(16, WIDTH, 1)
        self.convs = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.split(torch.relu(self.enter(x)), self.width, 1)
        found = [torch.relu(self.convs[0](parts[0]))]
        for conv, part in zip(self.convs[1:], parts[1:3], strict=True):
            found.append(torch.relu(conv(found[-1] + part)))
        return x + self.leave(torch.cat([*found, parts[3]], 1))


class CrossStage(nn.Module):
    """C2f of YOLOv8: two remembered halves, and what comes of the second, again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.half = 8
        self.enter, self.leave = nn.Conv2d(WIDTH, 16, 1), nn.Conv2d(32, WIDTH, 1)
        self.layers = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        found = list(self.enter(x).split((self.half, self.half), 1))
        found.extend(torch.relu(layer(found[-1])) for layer in self.layers)
        return self.leave(torch.cat(found, 1))


class Ghost(nn.Module):
    """Half of the channels made of the other half by cheap filters, cut to a size."""

    def __init__(self) -> None:
        super().__init__()
        self.out = 16
        self.primary, self.cheap = conv_norm(WIDTH, 8, 1), conv_norm(8, 8, 3, groups=8)

    def forward(self, x: Tensor) -> Tensor:
        first = self.primary(x)
        return torch.cat([first, self.cheap(first)], 1)[:, : self.out]


class Inception(nn.Module):
    """InceptionNeXt: a tuple says how many channels go through which filter."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = (10, 2, 4)
        self.wide = nn.Conv2d(2, 2, (1, 5), padding=(0, 2), groups=2)
        self.high = nn.Conv2d(4, 4, (5, 1), padding=(2, 0), groups=4)

    def forward(self, x: Tensor) -> Tensor:
        same, wide, high = torch.split(x, self.sizes, 1)
        return torch.cat((same, self.wide(wide), self.high(high)), 1)


class Mixed(nn.Module):
    """MixConv: a list says how many channels have which kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.splits = [6, 10]
        kernels = zip(self.splits, (3, 5), strict=True)
        self.convs = nn.ModuleList(nn.Conv2d(n, n, k, padding=k // 2, groups=n) for n, k in kernels)

    def forward(self, x: Tensor) -> Tensor:
        parts = zip(self.convs, torch.split(x, self.splits, 1), strict=True)
        return torch.cat([conv(part) for conv, part in parts], 1)


def focus(x: Tensor) -> Tensor:
    """Four maps of half the size, side by side."""
    rows = [x[..., start::2, :] for start in (0, 1)]
    return torch.hstack([row[..., start::2] for start in (0, 1) for row in rows])


def pyramid(x: Tensor) -> Tensor:
    """Spatial pyramid pooling: the same map seen through windows of several sizes."""
    return torch.cat([x, *(functional.max_pool2d(x, k, 1, k // 2) for k in (3, 5))], 1)


def in_sixes(x: Tensor) -> Tensor:
    """Parts of six channels and a last one of four."""
    return torch.cat([torch.tanh(part) for part in x.split(6, 1)], 1)


def interleaved(x: Tensor) -> Tensor:
    """Every channel beside a copy of it."""
    return torch.stack([x, torch.tanh(x)], 2).flatten(1, 2)


CUTS: dict[str, Callable[[], nn.Module]] = {
    "res2net": within(Res2),
    "cross_stage": within(CrossStage),
    "ghost": within(Ghost),
    "sizes_in_a_tuple": within(Inception),
    "sizes_in_a_list": within(Mixed),
    "focus": through(focus, 4 * WIDTH),
    "pyramid_pooling": through(pyramid, 3 * WIDTH),
    "in_sixes": through(in_sixes),
    "interleaved": through(interleaved, 2 * WIDTH),
}
