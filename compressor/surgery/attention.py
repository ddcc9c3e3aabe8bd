"""`nn.MultiheadAttention` with heads that can go, and widths of keys and values of their own.

PyTorch's own module takes the width of a head from the width of what comes in, so that one cannot
shrink without the other. A module that is opened computes the same from the same parameters under
the same names, and takes every size from these and from `num_heads`.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.inputs.copies import private_copy


class Attention(nn.MultiheadAttention):
    """Attention whose heads and widths are those of its parameters.

    Attributes:
        scale: What scores are multiplied with, that of the dense module.
    """

    scale: float

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,  # noqa: FBT001, FBT002
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,  # noqa: FBT001, FBT002
        is_causal: bool = False,  # noqa: FBT001, FBT002
    ) -> tuple[Tensor, Tensor | None]:
        """As `nn.MultiheadAttention.forward`; (batch, time, width) if `batch_first`.

        Raises:
            RuntimeError: If `is_causal` is given without the mask that it announces.
        """
        if is_causal and attn_mask is None:
            raise RuntimeError("attention with is_causal needs attn_mask=: pass the causal mask")
        alone = query.dim() == 2
        inputs = [x.unsqueeze(0) if alone else x for x in (query, key, value)]
        if not self.batch_first and not alone:
            inputs = [x.transpose(0, 1) for x in inputs]
        layers = zip(inputs, self._weights(), self._biases(), strict=True)
        heads = [functional.linear(x, weight, bias) for x, weight, bias in layers]
        more = (None, self.bias_k, self.bias_v)
        heads = [_longer(x, token) for x, token in zip(heads, more, strict=True)]
        queries, keys, values = (
            x.view(x.shape[0], x.shape[1], self.num_heads, -1).transpose(1, 2) for x in heads
        )
        if self.add_zero_attn:
            keys, values = (functional.pad(x, (0, 0, 0, 1)) for x in (keys, values))
        mask = _mask(attn_mask, key_padding_mask, queries)
        added = int(self.bias_k is not None) + int(self.add_zero_attn)
        mask = functional.pad(mask, (0, added)) if mask is not None and added else mask
        dropped = self.dropout if self.training else 0.0
        if need_weights:
            scores = (queries * self.scale) @ keys.transpose(-2, -1)
            weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
            weights = functional.dropout(weights, p=dropped)
            found = weights @ values
        else:
            weights = None
            found = functional.scaled_dot_product_attention(
                queries, keys, values, attn_mask=mask, dropout_p=dropped, scale=self.scale
            )
        result = self.out_proj(found.transpose(1, 2).flatten(2))
        if not self.batch_first and not alone:
            result = result.transpose(0, 1)
        if weights is not None and average_attn_weights:
            weights = weights.mean(dim=1)
        if alone:
            result, weights = result.squeeze(0), None if weights is None else weights.squeeze(0)
        return result, weights

    def _rows(self) -> tuple[int, int, int]:
        """Rows of the packed weight for queries, keys and values."""
        packed, values = self.in_proj_weight, self.out_proj.weight.shape[1]
        total = (packed if self._packed() else self.in_proj_bias).shape[0]
        keys = (total - values) // 2
        return keys, keys, values

    def _packed(self) -> bool:
        return cast("Tensor | None", self.in_proj_weight) is not None

    def _weights(self) -> tuple[Tensor, Tensor, Tensor]:
        if self._packed():
            return self.in_proj_weight.split(self._rows())  # pyright: ignore[reportReturnType]
        return self.q_proj_weight, self.k_proj_weight, self.v_proj_weight

    def _biases(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        packed = cast("Tensor | None", self.in_proj_bias)
        if packed is None:
            return None, None, None
        return packed.split(self._rows())  # pyright: ignore[reportReturnType]

    def refresh(self) -> None:
        """Set what it remembers of its sizes to those of its parameters."""
        weights = self._weights()
        self.embed_dim = weights[0].shape[1]
        self.kdim, self.vdim = weights[1].shape[1], weights[2].shape[1]
        self.head_dim = weights[0].shape[0] // self.num_heads


def _longer(x: Tensor, token: Tensor | None) -> Tensor:
    """A sequence (batch, time, width) with one more token behind it, the same in every item."""
    return x if token is None else torch.cat([x, token.expand(x.shape[0], -1, -1)], dim=1)


def _mask(attention: Tensor | None, padding: Tensor | None, like: Tensor) -> Tensor | None:
    """What is added to the scores (batch, head, time, time); a boolean mask is True where not."""
    found: Tensor | None = None
    if attention is not None:
        found = _added(attention, like)
        if found.dim() == 3:
            found = found.view(like.shape[0], -1, *found.shape[1:])
    if padding is not None:
        more = _added(padding, like)
        more = more.view(like.shape[0], 1, 1, -1) if padding.dim() == 2 else more
        found = more if found is None else found + more
    return found


def _added(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, float("-inf"))


def can_be_opened(module: nn.Module) -> bool:
    """True for PyTorch's own module; what inherits from it may do anything."""
    return type(module) is nn.MultiheadAttention


def open_attention(model: nn.Module) -> None:
    """Open every attention of PyTorch's own in a model, in place."""
    for module in model.modules():
        if can_be_opened(module):
            module.__class__ = Attention
            opened: Any = module
            opened.scale = float(opened.head_dim) ** -0.5
            opened._qkv_same_embed_dim = False  # noqa: SLF001 - what PyTorch asks before its kernel


def opened(model: nn.Module) -> nn.Module:
    """A copy of a model with every attention open: its operations are those of a smaller one."""
    copy = private_copy(model)
    open_attention(copy)
    return copy
