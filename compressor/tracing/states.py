"""Initial states of recurrent layers, which have to be as wide as the hidden units that are left.

They are computed from channels, or learned, or made by the code in a size that is written down. The
last comes from PyTorch's own layer, which knows its size, or from a module of one's own, which may
have it as an attribute that is told the new size; the code says whether that was right
(`compressor.tracing.trial`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from compressor.graph.kinds import Kind
from compressor.graph.operations import operation_of
from compressor.graph.program import argument, module_of, packet_of, shape_of
from compressor.tracing.couplings import Ids
from compressor.tracing.flow import Flow, place
from compressor.tracing.labels import Label
from compressor.tracing.remembered import remember, told_of

aten = torch.ops.aten

_SAME_WIDTH = (aten.expand, aten.repeat, aten.contiguous, aten.clone, aten.detach, aten.to)
"""Operations that leave the last dimension of a state what it is, if its size is the same."""


def begin(flow: Flow, node: Node, state: Any, ids: Ids) -> None:
    """Tie an initial state of a recurrent layer, along its last dimension, to hidden units."""
    label = flow.label(state)
    last = len(shape_of(state)) - 1
    if label is not None and label.dim == last:
        flow.couplings.tie(label.ids, ids)
        return
    chain = _chain(state)
    origin, name = chain[-1], flow.weight(chain[-1])
    if name is not None and flow.shapes[name][-1] == len(ids):
        flow.tie_weight(name, len(flow.shapes[name]) - 1, ids)
    elif label is None and _made(origin):
        _told(flow, node, origin, ids)
    else:
        flow.hold(state, f"{place(node)} begins with these channels in another dimension")
        flow.couplings.freeze(ids, f"the initial state of {place(node)} has a size that is given")
        return
    for step in chain:  # what the code makes need not be zeros
        if flow.weight(step) is None:
            flow.labels[step.name] = Label(len(shape_of(step)) - 1, ids)


def _chain(state: Node) -> list[Node]:
    """A state and what it is a copy of, back to where it comes from."""
    found = [state]
    while packet_of(found[-1]) in _SAME_WIDTH or _unsqueezed(found[-1]):
        source: Any = found[-1].args[0]
        if shape_of(source)[-1:] != shape_of(state)[-1:]:
            break
        found.append(source)
    return found


def _unsqueezed(node: Node) -> bool:
    """True if a node adds a dimension before the last."""
    rank = len(shape_of(node))
    return packet_of(node) is aten.unsqueeze and int(argument(node, "dim")) % rank < rank - 1


def _made(node: Node) -> bool:
    """True if the code makes a tensor of nothing, in a size that is written down."""
    if node.op != "call_function" or not isinstance(node.meta.get("val"), Tensor):
        return False
    return not node.all_input_nodes or operation_of(node.target).kind is Kind.MAKES


def _told(flow: Flow, node: Node, origin: Node, ids: Ids) -> None:
    """Note the attributes that may hold the size of a state, unless the code did not survive it."""
    if module_of(origin) == module_of(node):
        return  # its own sizes are known
    told = told_of(flow, origin, node, len(ids))
    order = [*range(len(told)), len(told)]  # with the last one the code counts by itself
    option = flow.choices.take(origin.name, order, ids)
    if option < len(told):
        remember(flow, {name: [ids] for name in told[option]})
