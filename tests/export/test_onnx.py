"""ONNX files: the right kernels in ONNX Runtime, and the integer reference's values out of it."""

from __future__ import annotations

import math
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from compressor import Budget, FrequencyMask, Int8, fit
from compressor.export.onnx import kernels, onnx_bytes, write
from compressor.export.placeholders import Exported
from compressor.export.qdq import slabs
from compressor.network import Network, to_network
from compressor.network.integer import Geometry, IntMean, Requantise
from compressor.quantization.conversion import convert
from compressor.quantization.place import cut
from compressor.quantization.preparation import quantisers
from compressor.quantization.presets import TENSORRT
from models import SubSpectralNorm, Tandem
from recipes.features.logmel import MELS_2021
from recipes.features.portable import PortableLogMel
from tests.helpers.int8_nets import calibrated, examples, trained
from tests.helpers.lively import agrees, lively, settled, varied
from tests.zoo.micro import chain

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")


class Small(nn.Module):
    """Every integer layer there is, and something that stays in floating point."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.bands = nn.Conv2d(8, 8, (3, 1), padding=(1, 0), groups=8, bias=False)
        self.norm = SubSpectralNorm(8, 4)
        self.gate = nn.Conv2d(8, 8, 1)
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        self.last = nn.Linear(8, 5)
        self.example_input_array = torch.zeros(1, 1, 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.bands(x))
        y = y / y.std(dim=(1, 2, 3), keepdim=True)
        y = x + functional.silu(self.gate(y)) * y
        return self.last(self.pool(y.relu()).flatten(1))


@cache
def small() -> Network:
    torch.manual_seed(0)
    return to_network(trained(Small(), negative=0.5))


def ran(content: bytes, x: Tensor) -> Tensor:
    """What ONNX Runtime makes of an input, at default settings but for one thread."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (name,) = (given.name for given in session.get_inputs())
    return torch.from_numpy(session.run(["output"], {name: x.numpy()})[0])


def steps_apart(made: Network, content: bytes, batch: int) -> Tensor:
    """Differences from the reference in steps of the last quantiser."""
    x = examples(made, batch)
    last = [module for module in made.modules() if isinstance(module, Requantise)][-1]
    with torch.no_grad():
        return (ran(content, x) - made(x)).abs() / last.scale


@pytest.mark.slow
def test_every_layer_has_its_kernel(tmp_path: Path) -> None:
    """Any batch, values within one step; stored are integers, and nothing that does not run."""
    made = convert(calibrated(small()))
    length = write(made, tmp_path / "model.onnx")
    content = (tmp_path / "model.onnx").read_bytes()
    assert len(content) == length
    found = kernels(content)
    wanted = {"QLinearConv": 6, "QLinearConcat": 1, "QLinearAdd": 1, "QGemm": 1}
    assert {kind: found[kind] for kind in wanted} == wanted
    assert found["QLinearAveragePool"] + found["QLinearGlobalAveragePool"] == 1
    assert found["Conv"] == found["Gemm"] == found["AveragePool"] == 0
    for batch in (1, 3, 7):
        assert steps_apart(made, content, batch).max() <= 1.001
    model = onnx.load_from_string(content)
    types = {tensor.data_type for tensor in model.graph.initializer}
    weights = [
        np.prod(t.dims) for t in model.graph.initializer if t.data_type == onnx.TensorProto.UINT8
    ]
    assert {onnx.TensorProto.UINT8, onnx.TensorProto.INT32} <= types
    assert max(weights) >= 72
    floats = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    assert all(np.prod(t.dims) <= 8 for t in floats)
    assert not model.metadata_props
    assert not any(n.metadata_props or n.doc_string or n.name for n in model.graph.node)
    assert {entry.domain for entry in model.opset_import} <= {"", "ai.onnx"}


@pytest.mark.slow
def test_zeros_of_a_padding_count_in_means() -> None:
    """On grids whose zero is not in their middle, over one dimension and two."""
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 4, 3), nn.AvgPool2d(3, (2, 1), 1), nn.Conv2d(4, 3, 1)
    plane = chain((2, 9, 8), *layers)
    line = chain((2, 20), nn.Conv1d(2, 4, 3), nn.AvgPool1d(3, 2, 1), nn.Conv1d(4, 3, 1))
    for model in (plane, line):
        made = convert(calibrated(to_network(model)))
        assert sum(isinstance(module, IntMean) for module in made.modules()) == 1
        assert steps_apart(made, onnx_bytes(made), 3).max() <= 1.001


@pytest.mark.parametrize("choice", ["apart", "floating biases", "TensorRT"])
def test_other_forms_compute_the_same(choice: str) -> None:
    preset = {"preset": TENSORRT} if choice == "TensorRT" else {}
    prepared = calibrated(small(), fold_bands=choice != "apart", **preset)
    made = convert(prepared, float_bias=choice == "floating biases")
    content = onnx_bytes(made)
    assert steps_apart(made, content, 4).max() <= 1.001


@pytest.mark.slow
def test_a_network_in_floating_point() -> None:
    content = onnx_bytes(small())
    x = examples(small(), 3)
    torch.testing.assert_close(ran(content, x), small()(x).detach(), rtol=1e-4, atol=1e-5)


KERNELS = [
    ("BC-ResNet", True, {"QLinearConv": 92, "QLinearAdd": 20, "QLinearAveragePool": 13}),
    ("BC-ResNet", False, {"QLinearConv": 44, "QLinearAdd": 20, "QLinearAveragePool": 13}),
    ("BC-ResNet-ASC", True, {"QLinearConv": 60, "QLinearAdd": 14, "QLinearAveragePool": 10}),
    ("Shared-ResNet", True, {"QLinearConv": 34, "QLinearAdd": 12, "NhwcMaxPool": 3}),
    ("baseline", True, {"QLinearConv": 3, "QGemm": 2, "NhwcMaxPool": 2}),
    ("ResNet", True, {"QLinearConv": 18, "QLinearAdd": 7, "QGemm": 1}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "fold_bands", "wanted"), KERNELS)
def test_every_convolution_sum_and_pool_is_an_integer_kernel(
    name: str, *, fold_bands: bool, wanted: dict[str, int]
) -> None:
    """BC-ResNet has 44 convolutions, 20 sums, 13 pools; folded, 12 convolutions are five each."""
    made = lively(name, fold_bands=fold_bands)
    content = onnx_bytes(made)
    found = kernels(content)
    assert {kind: found[kind] for kind in wanted} == wanted
    assert found["Conv"] == found["Gemm"] == found["AveragePool"] == 0
    x = varied(made, 128, 5)
    agrees(made, x, ran(content, x))


BY_CHANNEL = {"ReduceMean": 2, "Sub": 1, "Mul": 3, "Add": 2, "Sqrt": 1, "Reciprocal": 1}
"""Residual Normalization: mean and variance of every row, quotient, and lambda * x added to it.

What is divided by differs from input to input, so that it can be no scale that is known beforehand,
and ONNX Runtime has no integer kernels for roots and quotients.
"""
MOMENTS = {"ReduceMean": 5, "Sub": 2, "Pow": 4, "Mul": 2, "Add": 3, "Sqrt": 1, "Reciprocal": 1}
"""Five moments of every row over time, quotients too, and their standardisation behind no layer."""
SILU = {"Sigmoid": 1, "Mul": 1}
"""Rounded once, behind x * sigmoid(x); the runtime's integer kernels of the parts round thrice."""
MOVES = (
    "Gather", "Slice", "Concat", "QLinearConcat", "Reshape", "Transpose", "Squeeze", "Unsqueeze",
    "QuantizeLinear", "DequantizeLinear",
)  # fmt: skip
"""What computes nothing; Gather picks the rows."""


@pytest.mark.slow
def test_the_tandem_that_reads_192_of_256_rows() -> None:
    """Whatever multiplies by weights, adds branches or pools is an integer kernel: 88 of 175.

    The 87 others are the five Residual Normalizations, the moments, nine SiLU and the softmax.
    """
    torch.manual_seed(0)
    model = settled(Tandem(256, 8, frames=34))
    data = [(varied(model, 16, seed), torch.arange(16) % 10) for seed in (1, 2)]
    schedule = [FrequencyMask(keep=192, epochs=0, fine_tune=0), Int8(epochs=0)]
    result = fit(model, data, budget=Budget(bytes="1MiB"), schedule=schedule)
    assert len(result.rows) == 192
    content = onnx_bytes(result.network)
    found = kernels(content)
    integer = {
        "QLinearConv": 60, "QLinearAdd": 14 + 1, "QLinearAveragePool": 10, "NhwcMaxPool": 2,
        "QGemm": 1,
    }  # fmt: skip
    floating = Counter({"LogSoftmax": 1}) + Counter(MOMENTS)
    for part, times in ((BY_CHANNEL, 5), (SILU, 9)):
        floating.update({kind: times * count for kind, count in part.items()})
    computing = {kind: count for kind, count in found.items() if kind not in MOVES}
    assert computing == integer | floating
    assert (sum(integer.values()), sum(computing.values())) == (88, 175)
    x = varied(model, 128, 5)
    agrees(result.network, x, ran(content, x))
    front_end = PortableLogMel(MELS_2021, rows=result.rows)
    joint = kernels(onnx_bytes(result.network, front_end))
    assert {kind: joint[kind] for kind in integer} == integer


@given(
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(0, 3),
    st.integers(1, 2),
    st.integers(1, 30),
    st.integers(1, 5),
)
def test_slabs_put_together_are_the_whole(
    kernel: int, stride: int, padding: int, dilation: int, rows: int, bands: int
) -> None:
    reach = (kernel - 1) * dilation
    outputs = (rows + 2 * padding - reach - 1) // stride + 1
    # A sub-band must see at least one row: padding beyond the reach of a kernel sees none.
    assume(rows + 2 * padding > reach and outputs % bands == 0 and padding <= reach)
    weight = torch.randn(1, 1, kernel, 1, dtype=torch.float64)
    x = torch.randn(1, 1, rows, 2, dtype=torch.float64)
    moves = Geometry((stride, 1), (padding, 0), (dilation, 1))
    whole = functional.conv2d(x, weight, None, moves.stride, moves.padding, moves.dilation)
    found = slabs(moves, kernel, rows, bands)
    parts = [
        functional.conv2d(
            functional.pad(x[:, :, slice(*slab.rows)], (0, 0, *slab.padding)),
            weight,
            None,
            moves.stride,
            0,
            moves.dilation,
        )
        for slab in found
    ]
    torch.testing.assert_close(torch.cat(parts, dim=2), whole)
    assert all(min(slab.padding) >= 0 for slab in found)


CUTS: tuple[nn.Module, ...] = (
    nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-0.5, 0.7), nn.Hardtanh(0.1, 2.0),
    nn.Sequential(nn.ReLU(), nn.Hardtanh(-0.5, 0.7)),
    nn.Sequential(nn.Hardtanh(-0.9, 0.4), nn.ReLU6()),
)  # fmt: skip
"""What cuts off above or below, in one step or several."""


class Cut(nn.Module):
    """Layers with sub-bands, each before a limit of another kind; the last sees padding alone."""

    def __init__(self) -> None:
        super().__init__()
        cuts = (*CUTS, nn.ReLU())
        self.convs = nn.ModuleList(nn.Conv2d(1, 2, 3, padding=1, bias=False) for _ in CUTS)
        self.convs.append(nn.Conv2d(1, 2, 1, padding=8, bias=False))
        self.norms = nn.ModuleList(SubSpectralNorm(2, 4) for _ in cuts)
        self.cuts = nn.ModuleList(cuts)
        self.last = nn.ModuleList(nn.Conv2d(2, 1, 1) for _ in cuts)
        self.example_input_array = torch.zeros(1, 1, 8, 4)

    def forward(self, x: Tensor) -> Tensor:
        parts = zip(self.convs, self.norms, self.cuts, self.last, strict=True)
        each = [last(cut(norm(conv(x)))) for conv, norm, cut, last in parts]
        return torch.cat([y.flatten(1) for y in each], dim=1)


@pytest.mark.parametrize("module", [*CUTS, nn.SiLU()])
def test_limits_are_read_off_the_steps(module: nn.Module) -> None:
    """What is read is what the operation does."""
    x = torch.linspace(-9, 9, 50)
    steps = to_network(module, x[None]).steps
    found = [limits for step in steps if (limits := cut(step)) is not None]
    assert len(found) == (0 if isinstance(module, nn.SiLU) else len(steps))
    y = x
    for limits in found:
        y = y.clamp(*limits)
    assert torch.equal(y, module(x) if found else x)


@pytest.mark.slow
@pytest.mark.parametrize("further", [1.0, 8.0])
def test_what_cuts_off_behind_sub_bands_cuts_off_in_the_file(further: float) -> None:
    """Also where a learned grid reaches beyond the limit: the limit counts."""
    torch.manual_seed(0)
    prepared = calibrated(to_network(trained(Cut())))
    with torch.no_grad():
        for name, quantiser in quantisers(prepared).items():
            if "relu" in name or "hardtanh" in name:
                quantiser.log_scale += math.log2(further)
    made = convert(prepared)
    content = onnx_bytes(made)
    assert float(steps_apart(made, content, 12).max()) < 1.01
    assert kernels(content)["QLinearConcat"] >= len(CUTS)


def test_what_was_made_for_an_export_does_not_run() -> None:
    """PyTorch's symbols would be zeros without a word."""
    made = Exported(convert(calibrated(small()))).network
    with pytest.raises(RuntimeError, match=r"was made for an export"):
        made(examples(small(), 1))


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_what_is_missing_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"needs onnx and onnxscript.*{package}"):
        onnx_bytes(small())
