"""Networks rounded for microcontrollers in other runtimes: near, and nothing fixed is left."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from compressor.export.one_rounding import unfixed
from compressor.export.onnx import onnx_bytes
from compressor.network import Network, to_network
from compressor.network import fixed as fixed_modules
from compressor.network.fixed_norm import FixedNorm
from compressor.quantization.conversion import convert
from compressor.quantization.grids import grid_of
from compressor.quantization.presets import ORT, TFLM, Preset
from tests.helpers.int8_nets import calibrated, examples, trained
from tests.zoo.micro import MICRO

NAMES = ["plain", "bands", "gated", "silu", "joined", "moved", "norm first", "time", "grouped"]


@cache
def reference(name: str, preset: Preset = TFLM) -> Network:
    torch.manual_seed(3)
    return convert(calibrated(to_network(trained(MICRO[name](), negative=0.3)), preset))


@pytest.mark.parametrize("name", NAMES)
def test_results_are_some_steps_away(name: str) -> None:
    whole = reference(name)
    made = unfixed(whole)
    left = [m for m in made.modules() if type(m).__module__ == fixed_modules.__name__]
    assert not left
    x = examples(whole, 30, seed=5)
    step = float(grid_of(whole, whole.outputs).scale)
    with torch.no_grad():
        found, wanted = made(x), whole(x)
    assert float((found - wanted).abs().max()) <= 6.5 * step
    assert float((found == wanted).double().mean()) > 0.4


def test_normalisation_by_rows_is_in_floating_point() -> None:
    """Without the grids of its parts, of which other runtimes know nothing."""
    whole = reference("rows")
    made = unfixed(whole)
    assert not [m for m in made.modules() if isinstance(m, FixedNorm)]
    x = examples(whole, 30, seed=5)
    step = float(grid_of(whole, whole.outputs).scale)
    with torch.no_grad():
        found, wanted = made(x), whole(x)
    assert float((found - wanted).abs().mean()) <= 1.5 * step


def test_others_come_back_as_they_are() -> None:
    whole = reference("plain", ORT)
    assert unfixed(whole) is whole


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gated", "bands", "time"])
def test_onnx_runtime_computes_them(name: str) -> None:
    runtime = pytest.importorskip("onnxruntime")
    whole = reference(name)
    with pytest.warns(UserWarning, match="signed weights"):
        content = onnx_bytes(whole)
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    x = examples(whole, 30, seed=5)
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        wanted = unfixed(whole)(x)
    step = float(grid_of(whole, whole.outputs).scale)
    assert float((torch.from_numpy(found) - wanted).abs().max()) <= 2.5 * step
