"""How operations treat the rows of an input: which pass them on, which end them.

The walk is that of `compressor.tracing` with other rules, as something else is asked. Channels are
coupled, and what mixes them must know which ones; rows are there or not. An entry of a weight
belongs to a row when it is applied to what that row alone has become. What mixes rows (a
convolution along them, a pooling, a cut) makes something that is no one row's: there the label
ends, and nothing behind it is sliced.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from compressor.tracing import data
from compressor.tracing.couplings import Ids
from compressor.tracing.data import Rule, argument
from compressor.tracing.flow import Flow, Labels, fixed, shape_of
from compressor.tracing.labels import Label, along, spread, varying
from compressor.tracing.program import module_of


@dataclass(frozen=True)
class Reader:
    """An operation with a window or weights that read a tensor.

    Attributes:
        module: The module that does it.
        label: The rows that end there; None where none came in.
    """

    module: str
    label: Label | None


@dataclass
class RowFlow(Flow):
    """The walk; ids of the rows are seeded, any other id is a weight's own until it meets them.

    Attributes:
        rows: The ids of the rows.
        readers: Convolutions, matrix products and poolings, in order.
        elsewhere: Other operations at which rows ended.
        columns: Weights of convolutions and matrix products whose entries are rows': ``(module,
            weight, ids read, ids written)``.
        normalised: The dimension of a LayerNorm's own shape that holds rows, by module.
    """

    rows: Ids = field(default_factory=partial(fixed, 0))
    readers: list[Reader] = field(default_factory=list[Reader])
    elsewhere: list[str] = field(default_factory=list[str])
    columns: list[tuple[str, str, Ids, Ids]] = field(
        default_factory=list[tuple[str, str, Ids, Ids]]
    )
    normalised: dict[str, int] = field(default_factory=dict[str, int])

    def hold(self, node: object, reason: str) -> None:
        """Nothing is held: a row that reached something opaque ends there."""

    def found(self, node: object) -> Label | None:
        """The label of a tensor, if it is of rows."""
        label = self.label(node)
        return label if label is not None and np.isin(label.ids, self.rows).any() else None


def convolution(flow: Flow, node: Node, *, transposed: bool) -> Label | None:
    """A convolution along the rows ends them; over other dimensions it passes them on.

    Where the rows are its channels, its columns are theirs; where every row is a group of its own
    (a depthwise convolution), its filters are, and rows go on.
    """
    source, weight = node.args[0], node.args[1]
    label, name, shape = _rows(flow, source), flow.weight(weight), shape_of(weight)
    if label is None or name is None:
        return _end(flow, node, label)
    spatial = label.dim - (len(shape_of(source)) - len(shape)) - 2
    if spatial >= 0:
        return label if _row_by_row(node, shape, spatial) else _end(flow, node, label)
    groups = int(argument(node, "groups", 1))
    if spatial == -1 and groups == 1:
        return _columns(flow, node, name, 0 if transposed else 1, label)
    if spatial == -1 and groups == len(label.ids) and not transposed:
        writes = np.repeat(label.ids, shape[0] // groups)
        flow.tie_weight(name, 0, writes)
        _tie_vector(flow, argument(node, "bias"), writes)
        _state(flow).columns.append((module_of(node), name, label.ids, writes))
        return Label(label.dim, writes)
    return _end(flow, node, label)


def _row_by_row(node: Node, shape: tuple[int, ...], spatial: int) -> bool:
    """Whether every output row is made of the input row of its number."""
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
    label, name = _rows(flow, source), flow.weight(weight)
    if label is None:
        return _end(flow, node, None)
    if label.dim < len(shape_of(source)) - 1:
        return label
    if name is None or len(shape_of(weight)) != 2:
        return _end(flow, node, label)
    return _columns(flow, node, name, 1 - out_dim, label)


def _columns(flow: Flow, node: Node, name: str, dim: int, label: Label) -> None:
    flow.tie_weight(name, dim, label.ids)
    writes = fixed(flow.shapes[name][1 - dim])
    _state(flow).columns.append((module_of(node), name, label.ids, writes))
    _end(flow, node, label)


def batch_norm(flow: Flow, node: Node) -> Label | None:
    """BatchNorm and InstanceNorm: where rows are what it normalises, its vectors are theirs."""
    label = _rows(flow, node.args[0])
    if label is not None and label.dim == 1:
        for vector in node.args[1:5]:
            _tie_vector(flow, vector, label.ids)
        flow.channels[module_of(node)] = label.ids
    return label


def group_norm(flow: Flow, node: Node) -> Label | None:
    """GroupNorm, as `batch_norm`; how many rows its groups allow is found by running it."""
    label = _rows(flow, node.args[0])
    if label is not None and label.dim == 1:
        for name in ("weight", "bias"):
            _tie_vector(flow, argument(node, name), label.ids)
        flow.channels[module_of(node)] = label.ids
    return label


def layer_norm(flow: Flow, node: Node) -> Label | None:
    """LayerNorm and RMSNorm over the last dimensions, the rows perhaps among them."""
    source, normalized = node.args[0], len(node.args[1])  # type: ignore[arg-type]
    label = _rows(flow, source)
    inside = -1 if label is None else label.dim - (len(shape_of(source)) - normalized)
    if label is not None and inside >= 0:
        for vector in node.args[2:4]:
            name = flow.weight(vector)
            if name is not None:
                flow.tie_weight(name, inside, label.ids)
        _state(flow).normalised[module_of(node)] = inside
    return label


def prelu(flow: Flow, node: Node) -> Label | None:
    """PReLU with a slope for every row, where rows are dimension 1."""
    label = _rows(flow, node.args[0])
    if label is not None and label.dim == 1:
        _tie_vector(flow, node.args[1], label.ids)
    return label


def pointwise(flow: Flow, node: Node) -> Label | None:
    """Entry-wise operations: rows meet themselves, weights of theirs, and what is broadcast.

    A sum of rows and of something else that is as long (rows in another order, the output of a
    convolution) is no one row's.
    """
    rank, state = len(shape_of(node)), _state(flow)
    operands = [a for a in node.all_input_nodes if shape_of(a)]
    labels = [(a, rank - len(shape_of(a)) + x.dim, x) for a in operands if (x := state.found(a))]
    if not labels:
        return _of_weight(flow, operands)
    dim, ids = labels[0][1], labels[0][2].ids
    meetings = [_meets(state, a, ids, dim - (rank - len(shape_of(a)))) for a in operands]
    if len({d for _, d, _ in labels}) > 1 or not all(meetings):
        state.elsewhere.append(str(node.target))
        return None
    return Label(dim, ids)


def _of_weight(flow: Flow, operands: list[Node]) -> Label | None:
    """What becomes of a weight on its way to the rows."""
    return flow.label(operands[0]) if len(operands) == 1 else None


def _meets(flow: RowFlow, operand: Node, ids: Ids, own: int) -> bool:
    """Whether an operand leaves rows what they are; a weight's entries become theirs."""
    shape = shape_of(operand)
    if own < 0 or (shape[own] == 1 and len(ids) > 1):
        return True
    name, label = flow.weight(operand), flow.label(operand)
    if name is not None:
        flow.tie_weight(name, own, ids)
        return True
    if label is None or label.dim != own:
        return False
    if flow.found(operand) is None:
        flow.couplings.tie(ids, label.ids)  # a weight that was reshaped
        return True
    return np.array_equal(label.ids, ids)


def concatenate(flow: Flow, node: Node) -> Label | None:
    """Along the rows they follow each other, elsewhere all must have the same."""
    tensors: list[Node] = list(argument(node, "tensors"))
    dim = int(argument(node, "dim", 0)) % len(shape_of(node))
    labels = [_rows(flow, t) for t in tensors]
    present = [label for label in labels if label is not None]
    if not present or len({label.dim for label in present}) > 1:
        return _elsewhere(flow, node, bool(present))
    if present[0].dim == dim:
        pairs = zip(tensors, labels, strict=True)
        parts = [fixed(shape_of(t)[dim]) if x is None else x.ids for t, x in pairs]
        return Label(dim, np.concatenate(parts))
    same = all(x is not None and np.array_equal(x.ids, present[0].ids) for x in labels)
    return present[0] if same else _elsewhere(flow, node, rows=True)


def stack(flow: Flow, node: Node) -> Label | None:
    """Along a new dimension, all with the same rows."""
    labels = [_rows(flow, t) for t in argument(node, "tensors")]
    first = labels[0]
    if first is None or any(x is None or x.dim != first.dim for x in labels):
        return _elsewhere(flow, node, any(x is not None for x in labels))
    if any(x is not None and not np.array_equal(x.ids, first.ids) for x in labels):
        return _elsewhere(flow, node, rows=True)
    dim = int(argument(node, "dim", 0)) % len(shape_of(node))
    return Label(first.dim + (dim <= first.dim), first.ids)


def movement(flow: Flow, node: Node) -> Labels:
    """Views, permutations, slices: the ids go through the operation themselves."""
    source: Any = node.args[0]
    label = flow.label(source)
    if label is None:
        return None
    ids, views = spread(label, shape_of(source)), data._VIEWS  # noqa: SLF001 - the same views
    target: Any = node.target
    if target in views:
        moved: Any = ids.reshape(shape_of(node))
    else:
        moved = target(ids, *node.args[1:], **node.kwargs)
    return _settled(moved) if isinstance(moved, Tensor) else [_settled(part) for part in moved]


def _settled(ids: Tensor) -> Label | None:
    """A label again, where the ids vary along one dimension alone.

    Rows split over two dimensions (sub-bands of rows) would be other sub-bands once some are gone.
    """
    dims = varying(ids)
    return Label(dims[0], along(ids, dims[0])) if len(dims) == 1 else None


def cutting(flow: Flow, node: Node) -> Labels:
    """Slices, chunks, picks and rolls: along the rows they count positions, which will change."""
    label, rank = _rows(flow, node.args[0]), len(shape_of(node.args[0]))
    if label is None:
        return movement(flow, node)
    if label.dim in data._dims(node, rank) and not _whole(node, label):  # noqa: SLF001 - the same
        pieces = node.meta.get("val")
        _elsewhere(flow, node, rows=True)
        return [None] * len(pieces) if isinstance(pieces, list | tuple) else None
    return movement(flow, node)


def _whole(node: Node, label: Label) -> bool:
    """Whether a slice takes everything in order, as ``x[:, :, :]`` does."""
    shape = shape_of(node)
    return len(shape) > label.dim and shape[label.dim] == len(label.ids) and "slice" in node.name


def pooling(flow: Flow, node: Node, spatial: int) -> Labels:
    """Pooling and resampling end rows among the last `spatial` dimensions."""
    label = _rows(flow, node.args[0])
    pair = isinstance(node.meta.get("val"), list | tuple)
    place = -1 if label is None else label.dim - (len(shape_of(node.args[0])) - spatial)
    after = label if place < 0 else _end(flow, node, label)
    return [after, after] if pair else after


def reduction(flow: Flow, node: Node) -> Labels:
    """Sums, means, maxima: over the rows they end them."""
    before, after = _rows(flow, node.args[0]), data.reduction(flow, node)
    if before is not None and (after is None or after == [None, None]):
        _elsewhere(flow, node, rows=True)
    return after


def opaque(flow: Flow, node: Node) -> None:
    """An operation nothing is known about."""
    _elsewhere(flow, node, any(_rows(flow, a) is not None for a in node.all_input_nodes))


def _elsewhere(flow: Flow, node: Node, rows: bool) -> None:  # noqa: FBT001 - always named or clear
    """Rows ended at an operation that is no reader."""
    if rows:
        _state(flow).elsewhere.append(str(node.target))


def _end(flow: Flow, node: Node, label: Label | None) -> None:
    """Rows ended at a reader, or none came."""
    _state(flow).readers.append(Reader(module_of(node), label))


def _tie_vector(flow: Flow, vector: Any, ids: Ids) -> None:
    name = flow.weight(vector)
    if name is not None and flow.shapes[name] == (len(ids),):
        flow.tie_weight(name, 0, ids)


def _rows(flow: Flow, node: object) -> Label | None:
    return _state(flow).found(node)


def _state(flow: Flow) -> RowFlow:
    """The walk as what it is; rules are typed for any."""
    if not isinstance(flow, RowFlow):
        raise TypeError("these rules are for a walk along rows")
    return flow


def _each(names: str, rule: Rule) -> dict[Any, Rule]:
    return {getattr(torch.ops.aten, name): rule for name in names.split()}


RULES: dict[Any, Rule] = {
    **_each("conv1d conv2d conv3d", partial(convolution, transposed=False)),
    **_each(
        "conv_transpose1d conv_transpose2d conv_transpose3d", partial(convolution, transposed=True)
    ),
    **_each("linear", partial(product, out_dim=0)),
    **_each("matmul mm", partial(product, out_dim=1)),
    **_each("batch_norm instance_norm", batch_norm),
    **_each("layer_norm rms_norm", layer_norm),
    **_each("group_norm", group_norm),
    **_each("prelu _prelu_kernel", prelu),
    **_each("cat concat concatenate", concatenate),
    **_each("stack", stack),
    **_each("chunk split split_with_sizes tensor_split slice narrow select unbind roll", cutting),
    **_each("view_as reshape_as", movement),
    **_each("glu index_select gather index", opaque),
}
"""Rules of rows; an operation that is not here is read by the rule of its kind (`kind`)."""

KINDS: dict[Any, Any] = {
    data.movement: movement,
    data.pointwise: pointwise,
    data.reduction: reduction,
    data.along_one: data.along_one,
    data.padding: data.padding,
}
"""The rule of rows for a rule of channels."""
