"""ExecuTorch programs: the integer reference's values out of XNNPACK's integer kernels.

What XNNPACK is told is checked wherever torchao is, which knows the names; programs run where
executorch is installed.
"""

from __future__ import annotations

import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressor import Result
from compressor.export.executorch import pte_bytes, write
from compressor.export.xnnpack import Linear, Rounded, written
from compressor.network import Network, to_network
from compressor.network.integer import Requantise
from compressor.quantization.conversion import convert
from compressor.quantization.preparation import calibrate, prepare
from compressor.quantization.presets import ORT, TENSORRT, Preset
from models import SubSpectralNorm
from recipes.features.logmel import LogMel, MelSettings
from recipes.features.portable import PortableLogMel
from tests.helpers.int8_nets import trained
from tests.helpers.lively import agrees, lively, varied

COARSE = MelSettings(mels=32, window=0.064, hop=0.040)
ABSENT = "executorch is not installed: pip install executorch"


class Small(nn.Module):
    """Every layer there is an integer form of, moved values between them, and some that float."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.bands = nn.Conv2d(8, 8, (3, 1), padding=(1, 0), groups=8, bias=False)
        self.norm = SubSpectralNorm(8, 4)
        self.gate = nn.Conv2d(8, 8, 1)
        self.along = nn.Conv1d(24, 8, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.last = nn.Linear(8, 5)
        self.example_input_array = torch.zeros(1, 1, 32, 26)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.bands(x)).relu()
        y = torch.cat([x, nn.functional.silu(self.gate(y)) * y, x + y], dim=1)
        y = self.along(nn.functional.max_pool2d(y, 2).mean(2)).relu()
        return self.last(self.pool(y).flatten(1))


@cache
def small(preset: Preset = ORT, *, fold_bands: bool = True, float_bias: bool = False) -> Network:
    torch.manual_seed(0)
    model = trained(Small(), negative=0.3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        model.train()(varied(model, 32, 0))
    prepared = prepare(to_network(model.eval()), preset, fold_bands=fold_bands)
    calibrate(prepared, [(varied(model, 16, seed),) for seed in (1, 2)])
    return convert(prepared, float_bias=float_bias)


FORMS: dict[str, dict[str, Any]] = {
    "folded": {},
    "bands apart": {"fold_bands": False},
    "floating biases": {"float_bias": True},
    "TensorRT": {"preset": TENSORRT},
}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_what_is_written_computes_what_the_reference_does(form: dict[str, Any]) -> None:
    pytest.importorskip("torchao")
    made = small(**form)
    x = varied(made, 64, 5)
    agrees(made, x, written(made)(x))


def test_moved_values_are_written_as_integers_again() -> None:
    """A program in which a view stands between a pool and a matrix product was wrong without."""
    made = written(small())
    called = {step.name: made.get_submodule(step.op) for step in made.steps if type(step.op) is str}
    (linear,) = (step for step in made.steps if isinstance(called.get(step.name), Linear))
    before = made.producer(linear.args[0])
    assert before is not None
    assert isinstance(called[before.name], Rounded)
    moved = made.producer(before.args[0])
    assert moved is not None
    assert moved.name.startswith(("flatten", "view", "reshape"))


@pytest.mark.parametrize("name", ["ort", "tensorrt"])
def test_grids_become_those_of_signed_integers(name: str) -> None:
    preset = {"ort": ORT, "tensorrt": TENSORRT}[name]
    for grid, zero in ((preset.signed, 0), (preset.unsigned, -128 if name == "ort" else 0)):
        rounded = Rounded(Requantise(torch.tensor(0.5), grid))
        assert rounded.grid == (0.5, zero, -128, 127, torch.int8)


def test_networks_in_floating_point_stay_what_they_are() -> None:
    whole = to_network(trained(Small()))
    x = varied(whole, 3, 1)
    assert torch.equal(written(whole).eval()(x), whole.eval()(x))


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "executorch", None)
    monkeypatch.setitem(sys.modules, "executorch.exir", None)
    with pytest.raises(
        ImportError, match=r"a .pte file needs executorch .*: pip install 'compressor-nn"
    ):
        Result(small(), None, None).export_executorch(tmp_path / "model.pte")
    assert not list(tmp_path.iterdir())


# Programs.


def said(content: bytes, x: Tensor) -> Tensor:
    """What a program makes of inputs, one after the other."""
    method = runtime().Runtime.get().load_program(content).load_method("forward")
    return torch.cat([method.execute([one[None].contiguous()])[0].clone() for one in x])


def runtime() -> Any:
    return pytest.importorskip("executorch.runtime", reason=ABSENT)


class Kernels:
    """Counts what XNNPACK was given while programs were made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        place = pytest.importorskip("executorch.backends.xnnpack.xnnpack_preprocess", reason=ABSENT)
        self.found: Counter[tuple[str, bool]] = Counter()
        write = place.serialize_xnnpack_binary

        def spy(graph: Any, *more: Any, **named: Any) -> Any:
            self._count(graph)
            return write(graph, *more, **named)

        monkeypatch.setattr(place, "serialize_xnnpack_binary", spy)

    def integer(self, *names: str) -> int:
        return sum(self.found[name, True] for name in names)

    def floating(self, *names: str) -> int:
        return sum(self.found[name, False] for name in names)

    def _count(self, graph: Any) -> None:
        values = (value.xvalue_union for value in graph.xvalues)
        tensors = [getattr(value, "tensor_value", value) for value in values]
        integer = {t.id_out for t in tensors if "qint8" in t.datatype.name}
        for node in (node.xnode_union for node in graph.xnodes):
            self.found[type(node).__name__.removeprefix("XNN"), node.output_id in integer] += 1


CONVOLUTIONS = ("Conv2d", "DepthwiseConv2d")
PROGRAMS = [
    ("ResNet", True, 18, 0, 7),
    ("BC-ResNet", True, 32, 12, 20),
    ("BC-ResNet", False, 44, 0, 20),
    ("Shared-ResNet", True, 22, 6, 12),
]
"""Network, bands folded, integer and floating convolutions, integer sums."""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "fold_bands", "integer", "floating", "sums"), PROGRAMS)
def test_programs_agree_with_the_reference(
    name: str,
    *,
    fold_bands: bool,
    integer: int,
    floating: int,
    sums: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime()
    found = Kernels(monkeypatch)
    made = lively(name, fold_bands=fold_bands)
    content = pte_bytes(made)
    assert found.integer(*CONVOLUTIONS) == integer
    assert found.floating(*CONVOLUTIONS) == floating
    assert found.integer("Add") == sums
    x = varied(made, 128, 5)
    agrees(made, x, said(content, x))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_programs_of_every_layer(form: dict[str, Any], tmp_path: Path) -> None:
    runtime()
    made = small(**form)
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    length = write(made, tmp_path / "model.pte")
    content = (tmp_path / "model.pte").read_bytes()
    assert len(content) == length
    x = varied(made, 64, 5)
    agrees(made, x, said(content, x))
    assert all(torch.equal(made.state_dict()[name], tensor) for name, tensor in before.items())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_programs_in_floating_point() -> None:
    runtime()
    whole = to_network(trained(Small()))
    x = varied(whole, 3, 1)
    torch.testing.assert_close(said(pte_bytes(whole), x), whole(x).detach(), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_programs_from_waveform_to_class(tmp_path: Path) -> None:
    runtime()
    result = Result(small(), None, None)
    result.export_executorch(tmp_path / "model.pte", front_end=PortableLogMel(COARSE))
    generator = torch.Generator().manual_seed(0)
    loudness = torch.logspace(-3, 0, 32)[:, None]
    waveforms = loudness * torch.randn(32, 16_000, generator=generator) / 4
    wanted = small()(LogMel(COARSE)(waveforms))
    step = [module for module in small().modules() if isinstance(module, Requantise)][-1].scale
    apart = (said((tmp_path / "model.pte").read_bytes(), waveforms) - wanted).abs() / step
    assert (wanted.std(dim=0) / step).mean() >= 3
    assert (apart <= 1.001).double().mean() >= 0.98
