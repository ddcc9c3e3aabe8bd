"""Whatever leaves channels apart lets them pass, in every form; what counts them says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.tracing.test_walk_across import Between, X, follows

Function = Callable[[Tensor], Tensor]
FEW = torch.tensor([0, 2, 1])


def few_of_all(x: Tensor) -> Tensor:
    """The numbers of three frames, for every channel and row."""
    return FEW.view(1, 1, 1, 3).expand(1, x.shape[1], x.shape[2], 3)


def cleared(x: Tensor) -> Tensor:
    y = x.clone()
    y.zero_()
    return y + x


def added_at(x: Tensor) -> Tensor:
    y = x.clone()
    y.index_add_(3, FEW, x[..., :3])
    return y.index_fill_(2, torch.tensor([1]), 0.5)


def put(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, :, FEW, torch.tensor([0, 1, 2])] = x[:, :, :3, 0] * 2
    return y


def unpooled(x: Tensor) -> Tensor:
    y, places = functional.max_pool2d(x, 2, return_indices=True)
    return functional.max_unpool2d(torch.tanh(y), places, 2)


PASS: dict[str, tuple[Function, int]] = {
    "stack last": (lambda x: torch.stack([x, x.relu()], -1).sum(-1), 12),
    "stack first": (lambda x: torch.stack([x, x.relu()]).sum(0), 12),
    "vstack": (lambda x: torch.vstack([x, x.relu()]).sum(0, keepdim=True), 12),
    "hstack": (lambda x: torch.hstack([x, x.relu()]), 24),
    "dstack": (lambda x: torch.dstack([x, x.relu()]), 12),
    "column_stack": (lambda x: torch.column_stack([x, x.relu()]), 24),
    "unbind": (lambda x: sum(x.unbind(3), x[..., 0])[..., None], 12),
    "cumprod": (lambda x: x.sigmoid().cumprod(3), 12),
    "gather": (lambda x: x.gather(3, few_of_all(x)), 12),
    "gather by the largest": (lambda x: x.gather(3, x.topk(2, 3).indices), 12),
    "take_along_dim, spread": (lambda x: x.take_along_dim(FEW.view(1, 1, 1, 3), 3), 12),
    "scatter_reduce": (lambda x: x.scatter_reduce(3, x.argsort(3), x, "amax"), 12),
    "index of two": (lambda x: x[:, :, FEW, FEW][..., None], 12),
    "index of the last": (lambda x: x[..., [0, 1]], 12),
    "turned round by numbers": (lambda x: x[:, torch.arange(x.shape[1] - 1, -1, -1)], 12),
    "put at points": (put, 12),
    "in place": (added_at, 12),
    "cleared": (cleared, 12),
    "where with a number": (lambda x: torch.where(x > 0, x, 0.1), 12),
    "windows in time": (lambda x: x.unfold(3, 3, 1).mean(-1), 12),
    "windows as channels": (lambda x: functional.unfold(x, 3)[..., None], 12 * 9),
    "unpooled": (unpooled, 12),
    "tril": (lambda x: x.tril(), 12),
    "rot90": (lambda x: x.rot90(1, (2, 3)), 12),
    "one_hot": (lambda x: x * functional.one_hot(x.argmax(3), x.shape[3]), 12),
    "nearest-exact": (
        lambda x: functional.interpolate(x.flatten(2), 7, mode="nearest-exact")[..., None],
        12,
    ),
    "antialias": (
        lambda x: functional.interpolate(x, (4, 4), mode="bilinear", antialias=True),
        12,
    ),
    "quantiles": (
        lambda x: x.flatten(2).quantile(torch.tensor([0.2, 0.7]), 2).sum(0)[..., None, None],
        12,
    ),
    "quantile of the channels": (lambda x: x - x.quantile(0.3, 1, keepdim=True), 12),
    "count_nonzero": (lambda x: x / (1 + x.relu().count_nonzero(dim=3)[..., None]), 12),
    "norm of the channels": (lambda x: x / (torch.linalg.norm(x, dim=1, keepdim=True) + 1), 12),
    "cosine in space": (
        lambda x: x * torch.cosine_similarity(x, x.exp(), dim=3)[..., None],
        12,
    ),
    "broadcast_to": (lambda x: x * x.mean((2, 3), keepdim=True).broadcast_to(x.shape), 12),
    "a mask of ones": (lambda x: x * torch.ones(x.shape[1], 1, 1), 12),
    "zeros behind": (lambda x: torch.cat([x, x.new_zeros(1, x.shape[1], 2, x.shape[3])], 2), 12),
    "zeros stacked": (lambda x: torch.stack([x, x.new_zeros(x.shape)], 1).sum(1), 12),
    "differences": (lambda x: x.diff(dim=3, append=x[..., :1]), 12),
}


@pytest.mark.parametrize("name", PASS)
def test_channels_pass_where_they_stay_apart(name: str) -> None:
    function, channels = PASS[name]
    assert set(follows(Between(function, channels), X, 1).frozen) == {"head"}


def numbered(x: Tensor) -> Tensor:
    """Zeros for 12 channels, whatever their number, that something is written into."""
    y = torch.zeros(1, 12, x.shape[2], x.shape[3])
    y[..., 1:] = x[..., :-1]
    return y


def read_before(x: Tensor) -> Tensor:
    """Zeros that someone else looks at before they are written into."""
    y = x.new_zeros(x.shape)
    before = y.flip(3)
    y[..., 1:] = x[..., :-1]
    return y + before


def first_cleared(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, [0, 3]] = 0
    return y


def turned_in(x: Tensor) -> Tensor:
    """Channels written where rows are."""
    y = x.clone()
    y[:, :, 0] = x[:, :6, :, 0].mean(1)[:, None].transpose(1, 2)[:, :1]
    y[:, 0] = x[:, :, 0].mean(2)[:, :6, None]
    return y


POSITION = "by their position"
HELD: dict[str, tuple[Function, int, str]] = {
    "gather of channels": (
        lambda x: x.gather(1, FEW.view(1, 3, 1, 1).expand(1, 3, 6, 6)),
        3,
        POSITION,
    ),
    "gather of a few": (lambda x: x.gather(3, few_of_all(x)[:, :4]), 4, POSITION),
    "index_select": (lambda x: x.index_select(1, FEW), 3, POSITION),
    "index": (lambda x: x[:, FEW], 3, POSITION),
    "index of channels and rows": (lambda x: x[:, FEW, FEW][..., None], 3, POSITION),
    "put into channels": (first_cleared, 12, POSITION),
    "scatter": (lambda x: x.scatter(1, x.argmax(1, keepdim=True), 0.5), 12, "channel"),
    "diff": (lambda x: x.diff(dim=1), 11, POSITION),
    "rot90 of channels": (lambda x: x.rot90(1, (1, 2)), 6, POSITION),
    "triangle of channels": (lambda x: x.transpose(1, 3).triu().transpose(1, 3), 12, POSITION),
    "slice_scatter": (lambda x: x.slice_scatter(x[:, :2] * 2, 1, 3, 5), 12, POSITION),
    "select_scatter": (lambda x: x.select_scatter(x[:, 0] * 2, 1, 1), 12, POSITION),
    "windows of channels": (lambda x: x.unfold(1, 2, 2).mean(-1), 6, POSITION),
    "columns of rows": (
        lambda x: functional.unfold(x.transpose(1, 2), 3)[..., None].mean(2)[:, :12, None],
        12,
        "across the channels",
    ),
    "points": (
        lambda x: functional.grid_sample(
            x, x.tanh().permute(0, 2, 3, 1)[..., :2], align_corners=False
        ),
        12,
        "reads it as points|by their position",
    ),
    "distances": (lambda x: torch.cdist(x.flatten(2), x.flatten(2)[:, :3])[..., None], 12, "cdist"),
    "local response": (lambda x: functional.local_response_norm(x, 3), 12, "across the channels"),
    "zeros by number": (numbered, 12, "writes it into a tensor that cannot shrink"),
    "zeros read before": (read_before, 12, "writes it into a tensor that cannot shrink"),
    "masked_scatter": (lambda x: x.masked_scatter(x > 0, x * 2), 12, "masked_scatter"),
    "channels into rows": (turned_in, 12, "channel"),
    "cosine with a constant": (
        lambda x: x * torch.cosine_similarity(x, torch.ones(1, 12, 6, 6), dim=1)[:, None],
        12,
        "compares it with other channels",
    ),
}


@pytest.mark.parametrize("name", HELD)
def test_what_counts_channels_holds_them_and_says_why(name: str) -> None:
    function, channels, reason = HELD[name]
    graph = follows(Between(function, channels), X, 1)
    assert any(part in graph.frozen["second"] for part in reason.split("|"))
