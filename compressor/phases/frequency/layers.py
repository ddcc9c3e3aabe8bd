"""Rules by which layers with weights, and poolings, treat the rows of an input."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch.fx import Node

from compressor.graph.operations import operation_of
from compressor.graph.program import argument, module_of, shape_of
from compressor.phases.frequency.flow import end, rows_of, state_of, tie_vector
from compressor.tracing.flow import Flow, Labels, fixed
from compressor.tracing.labels import Label


def convolution(flow: Flow, node: Node, *, transposed: bool) -> Label | None:
    """A convolution along the rows ends them; over other dimensions it passes them on.

    Where the rows are its channels, its columns are theirs; where every row is a group of its own
    (a depthwise convolution), its filters are, and rows go on.
    """
    source, weight = node.args[0], node.args[1]
    label, name, shape = rows_of(flow, source), flow.weight(weight), shape_of(weight)
    if label is None or name is None:
        return end(flow, node, label)
    spatial = label.dim - (len(shape_of(source)) - len(shape)) - 2
    if spatial >= 0:
        passes = _row_by_row(node, shape, spatial)
        end(flow, node, None if passes else label)
        return label if passes else None
    groups = int(argument(node, "groups", 1))
    if spatial == -1 and groups == 1:
        return _columns(flow, node, name, 0 if transposed else 1, label)
    if spatial == -1 and groups == len(label.ids) and not transposed:
        writes = np.repeat(label.ids, shape[0] // groups)
        flow.tie_weight(name, 0, writes)
        tie_vector(flow, argument(node, "bias"), writes)
        state_of(flow).columns.append((module_of(node), name, label.ids, writes))
        end(flow, node, None)
        return Label(label.dim, writes)
    return end(flow, node, label)


def _row_by_row(node: Node, shape: tuple[int, ...], spatial: int) -> bool:
    """True if every output row is made of the input row of its number."""
    stride, padding = (argument(node, name, default) for name, default in _STEPS)
    pads = 0 if isinstance(padding, str) else _at(padding, spatial)
    return shape[2 + spatial] == 1 and _at(stride, spatial) == 1 and pads == 0


_STEPS = (("stride", 1), ("padding", 0))


def _at(sizes: Any, place: int) -> int:
    """One of the sizes of a window; a single size stands for all."""
    return int(sizes) if isinstance(sizes, int) else int(sizes[place if len(sizes) > 1 else 0])


def product(flow: Flow, node: Node, out_dim: int) -> Label | None:
    """``x W^T`` over the last dimension: rows there end, and the columns are theirs."""
    source, weight = node.args[0], node.args[1]
    label, name = rows_of(flow, source), flow.weight(weight)
    if label is None:
        return end(flow, node, None)
    if label.dim < len(shape_of(source)) - 1:
        end(flow, node, None)
        return label
    if name is None or len(shape_of(weight)) != 2:
        return end(flow, node, label)
    return _columns(flow, node, name, 1 - out_dim, label)


def _columns(flow: Flow, node: Node, name: str, dim: int, label: Label) -> None:
    flow.tie_weight(name, dim, label.ids)
    writes = fixed(flow.shapes[name][1 - dim])
    state_of(flow).columns.append((module_of(node), name, label.ids, writes))
    end(flow, node, label)


def channel_norm(flow: Flow, node: Node) -> Label | None:
    """Batch, instance and group norm: where rows are what it normalises, its vectors are theirs.

    How many rows the groups of a GroupNorm allow is found by running it.
    """
    label = rows_of(flow, node.args[0])
    if label is not None and label.dim == 1:
        for name in ("weight", "bias", "running_mean", "running_var"):
            tie_vector(flow, argument(node, name), label.ids)
        flow.channels[module_of(node)] = label.ids
    return label


def layer_norm(flow: Flow, node: Node) -> Label | None:
    """LayerNorm and RMSNorm over the last dimensions, the rows perhaps among them."""
    source, normalized = node.args[0], len(node.args[1])  # type: ignore[arg-type]
    label = rows_of(flow, source)
    inside = -1 if label is None else label.dim - (len(shape_of(source)) - normalized)
    if label is not None and inside >= 0:
        for vector in node.args[2:4]:
            name = flow.weight(vector)
            if name is not None:
                flow.tie_weight(name, inside, label.ids)
        state_of(flow).normalised[module_of(node)] = inside
    return label


def prelu(flow: Flow, node: Node) -> Label | None:
    """PReLU with a slope for every row, where rows are dimension 1."""
    label = rows_of(flow, node.args[0])
    if label is not None and label.dim == 1:
        tie_vector(flow, node.args[1], label.ids)
    return label


def pooling(flow: Flow, node: Node) -> Labels:
    """Pooling and resampling end rows among the last dimensions."""
    label, spatial = rows_of(flow, node.args[0]), operation_of(node.target).spatial
    pair = isinstance(node.meta.get("val"), list | tuple)
    place = -1 if label is None else label.dim - (len(shape_of(node.args[0])) - spatial)
    end(flow, node, label if place >= 0 else None)
    after = label if place < 0 else None
    return [after, after] if pair else after
