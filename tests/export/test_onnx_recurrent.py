"""Recurrent layers in ONNX Runtime, after hidden units were removed, for any batch size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from compressor.export.onnx import onnx_bytes
from compressor.graph.structure import Structure
from compressor.network import to_network
from compressor.network.file import container
from compressor.surgery.cutting import shrink
from compressor.tracing.tracer import trace
from compressor.tracing.trial import randomised
from tests.zoo import RECURRENT

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["conv_gru", "lstm_two_ways", "rnn_relu", "lstm_cell", "gru_learned_states"]
)
def test_a_smaller_recurrent_network_is_the_same_in_its_file_and_in_onnx_runtime(
    name: str,
) -> None:
    model = randomised(RECURRENT[name]()).eval()
    graph = trace(model, check=False)
    keep = np.ones(graph.units, dtype=bool)
    for axis in graph.axes:
        keep[axis.first : axis.first + axis.size // 2] = bool(axis.frozen)
    smaller = shrink(model, graph, Structure(graph, keep))
    network = to_network(smaller, model.example_input_array)
    x = torch.randn(3, *model.example_input_array.shape[1:])
    with torch.no_grad():
        wanted = smaller(x)
        assert torch.equal(container.unpack(container.pack(network))(x), wanted)
    session = onnxruntime.InferenceSession(onnx_bytes(network), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_projections_are_refused_before_anything_is_made() -> None:
    network = to_network(RECURRENT["lstm_last_projected"]())
    with pytest.raises(ValueError, match=r"LSTM 'layer' has projections \(proj_size\)"):
        onnx_bytes(network)
