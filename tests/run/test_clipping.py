"""Gradients are scaled down to a norm, through Fabric as without it."""

from __future__ import annotations

import math

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim import SGD

from compressor.run.clipping import clip_gradients


def norm(model: nn.Module) -> float:
    return math.sqrt(sum(float((p.grad**2).sum()) for p in model.parameters()))


@pytest.mark.parametrize("through", [False, True])
@pytest.mark.parametrize(("most", "share"), [(None, 1.0), (0.5, 0.5), (3.0, 1.0)])
def test_the_norm_is_at_most_so_much(most: float | None, share: float, *, through: bool) -> None:
    model = nn.Linear(2, 2)
    model.weight.grad, model.bias.grad = torch.full((2, 2), 0.3), torch.full((2,), 0.4)
    model.weight.grad *= 1 / norm(model)
    model.bias.grad *= 1 / norm(model)
    before = norm(model)
    fabric, optimizer = None, SGD(model.parameters(), lr=1.0)
    wrapped = model
    if through:
        fabric = Fabric(accelerator="cpu", devices=1)
        wrapped, optimizer = fabric.setup(model, optimizer)
    clip_gradients(wrapped, optimizer, most if most is None else most * before, fabric)
    assert norm(model) == pytest.approx(share * before, rel=1e-4)
