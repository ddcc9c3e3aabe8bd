"""Fourier transforms, which keep apart what is not along their dimensions."""

from __future__ import annotations

from torch.fx import Node

from compressor.graph.program import argument, shape_of
from compressor.tracing.data import on_channels
from compressor.tracing.flow import Flow, Labels, place
from compressor.tracing.labels import Label


@on_channels
def transformed(flow: Flow, node: Node, label: Label) -> Labels:
    """A Fourier transform along time or rows; along the channels it mixes them.

    It costs no multiply-accumulates that are counted, as no weight goes into it.
    """
    named = argument(node, "dim")
    dims = [named] if isinstance(named, int) else list(named)
    if label.dim in {int(dim) % len(shape_of(node.args[0])) for dim in dims}:
        return flow.hold(node.args[0], f"{place(node)} mixes the channels")
    return label
