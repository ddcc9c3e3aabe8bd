"""Multiply-accumulates of a file's operators: of its convolutions and matrix products.

Sums, means, pools, norms and functions of single values count nothing, as in `compressor.counting`
(docs/counting.md), however a file has them: a mean as a convolution of equal weights, a gain for
each channel as one of single weights that are equal, a power as a product of a tensor with itself.
A depthwise convolution of one weight a channel, rounded channel by channel, is such a gain, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

from compressor.export.reading.contents import Contents, OperatorRead
from compressor.export.reading.operands import operand, result

_Rule = Callable[[Contents, OperatorRead], int]

UNCOUNTED = {
    *("LSTM", "RNN", "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN"),
    *("UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "CONV_3D_TRANSPOSE"),
    *("STABLEHLO_CONVOLUTION", "STABLEHLO_DOT_GENERAL", "RFFT2D"),
}
"""Operators with products that no rule counts; custom ones are a further kind of them."""


def operator_macs(contents: Contents) -> tuple[int, ...]:
    """Multiply-accumulates of each operator, in their order.

    Raises:
        ValueError: If an operator lacks a tensor that it must have.
    """
    return tuple(_macs(contents, op) for op in contents.operators)


def blank_macs(contents: Contents) -> int:
    """Those of `operator_macs` by rows and columns of zeros at the end of kernels.

    A kernel has them where that pads its input: with a stride of 2, ``padding=1`` and an even size
    the two ends are padded by one and by nothing, which is neither of the two forms of padding that
    a file knows, and a kernel of three entries becomes one of four. The device computes with them.

    Raises:
        ValueError: If an operator lacks a tensor that it must have.
    """
    return sum(_blank(contents, op) for op in contents.operators if op.name in _CONVOLUTIONS)


def _blank(contents: Contents, op: OperatorRead) -> int:
    weight = operand(contents, op, 1, 4)
    rows, columns = weight.shape[1:3]
    left = (rows - weight.blank[0]) * (columns - weight.blank[1])
    return _macs(contents, op) * (rows * columns - left) // (rows * columns)


def _macs(contents: Contents, op: OperatorRead) -> int:
    rule = _RULES.get(op.name)
    if rule is None:
        return 0
    found = rule(contents, op)
    return 0 if _averages(contents, op) or _squares(contents, op) else found


def _averages(contents: Contents, op: OperatorRead) -> bool:
    """Whether it is a convolution of equal weights: a mean, a sum or a gain."""
    return op.name in _CONVOLUTIONS and operand(contents, op, 1).alike


def _squares(contents: Contents, op: OperatorRead) -> bool:
    """Whether it is the sum of squares of each row: its power, as a variance has it."""
    same = op.name == "BATCH_MATMUL" and op.inputs[:1] == op.inputs[1:2]
    return same and result(contents, op, 2).shape[-2:] == (1, 1)


def uncounted(contents: Contents) -> tuple[str, ...]:
    """Names of the operators whose products are not in `operator_macs`."""
    found = {op.name for op in contents.operators if op.custom or op.name in UNCOUNTED}
    return tuple(sorted(found))


def _conv(contents: Contents, op: OperatorRead) -> int:
    """Weights (outputs, height, width, inputs of a group)."""
    return result(contents, op).entries * prod(operand(contents, op, 1, 4).shape[1:])


def _depthwise(contents: Contents, op: OperatorRead) -> int:
    """Weights (1, height, width, outputs)."""
    return result(contents, op).entries * prod(operand(contents, op, 1, 4).shape[1:3])


def _transposed(contents: Contents, op: OperatorRead) -> int:
    """Weights (outputs, height, width, inputs); each entry of input 2 meets all but the last."""
    return operand(contents, op, 2).entries * prod(operand(contents, op, 1, 4).shape[:3])


def _volume(contents: Contents, op: OperatorRead) -> int:
    """Weights (depth, height, width, inputs of a group, outputs)."""
    return result(contents, op).entries * prod(operand(contents, op, 1, 5).shape[:4])


def _linear(contents: Contents, op: OperatorRead) -> int:
    """Weights (outputs, inputs)."""
    return result(contents, op).entries * operand(contents, op, 1, 2).shape[-1]


def _product(contents: Contents, op: OperatorRead) -> int:
    """Two stacks of matrices; the first option says whether the first is transposed."""
    transposed = op.options is not None and op.options.number(0, "B")
    summed = operand(contents, op, 0, 2).shape[-2 if transposed else -1]
    return result(contents, op).entries * summed


def _svdf(contents: Contents, op: OperatorRead) -> int:
    """Filters over features (filters, inputs), then over time (filters, memory)."""
    batch = operand(contents, op, 0, 1).shape[0]
    return batch * sum(operand(contents, op, n, 2).entries for n in (1, 2))


_CONVOLUTIONS = {"CONV_2D", "DEPTHWISE_CONV_2D"}

_RULES: Mapping[str, _Rule] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed,
    "CONV_3D": _volume,
    "FULLY_CONNECTED": _linear,
    "BATCH_MATMUL": _product,
    "SVDF": _svdf,
}
