"""Attention with its sizes and its scale as people write them, and products of other forms.

Sources: A. Karpathy's small GPT and the library that most people take the ViT from, with three
layers in the place of one (`OfInput`), the annotated transformer (`Annotated`), H. Bao et al. 2022
(arXiv:2106.08254) for a bias without keys (`Joined`), the Llama's published code (`Complex`),
A. Katharopoulos et al. 2020 (arXiv:2006.16236) for an einsum of three (`Linear`), X. Wang et al.
2018 (arXiv:1711.07971) for half of the channels (`NonLocal`). Sizes are our own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import CLASSES, HEAD, HEADS, TIME, WIDTH, Sequence
from .layers import example

if TYPE_CHECKING:
    from collections.abc import Callable


class Layers(nn.Module):
    """Three layers for queries, keys and values, and one behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = HEADS
        self.to_q, self.to_k, self.to_v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.to_out = nn.Linear(WIDTH, WIDTH)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, with heads of any width."""
        layers = (self.to_q, self.to_k, self.to_v)
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in layers)
        return q, k, v

    def joined(self, x: Tensor) -> Tensor:
        """Heads put together."""
        return self.to_out(x.transpose(1, 2).flatten(2))


class OfInput(Layers):
    """The width of a head is that of the tokens that come in, over the number of heads."""

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape  # noqa: N806 - as it is written everywhere
        q = self.to_q(x).view(B, T, self.heads, C // self.heads).transpose(1, 2)
        k = self.to_k(x).view(B, T, self.heads, C // self.heads).transpose(1, 2)
        v = self.to_v(x).view(B, T, self.heads, C // self.heads).transpose(1, 2)
        shares = (q @ k.transpose(-2, -1) * (1.0 / math.sqrt(C // self.heads))).softmax(-1)
        return self.to_out((shares @ v).transpose(1, 2).contiguous().view(B, T, C))


class OfAttributes(Layers):
    """It is that of an attribute, over the number of heads."""

    def __init__(self) -> None:
        super().__init__()
        self.width = WIDTH

    def forward(self, x: Tensor) -> Tensor:
        batch, time, _ = x.shape
        layers, each = (self.to_q, self.to_k, self.to_v), self.width // self.heads
        q, k, v = (y(x).view(batch, time, self.heads, each).transpose(1, 2) for y in layers)
        shares = (q @ k.transpose(-2, -1) / math.sqrt(each)).softmax(-1)
        return self.joined(shares @ v)


class Annotated(Layers):
    """It is an attribute, and heads are put together in the product of two."""

    def __init__(self) -> None:
        super().__init__()
        self.h, self.d_k = HEADS, HEAD

    def forward(self, x: Tensor) -> Tensor:
        layers = (self.to_q, self.to_k, self.to_v)
        q, k, v = (
            layer(x).view(x.size(0), -1, self.h, self.d_k).transpose(1, 2) for layer in layers
        )
        shares = (torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(q.size(-1))).softmax(-1)
        mixed = torch.matmul(shares, v).transpose(1, 2).contiguous()
        return self.to_out(mixed.view(x.size(0), -1, self.h * self.d_k))


class Sized(Layers):
    """The scale is that of the queries that there are; `tensor` makes a tensor of their size."""

    def __init__(self, *, tensor: bool = False) -> None:
        super().__init__()
        self.tensor = tensor

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        if self.tensor:
            scores = q @ k.transpose(-2, -1) / torch.sqrt(torch.tensor(k.shape[-1], dtype=x.dtype))
        else:
            scores = torch.einsum("bhid,bhjd->bhij", q, k) * k.shape[-1] ** -0.5
        return self.joined(scores.softmax(-1) @ v)


class Joined(nn.Module):
    """One layer whose bias is put together of that of queries, zeros, and that of values."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.scale = HEADS, HEAD**-0.5
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.q_bias, self.v_bias = (nn.Parameter(torch.randn(WIDTH)) for _ in range(2))
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, time, _ = x.shape
        bias = torch.cat((self.q_bias, torch.zeros_like(self.v_bias), self.v_bias))
        qkv = functional.linear(x, self.qkv.weight, bias)
        q, k, v = qkv.reshape(batch, time, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        shares = (q * self.scale @ k.transpose(-2, -1)).softmax(-1)
        return self.proj((shares @ v).transpose(1, 2).reshape(batch, time, -1))


class Complex(nn.Module):
    """Pairs of columns turned as complex numbers; two heads of queries to one of keys."""

    turns: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads, self.n_rep, self.head_dim = HEADS, 2, HEADS // 2, HEAD
        self.wq = nn.Linear(WIDTH, HEADS * HEAD, bias=False)
        self.wk, self.wv = (nn.Linear(WIDTH, 2 * HEAD, bias=False) for _ in range(2))
        self.wo = nn.Linear(HEADS * HEAD, WIDTH, bias=False)
        angles = torch.outer(torch.arange(TIME), 100.0 ** -(torch.arange(0, HEAD, 2) / HEAD))
        self.register_buffer("turns", torch.polar(torch.ones_like(angles), angles))

    def _turned(self, x: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        turns = self.turns.view(1, x.shape[1], 1, pairs.shape[-1])
        return torch.view_as_real(pairs * turns).flatten(3).type_as(x)

    def _repeated(self, x: Tensor) -> Tensor:
        batch, time, heads, width = x.shape
        more = x[:, :, :, None, :].expand(batch, time, heads, self.n_rep, width)
        return more.reshape(batch, time, heads * self.n_rep, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, time, _ = x.shape
        q = self.wq(x).view(batch, time, self.n_heads, self.head_dim)
        k = self.wk(x).view(batch, time, self.n_kv_heads, self.head_dim)
        v = self.wv(x).view(batch, time, self.n_kv_heads, self.head_dim)
        q, k = self._turned(q), self._repeated(self._turned(k))
        q, k, v = (y.transpose(1, 2) for y in (q, k, self._repeated(v)))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.wo(mixed.transpose(1, 2).contiguous().view(batch, time, -1))


class Pairs(Layers):
    """Every second column with the next one, turned by a table that is computed on the way."""

    frequencies: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.scale = HEAD**-0.5
        self.register_buffer("frequencies", 100.0 ** -(torch.arange(0, HEAD, 2) / HEAD))

    def _turned(self, x: Tensor) -> Tensor:
        times = torch.arange(x.shape[2], dtype=x.dtype, device=x.device)
        angles = torch.outer(times, self.frequencies)
        cosine, sine = angles.cos(), angles.sin()
        first, second = x[..., ::2], x[..., 1::2]
        both = (first * cosine - second * sine, first * sine + second * cosine)
        return torch.stack(both, dim=-1).flatten(-2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        scores = self._turned(q) @ self._turned(k).transpose(-2, -1) * self.scale
        return self.joined(scores.softmax(-1) @ v)


class Linear(Layers):
    """Products of keys and values come first; the last einsum has three tensors."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        q, k = functional.elu(q) + 1, functional.elu(k) + 1
        products = torch.einsum("bhnd,bhne->bhde", k, v)
        inverse = 1 / (torch.einsum("bhnd,bhd->bhn", q, k.sum(2)) + 1e-6)
        return self.joined(torch.einsum("bhnd,bhde,bhn->bhne", q, products, inverse))


class Tokens(nn.Module):
    """`nn.MultiheadAttention` with a token of its own behind keys and values, and one of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(
            WIDTH, HEADS, batch_first=True, add_bias_kv=True, add_zero_attn=True
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


class NonLocal(nn.Module):
    """Attention over all places of a picture by half of its channels, whose number is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.theta, self.phi, self.g = (nn.Conv2d(12, 6, 1) for _ in range(3))
        self.w = nn.Conv2d(6, 12, 1)
        self.head = nn.Linear(12, CLASSES)
        self.example_input_array = example(1, 3, 5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        b, c, h, w = x.size()
        theta = self.theta(x).view(b, c // 2, -1).permute(0, 2, 1)
        phi, g = (layer(x).view(b, c // 2, -1) for layer in (self.phi, self.g))
        y = torch.matmul(torch.matmul(theta, phi).softmax(-1), g.permute(0, 2, 1))
        y = y.permute(0, 2, 1).contiguous().view(b, c // 2, h, w)
        return self.head((self.w(y) + x).mean((2, 3)))


WRITTEN: dict[str, Callable[[], nn.Module]] = {
    "of_input": lambda: Sequence(OfInput()),
    "of_attributes": lambda: Sequence(OfAttributes()),
    "annotated": lambda: Sequence(Annotated()),
    "sized": lambda: Sequence(Sized()),
    "sized_by_tensor": lambda: Sequence(Sized(tensor=True)),
    "joined": lambda: Sequence(Joined()),
    "complex": lambda: Sequence(Complex()),
    "pairs": lambda: Sequence(Pairs()),
    "linear": lambda: Sequence(Linear()),
    "tokens": lambda: Sequence(Tokens()),
    "non_local": NonLocal,
}
"""Networks by how their attention is written."""
