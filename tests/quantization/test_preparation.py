"""Quantisers in a network that was read from a file: its guard stays, about the network before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import compressor
from compressor import Budget, FineTune, Int8, Prune
from compressor.network import Network
from compressor.quantization.preparation import calibrate, prepare


@pytest.fixture
def loaded(tmp_path: Path) -> Network:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 3),
    )  # fmt: skip
    example = torch.randn(4, 1, 9, 9)
    for _ in range(20):  # statistics as of a trained network
        model(example)
    result = compressor.fit(
        model, budget=Budget(params=100), example=example, schedule=[Prune()], progress=False
    )
    result.write(tmp_path / "small.safetensors")
    found = compressor.load(tmp_path / "small.safetensors")
    assert isinstance(found, Network)
    return found


@pytest.mark.filterwarnings("ignore:Network runs other operations in training")
def test_a_network_of_a_file_is_trained_for_integers(loaded: Network) -> None:
    batch = torch.randn(8, 1, 9, 9), torch.arange(8) % 3
    result = compressor.fit(
        loaded, [batch], budget=Budget(params=100), progress=False,
        schedule=[FineTune(epochs=1, lr=1e-3), Int8(epochs=1, batches=1)],
    )  # fmt: skip
    assert result.report.after.bytes < 4 * result.report.after.params
    assert result.network(batch[0]).shape == (8, 3)


def test_the_guard_of_a_file_is_asked_with_quantisers_too(loaded: Network) -> None:
    prepared = prepare(loaded.eval())
    calibrate(prepared, [(torch.randn(8, 1, 9, 9),)])
    asked: list[tuple[Network, int]] = []
    assert loaded.guard is not None
    before = prepared.guard
    assert before is not None
    prepared.guard = lambda network, inputs: (asked.append((network, len(inputs[0]))),
                                              before(network, inputs))[1]  # fmt: skip
    prepared(torch.randn(5, 1, 9, 9))
    assert [count for _, count in asked] == [5]
