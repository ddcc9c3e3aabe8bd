"""The container of a `.tflite` file: tables and vectors of its schema, without what they are for.

Source: `schema.fbs` of TensorFlow Lite, version 3; the numbers of slots are the positions of fields
in its tables. Needs the `tflite` extra, flatbuffers.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from compressor.export.micro.program import Numbers

VERSION = 3
"""Of the schema; runtimes refuse others."""

IDENTIFIER = b"TFL3"
"""Bytes 4 to 8 of a file."""

ALIGNED = 16
"""Content of tensors lies on multiples of so many bytes."""

Offset = int
"""The place of something written, counted from the end."""


class Type(IntEnum):
    """Types of a tensor's entries."""

    FLOAT32 = 0
    INT32 = 2
    INT8 = 9


class Padding(IntEnum):
    """What a convolution or pool does at its edges."""

    SAME = 0
    VALID = 1


class Activation(IntEnum):
    """What is fused with an operator."""

    NONE = 0
    RELU = 1
    RELU_N1_TO_1 = 2
    RELU6 = 3


@dataclass(frozen=True)
class Code:
    """An operator that runtimes know.

    Attributes:
        builtin: Its number among the operators.
        version: Of the form that takes 8-bit integers; that of float32 has 1.
        options: Its number in the union of options; 0 for none.
    """

    builtin: int
    version: int
    options: int = 0


ADD = Code(0, 2, 11)
CONCATENATION = Code(2, 2, 10)
CONV_2D = Code(3, 3, 1)
DEPTHWISE_CONV_2D = Code(4, 3, 2)
FULLY_CONNECTED = Code(9, 4, 8)
DEQUANTIZE = Code(6, 2, 38)
LOGISTIC = Code(14, 2)
MAX_POOL_2D = Code(17, 2, 5)
MUL = Code(18, 2, 21)
RESHAPE = Code(22, 1, 17)
PAD = Code(34, 2, 22)
MEAN = Code(40, 2, 27)
SUB = Code(41, 2, 28)
SLICE = Code(65, 2, 48)
RSQRT = Code(76, 2)
QUANTIZE = Code(114, 2, 89)
BATCH_MATMUL = Code(126, 2, 101)


@dataclass(frozen=True)
class Field:
    """A number in a table.

    Attributes:
        slot: Its position in the schema's table.
        kind: Its type.
        value: Left out of the file where it is the default.
        default: The schema's.
    """

    slot: int
    kind: type[np.generic]
    value: int
    default: int = 0


@dataclass(frozen=True)
class Link:
    """A part of a table that lies elsewhere; `at` is None for none."""

    slot: int
    at: Offset | None


class Container:
    """Writes a file from the inside out: what is pointed at comes first."""

    def __init__(self) -> None:
        """Nothing written yet; ImportError without flatbuffers."""
        self._builder: Any = _flatbuffers().Builder(1 << 16)
        self._known: dict[Any, Offset] = {}

    def vector(self, numbers: Numbers, aligned: int = 0) -> Offset:
        """A vector of numbers, once for all equal ones.

        Args:
            numbers: Any shape; written row by row.
            aligned: Bytes whose multiple its content begins at; 0 for what its type needs.
        """
        content = np.ascontiguousarray(numbers).astype(numbers.dtype.newbyteorder("<"))
        size = content.dtype.itemsize
        key = (content.tobytes(), size, aligned)
        if key not in self._known:
            builder = self._builder
            builder.StartVector(size, content.size, aligned or size)
            builder.head -= content.nbytes
            builder.Bytes[builder.head : builder.head + content.nbytes] = key[0]
            self._known[key] = builder.EndVector()
        return self._known[key]

    def text(self, text: str) -> Offset:
        """Text, once for all equal ones."""
        if text not in self._known:
            self._known[text] = self._builder.CreateString(text)
        return self._known[text]

    def links(self, offsets: Sequence[Offset]) -> Offset:
        """A vector of tables."""
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return self._builder.EndVector()

    def table(self, *parts: Field | Link) -> Offset:
        """A table of some parts, those of the largest slots last.

        It begins on a multiple of 4 bytes whatever was written before, so that equal tables have
        equal descriptions (vtables), of which a file holds one.
        """
        builder = self._builder
        builder.Prep(4, 0)
        builder.StartObject(max((part.slot for part in parts), default=-1) + 1)
        for part in parts:
            if isinstance(part, Link):
                if part.at is not None:
                    builder.PrependUOffsetTRelativeSlot(part.slot, part.at, 0)
            else:
                put = getattr(builder, f"Prepend{_NAMES[part.kind]}Slot")
                put(part.slot, part.value, part.default)
        return builder.EndObject()

    def finish(self, root: Offset) -> bytes:
        """The file that begins with a table."""
        self._builder.Finish(root, file_identifier=IDENTIFIER)
        return bytes(self._builder.Output())


_NAMES: Mapping[type[np.generic], str] = {
    np.bool_: "Bool",
    np.int8: "Int8",
    np.uint8: "Uint8",
    np.int32: "Int32",
    np.uint32: "Uint32",
}
"""What the builder calls types."""


def _flatbuffers() -> Any:
    try:
        return importlib.import_module("flatbuffers")
    except ImportError as error:
        raise ImportError(
            f"a .tflite file needs flatbuffers ({error}): pip install 'compressor-nn[tflite]'"
        ) from error
