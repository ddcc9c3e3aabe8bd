"""Fourier transforms in an ONNX file: exact at any length, or left with a warning."""

from __future__ import annotations

import warnings
from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from compressor.export.onnx import onnx_bytes
from compressor.network import to_network

pytest.importorskip("onnxscript")
pytestmark = pytest.mark.slow


class Levels(nn.Module):
    """Decibels of a transform, down to bins that are 100 dB below the loudest."""

    def __init__(self, how: str, length: int) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(length // 2 if how == "short" else length))
        self.how, self.length = how, length
        self.example_input_array = torch.zeros(1, 4 * length)

    def forward(self, x: Tensor) -> Tensor:
        size, hop = self.length, self.length // 3
        if self.how == "frames":
            found = torch.fft.rfft(x.unfold(-1, size, hop) * self.window)
        elif self.how == "both sides":
            found = torch.fft.fft(x.unfold(-1, size, hop) * self.window)
        elif self.how == "inverse":
            return torch.fft.irfft(torch.fft.rfft(x.unfold(-1, size, hop)) * 2, n=size)
        else:
            found = torch.stft(
                x,
                size,
                hop,
                win_length=size // 2 if self.how == "short" else size,
                window=self.window,
                center=self.how != "uncentred",
                normalized=self.how == "normalised",
                onesided=self.how != "two sides",
                return_complex=True,
            )
        return 20 * torch.log10(found.abs() + 1e-7)


def tones(samples: int, count: int) -> Tensor:
    """A loud tone and one that is 70 dB softer, with a little noise."""
    time = torch.arange(samples)
    generator = torch.Generator().manual_seed(count)
    noise = 1e-4 * torch.randn(count, samples, generator=generator)
    return torch.sin(0.31 * time) + 3e-4 * torch.sin(1.3 * time) + noise


def ran(content: bytes, x: Tensor) -> Tensor:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def kinds(content: bytes) -> Counter[str]:
    onnx = pytest.importorskip("onnx")
    return Counter(node.op_type for node in onnx.load_from_string(content).graph.node)


CASES = [
    *(("stft", length) for length in (60, 63, 400)),
    *((how, 60) for how in ("short", "uncentred", "normalised", "two sides")),
    *((how, 60) for how in ("frames", "both sides")),
]


@pytest.mark.parametrize(("how", "length"), CASES)
def test_a_transform_of_any_length_is_an_exact_product(how: str, length: int) -> None:
    model = Levels(how, length).eval()
    content = onnx_bytes(to_network(model))
    assert not kinds(content).keys() & {"STFT", "DFT"}
    for batch in (1, 3):
        x = tones(4 * length, batch)
        torch.testing.assert_close(
            ran(content, x).double(), model.double()(x.double()), rtol=0, atol=0.2
        )
        model.float()


@pytest.mark.parametrize(("how", "name"), [("stft", "STFT"), ("frames", "DFT")])
def test_a_power_of_two_stays_a_transform(how: str, name: str) -> None:
    model = Levels(how, 64).eval()
    with pytest.warns(UserWarning, match=f"became ONNX's {name}, which few runtimes"):
        content = onnx_bytes(to_network(model))
    assert kinds(content)[name] == 1
    x = tones(256, 3)
    torch.testing.assert_close(ran(content, x), model(x), rtol=0, atol=0.2)


def test_an_inverse_transform_stays_and_is_named() -> None:
    model = Levels("inverse", 60).eval()
    with pytest.warns(UserWarning, match="became ONNX's DFT"):
        content = onnx_bytes(to_network(model))
    x = tones(240, 2)
    torch.testing.assert_close(ran(content, x), model(x), rtol=0, atol=1e-3)


def test_nothing_is_said_where_there_is_no_transform() -> None:
    model = nn.Sequential(nn.Linear(4, 3)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kinds(onnx_bytes(to_network(model, torch.zeros(1, 4)))).keys() <= {"Gemm", "MatMul"}
