"""Hidden units of recurrent layers are units: they go with every gate, and cost is exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from compressor.counting.measuring import measure
from compressor.graph.graph import Graph
from compressor.graph.structure import Structure
from compressor.surgery.cutting import shrink
from compressor.surgery.proof import verify
from compressor.tracing.tracer import trace
from compressor.tracing.trial import randomised
from tests.zoo import FAMILIES, RECURRENT

KINDS = (nn.LSTM, nn.GRU, nn.RNN)


class Alone(nn.Module):
    """A recurrent layer between two products."""

    def __init__(self, kind: type[nn.RNNBase], inputs: int, hidden: int, **settings: Any) -> None:
        super().__init__()
        self.embed = nn.Linear(3, inputs)
        self.layer = kind(inputs, hidden, **settings)
        outputs = (self.layer.proj_size or hidden) * (1 + self.layer.bidirectional)
        self.head = nn.Linear(outputs, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.embed(x))[0])


def axes(graph: Graph) -> dict[str, int]:
    return {axis.name: axis.size for axis in graph.axes if not axis.frozen}


def without(graph: Graph, name: str, count: int, seed: int = 0) -> Structure:
    """All but `count` units of one axis, and where these are."""
    keep = np.ones(graph.units, dtype=bool)
    axis = next(axis for axis in graph.axes if axis.name == name)
    gone = np.random.default_rng(seed).permutation(axis.size)[:count]
    keep[axis.first + gone] = False
    return Structure(graph, keep)


def checked(model: nn.Module, example: Tensor, structure: Structure) -> nn.Module:
    """A smaller model that was compared and counted."""
    graph = structure.graph
    smaller = shrink(model, graph, structure)
    assert verify(model, graph, structure, smaller, example) <= 1e-9
    cost = measure(smaller, example)
    assert cost.macs == graph.macs(structure.widths)
    assert cost.params == graph.params(structure.widths)
    return smaller


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_and_hidden_units_are_axes_that_the_module_is_told_of(
    kind: type[nn.RNNBase],
) -> None:
    model, example = randomised(Alone(kind, 5, 6, batch_first=True)), torch.randn(1, 4, 3)
    graph = trace(model, example)
    assert axes(graph) == {"embed": 5, "layer": 6}
    assert set(graph.frozen) == {"head"}
    assert graph.const_macs == 0
    smaller = checked(model, example, without(graph, "layer", 4))
    assert (smaller.layer.input_size, smaller.layer.hidden_size) == (5, 2)
    assert smaller.layer.weight_hh_l0.shape == (2 * model.layer.weight_hh_l0.shape[0] // 6, 2)
    smaller = checked(model, example, without(graph, "embed", 3))
    assert (smaller.layer.input_size, smaller.layer.hidden_size) == (2, 6)
    held = [id(weight) for weight in smaller.layer._flat_weights]
    assert held == [id(weight) for weight in smaller.layer.parameters()]


def test_layers_and_directions_of_one_module_stay_equally_wide() -> None:
    model = randomised(Alone(nn.LSTM, 5, 6, num_layers=3, bidirectional=True))
    graph = trace(model, torch.randn(1, 4, 3))
    assert axes(graph) == {"embed": 5, "layer": 6}
    smaller = checked(model, torch.randn(1, 4, 3), without(graph, "layer", 2))
    assert smaller.layer.weight_ih_l2_reverse.shape == (4 * 4, 2 * 4)


def test_separate_layers_have_widths_of_their_own() -> None:
    assert axes(trace(RECURRENT["gru_stacked"]())) == {
        "layers.0": 8,
        "layers.1": 6,
        "layers.2": 10,
    }


def test_a_projection_has_fewer_outputs_than_cells_whatever_is_removed() -> None:
    model, example = randomised(Alone(nn.LSTM, 3, 6, proj_size=4)), torch.randn(1, 4, 3)
    graph = trace(model, example)
    assert axes(graph) == {"embed": 3, "layer": 4, "layer#2": 2}
    smaller = checked(model, example, without(graph, "layer#2", 1))
    assert (smaller.layer.hidden_size, smaller.layer.proj_size) == (5, 4)
    smaller = checked(model, example, without(graph, "layer", 3))
    assert (smaller.layer.hidden_size, smaller.layer.proj_size) == (3, 1)


@pytest.mark.slow
def test_channels_and_frequencies_go_on_into_the_columns_of_a_recurrent_layer() -> None:
    model = randomised(FAMILIES["crnn"]())
    graph = trace(model)
    assert set(graph.frozen) == {"classifier"}
    assert graph.const_macs == 0
    smallest = np.ones(len(graph.axes), np.int64)
    assert graph.macs(smallest) < graph.macs(graph.sizes) / 500


PLANTED = {
    "lstm": 4,
    "lstm_two_ways": 4,
    "gru_last_states": 3,
    "rnn_relu": 1,
    "conv_gru": 3,
    "lstm_cell": 4,
    "gru_cell": 3,
}
"""Networks with one recurrent layer, and its gates."""


@pytest.mark.parametrize("name", PLANTED)
def test_units_that_never_do_anything_can_go_without_a_trace(name: str) -> None:
    """What is dead in the given network, by hand, is removed: the function stays what it was."""
    model = randomised(RECURRENT[name]()).eval()
    layers = [m for m in model.modules() if isinstance(m, nn.RNNBase | nn.RNNCellBase)]
    (layer,), gates, dead = layers, PLANTED[name], [1, 4, 6]
    rows = [gate * layer.hidden_size + unit for gate in range(gates) for unit in dead]
    with torch.no_grad():
        for weight in layer.parameters():
            weight[rows] = 0
    path = next(path for path, module in model.named_modules() if module is layer)
    graph = trace(model)
    owners = graph.weights[_first(layer, path)].dims[0].owner
    keep = np.ones(graph.units, dtype=bool)
    keep[owners[dead]] = False
    smaller = shrink(model, graph, Structure(graph, keep))
    x = model.example_input_array
    with torch.no_grad():
        assert torch.allclose(model(x), smaller(x), rtol=1e-5, atol=1e-6)


def _first(layer: nn.Module, path: str) -> str:
    return f"{path}.{next(iter(dict(layer.named_parameters())))}"


class Given(nn.Module):
    """A GRU whose initial state is an input."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        return self.head(self.gru(x, state)[0])


def test_a_state_from_outside_holds_the_hidden_units() -> None:
    graph = trace(Given(), (torch.randn(1, 5, 3), torch.randn(1, 1, 4)))
    assert axes(graph) == {}
    assert "the initial state of 'gru' in 'gru' (" in graph.frozen["gru"]
    assert "has a size that is given" in graph.frozen["gru"]
    assert graph.const_macs == 0


class Computed(nn.Module):
    """A cell whose weight is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.recur = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(4, 4))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(x.shape[0], 4)
        return self.head(torch.rnn_tanh_cell(x, state, self.read, self.recur.sin()))


def test_a_layer_whose_weight_is_computed_is_held_and_counted() -> None:
    graph = trace(Computed(), torch.randn(1, 3))
    assert axes(graph) == {}
    assert set(graph.frozen) == {"read", "recur", "head"}
    assert graph.macs(graph.sizes) == 4 * 3 + 4 * 4 + 2 * 4


def test_channels_as_steps_or_as_a_batch_stay_whole() -> None:
    steps = nn.Sequential(nn.Conv1d(2, 6, 3), nn.GRU(5, 4, batch_first=True), _First())
    graph = trace(steps, torch.randn(1, 2, 7))
    assert "has these channels as its steps, or as its batch" in graph.frozen["0"]
    assert graph.const_macs == 0


class _First(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, results: tuple[Tensor, Tensor]) -> Tensor:
        return self.head(results[0])


FORMS = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(KINDS),
        "num_layers": st.integers(1, 3),
        "bidirectional": st.booleans(),
        "bias": st.booleans(),
        "batch_first": st.booleans(),
        "dropout": st.sampled_from([0.0, 0.5]),
        "proj_size": st.integers(0, 3),
    }
)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:dropout option adds dropout")
@settings(deadline=None, max_examples=12)
@given(FORMS, st.integers(1, 6), st.integers(4, 7), st.integers(0, 10**6))
def test_whatever_the_form_and_whatever_goes(
    form: dict[str, Any], inputs: int, hidden: int, seed: int
) -> None:
    kind = form.pop("kind")
    if kind is not nn.LSTM:
        form.pop("proj_size")
    model, example = randomised(Alone(kind, inputs, hidden, **form)), torch.randn(1, 4, 3)
    graph, random = trace(model, example), np.random.default_rng(seed)
    assert not any("breaks" in reason for reason in graph.frozen.values())
    keep = np.ones(graph.units, dtype=bool)
    for axis in graph.axes:
        if not axis.frozen:
            gone = random.permutation(axis.size)[: random.integers(0, axis.size)]
            keep[axis.first + gone] = False
    checked(model, example, Structure(graph, keep))


class Pooled(nn.Module):
    """Steps weighed by attention, the weights in front of what they weigh."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.weigh = nn.GRU(6, 12, batch_first=True), nn.Linear(12, 1)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        steps, _ = self.gru(x)
        return self.head((self.weigh(steps).softmax(1) * steps).sum(1))


def test_weights_in_front_of_steps_hold_nothing() -> None:
    graph = trace(Pooled(), torch.randn(1, 5, 6))
    assert [axis.size for axis in graph.axes if not axis.frozen] == [12]
