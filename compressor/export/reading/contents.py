"""A `.tflite` file as data: tensors, operators in their order, what is constant, the memory plan.

Slots are those of version 3 of the schema (`schema.fbs` of tflite-micro).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compressor.export.features import NOTE, Features, features_of
from compressor.export.reading.flatbuffer import MOST, Content, Table
from compressor.export.reading.operators import BITS, CUSTOM, OPERATORS

IDENTIFIER = b"TFL3"
VERSION = 3
PLAN = "OfflineMemoryAllocation"
"""Name of the metadata that gives tensors their place in the arena."""

MOST_TENSORS = 10_000
"""Tensors, or operators, of a file; a microcontroller has no memory for their descriptions."""

MOST_DIMENSIONS = 16
LONGEST_NOTE = 10_000
"""Bytes of a description of features."""

LARGEST = 1 << 62
"""Entries of a tensor beyond which its shape is damage."""

LARGEST_ALIKE = 1 << 20
"""Bytes of values that are looked through for whether they are all the same."""


@dataclass(frozen=True)
class TensorRead:
    """A tensor of a file.

    Attributes:
        name: Empty where the file gives none.
        shape: Its dimensions, as they are when it runs.
        type: As ``int8``.
        size: Bytes of its values.
        constant: Whether the file holds its values, so that it stays in flash.
        variable: Whether it keeps its values from one run to the next.
        channels: Scales that it has: 0 without a grid, more than 1 where each channel has its own.
        alike: Whether the file holds one and the same value for all entries, and that is not zero:
            the weights of a mean, a sum or a gain.
        blank: Rows and columns at the end of a kernel (the second and third of four dimensions)
            that hold zeros alone; none of a kernel that holds nothing else.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    size: int
    constant: bool
    variable: bool
    channels: int
    alike: bool = False
    blank: tuple[int, int] = (0, 0)

    @property
    def entries(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class OperatorRead:
    """An operator of a file, in the order of running.

    Attributes:
        name: As ``CONV_2D``; of a custom one, the name that the file gives.
        custom: Whether it is one of the file's own.
        inputs: Tensors by their place, -1 for an optional one that is absent.
        outputs: Likewise.
        options: Its settings, None where the file has none.
    """

    name: str
    custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Table | None


@dataclass(frozen=True)
class Contents:
    """What a file holds; its first subgraph is the network.

    Attributes:
        name: What errors call it.
        size: Bytes of the file, which is what it takes of the flash.
        tensors: All of them, in the order of the file.
        operators: In the order in which they run.
        inputs: Places of the network's inputs in `tensors`.
        outputs: Of its outputs.
        subgraphs: How many there are.
        plan: Of each tensor, its offset in the arena or None; None where the file has no plan.
        features: How the features that it takes are made; None where it does not say.
    """

    name: str
    size: int
    tensors: tuple[TensorRead, ...]
    operators: tuple[OperatorRead, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    subgraphs: int
    plan: tuple[int | None, ...] | None
    features: Features | None = None


def read(path: str | os.PathLike[str]) -> Contents:
    """What a `.tflite` file holds.

    Raises:
        OSError: If it cannot be opened.
        ValueError: If it is none, is damaged, has another version, or is beyond all limits.
    """
    return unpack(Path(path).read_bytes(), str(path))


def unpack(data: bytes, name: str = "the file") -> Contents:
    """What the bytes of a `.tflite` file hold; errors as for `read`."""
    content = Content(data, name)
    model = content.root(IDENTIFIER)
    version = model.number(0, "I")
    if version != VERSION:
        raise content.fault(f"its schema has version {version}, and version {VERSION} is read")
    graphs = _few(content, model.tables(2), "subgraphs")
    if not graphs:
        raise content.fault("it has no subgraph")
    buffers = model.tables(4)
    tables = _few(content, graphs[0].tables(0), "tensors")
    tensors = tuple(_tensor(content, n, table, buffers) for n, table in enumerate(tables))
    names = [_operator_name(code) for code in _few(content, model.tables(1), "kinds of operators")]
    operators = _few(content, graphs[0].tables(3), "operators")
    count = len(tensors)
    return Contents(
        name,
        len(data),
        tensors,
        _operators(content, operators, names, count),
        _places(content, graphs[0].numbers(1, "i", MOST_TENSORS), count, "the inputs", least=0),
        _places(content, graphs[0].numbers(2, "i", MOST_TENSORS), count, "the outputs", least=0),
        len(graphs),
        _plan(content, model, count),
        _features(content, model),
    )


def _few(content: Content, tables: list[Table], what: str) -> list[Table]:
    if len(tables) > MOST_TENSORS:
        raise content.fault(f"it has {len(tables):,} {what}, and at most {MOST_TENSORS:,} are read")
    return tables


def _holds_data(buffer: Table) -> bool:
    """Whether a buffer has bytes: in the file's tables, or behind them, as large files have."""
    return buffer.span(0)[1] > 0 or buffer.number(1, "Q") > 1


def _alike(content: Content, buffer: Table, bits: int) -> bool:
    """Whether a buffer holds a value of whole bytes over and over, and that is not zero."""
    start, size = buffer.span(0)
    step = bits // 8
    value = content.data[start : start + step]
    if bits % 8 or not step <= size <= LARGEST_ALIKE or size % step or not any(value):
        return False
    return content.data[start : start + size] == value * (size // step)


def _blank(content: Content, buffer: Table, bits: int, shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of zeros at the end of a kernel of whole bytes."""
    start, size = buffer.span(0)
    if bits % 8 or len(shape) != 4 or not size or size > LARGEST_ALIKE:
        return 0, 0
    if size != math.prod(shape) * bits // 8:
        return 0, 0
    values = np.frombuffer(content.data[start : start + size], dtype=np.uint8)
    there = values.reshape(*shape, bits // 8).any(axis=(0, 3, 4))
    rows, columns = np.nonzero(there)
    if not len(rows):
        return 0, 0
    return shape[1] - 1 - int(rows.max()), shape[2] - 1 - int(columns.max())


def _tensor(content: Content, n: int, table: Table, buffers: list[Table]) -> TensorRead:
    name, code, buffer = table.text(3), table.number(1, "b"), table.number(2, "I")
    shape = table.numbers(0, "i", MOST_DIMENSIONS)
    if buffer >= len(buffers):
        raise content.fault(f"tensor {n} is in buffer {buffer:,}, and there are {len(buffers):,}")
    wrong = [size for size in shape if size < 0]
    if wrong:
        raise content.fault(
            f"tensor {n} has the shape {shape}: sizes that are not fixed cannot "
            "be planned; convert the network for one size of input"
        )
    if math.prod(shape) > LARGEST:
        raise content.fault(f"tensor {n} has the shape {shape}: more entries than any memory has")
    kind, bits = BITS.get(code, (f"type {code}", -1))
    if bits < 0:
        raise content.fault(
            f"tensor {n} ({name!r}) holds values of type {code}, which have no fixed size"
        )
    grid = table.table(4)
    scales = grid.count(2, "f") if grid is not None else 0
    size = -(-math.prod(shape) * bits // 8)
    variable = bool(table.number(5, "B"))
    held = buffers[buffer]
    alike, blank = _alike(content, held, bits), _blank(content, held, bits, shape)
    return TensorRead(name, shape, kind, size, _holds_data(held), variable, scales, alike, blank)


def _operator_name(code: Table) -> tuple[str, bool]:
    """Name of a kind of operator, and whether it is a custom one.

    Files from before 2020 have the number in a field of 8 bits, later ones the larger of two.
    """
    number = max(code.number(0, "b"), code.number(3, "i"))
    if number == CUSTOM:
        return code.text(1) or "CUSTOM", True
    return (OPERATORS[number] if 0 <= number < len(OPERATORS) else f"operator {number}"), False


def _operators(
    content: Content, tables: list[Table], names: list[tuple[str, bool]], count: int
) -> tuple[OperatorRead, ...]:
    """All operators; they may share vectors, so that a short file could name very many tensors."""
    found: list[OperatorRead] = []
    named = 0
    for n, table in enumerate(tables):
        found.append(_operator(content, n, table, names, count))
        named += len(found[-1].inputs) + len(found[-1].outputs)
        if named > MOST:
            raise content.fault(f"its operators name more than {MOST:,} tensors")
    return tuple(found)


def _operator(
    content: Content, n: int, table: Table, names: list[tuple[str, bool]], count: int
) -> OperatorRead:
    index = table.number(0, "I")
    if index >= len(names):
        raise content.fault(f"operator {n} is of kind {index:,}, and there are {len(names):,}")
    name, custom = names[index]
    what = f"operator {n}, {name},"
    inputs = _places(content, table.numbers(1, "i", MOST_TENSORS), count, what)
    outputs = _places(content, table.numbers(2, "i", MOST_TENSORS), count, what, least=0)
    return OperatorRead(name, custom, inputs, outputs, table.table(4))


def _places(
    content: Content, places: tuple[int, ...], count: int, what: str, least: int = -1
) -> tuple[int, ...]:
    for place in places:
        if not least <= place < count:
            raise content.fault(f"{what} names tensor {place:,}, and there are {count:,}")
    return places


def _plan(content: Content, model: Table, count: int) -> tuple[int | None, ...] | None:
    """The last plan in the metadata, as TensorFlow Lite Micro takes it."""
    found: tuple[int | None, ...] | None = None
    for span in _notes(content, model, PLAN):
        found = _offsets(content, *span, count)
    return found


def _features(content: Content, model: Table) -> Features | None:
    """The last description of features in the metadata."""
    found: Features | None = None
    for start, size in _notes(content, model, NOTE):
        if size > LONGEST_NOTE:
            raise content.fault(f"its {NOTE} has {size:,} bytes, and at most {LONGEST_NOTE:,}")
        try:
            found = features_of(content.data[start : start + size])
        except ValueError as error:
            raise content.fault(f"its {NOTE} cannot be used: {error}") from error
    return found


def _notes(content: Content, model: Table, name: str) -> Iterator[tuple[int, int]]:
    """Start and length of the metadata of a name."""
    buffers = model.tables(4)
    for entry in _few(content, model.tables(6), "entries of metadata"):
        if entry.text(0) != name:
            continue
        buffer = entry.number(1, "I")
        if buffer >= len(buffers):
            raise content.fault(f"its {name} is in buffer {buffer:,} of {len(buffers):,}")
        yield buffers[buffer].span(0)


def _offsets(content: Content, start: int, size: int, count: int) -> tuple[int | None, ...]:
    """Offsets of a plan: after its version, the subgraph and how many there are."""
    if size < 12 or size < 4 * (3 + count) or content.number("i", start + 8) != count:
        raise content.fault(
            f"its {PLAN} has {size:,} bytes and should have the offsets of {count:,} tensors, "
            f"{4 * (3 + count):,} bytes; TensorFlow Lite Micro would not run it"
        )
    offsets = [content.number("i", start + 4 * (3 + n)) for n in range(count)]
    for n, at in enumerate(offsets):
        if at < -1:
            raise content.fault(f"its {PLAN} puts tensor {n} at byte {at:,}, before the arena")
    return tuple(None if at == -1 else at for at in offsets)
