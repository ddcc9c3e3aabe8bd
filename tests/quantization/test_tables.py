"""Layers at the front that nobody trains stay in floating point; others are rounded."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compressor.network import to_network
from compressor.network.integer import IntConv, IntLinear
from compressor.quantization.conversion import convert
from compressor.quantization.preparation import calibrate, prepare
from compressor.quantization.rounded import rounded_weights
from compressor.quantization.tables import table_weights
from tests.zoo.front_ends import Tagger


class Backbone(nn.Module):
    """Layers that somebody trained before, and a head that is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, 6, 5)
        self.norm = nn.BatchNorm1d(6)
        self.second = nn.Conv1d(6, 6, 3)
        self.head = nn.Linear(6, 3)
        self.example_input_array = torch.randn(1, 1, 40)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        return self.head(torch.relu(self.second(x)).mean(-1))


def frozen(model: nn.Module, *names: str) -> nn.Module:
    for name in names:
        model.get_submodule(name).requires_grad_(requires_grad=False)
    return model


def test_a_transform_of_frozen_convolutions_is_a_table() -> None:
    network = to_network(Tagger())
    mine = {"spectrogram.real.weight", "spectrogram.imag.weight", "spectrogram.melW"}
    assert table_weights(network) == mine
    assert set(rounded_weights(network)) == {f"{n}.weight" for n in ("conv1", "conv2", "fc1", "fc")}
    prepared = prepare(network)
    assert table_weights(prepared) == mine
    assert set(rounded_weights(prepared)) == set(rounded_weights(network))


def test_no_value_is_rounded_before_the_first_trained_layer() -> None:
    torch.manual_seed(0)
    model = Tagger()
    model(torch.randn(8, 640))
    prepared = prepare(to_network(model.eval()))
    calibrate(prepared, [(torch.randn(8, 640),)])
    made = convert(prepared)
    whole = [step.module for step in made.steps
             if isinstance(made.called(step), IntConv | IntLinear)]  # fmt: skip
    assert whole == ["conv1", "conv2", "fc1", "fc"]
    first = next(n for n, step in enumerate(made.steps) if made.called(step) is not None)
    before = {step.module.partition(".")[0] for step in made.steps[:first]}
    assert before <= {"spectrogram", "bn0", ""}
    x = torch.randn(2, 640)
    with torch.no_grad():
        spectrogram = model.spectrogram(x)
        found = made.results(x)
    assert any(
        isinstance(value, Tensor) and torch.equal(value, spectrogram) for value in found.values()
    )


def test_of_layers_trained_before_only_the_first_is_taken_for_a_table() -> None:
    network = to_network(frozen(Backbone(), "first", "norm", "second"))
    assert {name for name in table_weights(network) if "weight" in name} == {"first.weight"}
    assert set(rounded_weights(network)) == {"second.weight", "head.weight"}


def test_a_network_put_away_for_inference_is_rounded_whole() -> None:
    network = to_network(Backbone().requires_grad_(requires_grad=False))
    assert not table_weights(network)
    assert set(rounded_weights(network)) == {"first.weight", "second.weight", "head.weight"}
