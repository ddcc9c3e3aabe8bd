"""What an operation does with channels that are zero: the table that reachability runs on."""

from __future__ import annotations

import operator
from enum import Enum, auto
from typing import Any, cast

import torch
from torch.fx import Node

from compressor.graph import across
from compressor.tracing.data import argument

aten = torch.ops.aten


class Flow(Enum):
    """What becomes of channels."""

    KEEPS = auto()
    """Channel by channel; zero where all operands are zero."""
    SCALES = auto()
    """Channel by channel; zero where any operand is zero."""
    FILLS = auto()
    """Channel by channel; zero may become something."""
    MIXES = auto()
    """Looks across channels, or nothing is known about it."""
    FILTERS = auto()
    """A convolution or linear layer whose filters are known."""


def _each(names: str) -> set[Any]:
    return {getattr(aten, name) for name in names.split() if hasattr(aten, name)}


_ZERO_TO_ZERO = _each(
    "relu relu_ relu6 relu6_ leaky_relu leaky_relu_ elu elu_ selu selu_ celu celu_ gelu silu silu_ "
    "mish mish_ tanh tanh_ hardswish hardswish_ hardtanh hardtanh_ prelu _prelu_kernel softsign "
    "softshrink hardshrink abs neg negative square sqrt sign sin asin atan sinh asinh erf expm1 "
    "log1p floor ceil round trunc nan_to_num clone contiguous to _to_copy detach detach_ alias "
    "type_as lift_fresh_copy dropout dropout_ feature_dropout feature_dropout_"
)
_MOVES = _each(
    "view reshape _unsafe_view flatten unflatten squeeze unsqueeze permute transpose t numpy_T "
    "movedim moveaxis swapaxes swapdims expand repeat tile flip pixel_shuffle pixel_unshuffle "
    "adjoint mT view_as reshape_as chunk split split_with_sizes tensor_split slice narrow select "
    "unbind roll cat concat concatenate stack "
    "max_pool1d avg_pool1d adaptive_avg_pool1d max_pool2d avg_pool2d adaptive_avg_pool2d "
    "max_pool3d avg_pool3d adaptive_avg_pool3d upsample_nearest1d upsample_linear1d "
    "upsample_nearest2d upsample_bilinear2d upsample_bicubic2d _upsample_nearest_exact2d "
    "upsample_nearest3d upsample_trilinear3d reflection_pad1d reflection_pad2d reflection_pad3d "
    "replication_pad1d replication_pad2d replication_pad3d"
)
_REDUCES = _each("mean sum amax amin max min var std linalg_vector_norm norm")
_SUMS = _each("add add_ sub sub_ subtract rsub maximum minimum")
_PRODUCTS = _each("mul mul_ multiply")
_QUOTIENTS = _each("div div_ divide true_divide")
_PADS = _each("constant_pad_nd pad")
_CHANNEL_BY_CHANNEL = _each("batch_norm instance_norm") | _ZERO_TO_ZERO | _SUMS | _QUOTIENTS | _PADS


def flow_of(node: Node, labelled: set[str]) -> Flow:
    """What an operation other than a bank does with the channels of its labelled operands.

    Args:
        node: The operation.
        labelled: Names of the operations whose channels are known; others make constants, for all
            that is known.
    """
    target = cast("Any", node.target)
    packet = across.packet_of(node)
    if packet in _PRODUCTS:
        return Flow.SCALES
    if _keeps_zero(node, packet, labelled):
        return Flow.KEEPS
    pointwise = torch.Tag.pointwise in getattr(target, "tags", ())
    return Flow.FILLS if pointwise or packet in _CHANNEL_BY_CHANNEL else Flow.MIXES


def _keeps_zero(node: Node, packet: Any, labelled: set[str]) -> bool:
    """Whether channels stay apart and those that are zero in all operands stay zero."""
    if packet in _SUMS or (packet in _REDUCES and across.entrywise(node.target)):
        return _all_labelled(node, labelled)
    if node.target is operator.getitem or packet in _MOVES | _REDUCES:
        return True
    if packet in _ZERO_TO_ZERO:
        return _around_zero(node)
    if packet in _QUOTIENTS:
        return not (isinstance(node.args[1], Node) and node.args[1].name in labelled)
    if packet in _PADS:
        zero = not argument(node, "value", 0)
        return zero and argument(node, "mode", "constant") == "constant"
    return False


def _around_zero(node: Node) -> bool:
    """Whether a clipping operation's range holds zero; true of all others."""
    low, high = argument(node, "min_val", 0), argument(node, "max_val", 0)
    return float(low) <= 0 <= float(high)


def _all_labelled(node: Node, labelled: set[str]) -> bool:
    """Whether no operand of a sum is a constant, as far as known; zero is none."""
    tensors = [a for a in node.args[:2] if isinstance(a, Node)]
    numbers = [a for a in node.args[:2] if not isinstance(a, Node)]
    return all(t.name in labelled for t in tensors) and not any(numbers)
