"""Inputs without a batch, batches in odd places, other lengths: network, file and ONNX alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor import Budget, Int8, fit, load
from compressor.errors import TraceError
from compressor.export.onnx import onnx_bytes
from compressor.network import Network, Varying, to_network
from compressor.network.file import container

Shape = tuple[int, ...]


class Told(nn.Module):
    """A picture, and something that holds for all of a batch."""

    def __init__(self, told: nn.Module, channels: int) -> None:
        super().__init__()
        self.picture, self.told, self.gate = nn.Conv2d(3, 4, 1), told, nn.Linear(channels, 4)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        told = self.told(other)
        told = told.mean(1) if told.dim() > 1 else told
        return self.picture(x) * self.gate(told).sigmoid().view(1, -1, 1, 1)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.picture = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor, factor: Tensor) -> Tensor:
        return self.picture(x) * factor


class OwnFilters(nn.Module):
    """Every example has filters of its own: the batch is folded into the groups."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.dims, self.last = dims, (nn.Conv1d, nn.Conv2d)[dims - 1](4, 2, 1)
        self.weight = nn.Parameter(torch.randn(4, 3, *[2] * dims))
        self.bias = nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        batch, size = x.shape[0], x.shape[2:]
        mean = x.flatten(1).mean(1).sigmoid().view(-1, *[1] * (self.dims + 2))
        weight = (self.weight[None] * mean).flatten(0, 1)
        convolve = functional.conv1d if self.dims == 1 else functional.conv2d
        folded, bias = x.reshape(1, -1, *size), self.bias.repeat(batch)
        y = convolve(folded, weight, bias, 2, 2, 2, batch)
        return self.last(y.view(batch, 4, *y.shape[2:]).relu())


ODD: dict[str, tuple[Callable[[], nn.Module], tuple[Shape, ...]]] = {
    "a sequence": (lambda: Told(nn.Conv1d(2, 6, 3, padding=1), 6), ((3, 4, 4), (2, 9))),
    "a set": (lambda: Told(nn.Linear(1, 20), 6), ((3, 4, 4), (6, 1))),
    "a vector": (lambda: Told(nn.ReLU(), 6), ((3, 4, 4), (6,))),
    "a number": (Scaled, ((3, 4, 4), ())),
    "a sequence of one channel": (
        lambda: Told(nn.Conv1d(1, 6, 3, padding=1), 6), ((3, 4, 4), (1, 9)),
    ),
    "filters of each example": (lambda: OwnFilters(2), ((3, 7, 6),)),
    "filters over time": (lambda: OwnFilters(1), ((3, 7),)),
}  # fmt: skip


def inputs(shapes: tuple[Shape, ...], batch: int) -> tuple[Tensor, ...]:
    first, *others = shapes
    return (torch.randn(batch, *first), *map(torch.randn, others))


def again(made: Network) -> Network:
    return container.unpack(container.pack(made))


def ran(content: bytes, given: tuple[Tensor, ...]) -> Tensor:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    named = {i.name: x.numpy() for i, x in zip(session.get_inputs(), given, strict=True)}
    return torch.from_numpy(np.asarray(session.run(None, named)[0]))


@pytest.mark.parametrize("name", ODD)
def test_a_file_takes_what_the_model_takes(name: str) -> None:
    """Only what has a batch is open; that survives the file."""
    build, shapes = ODD[name]
    torch.manual_seed(0)
    model = build().eval()
    made = to_network(model, inputs(shapes, 1))
    assert made.open == ((0,), *[()] * (len(shapes) - 1))
    loaded = again(made)
    assert loaded.open == made.open
    for batch in (1, 3):
        given = inputs(shapes, batch)
        with torch.no_grad():
            assert torch.allclose(loaded(*given), model(*given), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "integers"),
    [
        ("a sequence", True), ("a set", False), ("a vector", True), ("a number", True),
        ("a sequence of one channel", False), ("filters of each example", False),
        ("filters over time", True),
    ],
)  # fmt: skip
def test_onnx_takes_what_the_model_takes(name: str, *, integers: bool) -> None:
    """In floating point and as integers."""
    pytest.importorskip("onnx")
    build, shapes = ODD[name]
    torch.manual_seed(0)
    model: nn.Module = build().eval()
    if integers:
        data = [(inputs(shapes, 4) if len(shapes) > 1 else inputs(shapes, 4)[0], torch.zeros(4))]
        model = fit(
            model, data, budget=Budget(params=10**6), schedule=[Int8(epochs=0)], progress=False,
            example=inputs(shapes, 1), loss=lambda m, batch: m(*_tuple(batch[0])).mean(),
        ).model  # fmt: skip
    content = onnx_bytes(to_network(model, inputs(shapes, 1)))
    for batch in (1, 3):
        given = inputs(shapes, batch)
        with torch.no_grad():
            expected = model(*given)
        apart = (ran(content, given) - expected).abs().max()
        assert apart <= (1 / 255 if integers else 1e-5) * (expected.max() - expected.min())


def _tuple(x: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return x if isinstance(x, tuple) else (x,)


class FrameWise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(32, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.stem(x)).relu().permute(0, 3, 1, 2).flatten(2)).mean(1)


class Mirror(nn.Module):
    """Half as long and as long again: takes even lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv1d(2, 4, 4, 2, 1), nn.ConvTranspose1d(4, 2, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x).relu()) + x


class Resized(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 3, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(self.stem(x), size=x.shape[2:])


def pooled() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )


LENGTHS: dict[str, tuple[Callable[[], nn.Module], Shape, tuple[int, ...]]] = {
    "frames": (FrameWise, (1, 8, 10), (3,)),
    "pooled": (pooled, (1, 8, 10), (2, 3)),
    "even lengths": (Mirror, (2, 10), (2,)),
    "resized": (Resized, (2, 6, 8), (2, 3)),
}


def other(shape: Shape, dims: tuple[int, ...], more: int) -> Tensor:
    sizes = [2, *shape]
    for d in dims:
        sizes[d] += more
    return torch.randn(*sizes)


@pytest.mark.parametrize("name", LENGTHS)
def test_a_file_takes_other_lengths(name: str) -> None:
    """Those that the model takes, with the model's results."""
    build, shape, dims = LENGTHS[name]
    torch.manual_seed(0)
    model = build().eval()
    loaded = again(to_network(model, torch.randn(1, *shape), dims))
    for more in (0, 2, 6):
        x = other(shape, dims, more)
        with torch.no_grad():
            assert torch.allclose(loaded(x), model(x), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", LENGTHS)
def test_onnx_takes_other_lengths(name: str) -> None:
    """The same out of ONNX Runtime."""
    pytest.importorskip("onnx")
    build, shape, dims = LENGTHS[name]
    torch.manual_seed(0)
    model = build().eval()
    content = onnx_bytes(to_network(model, torch.randn(1, *shape), dims))
    for more in (0, 2, 6):
        x = other(shape, dims, more)
        with torch.no_grad():
            assert torch.allclose(ran(content, (x,)), model(x), atol=1e-5)


def test_a_result_writes_other_lengths(tmp_path: Path) -> None:
    """By number of the input too; without being asked, one length, and the error says which."""
    result = fit(
        FrameWise(), budget=Budget(params=10**6), example=torch.randn(1, 1, 8, 10), progress=False
    )
    result.write(tmp_path / "one")
    with pytest.raises(ValueError, match=r"\(batch, 1, 8, 10\) and got \(2, 1, 8, 13\)"):
        load(tmp_path / "one")(torch.randn(2, 1, 8, 13))
    result.write(tmp_path / "any", varying={0: (3,)})
    x = torch.randn(2, 1, 8, 13)
    with torch.no_grad():
        loaded = load(tmp_path / "any")
        assert torch.allclose(loaded(x), result.model.eval()(x), atol=1e-6)
    with pytest.raises(ValueError, match=r"\(batch, 1, 8, any\) and got \(2, 1, 9, 10\)"):
        loaded(torch.randn(2, 1, 9, 10))


class Branches(nn.Module):
    """Computes something else from a length on."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(2, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.stem(x) * float(int(x.shape[2]))


@pytest.mark.parametrize(
    ("model", "varying", "said"),
    [
        (nn.Sequential(nn.Conv1d(2, 4, 3), nn.Flatten(), nn.Linear(32, 3)), (2,), "any size along"),
        (Branches(), (2,), "any size along|cannot be written"),
        (nn.Conv1d(2, 4, 3), (3,), "dimension 3 of the input"),
        (nn.Conv1d(2, 4, 3), (0,), "the batch varies anyway"),
        (nn.Conv1d(2, 4, 3), {1: (2,)}, "there is no input 1"),
    ],
)
def test_what_cannot_vary_is_said(model: nn.Module, varying: Varying, said: str) -> None:
    """A model that takes one length only, and dimensions that there are not."""
    with pytest.raises((TraceError, ValueError), match=said):
        to_network(model, torch.randn(1, 2, 10), varying)


def test_integers_are_made_for_one_length() -> None:
    """Asked for more, they say so."""
    x = torch.randn(4, 1, 8, 10)
    result = fit(
        pooled(), [(x, torch.zeros(4).long())], budget=Budget(params=10**6), progress=False,
        example=x, schedule=[Int8(epochs=0)],
    )  # fmt: skip
    with pytest.raises(ValueError, match="made for one size"):
        to_network(cast("Network", result.model), x, (3,))


def test_an_exporters_error_names_operation_and_shapes() -> None:
    """It used to be pages of the exporter's own."""
    pytest.importorskip("onnx")

    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv1d(2, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.lgamma(self.stem(x)).median(dim=2).values

    with pytest.raises(ValueError, match=r"(?s)cannot write this network as ONNX.*\(2, 2, 5\)"):
        onnx_bytes(to_network(Sorted(), torch.randn(1, 2, 5)))


def test_a_warning_of_the_model_is_no_matter_of_the_batch() -> None:
    """PyTorch warns of "same" with an even kernel; warnings are errors here, as with -W error."""
    model = nn.Sequential(nn.Conv2d(1, 4, 4, padding="same"), nn.Conv2d(4, 2, 3)).eval()
    network = to_network(model, (torch.zeros(1, 1, 8, 9),))
    assert network.open == ((0,),)
