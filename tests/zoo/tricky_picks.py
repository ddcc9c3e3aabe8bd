"""Small networks that pick, sort, look up and sample along anything but their channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from .layers import Apply
from .sandwich import WIDTH, Flat, through, within

if TYPE_CHECKING:
    from collections.abc import Callable


def sorted_frames(x: Tensor) -> Tensor:
    """Every channel sorted in time, put back in order, with its three largest on top."""
    order = x.argsort(3)
    again = torch.zeros_like(x).scatter(3, order, x.gather(3, order))
    return again + x.gather(3, order.flip(3)) + x.topk(3, 3)[0].sum(3, keepdim=True)


def chosen_frames(x: Tensor) -> Tensor:
    """The same few frames of every channel, by a list that is spread over them."""
    steps = torch.tensor([0, 2, 1, 5]).view(1, 1, 1, 4).expand(1, x.shape[1], x.shape[2], 4)
    return x.gather(3, steps) + x[..., [1, 3, 4, 7]] + x.index_select(3, torch.arange(4))


def crossed_points(x: Tensor) -> Tensor:
    """Single points of the map, and the channels turned round by their numbers."""
    few = x[:, :, torch.tensor([0, 2, 1]), torch.tensor([1, 5, 0])]
    turned = x[:, torch.arange(x.shape[1] - 1, -1, -1)]
    return turned + few.mean(2)[..., None, None]


def scattered(x: Tensor) -> Tensor:
    """Sums, maxima and copies put where numbers say."""
    places = x.argmax(3, keepdim=True)
    y = x.scatter_add(3, places, x[..., :1]).index_add(2, torch.tensor([0, 2]), x[:, :, :2])
    y = y.scatter(3, places, 0.5).scatter_reduce(3, places, x[..., 1:2], "amax")
    y = y.index_copy(2, torch.tensor([4, 3]), x[:, :, :2]).index_fill(2, torch.tensor([7]), 1.0)
    return y.select_scatter(x[:, :, 0] * 2, 2, 1).slice_scatter(x[:, :, :2], 2, 5, 7)


def buckets(x: Tensor) -> Tensor:
    """Every value by its place among a few numbers, and how often each place is taken."""
    edges = torch.tensor([-1.0, 0.0, 1.0])
    places = torch.bucketize(x, edges) + torch.searchsorted(edges, x)
    return x * functional.one_hot(torch.bucketize(x, edges), 4).float().cumsum(3)[..., -1] + places


def statistics_in_time(x: Tensor) -> Tensor:
    """Mean, deviation, median, maximum and a large one in time: (batch, 5 * 16)."""
    y = x.flatten(2)
    return torch.cat([y.mean(2), y.std(2), y.median(2)[0], y.amax(2), y.sort(2)[0][..., 60]], 1)


def sampled(x: Tensor) -> Tensor:
    """The map turned by a fixed angle."""
    turn = torch.tensor([[[0.8, -0.6, 0.1], [0.6, 0.8, 0.0]]])
    grid = functional.affine_grid(turn, [1, *x.shape[1:]], align_corners=False)
    return functional.grid_sample(x, grid.expand(x.shape[0], -1, -1, -1), align_corners=False)


def alike(x: Tensor) -> Tensor:
    """Channels compared with those of another map, place by place and channel by channel."""
    y = torch.tanh(x) + 0.1
    return (
        x * functional.cosine_similarity(x, y, dim=1)[:, None]
        + functional.cosine_similarity(x.flatten(2), y.flatten(2), dim=2)[..., None, None]
    )


class SelectiveKernels(nn.Module):
    """SKNet: branches stacked, softmax over the branches, weighted sum (Li et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(WIDTH, WIDTH, k, padding=k // 2, groups=4) for k in (3, 5)
        )
        self.squeeze = nn.Linear(WIDTH, 8)
        self.weigh = nn.ModuleList(nn.Linear(8, WIDTH) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        both = torch.stack([branch(x) for branch in self.branches], 1)
        small = torch.relu(self.squeeze(both.sum(1).mean((2, 3))))
        share = torch.stack([layer(small) for layer in self.weigh], 1).softmax(1)
        return (both * share[..., None, None]).sum(1)


class Experts(nn.Module):
    """The two of four small networks that a gate ranks highest."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(WIDTH, 4)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, 12), nn.ReLU(), nn.Linear(12, WIDTH)) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = x.mean((2, 3))
        share, chosen = self.gate(y).softmax(-1).topk(2, -1)
        told = torch.stack([expert(y) for expert in self.experts], 1)
        picked = told.gather(1, chosen[..., None].expand(-1, -1, told.shape[-1]))
        return x + (picked * share[..., None]).sum(1)[..., None, None]


class Codebook(nn.Module):
    """Vectors replaced by the nearest of a table, with the straight-through gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.codes = nn.Conv2d(WIDTH, 10, 1), nn.Embedding(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        z = self.enter(x).permute(0, 2, 3, 1)
        distance = (z[..., None, :] - self.codes.weight).square().sum(-1)
        coded = z + (self.codes(distance.argmin(-1)) - z).detach()
        return coded.permute(0, 3, 1, 2)


class Positions(nn.Module):
    """A table of places, added to what stands there."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Embedding(64, WIDTH, padding_idx=0)

    def forward(self, x: Tensor) -> Tensor:
        y = x.flatten(2).transpose(1, 2)
        return (y + self.places(torch.arange(y.shape[1]))).transpose(1, 2).view_as(x)


class Transformed(nn.Module):
    """A spatial transformer: the network says itself where it looks (Jaderberg et al. 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.look, self.where = nn.Conv2d(WIDTH, 4, 8), nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        turn = torch.tanh(self.where(self.look(x).flatten(1))).view(-1, 2, 3)
        grid = functional.affine_grid(turn, list(x.shape), align_corners=False)
        return functional.grid_sample(x, grid, align_corners=False)


PICKS: dict[str, Callable[[], nn.Module]] = {
    "sorted_frames": through(sorted_frames),
    "chosen_frames": through(chosen_frames),
    "crossed_points": through(crossed_points),
    "scattered": through(scattered),
    "buckets": through(buckets),
    "statistics_in_time": lambda: Flat(Apply(statistics_in_time), 5 * WIDTH),
    "sampled": through(sampled),
    "alike": through(alike),
    "selective_kernels": within(SelectiveKernels),
    "experts": within(Experts),
    "codebook": within(Codebook, 10),
    "positions": within(Positions),
    "spatial_transformer": within(Transformed),
}
