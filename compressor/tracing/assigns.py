"""Values written into a tensor that is there already: ``y[:, :, 1:] = x``, ``y[...] = 0``.

The program has a slice and a write into it; whoever reads the whole tensor afterwards sees both. So
what is written takes part in the channels of the whole, which the slice shares.
"""

from __future__ import annotations

import torch
from torch.fx import Node

from compressor.graph.memory import root
from compressor.graph.program import packet_of, shape_of
from compressor.tracing.constants import adopt
from compressor.tracing.data import pointwise
from compressor.tracing.flow import Flow, place
from compressor.tracing.labels import Label


def assigned(flow: Flow, node: Node) -> Label | None:
    """A write: the channels of both are tied; a constant takes the channels that it is given."""
    target = node.args[0]
    if packet_of(node) is torch.ops.aten.embedding_renorm_:
        why = f"{place(node)} norms rows of its table as they are read"
        return flow.hold(target, f"{why}: with max_norm=None they stay what they are once all were")
    if not isinstance(target, Node) or root(target).op != "call_function":
        return flow.hold_all(node.all_input_nodes, f"{place(node)} writes into what is kept")
    if flow.label(target) is None:
        for source in node.all_input_nodes[1:]:
            label = flow.label(source) if flow.weight(source) is None else None
            own = -1 if label is None else label.dim + len(shape_of(node)) - len(shape_of(source))
            if label is not None and not adopt(flow, node, own, label.ids):
                why = f"{place(node)} writes it into a tensor that cannot shrink"
                flow.hold_all(node.all_input_nodes, why)
                return None
    return pointwise(flow, node)
