"""Firmware compiles, holds what it should, and proves a device right or wrong."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor.export.firmware.folder import Firmware, files
from compressor.export.firmware.writing import made, write
from compressor.export.micro.operations import Convolution
from compressor.export.reading.contents import unpack
from compressor.export.reading.needs import arena
from compressor.network import Network, to_network
from compressor.quantization.conversion import convert
from compressor.quantization.preparation import calibrate, prepare
from compressor.quantization.presets import ORT, TFLM, Preset
from compressor.storage import SUMS
from models import ResidualNorm
from tests.conftest import ROOT
from tests.helpers import stub_tflm, tflm
from tests.helpers.int8_nets import calibrated, examples, trained
from tests.zoo.micro import MICRO, chain

PROBE = ROOT / "tests" / "helpers" / "firmware_probe.cc"

WRONG = 5
"""Where one answer of a device is wrong."""


class Both(nn.Module):
    """Two inputs of different shapes, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(2, 4, 1)
        self.example_input_array = torch.zeros(1, 3, 4, 5), torch.zeros(1, 2, 4, 5)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x = self.one(x).relu()
        return x, x + self.other(y)


@cache
def reference(name: str, preset: Preset = TFLM) -> Network:
    """A network of integers. Not to be changed."""
    torch.manual_seed(3)
    if name != "both":
        return convert(calibrated(to_network(trained(MICRO[name]())), preset))
    model = Both()
    given = model.example_input_array
    prepared = prepare(to_network(model.eval(), given), preset)
    calibrate(prepared, [tuple(torch.randn(6, *x.shape[1:]) for x in given)])
    return convert(prepared)


def answers(firmware: Firmware) -> list[np.ndarray]:
    """What TensorFlow Lite Micro says of the test vectors, for each output (vectors, bytes)."""
    program, vectors = firmware.program, firmware.vectors
    runs = tflm.interpreter(firmware.content)
    found: list[list[np.ndarray]] = []
    for n in range(vectors.count):
        given = [
            port[n].reshape(program.tensors[p.tensor].shape)
            for port, p in zip(vectors.inputs, program.inputs, strict=True)
        ]
        found.append(tflm.run(runs, given, len(program.outputs)))
    return [np.stack([x.reshape(-1) for x in port]) for port in zip(*found, strict=True)]


@pytest.mark.parametrize("name", ["both", *MICRO])
def test_test_vectors_are_what_tflm_computes(name: str) -> None:
    firmware = made(reference(name))
    assert firmware.vectors.count > 2
    for port, told in zip(firmware.vectors.outputs, answers(firmware), strict=True):
        assert port.dtype == told.dtype == np.int8
        assert np.array_equal(port, told)
        assert len({row.tobytes() for row in port}) > 1


@dataclass(frozen=True)
class Built:
    """Firmware on disk and the stub's headers."""

    firmware: Firmware
    folder: Path
    stub: Path


def built(name: str, place: Path) -> Built:
    if shutil.which("g++") is None:
        pytest.skip("there is no g++")
    firmware = made(reference(name))
    write(reference(name), place / "firmware")
    return Built(firmware, place / "firmware", headers(firmware, place, answers(firmware)))


def headers(firmware: Firmware, place: Path, told: list[np.ndarray]) -> Path:
    needed = arena(unpack(firmware.content))
    vectors = firmware.vectors
    size = needed.head + needed.tail
    return stub_tflm.headers(place / "stub", vectors.inputs, told, len(firmware.operators), size)


@pytest.mark.slow  # compiles C++
@pytest.mark.parametrize("name", ["plain", "time", "silu", "both"])
def test_what_is_compiled_reads_back(name: str, tmp_path: Path) -> None:
    b = built(name, tmp_path)
    code, lines = stub_tflm.run(stub_tflm.compiled(b.folder, b.stub, PROBE, tmp_path / "probe"))
    assert code == 0
    told = [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]
    only = dict(told)
    assert only["aligned"] == "0"
    assert bytes(map(int, only["data"].split())) == b.firmware.content
    assert b.firmware.content == (b.folder / "model.tflite").read_bytes()
    room = b.firmware.room
    sizes = room.head, room.tail, room.spare, room.kernels, sum(room.__dict__.values())
    assert tuple(map(int, only["arena"].split())) == sizes
    kinds = len(b.firmware.operators)
    assert only["resolver"] == f"1 {kinds} {kinds}"
    assert [text for key, text in told if key == "operator"] == called(b.firmware)
    program, vectors = b.firmware.program, b.firmware.vectors
    ports = [*program.inputs, *program.outputs]
    expected = [*vectors.inputs, *answers(b.firmware)]
    rows = [(key, text.split()) for key, text in told if key not in only or key in PORT]
    assert [key for key, _ in rows] == [
        *["input", *REST] * len(program.inputs), *["output", *REST] * len(program.outputs)
    ]  # fmt: skip
    for n, (port, numbers) in enumerate(zip(ports, expected, strict=True)):
        grid, shape, stored, quantised, values = (text for _, text in rows[5 * n : 5 * n + 5])
        tensor = program.tensors[port.tensor]
        assert tensor.steps is not None
        scale, zero = tensor.steps.scale, tensor.steps.zero
        assert (float.fromhex(grid[0]), int(grid[1]), int(grid[2])) == (scale, zero, tensor.size)
        assert tuple(map(int, shape)) == tensor.shape
        assert np.array_equal(np.array(stored, np.int8), numbers.reshape(-1))
        given = (np.arange(-40, 41) * np.float32(7.5)).astype(np.float32) * scale
        wanted = np.clip(np.rint(given / scale) + np.float32(zero), -128, 127)
        assert np.array_equal(np.array(quantised, np.float32), wanted)
        back = (np.arange(-128, 128) - zero).astype(np.float32) * scale
        assert [float.fromhex(value) for value in values] == back.tolist()


REST = ("shape", "vectors", "bytes", "values")
PORT = {"input", "output", *REST}


def called(firmware: Firmware) -> list[str]:
    """Names of operators as the resolver's methods have them, read off the schema's names."""
    plain = {name.upper(): name for name in stub_tflm.METHODS}
    return [plain[name.replace("_", "")] for name in firmware.operators]


@pytest.mark.slow  # compiles C++
def test_a_device_is_proven_right_or_wrong(tmp_path: Path) -> None:
    b = built("both", tmp_path)
    main = b.folder / "main.cc"
    code, lines = stub_tflm.run(stub_tflm.compiled(b.folder, b.stub, main, tmp_path / "right"))
    count = b.firmware.vectors.count
    assert code == 0
    assert [line for line in lines if line.startswith("run ")] == [
        *(f"run {n}" for n in range(count)), "run -1"
    ]  # fmt: skip
    assert f"{count} of {count} vectors are as the reference says" in lines

    told = [port.copy() for port in answers(b.firmware)]
    right = int(told[1][2, WRONG])
    told[1][2, WRONG] = right - 1 if right > 0 else right + 1
    told[1][3, WRONG] ^= 1
    headers(b.firmware, tmp_path, told)
    code, lines = stub_tflm.run(stub_tflm.compiled(b.folder, b.stub, main, tmp_path / "wrong"))
    assert code == 1
    said = f"vector 2, output 1, byte {WRONG}: {told[1][2, WRONG]}, and the reference says {right}"
    assert [line for line in lines if line.startswith("vector")] == [said]
    assert lines[-1] == f"{count - 2} of {count} vectors are as the reference says"


def test_the_arena_is_head_tail_and_a_margin_that_is_said() -> None:
    firmware = made(reference("depthwise"))
    pytest.importorskip("tflite_micro")
    room, needed = firmware.room, arena(unpack(firmware.content))
    assert needed.planned
    assert room.head == needed.head
    assert 0 <= room.tail - needed.tail < 16
    assert room.tail / 4 <= room.spare < room.tail / 4 + 17
    assert room.size % 16 == 0
    said = files(firmware)["README.md"].decode()
    for size in (room.size, room.head, room.tail, room.spare, room.kernels):
        assert f"{size:,}" in said


def test_room_for_kernels_is_the_largest_window() -> None:
    program = made(reference("plain")).program
    windows = [
        program.tensors[o.inputs[1]].shape
        for o in program.operators
        if type(o.operation) is Convolution
    ]
    # 4 x 3 x 1, a row for padding, and 3 x 3 x 4 entries: two columns of two bytes each.
    assert sorted(shape[1] * shape[2] * shape[3] for shape in windows) == [12, 36]
    assert made(reference("plain")).room.kernels == 2 * 2 * 36


def test_given_inputs_are_the_test_vectors(tmp_path: Path) -> None:
    whole = reference("channels")
    x = examples(whole, 5, seed=9)
    firmware = made(whole, x)
    assert firmware.vectors.count == 5
    told = [firmware.program.decoded([row])[0] for row in firmware.vectors.outputs[0]]
    with torch.no_grad():
        assert torch.equal(torch.from_numpy(np.concatenate(told)), whole(x))
    write(whole, tmp_path / "one", x)
    write(whole, tmp_path / "other", [x])
    one, other = ((tmp_path / name / "model_vectors.cc").read_bytes() for name in ("one", "other"))
    assert one == other


def test_two_calls_write_the_same_bytes(tmp_path: Path) -> None:
    write(reference("plain"), tmp_path / "one")
    write(reference("plain"), tmp_path / "two")
    found = [
        {p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "two")
    ]
    assert found[0] == found[1]
    assert set(found[0]) == {SUMS, *files(made(reference("plain")))}


def test_inputs_say_how_they_lie_in_memory() -> None:
    text = files(made(reference("channels")))["model_settings.h"].decode()
    assert "{1, 3, 8, 8} of the network, by row, column, channel: the last is the fastest" in text
    assert "4, {1, 8, 8, 3}" in text
    assert "by time, channel" in files(made(reference("time")))["model_settings.h"].decode()
    assert "{1, 16} of the network, by feature" in (
        files(made(reference("products")))["model_settings.h"].decode()
    )


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (
            torch.zeros(2, 1, 12, 8),
            r"\(2, 1, 12, 8\) are none of this network.*\(vectors, 1, 12, 9",
        ),
        (torch.zeros(0, 1, 12, 9), "at least one vector"),
        (torch.zeros(1, 12, 9), "are none of this network"),
        ([], "pass tensors"),
        ("clips.npy", "pass tensors"),
        ([torch.zeros(2, 1, 12, 9)] * 2, "are none of this network"),
        (torch.full((2, 1, 12, 9), float("nan")), "NaN, infinity"),
        (torch.full((2, 1, 12, 9), 1e300, dtype=torch.float64), "beyond float32"),
        (5, "inputs=5: pass tensors"),
        ([torch.zeros(2, 1, 12, 9), None], "pass tensors"),
        (np.zeros((2, 1, 12, 9), np.float32), "a numpy array of shape.*: pass tensors"),
        (torch.zeros(2, 1, 12, 9).to_sparse(), "hold a tensor of layout torch.sparse_coo.*pass"),
        (torch.zeros(2, 1, 12, 9, dtype=torch.complex64), "hold complex numbers.*real.*pass"),
        (torch.zeros(2, 1, 12, 9, device="meta"), "hold a tensor without numbers"),
        (
            torch.zeros(1001, 1, 12, 9),
            rf"1,001 test vectors would take {1001 * (12 * 9 + 3):,} bytes.*at most 1,000",
        ),
    ],
)
def test_inputs_that_are_none(inputs: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        write(reference("plain"), tmp_path / "new", inputs)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor", "ignore:The PyTorch API of nested")
def test_tensors_of_other_kinds_are_no_inputs() -> None:
    quantised = torch.quantize_per_tensor(torch.zeros(2, 1, 12, 9), 1.0, 0, torch.qint8)
    with pytest.raises(ValueError, match="hold a quantised tensor"):
        made(reference("plain"), quantised)
    with pytest.raises(ValueError, match="hold a nested tensor"):
        made(reference("plain"), torch.nested.nested_tensor([torch.zeros(1, 12, 9)] * 2))


@pytest.mark.parametrize(
    ("whole", "said"),
    [
        (lambda: to_network(trained(MICRO["plain"]())), "computes in floating point"),
        (lambda: reference("plain", ORT), "rounded for another runtime"),
    ],
)
def test_networks_that_are_none_leave_the_old_folder(
    whole: object, said: str, tmp_path: Path
) -> None:
    write(reference("plain"), tmp_path / "fw")
    before = {p: p.read_bytes() for p in (tmp_path / "fw").iterdir()}
    with pytest.raises(ValueError, match=said):
        write(whole(), tmp_path / "fw")  # type: ignore[operator]
    assert {p: p.read_bytes() for p in (tmp_path / "fw").iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["fw"]


def normalised(*layers: nn.Module) -> Network:
    """Layers behind each other, the input (1, 8, 9), normalisation of rows in floating point."""
    torch.manual_seed(2)
    preset = replace(TFLM, statistics=False)
    return convert(calibrated(to_network(trained(chain((1, 8, 9), *layers))), preset))


def test_parts_in_floating_point_are_said(tmp_path: Path) -> None:
    layers = nn.Conv2d(1, 6, 3), nn.ReLU(), ResidualNorm(), nn.Conv2d(6, 3, 1)
    with pytest.warns(UserWarning, match="is computed in float32"):
        write(normalised(*layers), tmp_path / "fw")
    assert "`layers.2` is computed in float32" in (tmp_path / "fw" / "README.md").read_text()
    text = (tmp_path / "fw" / "model_operators.h").read_text()
    assert {"AddDequantize", "AddRsqrt", "AddMean", "AddQuantize"} <= set(
        re.findall(r"resolver\.(\w+)\(\)", text)
    )
    assert "float32" not in files(made(reference("plain")))["README.md"].decode()


@pytest.mark.filterwarnings("ignore:export.*computed in float32")
def test_inputs_without_a_grid_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"an input of \(1, 8, 9, 1\) is no int8 on a grid.*norm"):
        write(normalised(ResidualNorm(), nn.Conv2d(1, 3, 3)), tmp_path / "fw")
    assert not list(tmp_path.iterdir())


def test_main_is_kept_and_the_rest_is_written_anew(tmp_path: Path) -> None:
    folder = tmp_path / "fw"
    write(reference("plain"), folder)
    (folder / "main.cc").write_text("// mine\n")
    (folder / "model_test.cc").write_text("// damaged\n")
    write(reference("time"), folder)
    assert (folder / "main.cc").read_text() == "// mine\n"
    assert "WrongVectors" in (folder / "model_test.cc").read_text()
    assert (folder / "model.tflite").read_bytes() == made(reference("time")).content


def test_what_was_compiled_in_the_folder_stays(tmp_path: Path) -> None:
    write(reference("plain"), tmp_path / "fw")
    (tmp_path / "fw" / "main.o").write_bytes(b"compiled")
    write(reference("time"), tmp_path / "fw")
    assert (tmp_path / "fw" / "main.o").read_bytes() == b"compiled"
    assert (tmp_path / "fw" / "model.tflite").read_bytes() == made(reference("time")).content


@pytest.mark.parametrize("name", ["notes.txt", "README.md", "model.tflite", "main.cc"])
def test_a_folder_of_others_is_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=f"holds '{name}' and was not written so before"):
        write(reference("plain"), tmp_path)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(name, "mine")]


def test_no_line_is_too_long() -> None:
    for name, content in files(made(reference("both"))).items():
        if name != "model.tflite":
            assert all(len(line) <= 100 for line in content.decode().splitlines()), name
            assert not re.search(r"[ \t]\n", content.decode()), name
