"""MACs of an exported program, by the shapes that its operations carry.

Nothing is run. Where an operation is not among the few whose products are plain to see, there is no
answer, and the model has to be run under the counter (`compressor.counting.measuring`).
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.utils.flop_counter import conv_flop_count

from compressor.counting.measuring import is_free
from compressor.graph.program import Program

_aten = torch.ops.aten

_LOOKS = ("_assert", "_guard", "sym_")
"""Operations without a tensor result, which do not touch data."""


def multiply_accumulates(program: Program) -> int | None:
    """MACs of a program for one input; None where the shapes of its operations do not say them."""
    total = 0
    for node in program.graph.nodes:
        found = _of(node)
        if found is None:
            return None
        total += found
    return total


def _of(node: Node) -> int | None:
    if node.op in ("placeholder", "output"):
        return 0
    if node.op != "call_function":
        return None  # a block of its own
    target: Any = node.target
    count = _PRODUCTS.get(getattr(target, "overloadpacket", None))
    if count is not None:
        shapes = [_shape(x) for x in node.args if isinstance(x, Node)]
        known = [shape for shape in shapes if shape is not None]
        result = _shape(node)
        return None if result is None or len(known) < len(shapes) else count(known, result)
    if not isinstance(target, torch._ops.OpOverload):  # noqa: SLF001 - has no public name
        return 0 if getattr(target, "__module__", "") == "_operator" else None
    looks = any(part in str(target) for part in _LOOKS)
    return 0 if looks or is_free(target) else None


Shape = tuple[int, ...]


def _shape(node: Node) -> Shape | None:
    value: Any = node.meta.get("val")
    return tuple(int(n) for n in value.shape) if isinstance(value, Tensor) else None


def _convolution(shapes: list[Shape], result: Shape, *, transposed: bool = False) -> int | None:
    inputs, weight = shapes[:2]
    if len(inputs) != len(weight):
        return None  # without a batch
    return conv_flop_count([*inputs], [*weight], [*result], transposed) // 2


def _transposed(shapes: list[Shape], result: Shape) -> int | None:
    return _convolution(shapes, result, transposed=True)


def _product(shapes: list[Shape], result: Shape) -> int:
    return prod(result) * shapes[0][-1]


def _attention(shapes: list[Shape], result: Shape) -> int:
    query, key = shapes[:2]
    return prod(result[:-1]) * key[-2] * (query[-1] + result[-1])


_PRODUCTS: dict[object, Callable[[list[Shape], Shape], int | None]] = {
    **dict.fromkeys((_aten.conv1d, _aten.conv2d, _aten.conv3d), _convolution),
    **dict.fromkeys((_aten.conv_transpose1d, _aten.conv_transpose2d), _transposed),
    _aten.conv_transpose3d: _transposed,
    **dict.fromkeys((_aten.linear, _aten.matmul, _aten.mm, _aten.bmm), _product),
    _aten.scaled_dot_product_attention: _attention,
}
"""Products, from the shapes of their tensors in order and of the result."""
