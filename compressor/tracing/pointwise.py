"""Convolutions of single places: products over channels, which pass whatever else shrinks.

``nn.Conv1d(tokens, tokens, 1)`` on (batch, token, channel) mixes tokens and leaves channels apart.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from torch.fx import Node

from compressor.graph.program import argument, shape_of
from compressor.tracing import contraction
from compressor.tracing.contraction import Operand
from compressor.tracing.flow import Flow
from compressor.tracing.labels import Labelled
from compressor.tracing.layers import affine, convolution, ids_along


def convolved(flow: Flow, node: Node) -> Labelled:
    """A convolution; one of single places by a product, where more than its channels shrinks."""
    source: Any = node.args[0]
    weight: Any = node.args[1]
    channels = len(shape_of(source)) - len(shape_of(weight)) + 1
    others = any(label.dim != channels for label in flow.labels_of(source))
    if not others or not _of_single_places(node):
        return convolution(flow, node, transposed=False)
    places = range(len(shape_of(weight)) - 2)
    before: list[Hashable] = [f"before {n}" for n in range(channels)]
    after: list[Hashable] = [f"after {n}" for n in places]
    kernel: list[Hashable] = [f"kernel {n}" for n in places]
    operands = [
        Operand(source, [*before, "in", *after]),
        Operand(weight, ["out", "in", *kernel]),
    ]
    found = contraction.contract(flow, node, operands, [*before, "out", *after])
    affine(flow, [argument(node, "bias")], ids_along(node, found, channels))
    return found


def _of_single_places(node: Node) -> bool:
    """True if every output is made of the inputs in its own place."""
    kernel, padding = shape_of(node.args[1])[2:], argument(node, "padding", 0)
    still = isinstance(padding, str) or not any(_numbers(padding))
    one = set(kernel) | set(_numbers(argument(node, "stride", 1))) == {1}
    return still and one and int(argument(node, "groups", 1)) == 1


def _numbers(value: Any) -> list[int]:
    return [value] if isinstance(value, int) else list(value)
