"""Layers that int8 rounds: what is planned is what is trained, stored, exported and computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor import Budget, FineTune, Int8, Joint, Prune, Recalibrate, fit
from compressor.export.onnx import kernels, onnx_bytes
from compressor.graph.graph import Weight as Stored
from compressor.network import Network, Weight, to_network
from compressor.network.counting import multiply_accumulates
from compressor.network.file import container
from compressor.network.integer import IntLinear, IntTransposed
from compressor.quantization.conversion import convert
from compressor.quantization.fake import swapped
from compressor.quantization.folding import WHOLE, largest_sum
from compressor.quantization.grids import wraps
from compressor.quantization.preparation import calibrate, prepare
from compressor.quantization.rounded import rounded_weights
from compressor.run.file_size import UNIT, footprint
from compressor.session import Session
from tests.helpers.int8_nets import trained

Shape = tuple[int, ...]


class Tied(nn.Module):
    """Weights that a layer shares with something else, beside one that nobody shares."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.last = nn.Conv2d(3, 5, 3), nn.Conv2d(3, 2, 1)
        self.first, self.turned = nn.Linear(8, 5), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.conv_transpose2d(self.down(x).relu(), self.down.weight)
        x = functional.linear(self.first(self.last(x)).relu(), self.first.weight.t())
        return self.turned(x)


class Block(nn.Module):
    """A convolution, then products over channels that are the last dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.norm = nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.LayerNorm(6)
        self.wide, self.back = nn.Linear(6, 12), nn.Linear(12, 6, bias=False)
        self.last = nn.Conv2d(6, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.mix(x).permute(0, 2, 3, 1))
        y = self.back(functional.gelu(self.wide(y))).permute(0, 3, 1, 2)
        return self.last(x + y)


class Frames(nn.Module):
    """A convolution, a recurrent layer, and a product for every frame."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.proj = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(16, 8)
        self.run, self.head = nn.GRU(8, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu().permute(0, 3, 1, 2).flatten(2)
        return self.head(self.run(self.proj(x))[0]).transpose(1, 2)


def up(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


NETS: dict[str, tuple[Callable[[], nn.Module], Shape, frozenset[str]]] = {
    "product of 2": (
        lambda: up(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4)),
        (8,), frozenset({"0.weight", "3.weight"}),
    ),
    "product of 3": (
        lambda: up(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4, bias=False)),
        (5, 8), frozenset({"0.weight", "2.weight"}),
    ),
    "product of 4": (
        lambda: up(nn.Linear(8, 6, bias=False), nn.Tanh(), nn.Linear(6, 4)),
        (2, 5, 8), frozenset({"0.weight", "2.weight"}),
    ),
    "around views": (
        lambda: up(nn.Conv1d(3, 4, 3), nn.Flatten(), nn.Linear(28, 6), nn.ReLU(),
                   nn.Unflatten(1, (2, 3)), nn.Linear(3, 4)),
        (3, 9), frozenset({"0.weight", "2.weight", "5.weight"}),
    ),
    "channels last": (
        Block, (6, 5, 5), frozenset({"mix.weight", "wide.weight", "back.weight", "last.weight"}),
    ),
    "three dimensions": (
        lambda: up(nn.Conv3d(2, 6, 3, 2, 1), nn.BatchNorm3d(6), nn.ReLU(), nn.MaxPool3d(2),
                   nn.Conv3d(6, 6, 1, groups=3, bias=False)),
        (2, 6, 6, 6), frozenset({"0.weight", "4.weight"}),
    ),
    "replicated edges": (
        lambda: up(nn.Conv3d(2, 4, (1, 3, 2), padding=(0, 2, 1), dilation=(1, 2, 1),
                             padding_mode="replicate"), nn.ReLU(), nn.Conv3d(4, 2, (3, 1, 1))),
        (2, 4, 5, 4), frozenset({"0.weight", "2.weight"}),
    ),
    "transposed 1": (
        lambda: up(nn.ConvTranspose1d(3, 6, 4, 2, 1), nn.BatchNorm1d(6), nn.ReLU(),
                   nn.ConvTranspose1d(6, 4, 3, 3, output_padding=2, groups=2, dilation=2,
                                      bias=False)),
        (3, 7), frozenset({"0.weight", "3.weight"}),
    ),
    "transposed 2": (
        lambda: up(nn.ConvTranspose2d(4, 6, (3, 2), (2, 1), 1, groups=2), nn.BatchNorm2d(6),
                   nn.Conv2d(6, 4, 3, padding=1)),
        (4, 6, 5), frozenset({"0.weight", "2.weight"}),
    ),
    "transposed 3": (
        lambda: up(nn.ConvTranspose3d(2, 4, 2, 2), nn.ReLU(), nn.ConvTranspose3d(4, 2, 3, 1, 1)),
        (2, 3, 4, 3), frozenset({"0.weight", "2.weight"}),
    ),
    "shared weights": (Tied, (3, 8, 8), frozenset({"last.weight", "turned.weight"})),
    "recurrent": (Frames, (1, 4, 7), frozenset({"stem.weight", "proj.weight", "head.weight"})),
}  # fmt: skip
"""Networks, the shapes of their inputs, and the weights that are rounded."""


def made(name: str) -> tuple[Network, Network, Network, Tensor]:
    """One of them, prepared and calibrated, and as integers; beside inputs."""
    build, shape, _ = NETS[name]
    torch.manual_seed(0)
    whole = to_network(trained(build(), negative=0.4), torch.randn(1, *shape))
    x = torch.randn(12, *shape)
    prepared = prepare(whole)
    calibrate(prepared, [(x,)])
    return whole, prepared.eval(), convert(prepared), x


@pytest.mark.parametrize("name", NETS)
def test_one_answer_for_plan_training_file_and_reference(name: str) -> None:
    """What is said to be rounded is what is, nothing more; and the integers are those trained."""
    whole, prepared, integers, x = made(name)
    wanted = NETS[name][2]
    assert frozenset(rounded_weights(whole)) == frozenset(rounded_weights(prepared)) == wanted
    stored = {key for key, t in integers.state_dict().items() if t.dtype == torch.int8}
    assert stored == wanted
    planned = Int8().bits_after(whole)
    for key, tensor in whole.named_parameters():
        one = Stored(key, (), tensor.element_size(), out_dim=0)
        assert planned(one, Fraction(32)) == (8 if key in wanted else 32)
    with torch.no_grad():
        expected, found = prepared(x), integers(x)
        again = container.unpack(container.pack(integers))
        assert torch.equal(again(x), found)
    assert (expected - found).abs().max() <= 0.02 * (expected.max() - expected.min())
    assert multiply_accumulates(integers) == multiply_accumulates(whole)


def test_outputs_first_and_back() -> None:
    """Twice swapped is the weight itself; once swapped, a row holds one output's entries."""
    layer = nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False)
    weight = layer.weight.detach()
    rows = swapped(weight, 2)
    assert torch.equal(swapped(rows, 2), weight)
    for output in range(6):
        alone = torch.zeros_like(rows)
        alone[output] = rows[output]
        with torch.no_grad():
            layer.weight.copy_(swapped(alone, 2))
            alive = layer(torch.randn(1, 4, 5, 5)).abs().amax((0, 2, 3)) > 0
        assert alive.nonzero().flatten().tolist() == [output]


class Mirror(nn.Module):
    """Most of its bytes in weights of one kind."""

    def __init__(self, middle: nn.Module, dims: int) -> None:
        super().__init__()
        kind = nn.Conv2d if dims == 2 else nn.Conv3d
        self.first, self.middle = kind(1, 24, 3, padding=1), middle
        self.last = kind(24, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.middle(self.first(x).relu()).relu())


MIDDLES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "transposed": (lambda: nn.ConvTranspose2d(24, 24, 3, padding=1), 2),
    "three dimensions": (lambda: nn.Conv3d(24, 24, 3, padding=1), 3),
    "transposed in three": (lambda: nn.ConvTranspose3d(24, 24, 3, padding=1), 3),
}


@pytest.mark.parametrize("name", MIDDLES)
def test_bytes_are_planned_as_they_are_stored(name: str) -> None:
    """The bound holds for the file, and is not far above it."""
    build, dims = MIDDLES[name]
    torch.manual_seed(0)
    example = torch.randn(2, 1, *[4] * dims)
    schedule = [Int8(epochs=0, batches=1)]
    model = Mirror(build(), dims)
    session = Session(model, budget=Budget(bytes=10**6), example=example, prune=None)
    bound = footprint(replace(session.stored, later=schedule))
    assert bound.entries["middle.weight"] == UNIT
    result = fit(
        model, [(example, torch.zeros(2, *[4] * dims).long())], budget=Budget(bytes=10**6),
        schedule=schedule, example=example, progress=False,
    )  # fmt: skip
    size = len(container.pack(cast("Network", result.model)))
    assert size <= bound(session.graph) <= 1.2 * size


@pytest.mark.parametrize("solver", [Joint(), Prune()])
def test_no_cap_is_refused_that_pruning_alone_meets(solver: Joint | Prune) -> None:
    """Transposed convolutions were counted as a byte and stored as four."""
    torch.manual_seed(0)
    example = torch.randn(2, 1, 4, 4)
    result = fit(
        Mirror(nn.ConvTranspose2d(24, 24, 3, padding=1), 2),
        [(example, torch.zeros(2, 4, 4).long())], budget=Budget(bytes=6000),
        schedule=[solver, Int8(epochs=0, batches=1)], example=example, progress=False,
    )  # fmt: skip
    assert len(container.pack(cast("Network", result.model))) <= 6000


def test_integers_that_32_bits_hold_and_one_more() -> None:
    """66,311 inputs of 255 steps at weights of 127 leave room for a bias of 1,912."""
    count, room = divmod(WHOLE, 127 * 255)
    assert largest_sum(torch.full((1, count), 127), torch.tensor([room]), 255) == WHOLE
    model = nn.Sequential(nn.ReLU(), nn.Linear(count, 1))
    nn.init.ones_(model.get_parameter("1.weight"))
    prepared = prepare(to_network(model, torch.ones(1, count)))
    calibrate(prepared, [(torch.rand(2, count),)])
    integers = convert(prepared)
    (step,) = (s for s in integers.steps if any(isinstance(a, Weight) for a in s.args))
    layer = cast("IntLinear", integers.get_submodule(cast("str", step.op)))
    weight = integers.tensor(cast("Weight", step.args[1]))
    layer.bias.fill_(-room)
    assert not wraps(integers, step, layer, weight)
    layer.bias.fill_(-room - 1)
    assert wraps(integers, step, layer, weight)


def ran(content: bytes, *inputs: Tensor) -> Tensor:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    named = {i.name: x.numpy() for i, x in zip(session.get_inputs(), inputs, strict=True)}
    return torch.from_numpy(np.asarray(session.run(None, named)[0]))


def apart(reference: nn.Module, content: bytes, *inputs: Tensor) -> float:
    """Largest difference between a file and its reference, as a share of the outputs' range."""
    with torch.no_grad():
        expected = reference(*inputs)
    found = ran(content, *inputs)
    assert found.shape == expected.shape
    return float((expected - found).abs().max() / (expected.max() - expected.min()))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_onnx_runtime_computes_what_the_reference_does(name: str) -> None:
    """Any number of dimensions, any batch, within one of the 255 steps of an output."""
    pytest.importorskip("onnx")
    *_, integers, x = made(name)
    content = onnx_bytes(integers)
    for batch in (1, 3):
        assert apart(integers, content, x[:batch] * 3) < 1 / 255
    found = kernels(content)
    layers = [m for m in integers.modules() if hasattr(m, "product")]
    floating = sum(isinstance(m, IntTransposed) for m in layers)
    whole = found["QLinearConv"] + found["QGemm"] + found["MatMulIntegerToFloat"]
    whole += found["QLinearMatMul"]
    assert (whole, found["ConvTranspose"] >= floating) == (len(layers) - floating, True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["product", "convolution"])
def test_sums_beyond_32_bits_are_exact_in_the_file(kind: str) -> None:
    """Inputs at their maximum; in 32 bits the sum would come out with the other sign."""
    pytest.importorskip("onnx")
    count = 70_000
    layer = nn.Linear(count, 2) if kind == "product" else nn.Conv1d(count, 2, 1)
    shape = (count,) if kind == "product" else (count, 1)
    with torch.no_grad():
        layer.weight.copy_((0.01 + 0.0001 * torch.rand(2, count)).view_as(layer.weight))
        layer.weight[1] *= -1
    prepared = prepare(to_network(nn.Sequential(nn.ReLU(), layer), torch.rand(1, *shape)))
    calibrate(prepared, [(torch.rand(4, *shape),)])
    integers = convert(prepared)
    content = onnx_bytes(integers)
    assert apart(integers, content, torch.full((2, *shape), 9.0)) < 1e-4
    assert len(content) < 3 * count  # integers, all the same


def test_training_goes_through_transposed_weights() -> None:
    """A step of an optimiser moves weights that are rounded output by output."""
    torch.manual_seed(0)
    x, y = torch.randn(4, 3, 6), torch.zeros(4, 14).long()
    model = up(nn.ConvTranspose1d(3, 4, 4, 2), nn.ReLU(), nn.Conv1d(4, 2, 1))
    result = fit(
        model, [(x, y)], budget=Budget(params=10**6), progress=False, example=x,
        schedule=[Recalibrate(), FineTune(epochs=1), Int8(epochs=1, lr=1e-2, batches=1)],
    )  # fmt: skip
    integers = cast("Network", result.model)
    assert integers.tensor("0.weight").dtype == torch.int8
    rows = swapped(integers.tensor("0.weight"), 1).flatten(1).abs().amax(1)
    assert rows.tolist() == [127] * 4
