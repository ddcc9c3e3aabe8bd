"""Windows of every channel as so many more channels (``unfold``), and back (``fold``)."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch.fx import Node

from compressor.graph.program import argument, packet_of, shape_of
from compressor.tracing.data import on_channels
from compressor.tracing.flow import Flow, place
from compressor.tracing.labels import Label

aten = torch.ops.aten


@on_channels
def opened(flow: Flow, node: Node, label: Label) -> Label | None:
    """``im2col``: a channel owns all places of its window; ``col2im``: these stay together."""
    rank, window = len(shape_of(node.args[0])), prod(argument(node, "kernel_size"))
    packs = packet_of(node) is aten.im2col
    if label.dim != rank - (3 if packs else 2):
        return flow.hold(node.args[0], f"{place(node)} works across the channels")
    if packs:
        return Label(label.dim, np.repeat(label.ids, window))
    places = label.ids.reshape(-1, window).T
    flow.couplings.tie(places, places[0])
    return Label(label.dim, places[0].copy())
