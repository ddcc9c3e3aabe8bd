"""Reading against the official schema's own code; damage is one sentence, never a crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from compressor.export.reading.contents import Contents, read, unpack
from compressor.export.reading.macs import operator_macs, uncounted
from compressor.export.reading.needs import arena
from tests.helpers.tflite_files import FLOAT, INT32, Grown, Op, residual, schema


def sine() -> bytes:
    """The file that comes with the interpreter, written by TensorFlow's converter."""
    from tflite_micro.python.tflite_micro import runtime  # noqa: PLC0415 - optional

    return Path(runtime.__file__).with_name("sine_float.tflite").read_bytes()


@pytest.mark.parametrize("data", [residual(), sine()], ids=["ours", "TensorFlow's"])
def test_as_the_official_schema_reads_it(data: bytes) -> None:
    found = unpack(data)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
    graph = model.subgraphs[0]
    assert found.size == len(data)
    assert found.subgraphs == len(model.subgraphs) == 1
    assert list(found.inputs) == list(graph.inputs)
    assert list(found.outputs) == list(graph.outputs)
    kinds = {number: name for name, number in vars(schema.TensorType).items()}
    for mine, theirs in zip(found.tensors, graph.tensors, strict=True):
        held = model.buffers[theirs.buffer].data
        assert list(mine.shape) == list(theirs.shape)
        assert mine.type == kinds[theirs.type].lower()
        assert mine.name == (theirs.name or b"").decode()
        assert mine.constant == (held is not None and len(held) > 0)
        if mine.constant:
            assert mine.size == len(held)
        scales = theirs.quantization and theirs.quantization.scale
        assert mine.channels == (0 if scales is None else len(scales))
    names = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    for mine, theirs in zip(found.operators, graph.operators, strict=True):
        code = model.operatorCodes[theirs.opcodeIndex]
        assert mine.name == names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        assert list(mine.inputs) == list(theirs.inputs)
        assert list(mine.outputs) == list(theirs.outputs)


def test_a_file_is_read_from_disk(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(residual())
    assert read(path).name == str(path)
    assert read(path).operators == unpack(path.read_bytes(), str(path)).operators
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "other.tflite")


def test_a_plan_is_read() -> None:
    file = Grown()
    x, y = file.tensor((1, 40)), file.tensor((1, 40))
    file.operator(Op.RELU, [x], [y])
    file.plan([48, -1])
    assert unpack(file.bytes([x], [y])).plan == (48, None)
    assert unpack(residual()).plan is None


def test_a_custom_operator_keeps_its_name() -> None:
    file = Grown()
    x, y = file.tensor((1, 40)), file.tensor((1, 40))
    file.operator(Op.CUSTOM, [x, -1], [y], custom="Sec\nret")
    found = unpack(file.bytes([x], [y]))
    assert (found.operators[0].name, found.operators[0].custom) == ("Sec?ret", True)
    assert found.operators[0].inputs == (0, -1)
    assert uncounted(found) == ("Sec?ret",)


def changed(**changes: Any) -> bytes:
    """A ReLU of 40 values with something wrong in it."""
    file = Grown()
    x, y = file.tensor((1, 40)), file.tensor((1, 40))
    file.operator(Op.RELU, [x], [changes.pop("out", y)])
    for name, value in changes.pop("tensor", {}).items():
        setattr(file.tensors[0], name, value)
    if "plan" in changes:
        file.plan(changes.pop("plan"))
    for name, value in changes.pop("operator", {}).items():
        setattr(file.operators[0], name, value)
    return file.bytes([x], [y], **changes)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"bytes 4 to 8 are b'' and not b'TFL3' \(0 bytes in all\)"),
        (b"PK\3\4 a zip file", r"bytes 4 to 8 are b' a z' and not b'TFL3'"),
        (residual()[:40], "it points at byte"),
        (changed(version=2), "its schema has version 2, and version 3 is read"),
        (changed(graphs=0), "it has no subgraph"),
        (changed(out=7), "operator 0, RELU, names tensor 7, and there are 2"),
        (
            changed(tensor={"shape": [1, -1]}),
            r"tensor 0 has the shape \(1, -1\): sizes that",
        ),
        (changed(tensor={"shape": [1] * 17}), "should have 17 entries of 4 bytes"),
        (changed(tensor={"shape": [2**31 - 1] * 4}), "more entries than any memory has"),
        (
            changed(tensor={"type": 5}),
            "holds values of type 5, which have no fixed",
        ),
        (changed(tensor={"buffer": 9}), "tensor 0 is in buffer 9, and there are 1"),
        (changed(operator={"opcodeIndex": 3}), "operator 0 is of kind 3, and there are 1"),
        (changed(plan=[0]), r"has 16 bytes and should have the offsets of 2 tensors, 20 bytes"),
        (changed(plan=[0, -3]), "puts tensor 1 at byte -3, before the arena"),
    ],
)
def test_a_strange_file_is_one_sentence(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        unpack(data, "a.tflite")
    assert str(caught.value).startswith("a.tflite is no .tflite file that can be read: ")
    assert "\n" not in str(caught.value)


def looked_at(data: bytes) -> Contents | None:
    """Everything that is asked of a stranger's file; None where it is refused in one sentence."""
    try:
        found = unpack(data)
        operator_macs(found)
        arena(found)
    except ValueError as error:
        said = str(error)
    else:
        return found
    assert "\n" not in said
    assert len(said) < 700
    return None


@given(st.data())
def test_damage_is_never_a_crash(data: st.DataObject) -> None:
    file = bytearray(data.draw(st.sampled_from([residual(), sine()])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(file) - 1))
        width = data.draw(st.sampled_from([1, 2, 4]))
        file[at : at + width] = data.draw(st.binary(min_size=width, max_size=width))
    looked_at(bytes(file[: data.draw(st.integers(len(file) // 2, len(file)))]))


@given(st.binary(max_size=200))
@example(b"\x04\0\0\0TFL3")
@example(b"\xff\xff\xff\xffTFL3")
@example(b"\x08\0\0\0TFL3\0\0\0\x80\0\0\0\0")
def test_anything_behind_the_identifier_is_refused(rest: bytes) -> None:
    assert looked_at(rest[:4] + b"TFL3" + rest[4:]) is None
    assert looked_at(rest) is None


def test_a_short_file_cannot_name_a_million_tensors() -> None:
    """All operators point at one long vector: 200 kB that would unfold to a hundred million."""
    file = Grown()
    x = file.tensor((1, 4), FLOAT)
    many = [x] * 9_000
    for _ in range(200):
        file.operator(Op.ADD_N, [x], [x])
    data = bytearray(file.bytes(many, [x]))
    model = schema.Model.GetRootAsModel(bytes(data), 0)
    graph = model.Subgraphs(0)
    table = graph._tab
    place = table.Pos + table.Offset(6)
    inputs = place + int.from_bytes(data[place : place + 4], "little")
    for n in range(200):
        own = graph.Operators(n)._tab
        at = own.Pos + own.Offset(6)
        offset = (inputs - at) % 2**32
        data[at : at + 4] = offset.to_bytes(4, "little")
    with pytest.raises(ValueError, match="its operators name more than 1,000,000 tensors"):
        unpack(bytes(data))


def test_numbers_of_operators_are_the_schemas() -> None:
    file = Grown()
    x = file.tensor((1, 4), FLOAT)
    codes = sorted(v for v in vars(Op).values() if isinstance(v, int))
    for code in codes:
        file.operator(code, [x], [x], custom="own")
    names = {number: name for name, number in vars(Op).items()}
    found = [op.name for op in unpack(file.bytes([x], [x])).operators]
    assert found == ["own" if code == Op.CUSTOM else names[code] for code in codes]


@pytest.mark.parametrize(
    "number", [n for n in vars(schema.TensorType).values() if isinstance(n, int)]
)
def test_sizes_of_types(number: int) -> None:
    sizes = {1: np.float16, 2: np.int32, 3: np.uint8, 4: np.int64, 6: np.bool_, 7: np.int16,
             8: np.complex64, 9: np.int8, 10: np.float64, 11: np.complex128, 12: np.uint64,
             15: np.uint32, 16: np.uint16, 0: np.float32}  # fmt: skip
    packed = {13: 4 * 7, 17: 4, 18: 14, 19: 2, 20: 4, 21: 7, 22: 7}
    file = Grown()
    x = file.tensor((7,), number, scales=[1.0])
    data = file.bytes([x], [x])
    if number in {5, 14}:  # texts and variants
        with pytest.raises(ValueError, match="no fixed size"):
            unpack(data)
    else:
        wanted = packed.get(number) or 7 * np.dtype(sizes[number]).itemsize
        assert unpack(data).tensors[0].size == wanted


def test_four_bits_are_packed_in_pairs() -> None:
    file = Grown()
    x = file.tensor((3,), INT32)
    y = file.tensor((5,), 17)
    assert [t.size for t in unpack(file.bytes([x], [y])).tensors] == [12, 3]
