"""Files as others read them: what lies in them, once, and the plan that they may carry."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from compressor.export.micro.program import Program
from compressor.export.micro.translation import translated
from compressor.export.micro.writing import PLAN, written
from tests.export.micro.test_translation import inputs, reference
from tests.helpers.tflm import outputs

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")


@cache
def program(name: str) -> Program:
    return translated(reference(name))


def model(content: bytes) -> object:
    assert content[4:8] == b"TFL3"
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


@pytest.mark.parametrize("name", ["bands", "silu", "time"])
def test_the_tables_say_what_the_program_does(name: str) -> None:
    given = program(name)
    found = model(written(given))
    (graph,) = found.subgraphs
    assert found.version == 3
    assert len(graph.tensors) == len(given.tensors)
    assert list(graph.inputs) == [port.tensor for port in given.inputs]
    assert list(graph.outputs) == [port.tensor for port in given.outputs]
    assert [tuple(o.inputs) for o in graph.operators] == [o.inputs for o in given.operators]
    for tensor, like in zip(graph.tensors, given.tensors, strict=True):
        assert tuple(tensor.shape) == like.shape
        held = found.buffers[tensor.buffer].data
        if like.data is None:
            assert held is None
        else:
            assert held.tobytes() == like.data.tobytes()
        if like.steps is not None:
            assert np.array_equal(tensor.quantization.scale, like.steps.scales)
            assert set(tensor.quantization.zeroPoint) == {like.steps.zero}
            assert tensor.quantization.quantizedDimension == like.steps.axis
    for code in found.operatorCodes:
        assert code.deprecatedBuiltinCode == min(code.builtinCode, 127)


def test_all_is_integers_and_nothing_has_a_name() -> None:
    (graph,) = model(written(program("bands"))).subgraphs
    assert {t.type for t in graph.tensors} == {2, 9}
    assert not any(t.name for t in graph.tensors)


def test_names_where_they_are_asked_for() -> None:
    plain, named = written(program("flat")), written(program("flat"), names=True)
    (graph,) = model(named).subgraphs
    assert graph.tensors[0].name == b"x"
    assert len(named) > len(plain)


def test_no_buffer_lies_twice() -> None:
    held = [b.data for b in model(written(program("bands"))).buffers]
    contents = [data.tobytes() for data in held if data is not None]
    assert len(contents) == len(set(contents))


def test_equal_vectors_lie_once() -> None:
    """Shorter than what flatbuffers' own objects make of the same tables, which share nothing."""
    import flatbuffers  # noqa: PLC0415

    content = written(program("bands"))
    builder = flatbuffers.Builder()
    builder.Finish(model(content).Pack(builder), b"TFL3")
    assert len(content) < 0.9 * len(builder.Output())


def test_the_content_of_tensors_is_aligned() -> None:
    content = written(program("bands"))
    for buffer in model(content).buffers:
        if buffer.data is not None:
            at = content.find(buffer.data.tobytes())
            assert any(n % 16 == 0 for n in _places(content, buffer.data.tobytes())), (
                f"{len(buffer.data)} bytes at {at}"
            )


def _places(content: bytes, part: bytes) -> list[int]:
    found, at = [], content.find(part)
    while at >= 0:
        found.append(at)
        at = content.find(part, at + 1)
    return found


def test_a_runtime_version_is_told() -> None:
    found = model(written(program("flat")))
    (note,) = found.metadata
    assert note.name == b"min_runtime_version"
    assert bytes(found.buffers[note.buffer].data).rstrip(b"\0") == b"1.15.0"


def stacked(given: Program) -> dict[int, int]:
    """A plan without reuse: one tensor behind the other."""
    plan, end = {}, 0
    for number in given.lifetimes():
        plan[number] = end
        end += (given.tensors[number].size + 15) // 16 * 16
    return plan


def test_a_plan_is_written_and_obeyed() -> None:
    given = program("padded")
    plan = stacked(given)
    content = written(given, plan)
    found = model(content)
    (note,) = (n for n in found.metadata if n.name == PLAN.encode())
    table = np.frombuffer(bytes(found.buffers[note.buffer].data), dtype=np.int32)
    places = [plan.get(n, -1) for n in range(len(given.tensors))]
    assert table.tolist() == [1, 0, len(given.tensors), *places]
    whole = reference("padded")
    x = inputs(whole)[:5]
    with torch.no_grad():
        assert torch.equal(outputs(content, given, x), whole(x))


def test_a_plan_for_a_constant_is_refused() -> None:
    given = program("flat")
    constant = next(n for n, t in enumerate(given.tensors) if t.constant)
    with pytest.raises(ValueError, match=f"places tensor {constant}, which takes no working"):
        written(given, {constant: 0})


@pytest.mark.parametrize("name", ["bands", "silu", "depthwise", "joined", "time", "gated"])
def test_the_other_interpreter_is_near(name: str) -> None:
    """LiteRT rounds some operations once: a few steps away at most, and it loads every file."""
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    given, whole = program(name), reference(name)
    runs = litert.Interpreter(model_content=written(given))
    runs.allocate_tensors()
    (into,), (out,) = runs.get_input_details(), runs.get_output_details()
    scale = float(given.tensors[given.outputs[0].tensor].steps.scale)
    for x in inputs(whole)[:10]:
        (value,) = given.encoded([x[None].numpy()])
        runs.set_tensor(into["index"], value)
        runs.invoke()
        (found,) = given.decoded([runs.get_tensor(out["index"])])
        with torch.no_grad():
            wanted = whole(x[None]).numpy()
        assert np.abs(found - wanted).max() <= 4 * scale
