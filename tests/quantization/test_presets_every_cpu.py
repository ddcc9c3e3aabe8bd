"""An int8 file computes the same on every CPU: what cuts sums off finds nothing to cut off.

x86 CPUs without VNNI multiply unsigned by signed bytes with `vpmaddubsw`: two neighbouring products
are added in 16 bits, and the sum is limited to 32,767. Most machines that run these tests have VNNI
and would not show it; so the instruction is written down here, and what is asserted of a file is
that no weight in it can bring the instruction to its limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from torch import Tensor, nn

from compressor import Budget, Int8, fit
from compressor.export.onnx import onnx_bytes
from compressor.export.qdq import SAFE
from compressor.network import Network, to_network
from compressor.network.integer import IntConv, IntLinear, Requantise
from compressor.network.sums import IntSum
from compressor.quantization.conversion import convert
from compressor.quantization.preparation import calibrate, prepare
from compressor.quantization.presets import ORT, TENSORRT, VNNI, Preset
from tests.helpers.int8_nets import bare, calibrated, examples

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

FULL_RANGE = replace(TENSORRT, weight_bits=8)
PRESETS = {"ORT": ORT, "TensorRT": TENSORRT, "VNNI": VNNI}


def pairs_in_16_bits(activations: NDArray[np.uint8], weights: NDArray[np.int8]) -> int:
    """A dot product of bytes as CPUs without VNNI compute it; an even number of them."""
    products = activations.astype(np.int64) * weights.astype(np.int64)
    return int(products.reshape(-1, 2).sum(1).clip(-(2**15), 2**15 - 1).sum())


def dot(activations: NDArray[np.uint8], weights: NDArray[np.int8]) -> int:
    return int(activations.astype(np.int64) @ weights.astype(np.int64))


BYTES = arrays.arrays(np.uint8, 32)


@given(BYTES, arrays.arrays(np.int8, 32, elements=st.integers(-SAFE, SAFE)))
def test_small_signed_weights_are_never_cut_off(
    activations: NDArray[np.uint8], weights: NDArray[np.int8]
) -> None:
    assert pairs_in_16_bits(activations, weights) == dot(activations, weights)


def test_the_next_larger_ones_are() -> None:
    most = np.full(2, 255, np.uint8)
    for weight in (SAFE + 1, 127):
        weights = np.full(2, weight, np.int8)
        assert pairs_in_16_bits(most, weights) == 2**15 - 1 < dot(most, weights)


def weights_of(content: bytes) -> Iterator[NDArray[np.int8 | np.uint8]]:
    """The bytes that convolutions and matrix products of a file multiply by."""
    graph = onnx.load_from_string(content).graph
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    steps = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul", "ConvTranspose"):
            found = stored[steps[node.input[1]].input[0]]
            zero = stored[steps[node.input[1]].input[2]]
            assert (zero == (0 if found.dtype == np.int8 else 128)).all()
            yield found


def can_be_cut_off(content: bytes) -> bool:
    each = list(weights_of(content))
    assert each
    signed = [abs(w.astype(int)).max() for w in each if w.dtype == np.int8]
    return max(signed, default=0) > SAFE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("Shared-ResNet", "ORT"),
        ("BC-ResNet", "ORT"),
        ("ResNet", "TensorRT"),
        ("baseline", "TensorRT"),
        ("ResNet", "VNNI"),
    ],
)
def test_no_file_has_a_weight_that_can_be_cut_off(name: str, preset: str) -> None:
    """Values that saturate, too, with ONNX Runtime's remedy for such files and without it."""
    whole = bare(name)
    made = convert(calibrated(whole, PRESETS[preset]))
    content = onnx_bytes(made)
    assert not can_be_cut_off(content)
    expected = np.uint8 if PRESETS[preset] is ORT else np.int8
    assert {weight.dtype for weight in weights_of(content)} == {np.dtype(expected)}
    x = torch.cat(
        [examples(whole, 3), 1e3 * examples(whole, 2), torch.full_like(examples(whole, 1), 1e6)]
    )
    # Where a ReLU does not begin at a grid's smallest integer, ONNX Runtime adds up in floating
    # point; SiLU is in floating point everywhere. All else is equal to the last step.
    floating = preset == "TensorRT" or name == "BC-ResNet"
    assert_close(made, content, x, unequal=0.1 if floating else 0.0)


def assert_close(
    made: Network, content: bytes, x: Tensor, unequal: float = 0.0, precise: str = "01"
) -> None:
    """Within a step of the output without `x64quantprecision` (0) and with it, mostly equal."""
    last = [module for module in made.modules() if isinstance(module, Requantise)][-1]
    with torch.no_grad():
        wanted = made(x)
    for way in precise:
        apart = (ran(content, x, way) - wanted).abs() / last.scale
        assert apart.max() <= 1.001
        assert (apart > 0.001).double().mean() <= unequal


def ran(content: bytes, x: Tensor, precise: str) -> Tensor:
    """What ONNX Runtime says, which may put unsigned weights in the place of signed ones."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", precise)
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (name,) = (value.name for value in session.get_inputs())
    return torch.from_numpy(session.run(None, {name: x.numpy()})[0])


class Tied(nn.Module):
    """A weight that three convolutions share; and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.shared = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Linear(8, 4)
        self.example_input_array = torch.zeros(1, 1, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        for _ in range(3):
            x = x + self.shared(x).relu()
        return self.last(x.mean((2, 3)))


@cache
def tied(preset: Preset) -> Network:
    """In integers; not to be changed."""
    torch.manual_seed(0)
    model = Tied()
    prepared = prepare(to_network(model), preset)
    calibrate(prepared, [(examples(model, 16, 2),)])
    return convert(prepared)


@cache
def file_of(preset: Preset) -> bytes:
    """`tied(preset)`, exported."""
    return onnx_bytes(tied(preset))


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_layers_and_sums_round_once_as_kernels_do(preset: str) -> None:
    """Whole sums times one factor; a number in between fell on the other side every 1e5 values."""
    made = tied(PRESETS[preset])
    calls = {step.name: made.get_submodule(step.op) for step in made.steps if type(step.op) is str}
    layers = [name for name, m in calls.items() if isinstance(m, IntConv | IntLinear)]
    absorbed = preset != "TensorRT"  # there a ReLU is no part of the rounding
    told = [name for name in layers if len(made.step(name).args) == 3]
    assert len(layers) == 5
    assert len(told) == (5 if absorbed else 1)
    assert sum(isinstance(m, IntSum) for m in calls.values()) == 3
    x = torch.cat([examples(made, 64), 100 * examples(made, 64)])
    last = [module for module in made.modules() if isinstance(module, Requantise)][-1]
    apart = (ran(file_of(PRESETS[preset]), x, "0") - made(x)).abs() / last.scale
    assert (apart > 0.001).double().mean() <= (0 if absorbed else 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_weights_that_are_shared(preset: str) -> None:
    made, content = tied(PRESETS[preset]), file_of(PRESETS[preset])
    assert not can_be_cut_off(content)
    assert_close(made, content, torch.cat([examples(made, 8), 1e4 * examples(made, 8)]), 0.1)


@pytest.mark.slow
def test_the_full_range_is_to_be_had_with_a_warning() -> None:
    """What was wrong: signed weights of 8 bits, which all files had."""
    made = tied(FULL_RANGE)
    with pytest.warns(UserWarning, match=r"up to 127.*cut sums off.*above 64.*x64quantprecision=1"):
        content = onnx_bytes(made)
    assert can_be_cut_off(content)
    assert {w.dtype for w in weights_of(content)} == {np.dtype(np.int8)}
    assert_close(made, content, 1e4 * examples(made, 8), 1.0, precise="1")  # whatever this CPU is


@pytest.mark.parametrize("bits", [1, 9, 7.5])
def test_bits_of_a_preset(bits: float) -> None:
    with pytest.raises(ValueError, match=r"weight_bits"):
        replace(ORT, weight_bits=bits)


@pytest.mark.parametrize(
    ("preset", "most"), [(ORT, 127), (TENSORRT, 63), (VNNI, 63), (FULL_RANGE, 127)]
)
def test_weights_train_on_the_range_that_they_are_stored_in(preset: Preset, most: int) -> None:
    """In a whole run: the integers of the result, and those that training rounded to."""
    torch.manual_seed(0)
    model, data = Tied(), [(torch.randn(8, 1, 8, 8), torch.arange(8) % 4)]
    schedule = [Int8(epochs=1, preset=preset)]
    result = fit(model, data, budget=Budget(params=10**6), schedule=schedule, progress=False)
    weights = [b for _, b in result.model.named_buffers() if b.dtype is torch.int8 and b.dim() > 1]
    assert len(weights) == 3
    assert {int(w.abs().max()) for w in weights} == {most}
