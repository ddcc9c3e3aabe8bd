"""The operations that a stored network may name, and no others.

A file may come from a stranger, so what it can make happen is listed here: functions of tensors and
numbers that give tensors and numbers. Nothing here opens a file (`from_file`), reads memory that
was never written (`empty`), lays another shape over it (`as_strided`, `set_`) or runs code.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch._ops import OpOverload

_LAYERS = """
    conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution linear
    bilinear matmul mm bmm mv dot addmm baddbmm einsum outer tensordot chain_matmul linalg_multi_dot
    batch_norm instance_norm layer_norm rms_norm group_norm _weight_norm
    prelu _prelu_kernel rrelu gru lstm rnn_tanh rnn_relu gru_cell lstm_cell rnn_tanh_cell
    rnn_relu_cell scaled_dot_product_attention embedding cosine_similarity pairwise_distance
    dropout feature_dropout alpha_dropout feature_alpha_dropout
"""
_POINTWISE = """
    add sub mul div floor_divide remainder fmod pow float_power square sqrt rsqrt reciprocal neg abs
    sign sgn exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan atan2 sinh cosh tanh
    asinh acosh atanh erf erfc erfinv lgamma digamma sinc hypot ceil floor round trunc frac
    clamp clamp_min clamp_max clip maximum minimum fmax fmin lerp addcmul addcdiv xlogy logaddexp
    logaddexp2 nan_to_num where masked_fill heaviside copysign deg2rad rad2deg positive negative
    multiply divide subtract true_divide rsub relu relu6 leaky_relu elu selu celu gelu silu mish
    sigmoid log_sigmoid hardsigmoid hardswish hardtanh softplus softshrink hardshrink threshold
    glu logit softmax _softmax log_softmax _log_softmax eq ne lt le gt ge equal
    logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_not bitwise_xor
    bitwise_left_shift bitwise_right_shift isnan isinf isfinite isclose
"""
_POOLING = """
    max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d max_pool2d_with_indices
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
    adaptive_max_pool2d adaptive_max_pool3d _adaptive_avg_pool2d upsample_nearest1d
    upsample_nearest2d upsample_nearest3d _upsample_nearest_exact2d upsample_linear1d
    upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d grid_sampler affine_grid_generator
    pad constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d
    replication_pad2d replication_pad3d pixel_shuffle pixel_unshuffle channel_shuffle im2col col2im
"""
_REDUCTIONS = """
    sum nansum mean nanmean prod var std var_mean std_mean amax amin aminmax max min argmax argmin
    all any logsumexp norm linalg_vector_norm cumsum cumprod cummax cummin logcumsumexp median
    count_nonzero sort topk argsort diff
"""
_MOVING = """
    view reshape _unsafe_view flatten unflatten squeeze unsqueeze permute transpose t numpy_T mT
    adjoint movedim moveaxis swapaxes swapdims expand expand_as repeat tile repeat_interleave flip
    roll rot90 view_as reshape_as type_as contiguous clone alias detach lift_fresh_copy to _to_copy
    chunk split split_with_sizes tensor_split unsafe_chunk slice narrow select unbind unfold index
    index_select gather take_along_dim masked_select diagonal diag_embed cat concat concatenate
    stack hstack vstack dstack meshgrid tril triu scatter scatter_add scatter_reduce index_add
    index_copy index_fill index_put slice_scatter select_scatter copy fill zero one_hot broadcast_to
    broadcast_tensors atleast_1d atleast_2d atleast_3d ravel real imag view_as_real view_as_complex
"""
_NEW = """
    zeros ones full arange linspace eye zeros_like ones_like full_like new_zeros new_ones new_full
    scalar_tensor hann_window hamming_window rand randn rand_like randn_like bernoulli
    sym_size sym_numel sym_stride sym_is_contiguous
    stft istft fft_fft fft_rfft fft_ifft fft_irfft fft_rfft2 fft_irfft2
"""
ALLOWED = frozenset((_LAYERS + _POINTWISE + _POOLING + _REDUCTIONS + _MOVING + _NEW).split())
"""Operations of `torch.ops.aten` by name, in place or not."""

OPERATORS: Mapping[str, Callable[..., Any]] = {
    "getitem": operator.getitem,
    "neg": operator.neg,
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
    "truediv": operator.truediv,
    "mod": operator.mod,
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "sym_max": torch.sym_max,
    "sym_min": torch.sym_min,
    "sym_int": torch.sym_int,
    "sym_float": torch.sym_float,
    "sym_ite": torch.sym_ite,
    "ceil": math.ceil,
    "floor": math.floor,
    "trunc": math.trunc,
}
"""Functions of numbers and tuples that a step may run, by the name they are stored under."""


def name_of(op: OpOverload) -> str:
    """The name that an operation is stored under, as ``conv2d`` or ``add.Tensor``.

    Raises:
        ValueError: If it is not among those that a stored network may name.
    """
    name = op.name().removeprefix("aten::")
    if operation(name) is not op:
        raise ValueError(f"the operation {op.name()} cannot be stored")
    return name


def operation(name: str) -> OpOverload:
    """The operation that is stored under a name.

    Raises:
        ValueError: If it is not among those that a stored network may name.
    """
    short, _, overload = name.partition(".")
    if short.removesuffix("_") not in ALLOWED:
        raise ValueError(
            f"the operation {name!r} is not among the {len(ALLOWED)} that a stored network may run "
            "(compressor/network/operations.py lists them): write the model with these"
        )
    found = getattr(torch.ops.aten, short, None)
    if found is None or (overload or "default") not in found.overloads():
        raise ValueError(f"this version of PyTorch, {torch.__version__}, has no operation {name!r}")
    op = getattr(found, overload or "default")
    if any(argument.is_out for argument in op._schema.arguments):  # noqa: SLF001
        raise ValueError(f"the operation {name!r} writes its result into a tensor that it is given")
    return op
