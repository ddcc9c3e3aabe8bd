"""The head of the arena, to the byte, against the recorded one of TensorFlow Lite Micro itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.counting.memory.planning import plan
from compressor.counting.memory.tflm import greedy
from compressor.export.reading.contents import unpack
from compressor.export.reading.kernels import PLAIN
from compressor.export.reading.needs import arena, tail
from tests.helpers import tflite_files as files
from tests.helpers.tflite_files import FLOAT, INT4, INT8, INT16, INT32, Grown, Op, recorded, schema

AXES = np.array([1, 2], np.int32)


def reduced(code: int, kind: int) -> bytes:
    file = Grown()
    given = file.tensor((1, 6, 5, 9), kind)
    axes = file.tensor((2,), INT32, data=AXES)
    out = file.tensor((1, 1, 1, 9), kind)
    file.operator(code, [given, axes], [out], schema.ReducerOptionsT, keepDims=True)
    return file.bytes([given], [out])


def mean_of_five_dimensions() -> bytes:
    file = Grown()
    given = file.tensor((1, 2, 6, 5, 8), FLOAT)
    axes = file.tensor((4,), INT32, data=np.arange(4, dtype=np.int32))
    out = file.tensor((1, 1, 1, 1, 8), FLOAT)
    file.operator(Op.MEAN, [given, axes], [out], schema.ReducerOptionsT, keepDims=True)
    return file.bytes([given], [out])


def transposed(kind: int) -> bytes:
    file = Grown()
    size = file.tensor((4,), INT32, data=np.array([1, 8, 8, 5], np.int32))
    values = np.zeros((5, 3, 3, 4), np.float32 if kind == FLOAT else np.int8)
    weight = file.tensor(
        values.shape, FLOAT if kind == FLOAT else INT8, data=values, scales=[0.1] * 5
    )
    given, out = file.tensor((1, 4, 4, 4), kind), file.tensor((1, 8, 8, 5), kind)
    file.operator(
        Op.TRANSPOSE_CONV, [size, weight, given], [out], schema.TransposeConvOptionsT,
        padding=schema.Padding.SAME, strideW=2, strideH=2,
    )  # fmt: skip
    return file.bytes([given], [out])


def four_bits(code: int) -> bytes:
    """Weights of 4 bits: a depthwise convolution, a convolution or a linear layer."""
    file = Grown()
    linear = code == Op.FULLY_CONNECTED
    given = file.tensor((1, 40) if linear else (1, 4, 4, 5))
    shape = {Op.CONV_2D: (7, 3, 3, 5), Op.DEPTHWISE_CONV_2D: (1, 3, 3, 5)}.get(code, (6, 40))
    outputs = shape[3] if code == Op.DEPTHWISE_CONV_2D else shape[0]
    scales = [0.1] * (1 if linear else outputs)
    packed = np.zeros(-(-int(np.prod(shape)) // 2), np.int8)
    axis = 3 if code == Op.DEPTHWISE_CONV_2D else 0
    weight = file.tensor(shape, INT4, data=packed, scales=scales, axis=axis)
    bias = file.tensor(
        (outputs,), INT32, data=np.zeros(outputs, np.int32), scales=[0.01] * len(scales)
    )
    out = file.tensor((1, outputs) if linear else (1, 4, 4, outputs))
    options = {
        Op.CONV_2D: schema.Conv2DOptionsT, Op.DEPTHWISE_CONV_2D: schema.DepthwiseConv2DOptionsT,
    }.get(code, schema.FullyConnectedOptionsT)  # fmt: skip
    settings = {} if linear else {
        "padding": schema.Padding.SAME, "strideW": 1, "strideH": 1,
        "dilationWFactor": 1, "dilationHFactor": 1,
    }  # fmt: skip
    if code == Op.DEPTHWISE_CONV_2D:
        settings["depthMultiplier"] = 1
    file.operator(code, [given, weight, bias], [out], options, **settings)
    return file.bytes([given], [out])


def svdf(kind: int) -> bytes:
    """6 units of rank 2 with a memory of 8 steps, which lies in the tail."""
    file = Grown()
    whole = FLOAT if kind == FLOAT else INT32
    number = np.float32 if kind == FLOAT else np.int8
    given = file.tensor((1, 10), kind)
    features = file.tensor((12, 10), kind, data=np.zeros((12, 10), number))
    time = file.tensor((12, 8), kind, data=np.zeros((12, 8), number))
    zeros = np.zeros(6, np.float32 if kind == FLOAT else np.int32)
    bias = file.tensor((6,), whole, data=zeros, scales=[0.01])
    state = file.tensor((1, 96), kind, variable=True)
    out = file.tensor((1, 6), kind)
    file.operator(Op.SVDF, [given, features, time, bias, state], [out], schema.SVDFOptionsT, rank=2)
    return file.bytes([given], [out])


def added(count: int) -> bytes:
    file = Grown()
    inputs = [file.tensor((1, 6, 10), FLOAT) for _ in range(count)]
    out = file.tensor((1, 6, 10), FLOAT)
    file.operator(Op.ADD_N, inputs, [out], schema.AddNOptionsT)
    return file.bytes(inputs, [out])


def chain(*, unused: int = 0, given: bool = False, back: bool = False) -> bytes:
    """A ReLU, beside it a tensor that nothing makes or reads, or whose input is an output too."""
    file = Grown()
    x, y = file.tensor((1, 40), FLOAT), file.tensor((1, 40), FLOAT)
    spare = [file.tensor((1, unused), FLOAT)] if unused else []
    file.operator(Op.RELU, [x], [y])
    return file.bytes([x, *(spare if given else [])], [y, *([x] if back else [])])


FILES: dict[str, Callable[[], bytes]] = {
    "residual": files.residual,
    **{
        f"{name} {kind}": lambda name=name, kind=kind: reduced(getattr(Op, name), kind)
        for name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")
        for kind in (FLOAT, INT8)
    },
    "mean int16": lambda: reduced(Op.MEAN, INT16),
    "mean of five dimensions": mean_of_five_dimensions,
    "transposed float": lambda: transposed(FLOAT),
    "transposed int8": lambda: transposed(INT8),
    "conv of 4 bits": lambda: four_bits(Op.CONV_2D),
    "depthwise of 4 bits": lambda: four_bits(Op.DEPTHWISE_CONV_2D),
    "linear of 4 bits": lambda: four_bits(Op.FULLY_CONNECTED),
    "svdf float": lambda: svdf(FLOAT),
    "svdf int8": lambda: svdf(INT8),
    "sum of five": lambda: added(5),
    "unused tensor": lambda: chain(unused=400),
    "unused input": lambda: chain(unused=400, given=True),
    "input is output": lambda: chain(back=True),
}


@pytest.mark.parametrize("name", FILES)
def test_the_head_is_the_interpreters(name: str) -> None:
    data = FILES[name]()
    found = arena(unpack(data))
    assert found.head == recorded(data)["head"]
    assert found.head >= found.peak.bytes
    assert not found.planned
    assert not found.unmodelled


def test_the_head_of_the_file_that_comes_with_the_interpreter() -> None:
    path = Path(files.runtime.__file__).with_name("sine_float.tflite")
    assert arena(unpack(path.read_bytes())).head == recorded(path.read_bytes())["head"] == 128


ONE = ("ABS", "CEIL", "COS", "ELU", "EXP", "FLOOR", "HARD_SWISH", "LOG", "LOGISTIC", "LOG_SOFTMAX",
       "NEG", "RELU", "RELU6", "ROUND", "RSQRT", "SIN", "SQRT", "SQUARE", "TANH")  # fmt: skip
TWO = ("MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE")
WITH_OPTIONS = {
    "ADD": (2, "AddOptionsT"), "SUB": (2, "SubOptionsT"), "MUL": (2, "MulOptionsT"),
    "DIV": (2, "DivOptionsT"), "SOFTMAX": (1, "SoftmaxOptionsT"),
    "LEAKY_RELU": (1, "LeakyReluOptionsT"), "L2_NORMALIZATION": (1, "L2NormOptionsT"),
}  # fmt: skip
POINTWISE = {**dict.fromkeys(ONE, (1, None)), **dict.fromkeys(TWO, (2, None)), **WITH_OPTIONS}


@pytest.mark.parametrize("name", POINTWISE)
def test_kernels_of_single_values_ask_for_no_buffer(name: str) -> None:
    count, options = POINTWISE[name]
    file = Grown()
    inputs = [file.tensor((1, 40), FLOAT) for _ in range(count)]
    out = file.tensor((1, 40), FLOAT)
    kind = getattr(schema, options) if options else None
    file.operator(getattr(Op, name), inputs, [out], kind)
    data = file.bytes(inputs, [out])
    assert name in PLAIN
    assert arena(unpack(data)).head == recorded(data)["head"] == 160 * (count + 1)


def moved(name: str) -> bytes:
    """An operator that moves, joins or looks values up, in int8."""
    file = Grown()
    x, y = file.tensor((1, 4, 6, 5)), file.tensor((1, 4, 6, 5))
    whole = lambda *values: file.tensor(  # noqa: E731
        (len(values),), INT32, data=np.array(values, np.int32)
    )
    pads = file.tensor((4, 2), INT32, data=np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    pool = {"padding": 1, "strideW": 2, "strideH": 2, "filterWidth": 2, "filterHeight": 2}
    two = [x, y]
    inputs, shapes, options, settings = {
        "AVERAGE_POOL_2D": ([x], [(1, 2, 3, 5)], "Pool2DOptionsT", pool),
        "MAX_POOL_2D": ([x], [(1, 2, 3, 5)], "Pool2DOptionsT", pool),
        "CONCATENATION": (two, [(1, 4, 6, 10)], "ConcatenationOptionsT", {"axis": 3}),
        "PACK": (two, [(2, 1, 4, 6, 5)], "PackOptionsT", {"axis": 0, "valuesCount": 2}),
        "PAD": ([x, pads], [(1, 6, 8, 5)], "PadOptionsT", {}),
        "PADV2": ([x, pads, file.tensor((1,), data=np.zeros(1, np.int8))], [(1, 6, 8, 5)],
                  "PadV2OptionsT", {}),
        "QUANTIZE": ([x], [(1, 4, 6, 5)], "QuantizeOptionsT", {}),
        "RESHAPE": ([x, whole(1, 120)], [(1, 120)], "ReshapeOptionsT", {"newShape": [1, 120]}),
        "RESIZE_NEAREST_NEIGHBOR": ([x, whole(8, 12)], [(1, 8, 12, 5)],
                                    "ResizeNearestNeighborOptionsT", {}),
        "SLICE": ([x, whole(0, 1, 0, 0), whole(1, 2, 6, 5)], [(1, 2, 6, 5)], "SliceOptionsT", {}),
        "SPLIT": ([whole(3), x], [(1, 4, 6, 1)] * 5, "SplitOptionsT", {"numSplits": 5}),
        "SQUEEZE": ([x], [(4, 6, 5)], "SqueezeOptionsT", {"squeezeDims": [0]}),
        "EXPAND_DIMS": ([x, whole(0)], [(1, 1, 4, 6, 5)], "ExpandDimsOptionsT", {}),
        "STRIDED_SLICE": ([x, whole(0, 0, 0, 0), whole(1, 4, 6, 5), whole(1, 2, 2, 1)],
                          [(1, 2, 3, 5)], "StridedSliceOptionsT", {}),
        "TRANSPOSE": ([x, whole(0, 2, 1, 3)], [(1, 6, 4, 5)], "TransposeOptionsT", {}),
        "UNPACK": ([x], [(1, 6, 5)] * 4, "UnpackOptionsT", {"num": 4, "axis": 1}),
    }[name]  # fmt: skip
    outs = [file.tensor(shape) for shape in shapes]
    file.operator(getattr(Op, name), inputs, outs, getattr(schema, options), **settings)
    return file.bytes([x, y], outs)


MOVED = ("AVERAGE_POOL_2D", "MAX_POOL_2D", "CONCATENATION", "PACK", "PAD", "PADV2", "QUANTIZE",
         "RESHAPE", "RESIZE_NEAREST_NEIGHBOR", "SLICE", "SPLIT", "SQUEEZE", "EXPAND_DIMS",
         "STRIDED_SLICE", "TRANSPOSE", "UNPACK")  # fmt: skip


@pytest.mark.parametrize("name", MOVED)
def test_kernels_that_move_values_ask_for_no_buffer(name: str) -> None:
    data = moved(name)
    assert name in PLAIN
    assert arena(unpack(data)).head == recorded(data)["head"]


def test_every_operator_without_a_buffer_was_asked() -> None:
    beside = {"BATCH_MATMUL", "DEQUANTIZE"}
    assert set(POINTWISE) | set(MOVED) | beside == PLAIN


@pytest.mark.parametrize("transposed", [False, True])
def test_products_of_matrices_ask_for_no_buffer(transposed: bool) -> None:  # noqa: FBT001
    file = Grown()
    a = file.tensor((1, 6, 10))
    b = file.tensor((1, 7, 10) if transposed else (1, 10, 7))
    out = file.tensor((1, 6, 7))
    file.operator(Op.BATCH_MATMUL, [a, b], [out], schema.BatchMatMulOptionsT, adjY=transposed)
    data = file.bytes([a, b], [out])
    assert arena(unpack(data)).head == recorded(data)["head"] == 64 + 48 + 80


def test_a_change_of_type_asks_for_no_buffer() -> None:
    file = Grown()
    x, y = file.tensor((1, 40)), file.tensor((1, 40), FLOAT)
    file.operator(Op.DEQUANTIZE, [x], [y], schema.DequantizeOptionsT)
    data = file.bytes([x], [y])
    assert arena(unpack(data)).head == recorded(data)["head"] == 48 + 160


@st.composite
def networks(draw: st.DrawFn) -> bytes:
    """Sums, functions and joins of tensors of several sizes, read again later or never."""
    file = Grown()
    made = [file.tensor((1, draw(st.integers(1, 60))), FLOAT) for _ in range(2)]
    inputs = list(made)
    for _ in range(draw(st.integers(1, 10))):
        x = made[draw(st.integers(0, len(made) - 1))]
        (_, size) = file.tensors[x].shape
        equal = [n for n in made if file.tensors[n].shape[1] == size]
        kind = draw(st.sampled_from(["relu", "add", "join"]))
        other = (equal if kind == "add" else made)[draw(st.integers(0, 99)) % len(equal)]
        if kind == "join":
            out = file.tensor((1, size + file.tensors[other].shape[1]), FLOAT)
            join = schema.ConcatenationOptionsT
            file.operator(Op.CONCATENATION, [x, other], [out], join, axis=1)
        else:
            out = file.tensor((1, size), FLOAT)
            if kind == "relu":
                file.operator(Op.RELU, [x], [out])
            else:
                file.operator(Op.ADD, [x, other], [out], schema.AddOptionsT)
        made.append(out)
    return file.bytes(inputs, draw(st.sets(st.sampled_from(made), min_size=1, max_size=3)))


@given(networks())
def test_the_head_of_any_network_is_the_interpreters(data: bytes) -> None:
    assert arena(unpack(data)).head == recorded(data)["head"]


def with_plan(plain: bytes, offsets: Mapping[int, int]) -> bytes:
    """A file with offsets, by number of the tensor, in its metadata."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(plain, 0))
    graph = model.subgraphs[0]
    file = Grown(graph.tensors, graph.operators, model.operatorCodes, model.buffers)
    file.plan([offsets.get(n, -1) for n in range(len(graph.tensors))])
    return file.bytes(graph.inputs, graph.outputs)


def planned(plain: bytes) -> dict[int, int]:
    """Offsets by number of the tensor: a plan of our own, TensorFlow Lite Micro's if that is less.

    Room is left for the kernels' buffers, which the runtime places around it.
    """
    contents = unpack(plain)
    alone = arena(contents)
    moving = [
        n for n, t in enumerate(contents.tensors) if t.size and not t.constant and not t.variable
    ]
    own: list[int | None] = [*plan(alone.lifetimes).offsets[: len(moving)]]
    left = [None] * (len(alone.lifetimes) - len(moving))
    found = own if greedy(alone.lifetimes, [*own, *left]).head <= alone.head else alone.offsets
    return {n: at for n, at in zip(moving, found, strict=False) if at is not None}


def test_a_plan_in_the_file_is_obeyed() -> None:
    plain = files.residual()
    before, data = arena(unpack(plain)), with_plan(plain, planned(plain))
    found = arena(unpack(data))
    assert found.planned
    assert not found.clashes
    assert found.head == recorded(data)["head"]
    assert found.head == found.peak.bytes <= before.head


@given(networks())
def test_a_plan_of_our_own_is_sound_and_never_worse(plain: bytes) -> None:
    before, data = arena(unpack(plain)), with_plan(plain, planned(plain))
    found = arena(unpack(data))
    assert not found.clashes
    assert recorded(data)["head"] == found.head <= before.head


@pytest.mark.parametrize("name", FILES)
def test_a_plan_leaves_room_for_the_kernels_buffers(name: str) -> None:
    plain = FILES[name]()
    before, data = arena(unpack(plain)), with_plan(plain, planned(plain))
    assert recorded(data)["head"] == arena(unpack(data)).head <= before.head


def test_a_plan_that_overwrites_is_told() -> None:
    """The interpreter takes it, and computes nonsense."""
    contents = unpack(files.residual())
    moving = (n for n, tensor in enumerate(contents.tensors) if not tensor.constant)
    data = with_plan(files.residual(), dict.fromkeys(moving, 0))
    found = arena(unpack(data))
    assert found.head == recorded(data)["head"] < found.peak.bytes
    assert ("picture", "output of CONV_2D 0") in found.clashes


def test_the_tail_is_estimated_within_a_quarter() -> None:
    """On a computer of 64 bits, where it can be measured."""
    data = files.residual()
    assert tail(unpack(data), pointer=8) == pytest.approx(recorded(data)["tail"], rel=0.25)
    assert tail(unpack(data)) < tail(unpack(data), pointer=8)


def test_what_the_peak_is_made_of_has_names() -> None:
    found = arena(unpack(files.residual()))
    names = [tensor.name for tensor in found.peak.tensors]
    assert names == ["output of CONV_2D 1", "output of CONV_2D 0", "output of CONV_2D 2"]


def test_an_operator_that_is_not_known_is_named() -> None:
    file = Grown()
    x, y = file.tensor((1, 40), FLOAT), file.tensor((1, 40), FLOAT)
    file.operator(Op.CUSTOM, [x], [y], custom="Secret")
    assert arena(unpack(file.bytes([x], [y]))).unmodelled == ("Secret",)


def test_several_subgraphs_are_refused() -> None:
    file = Grown()
    x = file.tensor((1, 40), FLOAT)
    with pytest.raises(ValueError, match=r"the file has 2 subgraphs: memory is counted for"):
        arena(unpack(file.bytes([x], [x], graphs=2)))
