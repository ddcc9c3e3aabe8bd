"""Small `.tflite` files, made with the official schema's own code, and what the interpreter says.

`tflite_micro` brings both: the schema as Python classes, and the interpreter of TensorFlow Lite
Micro with its recorded memory.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import pytest

runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
schema = pytest.importorskip("tflite_micro.tensorflow.lite.micro.python.schema_py_generated")

Op = schema.BuiltinOperator
FLOAT, INT32, INT8, INT16, INT4 = 0, 2, 9, 7, 17


@dataclass
class Grown:
    """A file in the making: tensors and operators are added and named by their number."""

    tensors: list[Any] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)
    codes: list[Any] = field(default_factory=list)
    buffers: list[Any] = field(default_factory=lambda: [schema.BufferT()])
    metadata: list[Any] = field(default_factory=list)

    def tensor(
        self,
        shape: Sequence[int],
        kind: int = INT8,
        *,
        data: np.ndarray | None = None,
        scales: Sequence[float] | None = None,
        axis: int = 0,
        name: str | None = None,
        variable: bool = False,
    ) -> int:
        made = schema.TensorT()
        made.shape, made.type, made.hasRank = list(shape), kind, True
        made.name, made.isVariable = name, variable
        made.buffer = 0 if data is None else self.buffer(data)
        if scales is None and kind not in {FLOAT, INT32}:
            scales = [0.1]
        if scales is not None and kind != FLOAT:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = np.asarray(scales, np.float32)
            made.quantization.zeroPoint = np.zeros(len(scales), np.int64)
            made.quantization.quantizedDimension = axis
        self.tensors.append(made)
        return len(self.tensors) - 1

    def buffer(self, data: np.ndarray) -> int:
        made = schema.BufferT()
        made.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
        self.buffers.append(made)
        return len(self.buffers) - 1

    def operator(
        self,
        code: int,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Any = None,
        custom: str | None = None,
        **settings: Any,
    ) -> None:
        kind = schema.OperatorCodeT()
        kind.builtinCode, kind.deprecatedBuiltinCode = code, min(code, 127)
        kind.version, kind.customCode = 1, custom
        self.codes.append(kind)
        made = schema.OperatorT()
        made.opcodeIndex = len(self.codes) - 1
        made.inputs, made.outputs = list(inputs), list(outputs)
        if options is not None:
            made.builtinOptionsType = getattr(schema.BuiltinOptions, options.__name__[:-1])
            made.builtinOptions = options()
            for name, value in settings.items():
                setattr(made.builtinOptions, name, value)
        self.operators.append(made)

    def plan(self, offsets: Sequence[int]) -> None:
        entry = schema.MetadataT()
        entry.name = "OfflineMemoryAllocation"
        entry.buffer = self.buffer(np.array([1, 0, len(offsets), *offsets], np.int32))
        self.metadata.append(entry)

    def bytes(
        self, inputs: Sequence[int], outputs: Sequence[int], version: int = 3, graphs: int = 1
    ) -> bytes:
        model, graph = schema.ModelT(), schema.SubGraphT()
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs = list(inputs), list(outputs)
        model.version, model.subgraphs = version, [graph] * graphs
        model.operatorCodes, model.buffers = self.codes, self.buffers
        model.metadata = self.metadata or None
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def conv(
    file: Grown, given: int, channels: int, kernel: int = 3, stride: int = 1, kind: int = INT8
) -> int:
    """A convolution without padding, in int8 with a scale for each channel, or in float."""
    _, height, width, inputs = file.tensors[given].shape
    size = [(n - kernel) // stride + 1 for n in (height, width)]
    values = np.zeros((channels, kernel, kernel, inputs), np.int8 if kind == INT8 else np.float32)
    scales = [0.1] * channels
    weight = file.tensor(values.shape, kind, data=values, scales=scales)
    whole = INT32 if kind == INT8 else FLOAT
    zeros = np.zeros(channels, np.int32 if kind == INT8 else np.float32)
    bias = file.tensor((channels,), whole, data=zeros, scales=[0.01] * channels)
    made = file.tensor((1, *size, channels), kind)
    file.operator(
        Op.CONV_2D,
        [given, weight, bias],
        [made],
        schema.Conv2DOptionsT,
        padding=schema.Padding.VALID,
        strideW=stride,
        strideH=stride,
        dilationWFactor=1,
        dilationHFactor=1,
    )
    return made


def add(file: Grown, first: int, second: int, kind: int = INT8) -> int:
    made = file.tensor(file.tensors[first].shape, kind)
    file.operator(Op.ADD, [first, second], [made], schema.AddOptionsT)
    return made


def residual() -> bytes:
    """Two residual blocks of convolutions of one tap, a mean and a linear layer, in int8."""
    file = Grown()
    given = file.tensor((1, 12, 10, 3), name="picture")
    x = conv(file, given, 8)
    for _ in range(2):
        x = add(file, conv(file, conv(file, x, 12, kernel=1), 8, kernel=1), x)
    x = conv(file, x, 16, stride=2)
    axes = file.tensor((2,), INT32, data=np.array([1, 2], np.int32))
    pooled = file.tensor((1, 1, 1, 16))
    file.operator(Op.MEAN, [x, axes], [pooled], schema.ReducerOptionsT, keepDims=True)
    weight = file.tensor((5, 16), data=np.zeros((5, 16), np.int8))
    bias = file.tensor((5,), INT32, data=np.zeros(5, np.int32), scales=[0.01])
    out = file.tensor((1, 5), name="classes")
    file.operator(Op.FULLY_CONNECTED, [pooled, weight, bias], [out], schema.FullyConnectedOptionsT)
    return file.bytes([given], [out])


def recorded(data: bytes) -> Mapping[str, int]:
    """Bytes of the arena's head and tail, as the interpreter recorded them while it allocated."""
    with tempfile.TemporaryFile() as log:
        error = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            runtime.Interpreter.from_bytes(data, arena_size=4_000_000).print_allocations()
        finally:
            os.dup2(error, 2)
            os.close(error)
        log.seek(0)
        text = log.read().decode()
    found = re.findall(r"Arena allocation (head|tail) (\d+) bytes", text)
    assert len(found) == 2, text
    return {name: int(size) for name, size in found}
