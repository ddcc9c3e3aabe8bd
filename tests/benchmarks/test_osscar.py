"""OSSCAR by its paper: least squares on the channels that are left, chosen as by trying all."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import nn

from benchmarks.common.osscar import (
    Pair,
    WholeError,
    chosen,
    columns,
    deletion,
    misfit,
    pairs,
    products,
    reconstructed,
    targets,
)
from compressor import measure
from models import ResidualCNN, TCResNet

LAYERS = [
    nn.Conv1d(3, 4, 5, stride=2, padding=2, dilation=1),
    nn.Conv1d(3, 4, 3, padding=2, dilation=2, bias=False),
    nn.Conv2d(3, 4, (3, 1), stride=(2, 1), padding=(1, 0)),
    nn.Linear(3, 4),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_columns_times_weights_are_the_outputs(layer: nn.Module) -> None:
    torch.manual_seed(0)
    shape = {nn.Conv1d: (2, 3, 9), nn.Conv2d: (2, 3, 6, 5), nn.Linear: (2, 3)}[type(layer)]
    x = torch.randn(shape)
    found = columns(layer, x) @ layer.weight.flatten(1).T
    torch.testing.assert_close(found, targets(layer, layer(x)))


def problem(groups: int, taps: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    a = torch.randn(200, groups * taps, dtype=torch.float64)
    a[:, :taps] += 2 * a[:, taps : 2 * taps]
    b = a @ torch.randn(groups * taps, 3, dtype=torch.float64)
    return a.T @ a, a.T @ b


def test_growth_of_the_error_is_that_of_solving_anew() -> None:
    gram, cross = problem(5, 2)
    kept = [0, 1, 3, 4]
    whole = misfit(gram, cross, kept, 2)
    for place, cost in enumerate(deletion(gram, cross, kept, 2).tolist()):
        rest = kept[:place] + kept[place + 1 :]
        assert misfit(gram, cross, rest, 2) - whole == pytest.approx(cost)


@pytest.mark.parametrize("keep", [1, 2, 4])
def test_the_best_channels_are_found_in_a_small_problem(keep: int) -> None:
    gram, cross = problem(5, 2)
    kept, weights = chosen(gram, cross, 5, keep)
    best = min(combinations(range(5), keep), key=lambda one: misfit(gram, cross, one, 2))
    assert kept == list(best)
    assert weights.shape == (2 * keep, 3)


def test_inner_channels_are_pairs_and_trunks_are_not() -> None:
    model = TCResNet(5, (4, 6, 8), mels=8, frames=20).eval()
    found = pairs(model, model.example_input_array)
    assert found == [Pair(f"blocks.{i}.first.0", f"blocks.{i}.second.0") for i in (0, 1)]


def test_products_are_those_of_the_small_networks_inputs() -> None:
    torch.manual_seed(0)
    model = TCResNet(5, (4, 6), mels=8, frames=20).eval()
    x = torch.randn(3, 1, 8, 20)
    gram, cross = products(model, model, "classifier", [x, x])
    assert gram.shape == (6, 6)
    weights = model.classifier.weight.detach().double().T
    torch.testing.assert_close(gram @ weights, cross, rtol=1e-4, atol=1e-5)


def test_a_network_within_the_caps_that_answers_as_the_dense_one() -> None:
    """Twins of channels go without any change; the network given stays."""
    torch.manual_seed(0)
    model = ResidualCNN(5, (6, 8), (1, 1), mels=16, frames=12).eval()
    conv, norm = model.stages[1].first
    with torch.no_grad():
        conv.weight[4:] = conv.weight[:4]
        for part in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            part[4:] = part[:4]
    x = torch.randn(64, 1, 16, 12)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    params = measure(model).params
    small = reconstructed(model, [x], lambda m: measure(m).params <= 0.8 * params)
    assert measure(small).params <= 0.8 * params
    assert small.stages[1].first[0].out_channels < 8
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    wrong = (small(x) - model(x)).square().mean() / model(x).var()
    assert wrong < 0.05
    with pytest.raises(WholeError, match="2 inner widths"):
        reconstructed(model, [x], lambda _: False)
