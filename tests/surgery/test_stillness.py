"""Removed units of recurrent layers are exactly zero in every step of the masked original."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor.graph.structure import Structure
from compressor.inputs.tensors import named_tensors
from compressor.surgery.masking import Masked
from compressor.surgery.stillness import in_one_type, stilled
from compressor.tracing.tracer import trace
from compressor.tracing.trial import randomised


class States(nn.Module):
    """All states of a recurrent layer, behind a layer that reads them."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.layer = kind(3, 6, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_removed_units_begin_at_zero_and_stay_there(kind: type[nn.RNNBase]) -> None:
    model, x = randomised(States(kind)), torch.randn(1, 5, 3)
    graph = trace(model, x, check=False)
    keep = np.array([True, False, True, False, False, True])
    tensors = dict(named_tensors(model))
    masked = Masked(graph, Structure(graph, keep), tensors)
    twin = kind(3, 6, 2, batch_first=True, bidirectional=True)
    twin.load_state_dict({n.removeprefix("layer."): masked.tensors[n] for n in tensors
                          if n.startswith("layer.")})  # fmt: skip
    with torch.no_grad():
        states = twin(x)[0].reshape(1, 5, 2, 6)
    assert not states[..., ~torch.from_numpy(keep)].any()
    assert (states[..., torch.from_numpy(keep)] != 0).all()
    assert all(torch.equal(tensors[n], tensor) for n, tensor in named_tensors(model))


def test_networks_without_recurrent_layers_keep_their_tensors() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    graph, tensors = trace(model, torch.randn(1, 3), check=False), dict(named_tensors(model))
    keep = np.zeros(graph.units, dtype=bool)
    assert graph.program is not None
    assert stilled(graph, graph.program, keep, tensors) is tensors


def test_states_come_in_the_type_of_the_input() -> None:
    x, state, weight = torch.zeros(1, 1, 2).double(), torch.zeros(1, 1, 2), torch.zeros(2, 2)
    source, states, rest = in_one_type(torch.ops.aten.lstm.input, (x, [state, state], weight))
    assert source is x
    assert all(s.dtype == torch.float64 for s in states)
    assert rest is weight
    assert in_one_type(torch.ops.aten.add.Tensor, (x, state))[1] is state
