"""The operations that a stored network may name, and no others.

A file may come from a stranger, so what it can make happen is listed here, overload by overload:
functions of tensors that give tensors, as exported networks use them. Nothing here opens a file
(`from_file`), reads memory that was never written (`empty`), lays another shape over it
(`as_strided`, `set_`) or runs code. What these are called with is the business of
`compressor.network.file.guard`.
"""

from __future__ import annotations

import torch
from torch._ops import OpOverload

_LAYERS = """
    conv1d conv2d conv3d conv1d.padding conv2d.padding conv3d.padding conv_transpose1d
    conv_transpose2d.input conv_transpose3d.input convolution linear bilinear matmul mm bmm mv dot
    vdot addmm baddbmm einsum outer tensordot chain_matmul linalg_multi_dot batch_norm instance_norm
    layer_norm rms_norm group_norm _weight_norm prelu _prelu_kernel rrelu gru.input lstm.input
    rnn_tanh.input rnn_relu.input gru_cell lstm_cell rnn_tanh_cell rnn_relu_cell
    scaled_dot_product_attention embedding cosine_similarity pairwise_distance dropout
    feature_dropout alpha_dropout feature_alpha_dropout
"""
_POINTWISE = """
    add.Tensor add.Scalar sub.Tensor sub.Scalar mul.Tensor mul.Scalar div.Tensor div.Scalar
    div.Tensor_mode div.Scalar_mode floor_divide floor_divide.Scalar remainder.Tensor
    remainder.Scalar remainder.Scalar_Tensor fmod.Tensor fmod.Scalar pow.Tensor_Tensor
    pow.Tensor_Scalar pow.Scalar float_power.Tensor_Tensor float_power.Tensor_Scalar
    float_power.Scalar square sqrt rsqrt reciprocal neg abs sign sgn exp exp2 expm1 log log2 log10
    log1p sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh erf erfc erfinv lgamma
    digamma sinc hypot ceil floor round round.decimals trunc frac clamp clamp.Tensor clamp_min
    clamp_min.Tensor clamp_max clamp_max.Tensor clip clip.Tensor maximum minimum fmax fmin
    lerp.Scalar lerp.Tensor addcmul addcdiv xlogy.Tensor xlogy.Scalar_Other xlogy.Scalar_Self
    logaddexp logaddexp2 nan_to_num where.self where.ScalarOther where.ScalarSelf where.Scalar
    masked_fill.Scalar masked_fill.Tensor heaviside copysign.Tensor copysign.Scalar deg2rad rad2deg
    positive negative multiply.Tensor multiply.Scalar divide.Tensor divide.Scalar divide.Tensor_mode
    divide.Scalar_mode subtract.Tensor subtract.Scalar true_divide.Tensor true_divide.Scalar
    rsub.Tensor rsub.Scalar relu relu6 leaky_relu elu selu celu gelu silu mish sigmoid log_sigmoid
    hardsigmoid hardswish hardtanh softplus softshrink hardshrink threshold glu logit softmax.int
    _softmax log_softmax.int _log_softmax eq.Tensor eq.Scalar ne.Tensor ne.Scalar lt.Tensor
    lt.Scalar le.Tensor le.Scalar gt.Tensor gt.Scalar ge.Tensor ge.Scalar logical_and logical_or
    logical_not logical_xor bitwise_and.Tensor bitwise_and.Scalar bitwise_and.Scalar_Tensor
    bitwise_or.Tensor bitwise_or.Scalar bitwise_or.Scalar_Tensor bitwise_xor.Tensor
    bitwise_xor.Scalar bitwise_xor.Scalar_Tensor bitwise_not bitwise_left_shift.Tensor
    bitwise_left_shift.Tensor_Scalar bitwise_left_shift.Scalar_Tensor bitwise_right_shift.Tensor
    bitwise_right_shift.Tensor_Scalar bitwise_right_shift.Scalar_Tensor isnan isinf isfinite isclose
    isposinf isneginf absolute arcsin arccos arctan arctan2 greater.Tensor greater.Scalar
    greater_equal.Tensor greater_equal.Scalar less.Tensor less.Scalar less_equal.Tensor
    less_equal.Scalar not_equal.Tensor not_equal.Scalar fix special_expit special_erf special_log1p
    special_logit special_softmax special_log_softmax angle polar complex conj _conj resolve_conj
    resolve_neg
"""
_POOLING = """
    max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d max_pool2d_with_indices
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
    adaptive_max_pool2d adaptive_max_pool3d _adaptive_avg_pool2d upsample_nearest1d
    upsample_nearest1d.vec upsample_nearest2d upsample_nearest2d.vec upsample_nearest3d
    upsample_nearest3d.vec _upsample_nearest_exact2d _upsample_nearest_exact2d.vec upsample_linear1d
    upsample_linear1d.vec upsample_bilinear2d upsample_bilinear2d.vec upsample_trilinear3d
    upsample_trilinear3d.vec upsample_bicubic2d upsample_bicubic2d.vec _upsample_nearest_exact1d
    _upsample_nearest_exact1d.vec _upsample_nearest_exact3d _upsample_nearest_exact3d.vec
    _upsample_bilinear2d_aa.vec _upsample_bicubic2d_aa.vec
    max_unpool2d max_unpool3d grid_sampler affine_grid_generator pad constant_pad_nd
    reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d
    replication_pad3d pixel_shuffle pixel_unshuffle channel_shuffle im2col col2im
"""
_REDUCTIONS = """
    sum sum.dim_IntList nansum mean mean.dim nanmean prod prod.dim_int var var.dim var.correction
    std std.dim std.correction var_mean var_mean.dim var_mean.correction std_mean std_mean.dim
    std_mean.correction amax amin aminmax max max.dim max.other min min.dim min.other argmax argmin
    all all.dim all.dims any any.dim any.dims logsumexp norm.Scalar norm.ScalarOpt_dim
    norm.ScalarOpt_dim_dtype norm.ScalarOpt_dtype linalg_vector_norm cumsum cumprod cummax cummin
    logcumsumexp median median.dim count_nonzero count_nonzero.dim_IntList sort sort.stable topk
    argsort argsort.stable diff cosine_similarity bucketize.Tensor searchsorted.Tensor
"""
_MOVING = """
    view view.dtype reshape _unsafe_view flatten.using_ints unflatten.int squeeze squeeze.dim
    squeeze.dims unsqueeze permute transpose.int t numpy_T mT adjoint movedim.int movedim.intlist
    moveaxis.int moveaxis.intlist swapaxes swapdims expand expand_as repeat tile
    repeat_interleave.self_int repeat_interleave.self_Tensor flip roll rot90 view_as reshape_as
    type_as contiguous clone alias detach detach_ lift_fresh_copy to.device to.dtype to.other
    to.dtype_layout _to_copy chunk split.Tensor split.sizes split split_with_sizes
    tensor_split.sections tensor_split.indices unsafe_chunk slice.Tensor narrow select.int
    unbind.int unfold index.Tensor index_select gather take_along_dim diagonal diag_embed cat concat
    concatenate stack hstack vstack dstack column_stack meshgrid
    meshgrid.indexing tril triu scatter.value
    scatter.src scatter.reduce scatter.value_reduce scatter_add scatter_reduce.two index_add
    index_copy index_fill.int_Tensor index_fill.int_Scalar index_put slice_scatter select_scatter
    copy fill.Scalar fill.Tensor zero one_hot broadcast_to broadcast_tensors fliplr flipud
    sum_to_size trace cross linalg_cross atleast_1d atleast_2d atleast_3d atleast_1d.Sequence
    atleast_2d.Sequence atleast_3d.Sequence ravel real imag view_as_real view_as_complex
"""
_WRITING = """
    copy_ fill_.Scalar fill_.Tensor zero_ tril_ triu_ scatter_.value scatter_.src scatter_add_
    scatter_reduce_.two index_add_ index_copy_ index_fill_.int_Tensor index_fill_.int_Scalar
    index_put_ cumsum_ cumprod_ addmm_ baddbmm_ dropout_ feature_dropout_ alpha_dropout_
    feature_alpha_dropout_ rrelu_ bernoulli_.float floor_divide_.Tensor pow_.Tensor pow_.Scalar
    float_power_.Tensor float_power_.Scalar
"""
_NEW = """
    zeros ones full arange arange.start arange.start_step linspace eye eye.m zeros_like ones_like
    full_like new_zeros new_ones new_full scalar_tensor hann_window hann_window.periodic
    hamming_window hamming_window.periodic hamming_window.periodic_alpha
    hamming_window.periodic_alpha_beta blackman_window blackman_window.periodic bartlett_window
    bartlett_window.periodic kaiser_window kaiser_window.periodic kaiser_window.beta rand randn
    rand_like randn_like bernoulli bernoulli.p sym_size.int sym_numel sym_stride.int
    sym_is_contiguous stft stft.center istft fft_fft fft_rfft fft_ifft fft_irfft fft_rfft2
    fft_irfft2 fft_fft2 fft_ifft2 fft_fftn fft_ifftn fft_rfftn fft_irfftn fft_fftshift fft_ifftshift
"""


ALLOWED = frozenset(
    (_LAYERS + _POINTWISE + _POOLING + _REDUCTIONS + _MOVING + _WRITING + _NEW).split()
) | {
    f"{short}_{dot}{overload}"
    for short, dot, overload in (name.partition(".") for name in _POINTWISE.split())
}
"""Overloads of `torch.ops.aten`. Of those that work entry by entry also the form that writes in
place, as ``add_.Tensor``, where there is one; none that changes a shape in place, or whose result
has a size that depends on what a tensor holds."""


def name_of(op: OpOverload) -> str:
    """The name that an operation is stored under, as ``conv2d`` or ``add.Tensor``.

    Raises ValueError if it is not among those that a stored network may name.
    """
    name = op.name().removeprefix("aten::")
    if op.namespace != "aten":
        raise ValueError(
            f"the operator {op.name()!r} is none of PyTorch's own, and a stored network, which may "
            "come from a stranger, runs no others: keep the smaller model itself (Result.model; "
            "Result.save and compressor.load with its class), or write that operator with "
            "PyTorch's operations"
        )
    if operation(name) is not op:
        raise ValueError(f"the operation {op.name()} cannot be stored")
    return name


def operation(name: str) -> OpOverload:
    """The operation that is stored under a name, one of `ALLOWED`; else a ValueError."""
    short, _, overload = name.partition(".")
    if name not in ALLOWED:
        raise ValueError(
            f"the operation {name!r} is not among the {len(ALLOWED)} that a stored network may run "
            "(compressor/network/file/operations.py lists them): write the model with these"
        )
    found = getattr(torch.ops.aten, short, None)
    if found is None or (overload or "default") not in found.overloads():
        raise ValueError(f"this version of PyTorch, {torch.__version__}, has no operation {name!r}")
    return getattr(found, overload or "default")
