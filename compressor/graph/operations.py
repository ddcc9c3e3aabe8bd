"""The one table of PyTorch's operations: what each does to channels, zeros, counts and integers.

A row says of its operations all that anyone asks: tracers what becomes of a dimension, the masked
original what looks across one, the counter what multiplies nothing, the filters what stays zero,
the networks of integers what keeps or rounds values. Adding an operation is a row, or its name in
one. What no row can say (how arguments are read) is a rule for its `Kind` in every room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch._ops import OpOverload

from compressor.graph.kinds import ENTRYWISE, MULTIPLYING, Kind, Positions, Rounding, Sign, Zeros


@dataclass(frozen=True)
class Row:
    """Properties of some operations of PyTorch.

    Attributes:
        names: Their names in `torch.ops.aten`, between spaces: ``relu`` for all forms of one,
            ``max.other`` for a form that is not what the others are.
        kind: Effect on dimensions.
        zeros: Fate of channels that are zero; None for what the kind does anyway.
        rounding: Effect on values on a grid.
        sign: Condition under which their results are not negative.
        spatial: Number of last dimensions that `Kind.WINDOWS` works on.
        positions: Results of `Kind.REDUCES` that are positions.
    """

    names: str
    kind: Kind
    zeros: Zeros | None = None
    rounding: Rounding = Rounding.LEFT
    sign: Sign = Sign.UNKNOWN
    spatial: int = 0
    positions: Positions = Positions.SECOND

    @property
    def free(self) -> bool:
        """True if they surely hold no convolution and no matrix product."""
        return self.kind not in MULTIPLYING


_ENTRYWISE = (
    Row("relu relu6", Kind.POINTWISE, Zeros.STAY, Rounding.CUT, Sign.NEVER),
    Row("hardtanh", Kind.POINTWISE, Zeros.STAY, Rounding.CUT, Sign.LIMITED),
    Row("clamp_min", Kind.POINTWISE, None, Rounding.CUT, Sign.LIMITED),
    Row("clamp", Kind.POINTWISE, sign=Sign.LIMITED),
    Row("sigmoid hardsigmoid", Kind.POINTWISE, None, Rounding.JOINED, Sign.NEVER),
    Row("exp", Kind.POINTWISE, sign=Sign.NEVER),
    Row("leaky_relu elu gelu silu", Kind.POINTWISE, Zeros.STAY, Rounding.JOINED),
    Row("mish tanh hardswish", Kind.POINTWISE, Zeros.STAY, Rounding.JOINED),
    Row("selu celu softshrink hardshrink abs neg negative square", Kind.POINTWISE, Zeros.STAY),
    Row("sqrt sign sin asin atan sinh asinh erf expm1 log1p", Kind.POINTWISE, Zeros.STAY),
    Row("floor ceil round trunc nan_to_num", Kind.POINTWISE, Zeros.STAY),
    Row("real imag conj _conj resolve_conj resolve_neg", Kind.POINTWISE, Zeros.STAY),
    Row("prelu _prelu_kernel", Kind.PRELU, Zeros.STAY),
    Row("add", Kind.POINTWISE, Zeros.SUM, Rounding.PAIR, Sign.KEPT),
    # Of all forms of `max` and `min` those of two tensors alone are entry by entry.
    Row("sub subtract rsub maximum minimum complex", Kind.POINTWISE, Zeros.SUM),
    Row("max.other max.out min.other min.out", Kind.POINTWISE, Zeros.SUM),
    Row("mul", Kind.POINTWISE, Zeros.PRODUCT, Rounding.PAIR, Sign.KEPT),
    Row("multiply", Kind.POINTWISE, Zeros.PRODUCT),
    Row("div divide true_divide", Kind.POINTWISE, Zeros.QUOTIENT),
    # PyTorch does not mark these as entry by entry. `expand_as` broadcasts to the other operand,
    # whose channels it takes where its own size is one.
    Row("log_sigmoid softplus float_power masked_fill expand_as where", Kind.POINTWISE),
    Row("special_expit special_log1p special_erf", Kind.POINTWISE),
    Row("zeros_like ones_like full_like rand_like randn_like empty_like", Kind.POINTWISE),
    Row("contiguous clone", Kind.COPIES, rounding=Rounding.MOVED),
    Row("to _to_copy detach alias lift_fresh_copy type_as", Kind.COPIES),
    Row("dropout feature_dropout", Kind.DROPOUT, Zeros.STAY, Rounding.DROPPED),
    # In training these put another value in the place of what they drop.
    Row("alpha_dropout feature_alpha_dropout", Kind.DROPOUT, Zeros.FILLED, Rounding.DROPPED),
)

_MOVING = (
    Row("new_zeros new_ones new_full new_empty", Kind.MAKES),
    Row("view reshape _unsafe_view", Kind.VIEWS, rounding=Rounding.MOVED),
    Row("view_as reshape_as", Kind.SHAPED),
    Row("flatten unflatten squeeze unsqueeze permute", Kind.MOVES, rounding=Rounding.MOVED),
    Row("transpose expand flip pixel_shuffle", Kind.MOVES, rounding=Rounding.MOVED),
    # Here too values stay what they are; integers were never tried on these.
    Row("t numpy_T movedim moveaxis swapaxes swapdims adjoint mT", Kind.MOVES),
    Row("repeat tile repeat_interleave pixel_unshuffle broadcast_to ravel", Kind.MOVES),
    Row("atleast_1d atleast_2d atleast_3d", Kind.MOVES),
    # Bits as another type, and numbers that a tensor holds.
    Row("view.dtype repeat_interleave.Tensor repeat_interleave.self_Tensor", Kind.REINTERPRETS),
    Row("channel_shuffle", Kind.SHUFFLES, rounding=Rounding.MOVED),
    Row("native_channel_shuffle", Kind.SHUFFLES),
    Row("cat", Kind.JOINS, rounding=Rounding.JOINED, sign=Sign.KEPT),
    Row("concat concatenate hstack vstack dstack column_stack", Kind.JOINS),
    Row("stack", Kind.STACKS),
    Row("slice narrow", Kind.CUTS, rounding=Rounding.MOVED),
    Row("chunk split split_with_sizes tensor_split", Kind.CUTS),
    Row("select", Kind.SELECTS, rounding=Rounding.MOVED),
    Row("unbind roll rot90 diagonal", Kind.PICKS),
    Row("copy_ fill_ zero_ embedding_renorm_", Kind.ASSIGNS),
    Row("gather take_along_dim scatter scatter_ scatter_add scatter_add_", Kind.APART),
    Row("scatter_reduce scatter_reduce_ index_add index_add_ index_copy index_copy_", Kind.APART),
    Row("index_fill index_fill_ index_reduce index_reduce_", Kind.APART),
    Row("index_select", Kind.APART, rounding=Rounding.MOVED),
    Row("slice_scatter select_scatter", Kind.APART),
    Row("argsort diff linalg_cross", Kind.APART),
    Row("tril triu max_unpool2d", Kind.APART, spatial=2),
    Row("max_unpool3d", Kind.APART, spatial=3),
    Row("index index_put index_put_", Kind.INDEXES),
    Row("unfold one_hot", Kind.APPENDS),
    Row("im2col col2im", Kind.COLUMNS),
    Row("view_as_complex view_as_real", Kind.PAIRS),
    Row("grid_sampler grid_sampler_2d", Kind.SAMPLES, spatial=2),
    Row("grid_sampler_3d", Kind.SAMPLES, spatial=3),
    Row("bucketize searchsorted", Kind.SEARCHES),
    Row("cosine_similarity", Kind.COMPARES),
    Row("glu", Kind.GATES),
    Row("constant_pad_nd pad", Kind.PADS),
)

_WINDOWS = (
    Row("max_pool1d", Kind.WINDOWS, rounding=Rounding.MOVED, spatial=1),
    Row("max_pool2d", Kind.WINDOWS, rounding=Rounding.MOVED, spatial=2),
    Row("max_pool3d", Kind.WINDOWS, rounding=Rounding.MOVED, spatial=3),
    Row("avg_pool1d adaptive_avg_pool1d", Kind.WINDOWS, rounding=Rounding.AVERAGED, spatial=1),
    Row("avg_pool2d adaptive_avg_pool2d", Kind.WINDOWS, rounding=Rounding.AVERAGED, spatial=2),
    Row("adaptive_max_pool1d reflection_pad1d replication_pad1d", Kind.WINDOWS, spatial=1),
    Row("upsample_nearest1d upsample_linear1d", Kind.WINDOWS, spatial=1),
    Row("adaptive_max_pool2d max_pool2d_with_indices", Kind.WINDOWS, spatial=2),
    Row("reflection_pad2d replication_pad2d", Kind.WINDOWS, spatial=2),
    Row("upsample_nearest2d upsample_bilinear2d upsample_bicubic2d", Kind.WINDOWS, spatial=2),
    Row("_upsample_nearest_exact2d _upsample_bilinear2d_aa", Kind.WINDOWS, spatial=2),
    Row("_upsample_bicubic2d_aa", Kind.WINDOWS, spatial=2),
    Row("_upsample_nearest_exact1d", Kind.WINDOWS, spatial=1),
    Row("_upsample_nearest_exact3d", Kind.WINDOWS, spatial=3),
    Row("avg_pool3d adaptive_avg_pool3d adaptive_max_pool3d", Kind.WINDOWS, spatial=3),
    Row("reflection_pad3d replication_pad3d", Kind.WINDOWS, spatial=3),
    Row("upsample_nearest3d upsample_trilinear3d", Kind.WINDOWS, spatial=3),
)

_ACROSS = (
    Row("mean", Kind.REDUCES, rounding=Rounding.AVERAGED),
    Row(
        "sum nansum prod var std amax amin max min any all linalg_vector_norm norm median "
        "nanmedian mode kthvalue count_nonzero linalg_norm quantile nanquantile",
        Kind.REDUCES,
    ),
    Row("logsumexp", Kind.REDUCES, Zeros.FILLED),  # of zeros: the logarithm of their number
    Row("var_mean std_mean aminmax", Kind.REDUCES, positions=Positions.NONE),
    Row("argmax argmin", Kind.REDUCES, positions=Positions.ONLY),
    Row("topk sort", Kind.RANKS),
    Row("softmax", Kind.SCANS, sign=Sign.NEVER),
    Row("fft_fft fft_ifft fft_rfft fft_irfft", Kind.TRANSFORMS),
    Row("fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2", Kind.TRANSFORMS),
    Row("_softmax log_softmax _log_softmax cumsum cumprod logcumsumexp cummax cummin", Kind.SCANS),
)

_LAYERS = (
    Row("conv1d conv2d conv3d", Kind.CONVOLUTION),
    Row("conv_transpose1d conv_transpose2d conv_transpose3d", Kind.TRANSPOSED),
    Row("linear", Kind.LINEAR),
    Row("matmul mm mv dot vdot", Kind.PRODUCT),
    Row("bmm baddbmm addmm", Kind.BATCHED),
    Row("einsum", Kind.EINSUM),
    Row("outer", Kind.OUTER),
    Row("scaled_dot_product_attention", Kind.ATTENTION),
    Row("_weight_norm", Kind.WEIGHT_NORM),
    Row("bilinear", Kind.BILINEAR),
    Row("gru lstm rnn_relu rnn_tanh", Kind.RECURRENT),
    Row("gru_cell lstm_cell rnn_relu_cell rnn_tanh_cell", Kind.RECURRENT),
    Row("embedding", Kind.EMBEDDING),
    Row("embedding_bag", Kind.BAGS),
    Row("batch_norm instance_norm", Kind.BATCH_NORM),
    Row("layer_norm rms_norm", Kind.LAYER_NORM),
    Row("group_norm", Kind.GROUP_NORM),
)

# The tracer does not follow these; some are what others are made of, which the counter alone sees.
_FREE = (
    Row(  # moving and sorting
        "copy _unsafe_index take masked_select masked_scatter diagonal_scatter as_strided_scatter "
        "_unsafe_masked_index _index_put_impl _unsafe_index_put put diag_embed block_diag resize "
        "set resize_as "
        "lift nonzero nonzero_static _unique _unique2 unique_dim unique_consecutive "
        "unique_dim_consecutive isin unsafe_split unsafe_split_with_sizes "
        "split_copy split_with_sizes_copy unbind_copy unfold_copy view_copy permute_copy "
        "transpose_copy t_copy squeeze_copy unsqueeze_copy expand_copy slice_copy select_copy "
        "alias_copy as_strided_copy diagonal_copy detach_copy _conj_copy _pack_padded_sequence "
        "polar",
        Kind.OPAQUE,
    ),
    Row(  # across dimensions
        "_aminmax trace _cummax_helper _cummin_helper _logcumsumexp histc bincount "
        "segment_reduce dist allclose is_same_size _is_all_true _is_any_true _local_scalar_dense "
        "_assert_async _functional_assert_async _assert_tensor_metadata",
        Kind.OPAQUE,
    ),
    Row(  # normalisations and activations
        "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training "
        "_native_batch_norm_legit_functional _batch_norm_with_update _batch_norm_no_update "
        "_embedding_bag _embedding_bag_forward_only cudnn_batch_norm "
        "miopen_batch_norm batch_norm_stats batch_norm_elemt native_layer_norm native_group_norm "
        "_fused_rms_norm native_norm renorm _weight_norm_interface _safe_softmax _masked_softmax "
        "log_sigmoid_forward rrelu_with_noise native_dropout _thnn_fused_lstm_cell "
        "_thnn_fused_gru_cell floor_divide _add_relu",
        Kind.OPAQUE,
    ),
    Row(  # pooling, resampling and losses
        "_adaptive_avg_pool2d _adaptive_avg_pool3d max_pool3d_with_indices fractional_max_pool2d "
        "fractional_max_pool3d mse_loss smooth_l1_loss huber_loss binary_cross_entropy "
        "binary_cross_entropy_with_logits nll_loss_forward nll_loss2d_forward",
        Kind.OPAQUE,
    ),
    Row(  # quantisers
        "fake_quantize_per_tensor_affine_cachemask fake_quantize_per_channel_affine_cachemask "
        "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams "
        "_fake_quantize_learnable_per_tensor_affine _fake_quantize_learnable_per_channel_affine "
        "_fused_moving_avg_obs_fq_helper quantize_per_tensor quantize_per_channel "
        "quantize_per_tensor_dynamic dequantize int_repr q_scale q_zero_point",
        Kind.OPAQUE,
    ),
    Row(  # new tensors and random numbers
        "randint_like new_empty_strided bernoulli multinomial normal uniform random exponential "
        "geometric cauchy log_normal poisson fill zero linspace logspace",
        Kind.OPAQUE,
    ),
)

TABLE = (*_ENTRYWISE, *_MOVING, *_WINDOWS, *_ACROSS, *_LAYERS, *_FREE)
"""Every operation that something is known about, once; those beside it that PyTorch itself marks as
entry by entry are known without a row."""

BY_NAME: Mapping[str, Row] = {name: row for row in TABLE for name in row.names.split()}

_MARKED = Row("", Kind.POINTWISE)
_UNKNOWN = Row("", Kind.UNKNOWN)


def operation_of(target: object) -> Row:
    """Look up the row of an operation in the table, by one of its forms.

    Args:
        target: Callee of a program: an overload such as ``torch.ops.aten.add.Tensor``; of anything
            else nothing is known.
    """
    if not isinstance(target, OpOverload):
        return _UNKNOWN
    row = _row(target) if target.namespace == "aten" else _UNKNOWN
    hidden = row.kind in (Kind.OPAQUE, Kind.UNKNOWN)
    return _MARKED if hidden and torch.Tag.pointwise in target.tags else row


def _row(target: OpOverload) -> Row:
    """The row of a form; of one in place what is as true of it as of the plain one."""
    name, _, form = target.name().removeprefix("aten::").partition(".")
    found = BY_NAME.get(f"{name}.{form}") or BY_NAME.get(name)
    plain = BY_NAME.get(name.removesuffix("_"))
    if found is not None or plain is None:
        return found or _UNKNOWN
    if plain.kind in ENTRYWISE:
        return Row(name, plain.kind, plain.zeros)
    return Row(name, Kind.OPAQUE if plain.free else Kind.UNKNOWN)


def given(schema: Any, args: Sequence[Any], name: str, default: Any = None) -> Any:
    """An argument by its name, of a call that gives it by its position or not at all."""
    for position, declared in enumerate(schema.arguments):
        if declared.name == name:
            if position < len(args):
                return args[position]
            return declared.default_value if declared.has_default_value() else default
    return default
