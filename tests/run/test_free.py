"""What goes at no cost goes first, is checked on outputs, and may be all that was asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor import Budget, Prune, fit, measure
from compressor.graph.graph import Graph
from compressor.graph.structure import Structure
from compressor.inputs.batches import call
from compressor.repair import folding
from compressor.repair.activations import activations_of
from compressor.run import free
from compressor.run.free import EQUAL, FEWEST, folded_blind, folded_on
from compressor.surgery.cutting import shrink
from compressor.tracing.tracer import trace
from tests.helpers.mixed_nets import mixed
from tests.helpers.random_nets import drawn
from tests.helpers.tiny import equal, scenes, tiny

CLIPS = scenes(96).tensors[0]
FRESH = scenes(64, seed=8).tensors[0]


def planted(build: Callable[[], nn.Module] = tiny) -> nn.Module:
    """Three of sixteen units of a layer say nothing of their own, by their weights."""
    model = build()
    with torch.no_grad():
        model.down.weight[3], model.down.bias[3] = model.down.weight[1], model.down.bias[1]
        model.down.weight[5], model.down.bias[5] = 0, 0
        model.head.weight[:, 8] = 0
    return model


def gone(graph: Graph, keep: np.ndarray) -> dict[str, list[int]]:
    found = {axis.layers[0]: np.flatnonzero(~keep[axis.units]).tolist() for axis in graph.axes}
    return {name: units for name, units in found.items() if units}


def far(small: nn.Module, model: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        return float((small.eval()(x) - model.eval()(x)).abs().max())


def test_by_weights_alone_what_is_planted_goes_and_outputs_stay() -> None:
    model = planted()
    graph = trace(model)
    found = folded_blind(model, graph, (model.example_input_array,))
    assert found is not None
    assert gone(graph, found.structure.keep) == {"down": [3, 5, 8]}
    assert found.difference**2 <= EQUAL
    assert far(shrink(found.model, graph, found.structure), model, FRESH) < 1e-5
    assert far(found.model, model, FRESH) < 1e-5, "the folded model computes the same at full size"


def test_on_data_the_same_goes() -> None:
    model = planted()
    graph = trace(model)
    found = folded_on(model, graph, list(CLIPS.split(32)), call)
    assert found is not None
    keep = found.structure.keep
    assert len(gone(graph, keep)["down"]) == 3
    assert far(shrink(found.model, graph, found.structure), model, FRESH) < 1e-5


def test_nothing_is_found_where_nothing_is() -> None:
    model = tiny()
    graph = trace(model)
    assert folded_blind(model, graph, (model.example_input_array,)) is None
    assert folded_on(model, graph, [CLIPS], call) is None


def test_few_examples_prove_nothing() -> None:
    """On one input half of all units that go through a ReLU are dead, and all are constant."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 4))
    model.example_input_array = torch.zeros(1, 20)
    graph = trace(model)
    for count in (1, 2, 8, FEWEST - 1):
        assert folded_on(model, graph, [torch.randn(count, 20)], call) is None


def test_what_the_example_cannot_show_is_not_taken_from_it() -> None:
    """Of words some are drawn, and there all else depends on all else."""

    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.up = nn.Embedding(50, 16), nn.Linear(16, 24)
            self.down, self.side = nn.Linear(24, 5), nn.Linear(3, 5)
            self.example_input_array = (torch.randint(50, (1, 2)), torch.zeros(1, 3))

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.down(self.up(self.embed(x)).relu().mean(1)) + self.side(y)

    torch.manual_seed(0)
    model = Words()
    with torch.no_grad():
        model.up.weight[9], model.up.bias[9] = model.up.weight[2], model.up.bias[2]
    graph = trace(model)
    found = folded_blind(model, graph, model.example_input_array)
    assert found is not None
    assert gone(graph, found.structure.keep) == {"up": [9]}
    small = shrink(found.model, graph, found.structure)
    x, y = torch.randint(50, (40, 2)), torch.randn(40, 3)
    with torch.no_grad():
        assert torch.allclose(small(x, y), model(x, y), atol=1e-6)


def test_a_unit_that_is_dead_on_random_inputs_is_read_where_it_is_not() -> None:
    """Twins below zero wherever inputs are small: what is read of the other is its weight."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
    model.example_input_array = torch.zeros(1, 6)
    with torch.no_grad():
        model[0].bias[2:4] = -50
        model[0].weight[3] = model[0].weight[2]
    graph = trace(model)
    found = folded_blind(model, graph, (model.example_input_array,))
    assert found is not None
    small = shrink(found.model, graph, found.structure)
    x = 1000 * torch.randn(64, 6)
    assert bool((model[0](x)[:, 2] > 0).any())
    with torch.no_grad():
        assert torch.allclose(small(x), model(x), rtol=1e-4, atol=1e-3)


def test_what_fails_the_check_stays_axis_by_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    """A constant unit behind zero padding is none at the border; the others go nevertheless."""
    model = planted()
    real = folding.redundant

    def eager(graph: Graph, readings: object, **how: object) -> Structure:
        found = real(graph, readings, **how)  # type: ignore[arg-type]
        stem = next(axis for axis in graph.axes if "stem" in axis.layers)
        keep = found.keep.copy()
        keep[stem.first] = False
        return Structure(graph, keep)

    monkeypatch.setattr(free, "redundant", eager)
    graph = trace(model)
    found = folded_on(model, graph, [CLIPS], call)
    assert found is not None
    assert list(gone(graph, found.structure.keep)) == ["down"]
    assert far(shrink(found.model, graph, found.structure), model, FRESH) < 1e-5


def test_losses_that_run_a_part_of_the_model_show_nothing_of_its_outputs() -> None:
    def part(model: nn.Module, batch: Tensor) -> Tensor:
        return model.head(model.down(model.stem(batch)).mean((2, 3)))

    model = planted()
    assert folded_on(model, trace(model), [CLIPS], part) is None


@pytest.mark.parametrize("seed", range(3))
def test_the_given_model_and_the_random_state_are_untouched(seed: int) -> None:
    model = drawn(seed)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    graph, state = trace(model), torch.get_rng_state()
    example = model.example_input_array
    folded_blind(model, graph, (example,))
    folded_on(model, graph, [torch.zeros(64, *example.shape[1:])], call)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


@pytest.mark.parametrize("seed", [3, 1013])
def test_networks_of_attention_and_recurrences_keep_their_outputs(seed: int) -> None:
    model = mixed(seed)
    found = folded_blind(model, trace(model), (model.example_input_array,))
    assert found is None or found.difference**2 <= EQUAL


# --- in a run ---


def loss_free(model: nn.Module, fraction: float) -> Budget:
    cost = measure(model)
    return Budget(params=int(cost.params * fraction))


@pytest.mark.parametrize("data", [None, list(CLIPS.split(32))], ids=["weights", "inputs"])
def test_caps_that_are_met_by_this_alone_cost_nothing(data: list[Tensor] | None) -> None:
    model = planted()
    cost = measure(model).params
    without = cost - 3 * (8 * 9 + 1 + 4)  # a row of `down`, its bias, a column of `head`
    result = fit(model, data, budget=Budget(params=without))
    assert measure(result.model).params == without
    assert far(result.model, model, FRESH) < 1e-5
    (shrunk,) = result.report.shrinks
    assert shrunk.free is not None
    assert shrunk.free.enough
    assert shrunk.free.units == {"down": 3}
    assert shrunk.free.reached == {"params": without}
    assert shrunk.free.difference < 1e-5
    text = str(result.report)
    assert "Removed at no cost, folded into the layers that read them: down 3" in text
    assert f"This alone met the caps (params {without:,} of {without:,})" in text
    assert result.report.data()["shrinks"][0]["free"]["units"] == {"down": 3}


def test_where_more_has_to_go_the_report_says_how_far_it_went() -> None:
    model = planted()
    result = fit(model, budget=Budget(params=600))
    (shrunk,) = result.report.shrinks
    assert shrunk.free is not None
    assert not shrunk.free.enough
    assert measure(result.model).params <= 600
    assert "This alone did not meet the caps" in str(result.report)


def test_nothing_goes_where_it_is_not_asked_for() -> None:
    model = planted()
    cost = measure(model).params
    for schedule, caps in (([Prune(fold=False)], cost - 100), ([Prune()], cost)):
        result = fit(model, budget=Budget(params=caps), schedule=schedule)
        assert all(one.free is None for one in result.report.shrinks)


def test_equal_calls_give_equal_bits() -> None:
    model = planted()
    one, two = (fit(model, list(CLIPS.split(32)), budget=Budget(params=600)) for _ in range(2))
    assert equal(one.model, two.model)


def test_a_sum_of_rows_is_needed_for_every_reader() -> None:
    """One that is not seen, a recurrent layer say, keeps all units of what it reads."""

    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.rnn = nn.Linear(4, 6), nn.LSTM(6, 5, batch_first=True)
            self.head = nn.Linear(5, 3)
            self.example_input_array = torch.zeros(1, 7, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(self.up(x).relu())[0][:, -1])

    torch.manual_seed(0)
    model = Reads()
    with torch.no_grad():
        model.up.bias[2] = -1e3
    graph = trace(model)
    readings = activations_of(model, [torch.randn(64, 7, 4)], call, exact=True)
    keep = folding.redundant(graph, readings).keep
    axis = next(axis for axis in graph.axes if "up" in axis.layers)
    assert keep[axis.units].all()
