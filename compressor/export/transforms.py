"""Fourier transforms in an ONNX file as products with tables, where runtimes are bad at them.

ONNX Runtime computes a transform whose length is no power of two with errors of up to one ten
thousandth of the loudest bin, in which the quiet ones of a spectrogram drown. A product with a
table of cosines and sines is as exact as any other layer, and every runtime has it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]

TRANSFORMS = ("STFT", "DFT")
"""ONNX's names of Fourier transforms."""


def as_products(onnx: Any, model: Any) -> None:
    """Write transforms of real numbers as products where their length is no power of two.

    What the length is, and the window, has to be known; inverse transforms, and those of complex
    numbers, stay.

    Args:
        onnx: The package.
        model: A `ModelProto` with the shapes of its values, changed in place.
    """
    known = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    shapes = _shapes(model.graph)
    nodes: list[Any] = []
    for node in model.graph.node:
        made = _product(onnx, node, known, shapes) if node.op_type in TRANSFORMS else None
        if made is None:
            nodes.append(node)
            continue
        more, tables = made
        nodes += more
        names = (f"{node.output[0]}_{name}" for name in tables)
        model.graph.initializer.extend(
            onnx.numpy_helper.from_array(table, name)
            for name, table in zip(names, tables.values(), strict=True)
        )
    if len(nodes) == len(model.graph.node):
        return
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def warn_of_transforms(model: Any) -> None:
    """Warn of the transforms that are left, which export and run, but hardly anywhere."""
    left = sorted({node.op_type for node in model.graph.node} & set(TRANSFORMS))
    if left:
        warnings.warn(
            f"export: a Fourier transform became ONNX's {' and '.join(left)}, which few runtimes "
            "beside ONNX Runtime have, and which that is off at where the length is no power of "
            "two. For other runtimes write it as products with tables of cosines, and compare what "
            "comes out",
            stacklevel=4,
        )


def _product(
    onnx: Any, node: Any, known: dict[str, Numbers], shapes: dict[str, tuple[int, ...]]
) -> tuple[list[Any], dict[str, Numbers]] | None:
    """The nodes and tables in the place of a transform; None where it stays."""
    given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    read = [known.get(name) for name in node.input]
    shape = shapes.get(node.input[0], ())
    if given.get("inverse") or not shape or shape[-1] != 1:
        return None
    if node.op_type == "STFT":
        return _frames(onnx, node, read, one_sided=bool(given.get("onesided", 1)))
    length, axis = (int(x) if x is not None else None for x in (*read[1:3], None, None)[:2])
    if length is None or axis is None or axis % len(shape) != len(shape) - 2:
        return None
    if shape[-2] != length or _is_power(length):
        return None
    rows = _waves(length, one_sided=bool(given.get("onesided", 0)))
    table = rows.transpose(2, 1, 0).reshape(length, -1)
    result, whole = node.output[0], len(shape) - 2
    tables = {
        "last": np.array([-1]),
        "table": table.astype(np.float32),
        "shape": np.array([*[0] * whole, rows.shape[1], 2]),
    }
    last, waves, sizes = (f"{result}_{name}" for name in tables)
    make = onnx.helper.make_node
    return [
        make("Squeeze", [node.input[0], last], [f"{result}_real"]),
        make("MatMul", [f"{result}_real", waves], [f"{result}_flat"]),
        make("Reshape", [f"{result}_flat", sizes], [result]),
    ], tables


def _frames(
    onnx: Any, node: Any, read: Sequence[Numbers | None], *, one_sided: bool
) -> tuple[list[Any], dict[str, Numbers]] | None:
    """A short-time transform as a convolution with its windowed waves, moved by its hop."""
    hop, window, length = (*read, None, None)[1:4]
    if hop is None or (window is None and len(node.input) > 2 and node.input[2]):
        return None
    size = int(length) if length is not None else 0 if window is None else len(window)
    if not size or _is_power(size) or (window is not None and len(window) != size):
        return None
    rows = _waves(size, one_sided=one_sided) * (1.0 if window is None else window)
    bins, result = rows.shape[1], node.output[0]
    tables = {
        "table": rows.reshape(2 * bins, 1, size).astype(np.float32),
        "shape": np.array([0, 2, bins, -1]),
    }
    waves, sizes = (f"{result}_{name}" for name in tables)
    make = onnx.helper.make_node
    return [
        make("Transpose", [node.input[0]], [f"{result}_turned"], perm=[0, 2, 1]),
        make("Conv", [f"{result}_turned", waves], [f"{result}_both"], strides=[int(hop)]),
        make("Reshape", [f"{result}_both", sizes], [f"{result}_parts"]),
        make("Transpose", [f"{result}_parts"], [result], perm=[0, 3, 2, 1]),
    ], tables


def _waves(length: int, *, one_sided: bool) -> Numbers:
    """Cosines and negative sines (2, bins, length), in double precision."""
    bins = length // 2 + 1 if one_sided else length
    turns = np.outer(np.arange(bins), np.arange(length)) % length * (2 * np.pi / length)
    return np.stack([np.cos(turns), -np.sin(turns)])


def _is_power(length: int) -> bool:
    return length & (length - 1) == 0


def _shapes(graph: Any) -> dict[str, tuple[int, ...]]:
    """Shape of every value that the exporter gave one; open sizes are 0."""
    values = [*graph.input, *graph.value_info, *graph.output]
    return {
        cast("str", value.name): tuple(int(d.dim_value) for d in value.type.tensor_type.shape.dim)
        for value in values
    }
