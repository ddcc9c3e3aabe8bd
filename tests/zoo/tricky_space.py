"""Small networks that move between channels and space, and up and down in size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from .layers import Apply
from .sandwich import WIDTH, through, within

if TYPE_CHECKING:
    from collections.abc import Callable


def windows(x: Tensor) -> Tensor:
    """The mean of every window, from its places as channels."""
    batch, channels, height, width = x.shape
    places = functional.unfold(x, 3, padding=1).view(batch, channels, 9, height, width)
    return places.mean(2) + x.unfold(3, 3, 1).mean(-1).mean(3, keepdim=True)


def there_and_back(x: Tensor) -> Tensor:
    """Places of windows as channels, and the sum of them back in their places."""
    return functional.fold(torch.tanh(functional.unfold(x, 2, stride=2)), x.shape[2:], 2, stride=2)


def in_time_by_hand(x: Tensor) -> Tensor:
    """Every two channels become one of twice the length."""
    batch, channels, height, width = x.shape
    x = x.view(batch, 2, channels // 2, height, width)
    return x.permute(0, 2, 3, 4, 1).reshape(batch, channels // 2, height, 2 * width)


def turned(x: Tensor) -> Tensor:
    """The map turned, its upper triangle, its diagonal, and differences in time."""
    steps = functional.pad(x.diff(dim=3), (0, 1))
    return x.rot90(1, (2, 3)) + x.triu(1) + x.diagonal(dim1=2, dim2=3)[..., None] + steps


def smoothed(x: Tensor) -> Tensor:
    """Down and up again with filters that look further than the next pixels."""
    small = functional.interpolate(x, (4, 4), mode="bicubic", antialias=True)
    return functional.interpolate(small, (8, 8), mode="bilinear", antialias=True)


def unpooled() -> nn.Module:
    """Maxima put back where they were, by the numbers that the pooling gave (SegNet)."""

    class Unpooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
            self.enter, self.inner = nn.Conv2d(WIDTH, 12, 1), nn.Conv2d(12, 12, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            small, places = self.pool(torch.relu(self.enter(x)))
            return self.unpool(torch.relu(self.inner(small)), places)

    return Unpooled()


def large_pixels() -> nn.Module:
    """Pixel shuffle of a map that is larger than it has channels."""
    shuffle = nn.Sequential(
        nn.Conv2d(WIDTH, 32, 1), nn.Upsample(scale_factor=4), nn.PixelShuffle(2)
    )
    return nn.Sequential(shuffle, nn.PixelUnshuffle(4), nn.Conv2d(128, 8, 1))


def volumes() -> nn.Module:
    """Pixel shuffle of a map with one more dimension in front of the channels."""
    return nn.Sequential(
        nn.Conv2d(WIDTH, 32, 1),
        Apply(lambda x: x.unsqueeze(1)),
        nn.PixelShuffle(2),
        Apply(lambda x: x.squeeze(1)),
    )


SPACE: dict[str, Callable[[], nn.Module]] = {
    "windows": through(windows),
    "there_and_back": through(there_and_back),
    "in_time_by_hand": through(in_time_by_hand, 8),
    "turned": through(turned),
    "smoothed": through(smoothed),
    "unpooled": within(unpooled, 12),
    "large_pixels": within(large_pixels, 8),
    "volumes": within(volumes, 8),
    "shuffle_module": within(
        lambda: nn.Sequential(nn.ChannelShuffle(4), nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=4))
    ),
    "local_pooling": through(lambda x: functional.lp_pool2d(torch.relu(x), 2, 3, 1)),
}
