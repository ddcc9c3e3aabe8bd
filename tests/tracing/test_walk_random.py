"""Random networks of operations that leave channels apart, write in place, cut and move."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from tests.tracing.test_walk_across import follows

SIDE = 6
Step = Callable[[Tensor], Tensor]


def shifted(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[..., 1:] = x[..., :-1]
    y[:, :, 0] = 0.5
    return y


def folded(x: Tensor) -> Tensor:
    fold, y = x.shape[1] // 2, x.clone()
    y[:, :fold, :-1] = x[:, :fold, 1:]
    return y


def constant(x: Tensor) -> Tensor:
    y = x.new_zeros(x.shape)
    y[:, :, 1:] = x[:, :, :-1]
    return torch.cat([y[:, :, 1:], torch.ones(x.shape[0], x.shape[1], 1, x.shape[3])], 2)


def chosen(x: Tensor) -> Tensor:
    steps = torch.tensor([1, 0, 3, 2, 5, 5]).view(1, 1, 1, SIDE)
    return x.gather(3, steps.expand(x.shape[0], x.shape[1], SIDE, SIDE))


def negative(x: Tensor) -> Tensor:
    y = x.clone()
    y[y < 0] = 0.1
    return y


def unpooled(x: Tensor) -> Tensor:
    y, places = functional.max_pool2d(x, 2, return_indices=True)
    return functional.max_unpool2d(y, places, 2)


SAME: dict[str, Step] = {
    "shifted": shifted,
    "folded": folded,
    "constant": constant,
    "chosen": chosen,
    "negative": negative,
    "unpooled": unpooled,
    "sorted": lambda x: x.sort(3)[0] + x.take_along_dim(x.argsort(2), 2),
    "stacked": lambda x: torch.stack([x, torch.tanh(x)], 1).sum(1),
    "running": lambda x: x.cumsum(2) / 6 + x.tril(),
    "turned": lambda x: x.rot90(1, (2, 3)).flip(3),
    "columns": lambda x: (
        functional.unfold(x, 3, padding=1).unflatten(1, (-1, 9)).mean(2).view_as(x)
    ),
    "scattered": lambda x: x.scatter_add(3, x.argmax(3, keepdim=True), x[..., :1]),
    "alike": lambda x: x * torch.cosine_similarity(x, x.exp(), dim=1)[:, None],
    "quantile": lambda x: x - x.quantile(0.4, 1, keepdim=True),
    "reversed": lambda x: x[:, torch.arange(x.shape[1] - 1, -1, -1)],
    "larger": lambda x: torch.max(x, x.flip(3)),
    "indexed": lambda x: x.index_add(2, torch.tensor([0, 4]), x[:, :, :2]),
    "embedded": lambda x: x + functional.one_hot(x.argmax(3), SIDE),
}
WIDER: dict[str, Step] = {
    "hstack": lambda x: torch.hstack([x, x.relu()]),
    "interleaved": lambda x: torch.stack([x, x.flip(1)], 2).flatten(1, 2),
    "repeated": lambda x: x.repeat_interleave(2, 1),
}


class Drawn(nn.Module):
    """A chain of convolutions, normalisations and such steps, with residual sums."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = random.Random(seed)  # noqa: S311
        width = 2 * draw.randint(2, 5)
        self.first, self.layers = nn.Conv2d(2, width, 3, padding=1), nn.ModuleList()
        self.plan: list[tuple[Step, bool]] = []
        self.names: list[str] = []
        for _ in range(draw.randint(1, 4)):
            wider = draw.random() < 0.3
            name = draw.choice(sorted(WIDER if wider else SAME))
            entering = 2 * width if wider else width
            residual = not wider and draw.random() < 0.5
            leaving = width if residual else 2 * draw.randint(2, 5)
            groups = 2 if draw.random() < 0.2 else 1
            conv = nn.Conv2d(entering, leaving, draw.choice([1, 3]), padding="same", groups=groups)
            self.layers.append(nn.Sequential(conv, nn.BatchNorm2d(leaving)))
            self.plan.append((WIDER[name] if wider else SAME[name], residual))
            self.names.append(name)
            width = leaving
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        for layer, (step, residual) in zip(self.layers, self.plan, strict=True):
            y = functional.gelu(layer(step(x)))
            x = x + y if residual else y
        return self.head(x.mean((2, 3)))


def drawn(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Drawn(seed)


def shows(seed: int) -> None:
    graph = follows(drawn(seed), torch.randn(1, 2, SIDE, SIDE), 1)
    assert not any("breaks the forward" in reason for reason in graph.frozen.values())
    assert any(not axis.frozen for axis in graph.axes)


@pytest.mark.parametrize("seed", range(6))
def test_masked_is_shrunk_and_costs_what_was_counted(seed: int) -> None:
    shows(seed)


@pytest.mark.slow
@settings(deadline=None)
@given(seed=st.integers(6, 1 << 20))
def test_the_same_of_many_more(seed: int) -> None:
    shows(seed)
