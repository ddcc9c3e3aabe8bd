"""Budgets on random networks: no cap is exceeded, counted on the smaller module."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor import Budget, allocate, importance, measure, shrink, trace
from compressor.allocation import Additive, LogRetention, LogWidth, Mix
from compressor.graph.graph import Graph
from tests.helpers.cases import cases

GROUPS, NETWORKS, BUDGETS = cases(5, 20), 10, cases(10, 50)
"""Five hundred budgets, ten thousand in `make explore`: groups of networks, each under many."""


class Residual(nn.Module):
    def __init__(self, inputs: int, inner: int) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Conv2d(inputs, inner, 3, padding=1),
            nn.Conv2d(inner, inputs, 1),
        )
        self.norm = nn.BatchNorm2d(inner)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(torch.relu(self.norm(self.first(x))))


class Branches(nn.Module):
    def __init__(self, inputs: int, left: int, right: int) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(inputs, left, 1), nn.Conv2d(inputs, right, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.left(x), x, self.right(x)], dim=1)


class Gate(nn.Module):
    def __init__(self, inputs: int, squeezed: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(inputs, squeezed), nn.Linear(squeezed, inputs)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3))))))
        return x * gate[:, :, None, None]


def random_network(random: np.random.Generator) -> nn.Sequential:
    """Two to five random blocks between a stem and a classifier."""

    def width() -> int:
        return int(random.integers(2, 13))

    channels = 2 * width()
    layers: list[nn.Module] = [nn.Conv2d(1, channels, 3, bias=False), nn.BatchNorm2d(channels)]
    for kind in random.integers(0, 6, size=random.integers(2, 6)):
        if kind == 0:
            layers.append(Residual(channels, width()))
        elif kind == 1:
            left, right = width(), width()
            layers.append(Branches(channels, left, right))
            channels += left + right
        elif kind == 2:
            layers += [nn.Conv2d(channels, channels, 3, padding=1, groups=channels), nn.ReLU()]
        elif kind == 3:
            layers.append(Gate(channels, width()))
        elif kind == 4:
            wider = 2 * width()
            layers += [nn.Conv2d(channels, wider, 1), nn.GroupNorm(2, wider), nn.SiLU()]
            channels = wider
        else:
            wider = width()
            layers += [nn.ConvTranspose2d(channels, wider, 2), nn.PReLU(wider)]
            channels = wider
    layers += [nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten(), nn.Linear(2 * channels, 3)]
    return nn.Sequential(*layers).eval()


def random_budget(graph: Graph, random: np.random.Generator) -> Budget:
    """Caps on a random choice of resources, anywhere between the smallest and the full cost."""
    smallest = np.array([axis.size if axis.frozen else 1 for axis in graph.axes])
    costs = {"params": graph.params, "macs": graph.macs, "bytes": graph.bytes}
    chosen = random.permutation(list(costs))[: random.integers(1, 4)]
    caps = {}
    for name in chosen:
        low, high = costs[name](smallest), costs[name](graph.sizes)
        caps[str(name)] = int(low + random.uniform() ** 2 * (high - low))
    return Budget(**caps)


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize("group", range(GROUPS))
def test_no_cap_is_exceeded_by_the_smaller_module(group: int) -> None:
    random = np.random.default_rng(group)
    torch.manual_seed(group)
    options = [
        *({"objective": o} for o in (LogRetention(), LogWidth(), Mix(0.5), Additive())),
        {"method": "uniform"},
    ]
    done = 0
    for _ in range(NETWORKS):
        model = random_network(random)
        graph = trace(model, torch.randn(1, 1, 8, 8))
        scores = importance.frobenius(graph, dict(model.named_parameters()))
        for number in range(BUDGETS):
            budget = random_budget(graph, random)
            choice = allocate(graph, scores, budget, **options[number % len(options)])
            cost = measure(shrink(model, graph, choice.structure), torch.randn(1, 1, 8, 8))
            assert budget.allows(cost), (budget, cost)
            assert cost.params == graph.params(choice.widths)
            assert cost.macs == graph.macs(choice.widths)
            assert replace(choice.cost, nonzero=cost.nonzero) == cost  # a graph knows of no zeros
            done += 1
    assert done == NETWORKS * BUDGETS
