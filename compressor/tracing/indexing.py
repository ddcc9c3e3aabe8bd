"""Entries by tensors of numbers, one a dimension: ``x[:, :, steps]``, ``x[:, :, steps] = y``.

Along other dimensions than the channels numbers may be anything. Along the channels those that the
code computes from their number, all of them in reversed order or not, go on with what they name;
any other count positions, and what they count has to stay.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from compressor.graph.memory import root
from compressor.graph.program import argument, in_place, packet_of, shape_of
from compressor.tracing.constants import COMPUTED, WRITTEN, meet
from compressor.tracing.flow import Flow, Labels, place
from compressor.tracing.labels import Label, along, spread, varying

aten = torch.ops.aten


def indexed(flow: Flow, node: Node) -> Labels:
    """``x[numbers]``, or ``x[numbers] = values``, likewise in place."""
    source: Any = node.args[0]
    indices: list[Any] = list(argument(node, "indices"))
    numbers = [index for index in indices if index is not None]
    flow.hold_all((n for n in numbers if not _mask(n)), f"{place(node)} picks entries by it")
    puts = packet_of(node) is not aten.index
    if in_place(node) and root(source).op != "call_function":
        return flow.hold_all(node.all_input_nodes, f"{place(node)} writes into what is kept")
    label = flow.label(source)
    if label is None or (puts and flow.weight(source) is not None):
        why = f"{place(node)} picks from, or puts into, a tensor that cannot shrink"
        return flow.hold_all(node.all_input_nodes, why)
    if any(map(_mask, numbers)):
        return _masked(flow, node, label, indices) if puts else _held(flow, node)
    if label.dim < len(indices) and indices[label.dim] is not None:
        return _held(flow, node) if puts else _picked(flow, node, label, indices)
    after = _after(source, indices, label)
    if not puts:
        return after
    return label if _values(flow, node, after, len(_chosen(source, indices))) else None


def _mask(index: Node) -> bool:
    value: Any = index.meta["val"]
    return value.dtype in (torch.bool, torch.uint8)


def _held(flow: Flow, node: Node) -> None:
    flow.hold_all(node.all_input_nodes, f"{place(node)} picks channels by their position")


def _chosen(source: Node, indices: list[Any]) -> tuple[int, ...]:
    """The shape of ``x[indices]``, in which values are broadcast that are put there."""
    return tuple(_pick(torch.empty(shape_of(source), device="meta"), indices).shape)


def _pick(x: Tensor, indices: list[Any]) -> Tensor:
    """Pick entries as the operation does, whatever the numbers are: the first each time."""
    device = x.device
    zeros = [
        None if i is None else torch.zeros(shape_of(i), dtype=torch.long, device=device)
        for i in indices
    ]
    return torch.ops.aten.index.Tensor(x, zeros)


def _after(source: Node, indices: list[Any], label: Label) -> Label:
    """The label of the picked entries: along the channels all of them are left."""
    numbers = Label(label.dim, np.arange(len(label.ids)))
    picked = _pick(spread(numbers, shape_of(source)), indices)
    dim = varying(picked)[0]
    return Label(dim, label.ids[along(picked, dim)])


def _values(flow: Flow, node: Node, after: Label, rank: int) -> bool:
    """True if values that are put there have the same channels, or one for all."""
    values: Any = argument(node, "values")
    shape = shape_of(values)
    own = after.dim - (rank - len(shape))
    if own >= 0 and shape[own] == len(after.ids):
        name = flow.weight(values)
        if name is not None:
            flow.tie_weight(name, own, after.ids)
        else:
            meet(flow, node, values, own, after.ids)
        return True
    label = flow.label(values)
    if label is not None and len(label.ids) > 1:
        flow.hold_all(node.all_input_nodes, f"{place(node)} combines channels with channels")
        return False
    return True


def _masked(flow: Flow, node: Node, label: Label, indices: list[Any]) -> Label | None:
    """``x[mask] = value``: a mask for every entry, or for dimensions in front of the channels."""
    mask, rank = indices[0], len(shape_of(node.args[0]))
    values: Any = argument(node, "values")
    if len(indices) != 1 or any(n != 1 for n in shape_of(values)):
        return _held(flow, node)
    if len(shape_of(mask)) > label.dim:
        meet(flow, node, mask, label.dim, label.ids)
    elif len(shape_of(mask)) == rank or flow.label(mask) is not None:
        return _held(flow, node)
    return label


def _picked(flow: Flow, node: Node, label: Label, indices: list[Any]) -> Label | None:
    """Channels by numbers: all of them once, in order or reversed, where the code computes that."""
    alone = all(index is None for at, index in enumerate(indices) if at != label.dim)
    numbers = _computed(indices[label.dim]) if alone else None
    every = np.arange(len(label.ids))
    if numbers is not None and numbers.shape == every.shape:
        for order in (every, every[::-1]):
            if np.array_equal(numbers, order):
                option = flow.choices.take(node.name, [COMPUTED, WRITTEN], label.ids)
                if option == COMPUTED:
                    return Label(label.dim, label.ids[order])
    return _held(flow, node)


def _computed(node: Node) -> Any:
    """The numbers that an ``arange``, perhaps turned round, holds; None for any other tensor."""
    packet = packet_of(node)
    if packet is aten.arange and not node.all_input_nodes:
        made: Any = node.target(*node.args, **node.kwargs)  # type: ignore[operator]
        return made.numpy()
    if packet is aten.flip and shape_of(node) and isinstance(node.args[0], Node):
        before = _computed(node.args[0])
        return None if before is None or before.ndim != 1 else before[::-1]
    return None
