"""A program as the bytes of a `.tflite` file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import singledispatch
from types import MappingProxyType

import numpy as np

from compressor.export.micro import flatbuffer
from compressor.export.micro.flatbuffer import (
    ALIGNED,
    VERSION,
    Activation,
    Code,
    Container,
    Field,
    Link,
    Offset,
    Padding,
    Type,
)
from compressor.export.micro.operations import (
    Convolution,
    Cut,
    Depthwise,
    Difference,
    Floated,
    Joined,
    MaxPool,
    Mean,
    Moved,
    Operation,
    Padded,
    Part,
    Product,
    Reshaped,
    Root,
    Sigmoid,
    Squares,
    Sum,
    Times,
)
from compressor.export.micro.program import (
    Numbers,
    Operator,
    Program,
    Tensor,
)

RUNTIME, ROOTS = b"1.15.0", b"2.5.0"
"""The first TensorFlow whose runtime has all operators of the versions written here, and the first
with one over a root of integers."""

PLAN = "OfflineMemoryAllocation"
"""Name of the metadata that tells TensorFlow Lite Micro where tensors go."""

ANYWHERE = -1
"""The place of a tensor that the runtime puts where it likes."""

_ACTIVATIONS = {
    Cut.NONE: Activation.NONE,
    Cut.RELU: Activation.RELU,
    Cut.RELU_1: Activation.RELU_N1_TO_1,
    Cut.RELU_6: Activation.RELU6,
}

_TYPES = {"int8": Type.INT8, "int32": Type.INT32, "float32": Type.FLOAT32}


def written(
    program: Program,
    plan: Mapping[int, int] | None = None,
    *,
    names: bool = False,
    notes: Mapping[str, bytes] = MappingProxyType({}),
) -> bytes:
    """The content of a file.

    Args:
        program: What it computes.
        plan: Offsets in bytes from the start of the working memory, by number of the tensor; those
            of no plan are placed by the runtime. None leaves all of them to it.
        names: Write the names of tensors.
        notes: Further metadata, by name.

    Raises:
        ImportError: If flatbuffers is missing.
        ValueError: If the plan places a tensor that takes no working memory.
    """
    container = Container()
    buffers = _Buffers(container)
    tensors = [_tensor(container, tensor, buffers, names=names) for tensor in program.tensors]
    codes: dict[Code, int] = {}
    operators = [_operator(container, program, each, codes) for each in program.operators]
    graph = container.table(
        Link(0, container.links(tensors)),
        Link(1, _numbers(container, [port.tensor for port in program.inputs])),
        Link(2, _numbers(container, [port.tensor for port in program.outputs])),
        Link(3, container.links(operators)),
    )
    metadata = [_note(container, "min_runtime_version", _bytes(_runtime(program)), buffers)]
    if plan is not None:
        metadata.append(_note(container, PLAN, _plan(program, plan), buffers))
    metadata += [_note(container, name, _bytes(what), buffers) for name, what in notes.items()]
    codes_at = container.links([_code(container, code) for code in codes])
    model = container.table(
        Field(0, np.uint32, VERSION),
        Link(1, codes_at),
        Link(2, container.links([graph])),
        Link(4, container.links(buffers.tables)),
        Link(6, container.links(metadata)),
    )
    return container.finish(model)


def _runtime(program: Program) -> bytes:
    """The oldest runtime that knows all operators, in 16 bytes."""
    squares = any(isinstance(operator.operation, Squares) for operator in program.operators)
    return (ROOTS if squares else RUNTIME).ljust(16, b"\0")


class _Buffers:
    """The buffers of a file, one for all equal contents.

    Attributes:
        tables: Each of them; the first is empty and stands for none.
    """

    def __init__(self, container: Container) -> None:
        self._container = container
        self._known: dict[bytes, int] = {}
        self.tables = [container.table()]

    def number(self, content: Numbers) -> int:
        """The number of the buffer that holds some bytes."""
        plain = np.frombuffer(np.ascontiguousarray(content).tobytes(), dtype=np.uint8)
        key = plain.tobytes()
        if key not in self._known:
            self._known[key] = len(self.tables)
            vector = self._container.vector(plain, ALIGNED)
            self.tables.append(self._container.table(Link(0, vector)))
        return self._known[key]


def _plan(program: Program, plan: Mapping[int, int]) -> Numbers:
    """Version, subgraph, number of tensors, and the place of each."""
    placed = program.lifetimes()
    wrong = [number for number in plan if number not in placed]
    if wrong:
        raise ValueError(f"the plan places tensor {wrong[0]}, which takes no working memory")
    places = [plan.get(number, ANYWHERE) for number in range(len(program.tensors))]
    return np.array([1, 0, len(places), *places], dtype=np.int32)


def _note(container: Container, name: str, content: Numbers, buffers: _Buffers) -> Offset:
    return container.table(
        Link(0, container.text(name)), Field(1, np.uint32, buffers.number(content))
    )


def _tensor(container: Container, tensor: Tensor, buffers: _Buffers, *, names: bool) -> Offset:
    number = 0 if tensor.data is None else buffers.number(tensor.data)
    name = container.text(tensor.name) if names and tensor.name else None
    return container.table(
        Link(0, _numbers(container, tensor.shape)),
        Field(1, np.int8, _TYPES[tensor.dtype.name]),
        Field(2, np.uint32, number),
        Link(3, name),
        Link(4, _steps(container, tensor)),
        Field(8, np.bool_, value=True),
    )


def _steps(container: Container, tensor: Tensor) -> Offset | None:
    steps = tensor.steps
    if steps is None:
        return None
    zeros = np.full(len(steps.scales), steps.zero, dtype=np.int64)
    return container.table(
        Link(2, container.vector(steps.scales.astype(np.float32))),
        Link(3, container.vector(zeros)),
        Field(6, np.int32, steps.axis),
    )


def _operator(
    container: Container, program: Program, operator: Operator, codes: dict[Code, int]
) -> Offset:
    code = code_of(program, operator)
    options = None
    if code.options:
        options = container.table(*_options(operator.operation))
    return container.table(
        Field(0, np.uint32, codes.setdefault(code, len(codes))),
        Link(1, _numbers(container, operator.inputs)),
        Link(2, _numbers(container, operator.outputs)),
        Field(3, np.uint8, code.options),
        Link(4, options),
    )


def _code(container: Container, code: Code) -> Offset:
    return container.table(
        Field(0, np.int8, min(code.builtin, 127)),
        Field(2, np.int32, code.version, default=1),
        Field(3, np.int32, code.builtin),
    )


def _numbers(container: Container, numbers: object) -> Offset:
    return container.vector(np.array(numbers, dtype=np.int32))


def _bytes(content: bytes) -> Numbers:
    return np.frombuffer(content, dtype=np.uint8)


def code_of(program: Program, operator: Operator) -> Code:
    """The operator that runtimes know an operation as, in the version of its types."""
    code = _CODES[type(operator.operation)]
    given = program.tensors[operator.inputs[0]].dtype
    return replace(code, version=1) if given == np.float32 else code


_CODES: Mapping[type[object], Code] = {
    Convolution: flatbuffer.CONV_2D,
    Depthwise: flatbuffer.DEPTHWISE_CONV_2D,
    Product: flatbuffer.FULLY_CONNECTED,
    Sum: flatbuffer.ADD,
    Times: flatbuffer.MUL,
    MaxPool: flatbuffer.MAX_POOL_2D,
    Joined: flatbuffer.CONCATENATION,
    Part: flatbuffer.SLICE,
    Padded: flatbuffer.PAD,
    Reshaped: flatbuffer.RESHAPE,
    Moved: flatbuffer.QUANTIZE,
    Sigmoid: flatbuffer.LOGISTIC,
    Floated: flatbuffer.DEQUANTIZE,
    Squares: flatbuffer.BATCH_MATMUL,
    Difference: flatbuffer.SUB,
    Mean: flatbuffer.MEAN,
    Root: flatbuffer.RSQRT,
}


@singledispatch
def _options(operation: Operation) -> tuple[Field, ...]:
    """The settings of an operation, as its table has them."""
    del operation
    return ()


@_options.register
def _(of: Convolution) -> tuple[Field, ...]:
    return (
        _padding(same=of.same),
        Field(1, np.int32, of.stride[1]),
        Field(2, np.int32, of.stride[0]),
        Field(3, np.int8, _ACTIVATIONS[of.cut]),
        Field(4, np.int32, of.dilation[1], default=1),
        Field(5, np.int32, of.dilation[0], default=1),
    )


@_options.register
def _(of: Depthwise) -> tuple[Field, ...]:
    return (
        _padding(same=of.same),
        Field(1, np.int32, of.stride[1]),
        Field(2, np.int32, of.stride[0]),
        Field(3, np.int32, of.multiplier),
        Field(4, np.int8, _ACTIVATIONS[of.cut]),
        Field(5, np.int32, of.dilation[1], default=1),
        Field(6, np.int32, of.dilation[0], default=1),
    )


@_options.register
def _(of: Product | Sum | Times) -> tuple[Field, ...]:
    return (Field(0, np.int8, _ACTIVATIONS[of.cut]),)


@_options.register
def _(of: MaxPool) -> tuple[Field, ...]:
    return (
        _padding(same=of.same),
        Field(1, np.int32, of.stride[1]),
        Field(2, np.int32, of.stride[0]),
        Field(3, np.int32, of.window[1]),
        Field(4, np.int32, of.window[0]),
    )


@_options.register
def _(of: Squares) -> tuple[Field, ...]:
    del of
    return (Field(1, np.bool_, value=True),)  # the second factor is as it lies, row by row


@_options.register
def _(of: Joined) -> tuple[Field, ...]:
    return (Field(0, np.int32, of.axis),)


@_options.register
def _(of: Mean) -> tuple[Field, ...]:
    del of
    return (Field(0, np.bool_, value=True),)


def _padding(*, same: bool) -> Field:
    return Field(0, np.int8, Padding.SAME if same else Padding.VALID)
