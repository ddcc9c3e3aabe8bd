"""The container: exact for every tensor, small, the same bytes twice, and no trust in a file."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

import models
from compressor.inputs.copies import private_copy
from compressor.network import Network, Ref, Rewrite, Step, Weight, packet, to_network
from compressor.network.file import container, kinds
from compressor.network.file.operations import operation
from compressor.network.file.plain import from_plain, to_plain
from compressor.network.file.streams import STREAMS
from compressor.network.tree import branch, plant
from compressor.quantization.conversion import convert
from compressor.quantization.preparation import calibrate, prepare
from tests.helpers.stream_sizes import sizes

aten = torch.ops.aten
# A network with int8 weights, as the integer reference has them: a tensor of its own and a scale.


def int8(made: Network, *, bits: int = 8, keep: float = 1.0, half: bool = True) -> Network:
    """Uniform weights (the hardest to deflate) as integers, normalisation as bias and scale."""
    source = torch.Generator().manual_seed(0)
    rewrite = Rewrite(made)

    def add(name: str, tensor: Tensor) -> Weight:
        owner, _, leaf = name.rpartition(".")
        plant(branch(rewrite._tree, owner), leaf, tensor)
        return Weight(name)

    for step in made.steps:
        if packet(step) is aten.conv2d:
            name = step.args[1].name
            w = torch.rand(made.tensor(name).shape, generator=source) - 0.5
            steps = w.abs().amax((1, 2, 3), keepdim=True) / (2 ** (bits - 1) - 1)
            q = (w / steps).round() * (torch.rand(w.shape, generator=source) < keep)
            weight = add(name.replace(".weight", ".integers"), q.to(torch.int8))
            cast = Step(f"{step.name}_w", aten.to.dtype, (weight, torch.float32))
            rewrite.edit(step.name, args=(step.args[0], Ref(cast.name), *step.args[2:]))
            rewrite.insert_before(step.name, cast)
        if packet(step) is aten.batch_norm:
            owner, count = step.args[1].name.rpartition(".")[0], made.tensor(step.args[1]).numel()
            scale = torch.rand(count, 1, 1, generator=source) * 1e-3
            bias = (torch.randn(count, 1, 1, generator=source) * 3000).to(torch.int32)
            shifted = Step(
                f"{step.name}_b",
                aten.add.Tensor,
                (step.args[0], add(f"{owner}.shift", bias)),
                {},
                step.module,
            )
            factor = add(f"{owner}.scale", scale.half() if half else scale)
            rewrite.insert_before(step.name, shifted)
            scaled = Step(f"{step.name}_s", aten.mul.Tensor, (Ref(shifted.name), factor))
            rewrite.replace([step.name], scaled)
    return rewrite.build().eval()


@cache
def bcresnet(tau: int) -> Network:
    return to_network(models.BCResNet(tau, num_classes=12, sub_bands=5, mels=40, frames=101))


@pytest.fixture(scope="module")
def small() -> Network:
    return int8(bcresnet(1))


def test_a_network_is_rebuilt_from_its_file(small: Network, tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    length = container.write(small, path)
    assert length == path.stat().st_size == len(container.pack(small))
    again = container.read(path)
    x = torch.randn(3, 1, 40, 101)
    with torch.no_grad():
        assert torch.equal(small(x).nan_to_num(), again(x).nan_to_num())
    mine, found = dict(small.named_buffers()), dict(again.named_buffers())
    assert mine.keys() == found.keys()
    assert all(mine[name].dtype == found[name].dtype for name in mine)
    assert all(torch.equal(mine[name], found[name]) for name in mine)
    assert [(s.op, s.module) for s in small.steps] == [(s.op, s.module) for s in again.steps]
    assert container.pack(again) == container.pack(small)


@pytest.mark.slow
def test_the_same_network_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    """And the other process knows nothing of the class that the network was made from."""
    torch.manual_seed(0)
    model = models.ResidualCNN(widths=(4, 8), blocks=(1, 1), mels=16, frames=16).eval()
    path = tmp_path / "network.safetensors"
    made = to_network(model)
    container.write(made, path)
    code = f"""
import hashlib, sys, torch
from compressor.network.file import container
network = container.read({str(path)!r})
assert "models" not in sys.modules
x = torch.arange(512.0).reshape(2, 1, 16, 16) / 512
print(hashlib.sha256(container.pack(network)).hexdigest(), network(x).double().sum().item())
"""
    said = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    x = torch.arange(512.0).reshape(2, 1, 16, 16) / 512
    assert said[0] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert float(said[1]) == model(x).double().sum().item()


@pytest.mark.parametrize("half", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_dense_int8_bcresnet_8_takes_at_most_1_1_bytes_a_parameter(*, half: bool) -> None:
    """321,068 parameters in 353,174 bytes, whatever the weights are."""
    model = bcresnet(8)
    parameters = sum(p.numel() for p in model.parameters())
    assert parameters == 321_068
    found = sizes(int8(model, half=half))
    assert sum(size.stored for size in found.values()) <= 1.1 * parameters
    assert found["structure"].stored < 2500
    assert found["container"].stored < 300


def test_fewer_bits_and_zeros_make_it_smaller(small: Network) -> None:
    four = len(container.pack(int8(bcresnet(1), bits=4)))
    sparse = len(container.pack(int8(bcresnet(1), keep=0.25)))
    weights = sum(t.numel() for t in small.buffers() if t.dtype == torch.int8)
    whole = len(container.pack(small))
    assert whole - four > 0.45 * weights
    assert whole - sparse > 0.5 * weights


def test_no_tensors_make_a_longer_file_than_the_bound(small: Network) -> None:
    bound, other = container.bound(small), private_copy(small)
    generator = torch.Generator().manual_seed(0)
    assert len(container.pack(small)) <= bound
    for kept in (1.0, 0.9, 0.6, 0.2):
        for tensor in other.buffers():
            size = tensor.numel() * tensor.element_size()
            raw = torch.randint(0, 256, (size,), generator=generator, dtype=torch.uint8)
            alive = torch.rand(tensor.shape, generator=generator) < kept
            tensor.copy_(raw.view(tensor.dtype).reshape(tensor.shape).where(alive, 0))
        assert 0.2 * bound < len(container.pack(other)) <= bound


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(models.BCResNet(1, mels=64, frames=20), marks=pytest.mark.slow),
        models.DCASEBaseline(2022),
    ],
)
def test_the_integer_reference_is_rebuilt(model: nn.Module) -> None:
    """Every kind of module that it calls is one that can be stored."""
    x = torch.randn(3, *model.example_input_array.shape[1:])
    model.train()(x)
    prepared = prepare(to_network(model.eval()))
    calibrate(prepared, [(x,)])
    reference = convert(prepared)
    again = container.unpack(container.pack(reference))
    assert torch.equal(reference(x), again(x))
    assert container.pack(again) == container.pack(reference)


def test_sizes_add_up_to_the_file(small: Network) -> None:
    found = sizes(small)
    assert list(found) == ["structure", *STREAMS, "container"]
    assert sum(size.stored for size in found.values()) == len(container.pack(small))
    assert all(size.stored <= size.raw for size in found.values())
    assert found["values"].raw == sum(t.numel() for t in small.buffers() if t.dtype == torch.int8)


# Files that are not what they should be.


def changed(content: bytes, change: Callable[[bytes], bytes], word: str | None = None) -> bytes:
    """The same container with another payload, its checksum made to fit."""
    length = int.from_bytes(content[:8], "little")
    payload = change(content[8 + length :])
    line = word or f"container 1 {hashlib.sha256(payload).hexdigest()}"
    tensor = torch.frombuffer(bytearray(payload), dtype=torch.uint8)
    return save({"w": tensor}, {"compressor": line})


def restructured(small: Network, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A container whose structure was changed by somebody who knows the format."""
    streams, _ = container._smallest(small)
    structure = json.loads(streams[0])
    change(structure)
    return container._file([json.dumps(structure).encode(), *streams[1:]])


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def unfit(payload: bytes) -> bytes:
    """The first deflated stream with another beginning."""
    start = container._TABLE.size
    return payload[:start] + b"xx" + payload[start + 2 :]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, "is damaged"),
        (flipped, "checksum"),
        (lambda _: b"", "its 0 bytes begin with no header"),
        (lambda _: b"PK\3\4 a zip file of some kind", "begin with no header"),
        (lambda _: save({"w": torch.zeros(3)}), "no container of this library"),
        (lambda c: changed(c, bytes, "container 2 00"), "has format 2 and this version reads"),
        (lambda c: changed(c, lambda p: p[:20]), "no table of streams"),
        (lambda c: changed(c, lambda p: p + b"x"), "its streams take"),
        (lambda c: changed(c, unfit), "is damaged: a stream"),
    ],
)
def test_a_damaged_file_is_refused(
    small: Network, tmp_path: Path, damage: Callable[[bytes], bytes], said: str
) -> None:
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(damage(container.pack(small)))
    with pytest.raises(ValueError, match=said) as caught:
        container.read(path)
    assert "damaged.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda s: s["network"]["steps"][0].__setitem__(0, "from_file"),
            "'from_file' is not among",
        ),
        (lambda s: s["network"]["steps"][0].__setitem__(0, "set_"), "'set_' is not among"),
        (lambda s: s["network"]["steps"][0].__setitem__(0, "add.out"), "'add.out' is not among"),
        (lambda s: s["network"]["steps"][0].__setitem__(0, "relu.no"), "'relu.no' is not among"),
        (lambda s: s["network"]["steps"][0].__setitem__(0, "!eval"), "not among the functions"),
        (lambda s: s["network"]["steps"][0].__setitem__(0, 7), "submodule 7 of 0"),
        (lambda s: s["network"].update(modules=[["a", "subprocess"]]), "the kind 'subprocess'"),
        (lambda s: s["network"]["steps"][0].__setitem__(1, ["%9"]), "number '9' of 1"),
        (lambda s: s["network"]["steps"][0].__setitem__(1, ["%0"]), "number '0' of 1"),
        (lambda s: s["network"]["steps"][0].__setitem__(1, ["?"]), "has no meaning"),
        (lambda s: s["network"].pop("steps"), "makes no network"),
        (lambda s: s["network"]["tensors"].update(forward=2), "cannot be read"),
        (lambda s: s["layout"].pop(), "cannot be read"),
        (lambda s: s["layout"].append(["f4", [2]]), "ends too early"),
        (lambda s: s["layout"][0].__setitem__(0, "O"), "the type 'O'"),
        (lambda s: s["layout"][-1].__setitem__(1, [-2]), "impossible shape"),
        (lambda s: s["layout"][-1].__setitem__(0, "f8"), "bits, which is impossible"),
        (lambda s: s["layout"][0].__setitem__(1, [10**7]), "ends too early"),
        (lambda s: s["layout"][0].__setitem__(1, [10**12]), "are left: if you trust the file"),
    ],
)
def test_a_structure_from_a_stranger_is_refused(
    small: Network, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        container.unpack(restructured(small, change), "a stranger's file")


@pytest.mark.parametrize(
    "name",
    ["from_file", "set_", "resize_", "as_strided", "empty", "empty_strided", "save", "_pin_memory"],
)
def test_no_operation_of_files_or_bare_memory_can_be_named(name: str) -> None:
    with pytest.raises(ValueError, match="is not among"):
        operation(name)


def test_what_cannot_be_stored_is_said_when_it_is_written() -> None:
    x, tree = torch.zeros(1, 2), nn.Module()
    raw = Step("y", aten.empty_like.default, (Ref("x"),))
    with pytest.raises(ValueError, match="'empty_like' is not among"):
        container.pack(Network([raw], ["x"], Ref("y"), tree, (x,)))
    odd = Step("y", aten.add.Tensor, (Ref("x"), 1j))
    with pytest.raises(ValueError, match="1j cannot be stored"):
        container.pack(Network([odd], ["x"], Ref("y"), tree, (x,)))
    tree.add_module("call", nn.ReLU())
    call = Network([Step("y", "call", (Ref("x"),))], ["x"], Ref("y"), tree, (x,))
    with pytest.raises(ValueError, match="'call' is a ReLU, which cannot be stored"):
        container.pack(call)
    tree = nn.Module()
    tree.register_buffer("c", torch.zeros(2, dtype=torch.float8_e4m3fn))
    with pytest.raises(ValueError, match=r"torch\.float8_e4m3fn, which cannot be stored"):
        container.pack(Network([], ["x"], Ref("x"), tree, (x,)))


class Scaled(nn.Module):
    """A module with a setting and a tensor, as the library's own kinds have."""

    factor: Tensor

    def __init__(self, power: int) -> None:
        super().__init__()
        self.power = power
        self.register_buffer("factor", torch.tensor([2.0, 3.0]))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor**self.power


def test_the_librarys_own_modules_are_rebuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"scaled": kinds.Kind(Scaled, lambda m: {"power": m.power}, lambda s: Scaled(**s))}
    monkeypatch.setattr("compressor.network.file.plain.KINDS", known)
    monkeypatch.setattr(kinds, "KINDS", known)
    rewrite = Rewrite(to_network(nn.Sequential(nn.Linear(3, 2)), torch.zeros(1, 3)))
    scaled = Scaled(2)
    scaled.factor = torch.tensor([5.0, 7.0], dtype=torch.float64)
    rewrite.insert_after("linear", rewrite.add("0.scaled", scaled))
    made = rewrite.build()
    again = container.unpack(container.pack(made))
    x = torch.randn(4, 3)
    assert torch.equal(made(x), again(x))
    assert [s.module for s in again.steps] == ["0", "0"]
    assert torch.equal(again.get_submodule("0.scaled").factor, scaled.factor)


def test_structures_of_outputs_and_values_come_back() -> None:
    x = torch.zeros(1, 4)
    steps = [
        Step("parts", aten.split.Tensor, (Ref("x"), 2, 1)),
        Step("clipped", aten.clamp.default, (Ref("x"), float("-inf"), 0.5)),
        Step("same", aten.to.dtype, (Ref("clipped"), torch.float16)),
        Step("text", aten.gelu.default, (Ref("x"),), {"approximate": "tanh"}),
        Step("zeros", aten.zeros.default, ((2, 3),), {"device": torch.device("cpu")}),
    ]
    outputs = {"a": (Ref("parts"), [Ref("same"), None]), "b": Ref("text"), 3: Ref("zeros")}
    made = Network(steps, ["x"], outputs, nn.Module(), (x,))
    again = from_plain(*to_plain(made))
    assert [(s.op, s.args[1:], s.kwargs) for s in again.steps] == [
        (s.op, s.args[1:], s.kwargs) for s in steps
    ]
    found = again(x)
    assert list(found) == ["a", "b", 3]
    assert isinstance(found["a"], tuple)
    assert isinstance(found["a"][1], list)


def test_the_file_is_one_tensor_and_one_line(small: Network, tmp_path: Path) -> None:
    container.write(small, tmp_path / "n.safetensors")
    with safe_open(tmp_path / "n.safetensors", "pt") as file:
        assert list(file.keys()) == ["w"]
        assert list(file.metadata()) == ["compressor"]
