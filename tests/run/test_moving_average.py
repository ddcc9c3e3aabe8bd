"""The moving average of weights, compared with one computed by itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from compressor.run.moving_average import LIVE, MovingAverage


class Small(nn.Module):
    """A weight, a norm, a mask of infinities."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2, dtype=torch.float64))
        self.norm = nn.BatchNorm1d(2, dtype=torch.float64)
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))


def stepped(model: Small, number: int) -> None:
    """A step that leaves other numbers everywhere."""
    with torch.no_grad():
        model.weight.fill_(number)
        model.norm.running_mean.fill_(10 * number)
        model.norm.num_batches_tracked += 1


def expected(decay: float, start: float, values: list[float]) -> float:
    average = start
    for n, value in enumerate(values, start=1):
        now = min(decay, (1 + n) / (10 + n))
        average = now * average + (1 - now) * value
    return average


@pytest.mark.parametrize("decay", [0.3, 0.999])
def test_it_is_the_average_over_several_epochs_and_the_trained_weights_go_on(decay: float) -> None:
    model, state = Small(), dict[str, Any]()
    for epoch in range(3):
        average = MovingAverage(model, state, decay)
        if epoch:
            assert model.weight[0, 0] == 4 * epoch - 1, "the trained weights are back"
        for number in range(4 * epoch, 4 * epoch + 4):
            stepped(model, number)
            average.update()
        average.show()
    steps = [float(n) for n in range(12)]
    assert model.weight.flatten().tolist() == pytest.approx([expected(decay, 1.0, steps)] * 4)
    means = expected(decay, 0.0, [10 * n for n in steps])
    assert model.norm.running_mean.tolist() == pytest.approx([means] * 2)
    assert model.norm.num_batches_tracked == 12
    assert model.mask.tolist() == [0.0, -torch.inf], "infinities have no average"
    assert state[LIVE]["weight"][0, 0] == 11


def test_zeros_stay_zeros() -> None:
    model = nn.Linear(3, 3)
    with torch.no_grad():
        model.weight[0] = 0
    average = MovingAverage(model, {}, 0.9)
    for _ in range(5):
        with torch.no_grad():
            model.weight[1:] += torch.randn(2, 3)
        average.update()
    average.show()
    assert (model.weight[0] == 0).all()
    assert (model.weight[1:] != 0).all()


def test_a_memory_of_another_model_is_refused() -> None:
    state = {LIVE: {"weight": torch.zeros(1, 2)}}
    with pytest.raises(ValueError, match="other tensors than the model's"):
        MovingAverage(nn.Linear(3, 3), state, 0.9)
