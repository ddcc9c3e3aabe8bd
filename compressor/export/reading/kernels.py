"""Buffers that TensorFlow Lite Micro's kernels ask for beside their tensors, while they run.

Of the reference kernels of tflite-micro, measured operator by operator (the tests repeat it).
CMSIS-NN and other vendors' kernels ask for more (im2col); what that is depends on the target and is
not modelled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from compressor.export.reading.contents import Contents, OperatorRead
from compressor.export.reading.operands import operand, result

WORD = 4
"""Bytes of an accumulator, and of an index."""

_INTEGERS = {"int8", "int16", "uint8"}

_Rule = Callable[[Contents, OperatorRead], tuple[int, ...]]

_PLAIN = """
ABS ADD AVERAGE_POOL_2D BATCH_MATMUL CEIL CONCATENATION COS DEQUANTIZE DIV ELU EXP EXPAND_DIMS FLOOR
HARD_SWISH L2_NORMALIZATION LEAKY_RELU LOG LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D MINIMUM MUL NEG
PACK PAD PADV2 QUANTIZE RELU RELU6 RESHAPE RESIZE_NEAREST_NEIGHBOR ROUND RSQRT SIN SLICE SOFTMAX
SPLIT SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB TANH TRANSPOSE UNPACK
"""

PLAIN = frozenset(_PLAIN.split())
"""Operators whose kernels work on their tensors alone."""


def scratch(contents: Contents, operator: OperatorRead) -> tuple[int, ...]:
    """Bytes of each buffer that a kernel asks for, in the order of asking.

    Raises:
        ValueError: If the operator lacks a tensor that it must have.
    """
    rule = _RULES.get(operator.name)
    return () if rule is None or operator.custom else rule(contents, operator)


def unmodelled(contents: Contents) -> tuple[str, ...]:
    """Names of the operators of which it is not known what their kernels ask for."""
    known = PLAIN | set(_RULES)
    return tuple(
        sorted({op.name for op in contents.operators if op.custom or op.name not in known})
    )


def _reduced(contents: Contents, op: OperatorRead) -> tuple[int, ...]:
    """An index for each dimension and one for each axis."""
    return WORD * len(operand(contents, op, 0).shape), WORD * operand(contents, op, 1).entries


def _summed(contents: Contents, op: OperatorRead) -> tuple[int, ...]:
    """Beside the indices a sum for each output, where integers are summed."""
    sums = WORD * result(contents, op).entries
    own = (sums,) if operand(contents, op, 0).type in _INTEGERS else ()
    return (*_reduced(contents, op), *own)


def _unpacked(contents: Contents, op: OperatorRead) -> tuple[int, ...]:
    """Weights of 4 bits are unpacked to bytes before use."""
    weights = operand(contents, op, 1)
    return (weights.entries,) if weights.type == "int4" else ()


def _transposed(contents: Contents, op: OperatorRead) -> tuple[int, ...]:
    """An accumulator for each output, where integers are summed: of 64 bits for values of 16."""
    words = {"int8": 1, "int16": 2}.get(operand(contents, op, 2).type, 0)
    return (words * WORD * result(contents, op).entries,) if words else ()


def _svdf(contents: Contents, op: OperatorRead) -> tuple[int, ...]:
    """A value for each filter, and a sum for each output where integers are summed."""
    given = operand(contents, op, 0, 1)
    filters = WORD * given.shape[0] * operand(contents, op, 1, 1).shape[0]
    sums = WORD * result(contents, op).entries
    return (filters, sums) if given.type in _INTEGERS else (filters,)


def _pointers(_: Contents, op: OperatorRead) -> tuple[int, ...]:
    """A pointer for each input."""
    return (2 * WORD * len(op.inputs),)


_RULES: Mapping[str, _Rule] = {
    "MEAN": _summed,
    "SUM": _summed,
    "REDUCE_MAX": _reduced,
    "REDUCE_MIN": _reduced,
    "CONV_2D": _unpacked,
    "DEPTHWISE_CONV_2D": _unpacked,
    "FULLY_CONNECTED": _unpacked,
    "TRANSPOSE_CONV": _transposed,
    "SVDF": _svdf,
    "ADD_N": _pointers,
}
