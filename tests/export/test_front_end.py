"""A waveform in, a class out: front ends of products alone, before int8 networks."""

from __future__ import annotations

import logging
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from compressor import Result
from compressor.export.front_end import joined, rows_read, without_rows
from compressor.export.onnx import kernels, onnx_bytes
from compressor.network import Network, to_network
from compressor.network.integer import Requantise
from compressor.phases.frequency import Rows, select_rows
from compressor.quantization.conversion import convert
from compressor.quantization.preparation import calibrate, prepare
from models import BCResNetASC
from recipes.data.audio import FULL_SCALE, AudioFormat, decode
from recipes.features.logmel import (
    BASELINE_2020,
    BASELINE_2022,
    MELS_2020,
    MELS_2021,
    LogMel,
    MelSettings,
)
from recipes.features.portable import PortableLogMel, split
from tests.helpers.int8_nets import trained

LAYOUTS = {
    "2021": MELS_2021,
    "2020": MELS_2020,
    "baseline 2020": BASELINE_2020,
    "baseline 2022": BASELINE_2022,
    "default": MelSettings(),
    "odd transform": MelSettings(window=0.05, transform=1025, mels=40),
    "prime transform": MelSettings(window=0.05, transform=1031, mels=40),
}
COARSE = MelSettings(mels=32, window=0.064, hop=0.040)
KEPT = [0, 1, 5, 6, 7, 8, 9, 12, 13, 14, 15, 20, 21, 22, 25, 31]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)


def noise(samples: int, *shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(*shape, samples, generator=torch.Generator().manual_seed(seed))


# The front end.


@pytest.mark.parametrize("chosen", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("seconds", [0.5, 1.00002])
def test_products_equal_the_transform(chosen: MelSettings, seconds: float) -> None:
    x = noise(round(seconds * chosen.sample_rate), 2, 2)
    wanted = LogMel(chosen).double()(x.double())
    torch.testing.assert_close(PortableLogMel(chosen)(x).double(), wanted, rtol=1e-5, atol=1e-5)
    mono = PortableLogMel(chosen)(x[:, 0])
    torch.testing.assert_close(mono.double(), wanted[:, :1], rtol=1e-5, atol=1e-5)


@given(st.integers(1, 60), st.integers(1, 40), st.integers(0, 60))
def test_any_window_hop_and_length(window: int, hop: int, more: int) -> None:
    """Lengths from a single window on, hops longer than windows, transforms of any factors."""
    chosen = MelSettings(
        sample_rate=100, window=window / 100, hop=hop / 100, mels=1, fmin=0, fmax=50, transform=60
    )
    x = noise(window + more, 1)
    wanted = LogMel(chosen).double()(x.double()).float()
    torch.testing.assert_close(PortableLogMel(chosen)(x), wanted, rtol=1e-4, atol=1e-4)


@given(st.integers(1, 5000))
def test_a_transform_is_split_into_factors_of_its_length(size: int) -> None:
    lines, columns = split(size)
    assert lines * columns == size
    assert lines + 2 * columns <= 1 + 2 * size


def test_tables_are_small() -> None:
    front_end = PortableLogMel(MELS_2021)
    tables = (front_end.first, front_end.turns, front_end.second)
    assert sum(table.nbytes for table in tables) <= 42_100
    assert 2 * 1041 * 2080 * 4 > 17_000_000  # of one product with cosines and sines
    assert sum(buffer.nbytes for buffer in front_end.buffers()) <= 135_000
    assert not front_end.state_dict()


def clips(paths: list[Path], seconds: float) -> Tensor:
    """Waveforms (clips, 16,000 * seconds), the beginning of each file."""
    wanted = AudioFormat(rate=16_000, seconds=seconds)
    return torch.from_numpy(np.concatenate([decode(p, wanted) for p in paths])).float() / FULL_SCALE


@pytest.mark.data
def test_products_equal_the_transform_on_real_clips(esc50_root: Path) -> None:
    """Single precision has its limit where a band is 100 dB below another, for either of them."""
    x = clips(sorted((esc50_root / "audio").iterdir())[::100], 5)
    wanted = LogMel(MELS_2021).double()(x.double())
    apart = (PortableLogMel(MELS_2021)(x) - wanted).abs()
    usual = (LogMel(MELS_2021)(x) - wanted).abs()
    assert (apart <= 1e-4).double().mean() >= 0.998
    assert apart.max() <= 1e-2
    assert apart.mean() <= 2 * usual.mean()


@pytest.mark.parametrize("build", [LogMel, PortableLogMel])
def test_rows_alone_are_those_of_the_whole(build: type[nn.Module]) -> None:
    x = noise(16_000, 3)
    some = build(COARSE, rows=KEPT)(x)
    torch.testing.assert_close(some, build(COARSE)(x)[:, :, KEPT], rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("rows", [[], [1, 1], [3, 2], [-1, 2], [31, 32]])
@pytest.mark.parametrize("build", [LogMel, PortableLogMel])
def test_rows_that_are_not_there(build: type[nn.Module], rows: list[int]) -> None:
    with pytest.raises(ValueError, match=r"mel bands 0 to 31, in rising order"):
        build(COARSE, rows=rows)


@pytest.mark.parametrize("shape", [(16_000,), (1, 1, 1, 16_000), (1, 1000)])
def test_waveforms_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"at least the 1024 samples of its window"):
        PortableLogMel(COARSE)(torch.zeros(shape))


# Networks behind it.


class Small(nn.Module):
    """Reads its input at once, so that the quantiser of the input stands before all rows."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 5, 1)
        )
        self.example_input_array = torch.zeros(1, 1, 32, 26)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).mean((2, 3))


def reference(model: nn.Module, spectra: Tensor) -> Network:
    prepared = prepare(to_network(model))
    calibrate(prepared, [(part.contiguous(),) for part in spectra.split(50)])
    return convert(prepared)


@cache
def small(*, rows: bool = True) -> Network:
    torch.manual_seed(0)
    model = trained(Small())
    return reference(
        select_rows(model, None, KEPT) if rows else model, LogMel(COARSE)(noise(16_000, 20))
    )


def test_rows_read() -> None:
    assert rows_read(small()) == tuple(KEPT)
    assert rows_read(small(rows=False)) is None
    model = trained(Small())
    twice = Rows(Rows(model, range(0, 64, 2)), range(64))
    twice.example_input_array = torch.zeros(1, 1, 70, 26)
    assert rows_read(to_network(twice)) == tuple(range(0, 64, 2))


def test_without_rows_the_same_is_computed() -> None:
    x = LogMel(COARSE)(noise(16_000, 3))
    short = without_rows(small())
    assert torch.equal(short(x[:, :, KEPT]), small()(x))
    assert short.example_input_array.shape == (1, 1, 16, 26)
    assert not [t for t in short.buffers() if t.dtype == torch.int64]
    assert without_rows(small(rows=False)) is small(rows=False)


def test_rows_that_others_read_too_stay() -> None:
    class Both(Rows):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + x.mean()

    both = Both(trained(Small()), range(0, 64, 2))
    both.example_input_array = torch.zeros(1, 1, 70, 26)
    made = to_network(both)
    assert rows_read(made) is None
    assert without_rows(made) is made


def test_a_front_end_may_make_all_rows_or_those_read() -> None:
    x = noise(16_000, 3)
    whole = joined(small(), PortableLogMel(COARSE))
    some = joined(small(), PortableLogMel(COARSE, rows=KEPT))
    assert whole.network is small()
    assert some.network is not small()
    torch.testing.assert_close(some(x), whole(x), rtol=0, atol=1e-6)
    assert torch.equal(whole(x), small()(PortableLogMel(COARSE)(x)))


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is asserted below
        joined(small(), PortableLogMel(COARSE, rows=KEPT[:8]))
    assert "makes (1, 1, 8, 26) of a waveform (1, 16000)" in str(caught.value)
    assert "takes (1, 1, 32, 26), or (1, 1, 16, 26) for the rows" in str(caught.value)
    with pytest.raises(ValueError, match=r"makes \(1, 1, 32, 51\) .* takes \(1, 1, 32, 26\):"):
        joined(small(rows=False), PortableLogMel(COARSE, samples=32_000))
    with pytest.raises(ValueError, match=r"was given None: pass waveform=.* LogMel"):
        joined(small(), LogMel(COARSE))
    with pytest.raises(ValueError, match=r"was given \(16000,\)"):
        joined(small(), LogMel(COARSE), torch.zeros(16_000))


def test_one_input_alone() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    two = to_network(Two(), (torch.zeros(1, 3), torch.zeros(1, 3)))
    with pytest.raises(ValueError, match=r"has 2 inputs \(x, y\): leave it out"):
        joined(two, PortableLogMel(COARSE))


# Files.


def session(content: bytes) -> object:
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def ran(content: bytes, waveforms: Tensor) -> Tensor:
    return torch.from_numpy(session(content).run(["output"], {"waveform": waveforms.numpy()})[0])


@pytest.mark.slow
def test_a_file_from_waveform_to_class(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    result = Result(small(), None, None)
    assert result.rows == tuple(KEPT)
    result.export(tmp_path / "whole.onnx", front_end=PortableLogMel(COARSE, rows=result.rows))
    content = (tmp_path / "whole.onnx").read_bytes()
    step = [module for module in small().modules() if isinstance(module, Requantise)][-1].scale
    for batch in (1, 3):
        x = noise(16_000, batch)
        apart = (ran(content, x) - small()(LogMel(COARSE)(x))).abs() / step
        assert apart.max() <= 1.001
    found = kernels(content)
    assert found["QLinearConv"] == 2
    assert found["Conv"] == found["DFT"] == 0


class Fixed(nn.Module):
    """A front end that writes the batch of its example down."""

    def forward(self, waveform: Tensor) -> Tensor:
        return waveform.reshape(len(waveform), 1, 32, 26)


@pytest.mark.slow
def test_traps_of_other_front_ends() -> None:
    pytest.importorskip("onnxscript")
    with pytest.raises(ValueError, match=r"made 2 of the open size of a batch.*x.shape\[0\]"):
        onnx_bytes(small(), Fixed(), torch.zeros(1, 32 * 26))
    with pytest.warns(UserWarning, match=r"a Fourier transform became ONNX's DFT"):
        content = onnx_bytes(small(), LogMel(COARSE), torch.zeros(1, 16_000))
    x = noise(16_000, 3)  # 1,024 samples, a power of two, are transformed well
    torch.testing.assert_close(ran(content, x), small()(LogMel(COARSE)(x)), rtol=0, atol=0.1)


@pytest.mark.slow
def test_behind_it_every_layer_is_an_integer_kernel() -> None:
    """Those of BC-ResNet-ASC are counted in `test_onnx_export`: 60, 14 and 10."""
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    model = trained(BCResNetASC(4, mels=64, frames=26), negative=0.3)
    chosen = MelSettings(mels=96, window=0.128)
    rows = sorted(torch.randperm(96)[:64].tolist())
    spectra = LogMel(chosen, rows=rows)(noise(16_000, 16))
    made = reference(model, spectra)
    found = kernels(onnx_bytes(made, PortableLogMel(chosen, rows=rows)))
    wanted = {"QLinearConv": 60, "QLinearAdd": 14, "QLinearAveragePool": 10}
    assert {kind: found[kind] for kind in wanted} == wanted
    assert found["Conv"] == found["Gemm"] == found["AveragePool"] == found["DFT"] == 0


SCENES = "TAU-urban-acoustic-scenes-2022-mobile-development-mini"
ROWS = sorted(torch.randperm(256, generator=torch.Generator().manual_seed(1))[:192].tolist())


def listening(spectra: Tensor) -> nn.Module:
    """A network that real spectra spread over all classes.

    It has four layers: untrained deep networks are chaotic, so that a spectrum that is off by a
    millionth, in the reference itself, moves their results by many steps.
    """
    layers: list[nn.Module] = []
    for before, after in pairwise((1, 8, 16, 24, 32)):
        conv = nn.Conv2d(before, after, 3, 2, 1, bias=False)
        layers += [conv, nn.BatchNorm2d(after, momentum=None), nn.ReLU()]
    last = nn.Conv2d(32, 10, 1)
    model = nn.Sequential(*layers, last, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.example_input_array = torch.zeros(1, 1, 256, 34)
    with torch.no_grad():
        model.train()(spectra)
        last.bias -= model.eval()(spectra).mean(dim=0)
    return model


@pytest.mark.slow
@pytest.mark.data
def test_real_clips(shared_data: Path, esc50_root: Path) -> None:
    """What ONNX Runtime says of waveforms is what the integer reference says of spectra."""
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    scenes = clips(sorted((shared_data / SCENES / "audio").glob("*.wav")), 1)
    sounds = clips(sorted((esc50_root / "audio").iterdir())[::10], 5)[:, 16_000:32_000]
    front_end = LogMel(MELS_2021)
    spectra = front_end(scenes[::2]).contiguous()
    made = reference(select_rows(listening(spectra), None, ROWS), spectra)
    content = onnx_bytes(made, PortableLogMel(MELS_2021, rows=ROWS))
    assert kernels(content)["QLinearConv"] == 5
    step = [module for module in made.modules() if isinstance(module, Requantise)][-1].scale
    for waveforms in (scenes, sounds):
        wanted = torch.cat([made(front_end(part)) for part in waveforms.split(50)])
        says = ran(content, waveforms)
        steps = (says - wanted).abs() / step
        assert wanted.argmax(1).unique().numel() >= 8
        assert (says.argmax(1) == wanted.argmax(1)).double().mean() >= 0.995
        assert (steps <= 2.001).double().mean() >= 0.999
        assert steps.mean() <= 0.1


@pytest.mark.parametrize("name", ["model", "model.safetensors", "model.tf"])
def test_a_suffix_without_a_format_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"suffix says the format, .* none of \.onnx, \.pte"):
        Result(small(), None, None).export(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_program_has_one_size(tmp_path: Path) -> None:
    pooled = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1))
    result = Result(pooled, None, None, (torch.zeros(1, 1, 8, 8),))
    with pytest.raises(ValueError, match=r"takes one size, .* \[\[3\]\] .* leave varying out"):
        result.export(tmp_path / "model.pte", varying=(3,))
