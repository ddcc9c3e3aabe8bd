"""Attention in the forms that people write it in, of any width, for random networks.

A body takes and gives (batch, time, channel). It can silence one part of itself and then says which
entries of a tensor that part owns.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.zoo.planting import Entries, of_head, of_place

TIME, WINDOW = 8, 4
"""Steps of all sequences, and of a window."""


def zero(tensor: Tensor, dim: int, places: tuple[int, ...]) -> None:
    """Set entries of a tensor along one dimension to zero, in place."""
    with torch.no_grad():
        tensor.index_fill_(dim, torch.tensor(places), 0.0)


class Body(nn.Module):
    """What a residual block is made around; this one does nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    def silence(self, draw: random.Random) -> tuple[Entries, ...]:
        """Silence a part in place, which `draw` chooses, and say what it owns."""
        del draw
        return ()


class Heads(Body):
    """Queries, keys and values of three layers; what is done with them is up to the subclass."""

    def __init__(self, width: int, heads: int, *, bias: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width, bias=bias) for _ in range(3))
        self.to_out = nn.Linear(width, width)

    def split(self, x: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Of shape (batch, head, time, place) each; keys and values of another tensor, if given."""
        other = x if memory is None else memory
        q, k, v = (
            layer(given).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, given in ((self.to_q, x), (self.to_k, other), (self.to_v, other))
        )
        return q, k, v

    def join(self, x: Tensor) -> Tensor:
        return self.to_out(x.transpose(1, 2).flatten(2))

    def silence(self, draw: random.Random) -> tuple[Entries, ...]:
        if draw.random() < 0.5:
            places = of_head(draw.randrange(self.heads), self.to_q.out_features // self.heads)
        else:  # queries and values may be cut alike
            width = self.to_q.out_features // self.heads
            places = of_place(draw.randrange(width), width, self.heads)
            for tensor in self.to_q.parameters():
                zero(tensor, 0, places)
        zero(self.to_out.weight, 1, places)
        return tuple(Entries(f"{name}.weight", 0, places) for name in ("to_q", "to_v"))


class Fused(Heads):
    """PyTorch's function, with a scale or without, causal or not."""

    def __init__(self, width: int, heads: int, *, scale: float | None, causal: bool) -> None:
        super().__init__(width, heads, bias=not causal)
        self.scale, self.causal = scale, causal

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        return self.join(
            functional.scaled_dot_product_attention(
                q, k, v, is_causal=self.causal, scale=self.scale
            )
        )


class Products(Heads):
    """Both products as einsums or by hand, with a learned bias of every head or without."""

    def __init__(self, width: int, heads: int, *, einsum: bool, biased: bool) -> None:
        super().__init__(width, heads)
        self.einsum, self.scale = einsum, (width // heads) ** -0.5
        self.table = nn.Parameter(torch.randn(heads, TIME, TIME)) if biased else None

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        scores = torch.einsum("bhid,bhjd->bhij", q, k) if self.einsum else q @ k.transpose(-2, -1)
        scores = scores * self.scale
        if self.table is not None:
            scores = scores + self.table
        shares = scores.softmax(-1)
        return self.join(
            torch.einsum("bhij,bhjd->bhid", shares, v) if self.einsum else torch.matmul(shares, v)
        )


class Linear(Heads):
    """Keys and values are multiplied first, so that cost grows with time alone."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        context = (k.softmax(2).transpose(2, 3)) @ v
        return self.join(functional.elu(q) @ context + 0.5 * v)

    def silence(self, draw: random.Random) -> tuple[Entries, ...]:
        width = self.to_v.out_features // self.heads
        places = of_head(draw.randrange(self.heads), width)
        zero(self.to_out.weight, 1, places)
        return (Entries("to_v.weight", 0, places),)


class Cross(Heads):
    """Keys and values of what the trunk began with."""

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        q, k, v = self.split(x, memory)
        return self.join(functional.scaled_dot_product_attention(q, k, v))


class Packed(Body):
    """One layer, `view` and `permute` with numbers of the module or of the tokens."""

    def __init__(self, width: int, heads: int, *, own: bool, windows: bool) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.own, self.windows = heads, width // heads, own, windows
        self.scale = self.head_dim**-0.5
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        whole = x.shape
        if self.windows:
            x = x.view(-1, WINDOW, x.shape[-1])
        B, N, C = x.shape  # noqa: N806 - as it is written everywhere
        width = self.head_dim if self.own else C // self.num_heads
        q, k, v = self.qkv(x).view(B, N, 3, self.num_heads, width).permute(2, 0, 3, 1, 4)
        shares = (q @ k.transpose(-2, -1) * self.scale).softmax(-1)
        x = (shares @ v).transpose(1, 2).reshape(B, N, -1 if self.own else C)
        return self.proj(x).view(whole[0], whole[1], -1)

    def silence(self, draw: random.Random) -> tuple[Entries, ...]:
        one, width = of_head(draw.randrange(self.num_heads), self.head_dim), self.proj.in_features
        zero(self.proj.weight, 1, one)
        rows = tuple(part * width + place for part in range(3) for place in one)
        return (Entries("qkv.weight", 0, rows),)


class Grouped(Body):
    """Two heads of queries to one of keys and values, positions as rotations or none."""

    turns: Tensor

    def __init__(self, width: int, groups: int, *, rotary: bool) -> None:
        super().__init__()
        self.groups, self.each, self.rotary = groups, width // (2 * groups), rotary
        self.scale = self.each**-0.5
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, width // 2, bias=False)
        self.v_proj = nn.Linear(width, width // 2, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)
        half = torch.arange(TIME)[:, None] / 10 ** torch.arange(self.each // 2)
        self.register_buffer("turns", torch.cat([half, half], 1))

    def _turn(self, x: Tensor) -> Tensor:
        if not self.rotary:
            return x
        first, second = x.chunk(2, -1)
        return x * self.turns.cos() + torch.cat([-second, first], -1) * self.turns.sin()

    def forward(self, x: Tensor) -> Tensor:
        batch, time, _ = x.shape
        q, k, v = (
            layer(x).view(batch, time, -1, self.each).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        k, v = self._turn(k).repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        x = functional.scaled_dot_product_attention(self._turn(q), k, v, scale=self.scale)
        return self.o_proj(x.transpose(1, 2).reshape(batch, time, -1))

    def silence(self, draw: random.Random) -> tuple[Entries, ...]:
        group = draw.randrange(self.groups)
        zero(self.o_proj.weight, 1, of_head(group, 2 * self.each))
        return (Entries("v_proj.weight", 0, of_head(group, self.each)),)


class Multihead(Body):
    """PyTorch's module, batch or time first, with weights as a second result or without."""

    def __init__(self, width: int, heads: int, *, batch_first: bool, weights: bool) -> None:
        super().__init__()
        self.first, self.weights = batch_first, weights
        self.attention = nn.MultiheadAttention(width, heads, batch_first=batch_first)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.first else x.transpose(0, 1)
        x, _ = self.attention(x, x, x, need_weights=self.weights)
        return x if self.first else x.transpose(0, 1)

    def silence(self, draw: random.Random) -> tuple[Entries, ...]:
        width = self.attention.embed_dim
        one = of_head(draw.randrange(self.attention.num_heads), self.attention.head_dim)
        zero(self.attention.out_proj.weight, 1, one)
        rows = tuple(part * width + place for part in range(3) for place in one)
        return (Entries("attention.in_proj_weight", 0, rows),)


class Encoder(Body):
    """PyTorch's layer of attention and perceptron, with a residual sum of its own."""

    def __init__(self, width: int, heads: int, hidden: int, *, norm_first: bool) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(
            width, heads, hidden, batch_first=True, norm_first=norm_first, activation="gelu"
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def silence(self, draw: random.Random) -> tuple[Entries, ...]:
        unit = (draw.randrange(self.layer.linear1.out_features),)
        zero(self.layer.linear2.weight, 1, unit)
        return (Entries("layer.linear1.weight", 0, unit),)
