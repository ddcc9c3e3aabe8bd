"""Two real numbers as one complex number, and back: a new last dimension, or the last one gone."""

from __future__ import annotations

import torch
from torch.fx import Node

from compressor.graph.program import packet_of, shape_of
from compressor.tracing.data import on_channels
from compressor.tracing.flow import Flow, place
from compressor.tracing.labels import Label


@on_channels
def paired(flow: Flow, node: Node, label: Label) -> Label | None:
    """``view_as_complex``, ``view_as_real``: real and imaginary parts go together."""
    packs = packet_of(node) is torch.ops.aten.view_as_complex
    if packs and label.dim == len(shape_of(node.args[0])) - 1:
        return flow.hold(node.args[0], f"{place(node)} takes both as one number")
    return label
