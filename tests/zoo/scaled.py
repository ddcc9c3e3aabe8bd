"""Attention that leaves its scale to PyTorch, which divides by the root of the width that it finds.

Queries come of a layer for themselves, of rows of one for queries, keys and values, of a
normalisation, of a convolution, of a product with a weight, or are parameters. Sources: the library
that most people take the ViT from (`Packed`), A. Karpathy's small GPT (`Causal`), the layers of
GPT-2 that keep a weight the other way round (`Added`), A. Henry et al. 2020 (arXiv:2010.04245) for
queries and keys that are normalised. Sizes are our own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import TIME, WIDTH, Sequence

if TYPE_CHECKING:
    from collections.abc import Callable

HEADS = 2
PLACES = WIDTH // HEADS


class Packed(nn.Module):
    """One layer, `reshape`, `unbind`; widths of its own, or those of the tokens that came in."""

    def __init__(self, *, own_width: bool, normed: bool = False) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.own_width = HEADS, PLACES, own_width
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.q_norm = nn.LayerNorm(PLACES) if normed else nn.Identity()
        self.k_norm = nn.LayerNorm(PLACES) if normed else nn.Identity()
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape  # noqa: N806 - as it is written everywhere
        width = self.head_dim if self.own_width else C // self.num_heads
        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, width).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        x = functional.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v)
        return self.proj(x.transpose(1, 2).reshape(B, N, -1 if self.own_width else C))


class Apart(nn.Module):
    """Three layers without bias."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = HEADS
        self.to_q, self.to_k, self.to_v = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))
        self.to_out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.to_q, self.to_k, self.to_v)
        )
        x = functional.scaled_dot_product_attention(q, k, v)
        return self.to_out(x.transpose(1, 2).flatten(2))


class Causal(nn.Module):
    """One layer, `split` by the width of the trunk, a causal mask."""

    def __init__(self) -> None:
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.n_head, self.n_embd = HEADS, WIDTH

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.size()  # noqa: N806
        q, k, v = self.c_attn(x).split(self.n_embd, dim=2)
        k = k.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        q = q.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        v = v.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        y = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=None, dropout_p=0.1 if self.training else 0, is_causal=True
        )
        return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))


class Reversed(nn.Module):
    """A layer with a weight (in, out)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.3 * torch.randn(WIDTH, WIDTH))
        self.bias = nn.Parameter(0.3 * torch.randn(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        flat = torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight)
        return flat.view(*x.shape[:-1], -1)


class Added(Apart):
    """Queries of a layer with a weight (in, out) and a bias that is added to the product."""

    def __init__(self) -> None:
        super().__init__()
        self.to_q = Reversed()


class Convolved(nn.Module):
    """Convolutions over time, which comes last."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = HEADS
        self.to_q, self.to_k, self.to_v = (nn.Conv1d(WIDTH, WIDTH, 1) for _ in range(3))
        self.to_out = nn.Conv1d(WIDTH, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        q, k, v = (
            layer(x).unflatten(1, (self.heads, -1)).transpose(2, 3)
            for layer in (self.to_q, self.to_k, self.to_v)
        )
        x = functional.scaled_dot_product_attention(q, k, v)
        return self.to_out(x.transpose(2, 3).flatten(1, 2)).transpose(1, 2)


class Asked(nn.Module):
    """Queries that are parameters, as many as there are tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = HEADS
        self.query = nn.Parameter(torch.randn(1, HEADS, 3, PLACES))
        self.to_k, self.to_v = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.to_out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.to_k, self.to_v)
        )
        q = self.query.expand(x.shape[0], -1, -1, -1)
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.to_out(mixed).mean(1, keepdim=True) + x


class Turned(Apart):
    """Queries and keys turned by rotary positions, halves of a head with each other."""

    cosine: Tensor
    sine: Tensor

    def __init__(self) -> None:
        super().__init__()
        turns = torch.outer(torch.arange(TIME), 100.0 ** -(torch.arange(0, PLACES, 2) / PLACES))
        angles = torch.cat([turns, turns], dim=-1)
        self.register_buffer("cosine", angles.cos())
        self.register_buffer("sine", angles.sin())

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.to_q, self.to_k, self.to_v)
        )
        x = functional.scaled_dot_product_attention(self._turned(q), self._turned(k), v)
        return self.to_out(x.transpose(1, 2).flatten(2))

    def _turned(self, x: Tensor) -> Tensor:
        first, second = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
        return x * self.cosine + torch.cat((-second, first), dim=-1) * self.sine


SCALED: dict[str, Callable[[], nn.Module]] = {
    "packed": lambda: Sequence(Packed(own_width=True)),
    "packed_width_of_input": lambda: Sequence(Packed(own_width=False)),
    "normed": lambda: Sequence(Packed(own_width=True, normed=True)),
    "apart": lambda: Sequence(Apart()),
    "causal": lambda: Sequence(Causal()),
    "added": lambda: Sequence(Added()),
    "convolved": lambda: Sequence(Convolved()),
    "asked": lambda: Sequence(Asked()),
    "turned": lambda: Sequence(Turned()),
}
"""Networks by the source of their queries."""

PARTS: dict[str, tuple[str, ...]] = {
    "packed": ("block.attn.qkv.weight", "block.attn.qkv.bias"),
    "packed_width_of_input": ("block.attn.qkv.weight", "block.attn.qkv.bias"),
    "normed": ("block.attn.q_norm.weight", "block.attn.q_norm.bias"),
    "apart": ("block.attn.to_q.weight",),
    "causal": ("block.attn.c_attn.weight", "block.attn.c_attn.bias"),
    "added": ("block.attn.to_q.weight", "block.attn.to_q.bias"),
    "convolved": ("block.attn.to_q.weight", "block.attn.to_q.bias"),
    "asked": ("block.attn.query",),
    "turned": ("block.attn.to_q.weight",),
}
"""The tensors that the queries of each follow."""
