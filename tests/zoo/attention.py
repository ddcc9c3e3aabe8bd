"""Kinds of attention, each in a network of one block over a sequence.

Sequences are (batch, time, features). Sources: A. Vaswani et al. 2017 (arXiv:1706.03762);
J. Ainslie et al. 2023 (arXiv:2305.13245) for grouped queries; J. Su et al. 2021 (arXiv:2104.09864)
for rotary positions; C. Raffel et al. 2020 (arXiv:1910.10683) for a bias by distance; J. Lee et al.
2019 (arXiv:1810.00825) for pooling by a learned query. Sizes are our own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from .layers import example

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH, HEADS, HEAD, HIDDEN, CLASSES = 24, 4, 6, 40, 5
"""Columns of the trunk, heads, columns of a head, units of a perceptron, outputs."""
TIME = 6


def mlp(width: int = WIDTH) -> nn.Sequential:
    """Two linear layers around a GELU."""
    return nn.Sequential(nn.Linear(width, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, width))


class Block(nn.Module):
    """A pre-norm block around an attention of one input."""

    def __init__(
        self, attention: nn.Module, norm: Callable[[int], nn.Module] = nn.LayerNorm
    ) -> None:
        super().__init__()
        self.norm1 = norm(WIDTH)
        self.attn = attention
        self.norm2 = norm(WIDTH)
        self.mlp = mlp()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Sequence(nn.Module):
    """Linear layer, one block, mean over time, linear layer."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.embed = nn.Linear(10, WIDTH)
        self.block = Block(attention)
        self.head = nn.Linear(WIDTH, CLASSES)
        self.example_input_array = example(1, TIME, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.embed(x)).mean(1))


class Separate(nn.Module):
    """Three linear layers; heads are made by `view` and joined by `flatten`; keys may be narrower.

    A bias by distance is added to the products if asked for.
    """

    offsets: Tensor

    def __init__(self, key_width: int = HEAD, *, relative: bool = False) -> None:
        super().__init__()
        self.heads, self.scale = HEADS, key_width**-0.5
        self.to_q = nn.Linear(WIDTH, HEADS * key_width)
        self.to_k = nn.Linear(WIDTH, HEADS * key_width)
        self.to_v = nn.Linear(WIDTH, WIDTH)
        self.to_out = nn.Linear(WIDTH, WIDTH)
        self.bias = nn.Embedding(2 * TIME - 1, HEADS) if relative else None
        places = torch.arange(TIME)
        self.register_buffer("offsets", places[None] - places[:, None] + TIME - 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, time, _ = x.shape
        q, k, v = (
            layer(x).view(batch, time, self.heads, -1).transpose(1, 2)
            for layer in (self.to_q, self.to_k, self.to_v)
        )
        scores = torch.matmul(q, k.transpose(2, 3)) * self.scale
        if self.bias is not None:
            scores = scores + self.bias(self.offsets).permute(2, 0, 1)
        return self.to_out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class EinsumAttention(nn.Module):
    """One packed layer without bias, `chunk`, and both products as einsums."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = HEADS
        self.to_qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.to_out = nn.Linear(WIDTH, WIDTH)
        self.scale = HEAD**-0.5

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).permute(0, 2, 1, 3)
            for part in self.to_qkv(x).chunk(3, dim=-1)
        )
        scores = torch.einsum("bhid,bhjd->bhij", q, k) * self.scale
        mixed = torch.einsum("bhij,bhjd->bhid", scores.softmax(-1), v)
        return self.to_out(mixed.permute(0, 2, 1, 3).flatten(2))


class GroupedQueries(nn.Module):
    """Four heads of queries to two of keys and values, rotary positions, a causal mask."""

    cosine: Tensor
    sine: Tensor

    def __init__(self, groups: int = 2) -> None:
        super().__init__()
        self.groups, self.repeats = groups, HEADS // groups
        self.q_proj = nn.Linear(WIDTH, HEADS * HEAD, bias=False)
        self.k_proj = nn.Linear(WIDTH, groups * HEAD, bias=False)
        self.v_proj = nn.Linear(WIDTH, groups * HEAD, bias=False)
        self.o_proj = nn.Linear(HEADS * HEAD, WIDTH, bias=False)
        turns = torch.arange(TIME)[:, None] / 100 ** (torch.arange(0, HEAD, 2) / HEAD)
        angles = torch.cat([turns, turns], dim=-1)
        self.register_buffer("cosine", angles.cos())
        self.register_buffer("sine", angles.sin())

    def _turn(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=-1)
        return x * self.cosine + torch.cat([-second, first], dim=-1) * self.sine

    def forward(self, x: Tensor) -> Tensor:
        batch, time, _ = x.shape
        q = self.q_proj(x).view(batch, time, -1, HEAD).transpose(1, 2)
        k = self.k_proj(x).view(batch, time, -1, HEAD).transpose(1, 2)
        v = self.v_proj(x).view(batch, time, -1, HEAD).transpose(1, 2)
        k = self._turn(k).repeat_interleave(self.repeats, dim=1)
        v = v[:, :, None].expand(-1, -1, self.repeats, -1, -1).flatten(1, 2)
        x = functional.scaled_dot_product_attention(self._turn(q), k, v, is_causal=True)
        return self.o_proj(x.transpose(1, 2).reshape(batch, time, -1))


class SelfMultihead(nn.Module):
    """`nn.MultiheadAttention` of a sequence with itself, batch or time first."""

    def __init__(self, *, batch_first: bool, weights: bool = False) -> None:
        super().__init__()
        self.batch_first, self.weights = batch_first, weights
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=batch_first)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.batch_first else x.transpose(0, 1)
        x = self.attention(x, x, x, need_weights=self.weights)[0]
        return x if self.batch_first else x.transpose(0, 1)


class CrossMultihead(nn.Module):
    """`nn.MultiheadAttention` to another sequence whose keys and values have their own widths."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(10, WIDTH)
        self.keys, self.values = nn.Linear(7, 12), nn.Linear(7, 20)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, kdim=12, vdim=20, batch_first=True)
        self.norm = nn.LayerNorm(WIDTH)
        self.mlp = mlp()
        self.head = nn.Linear(WIDTH, CLASSES)
        self.example_input_array = (example(1, TIME, 10), example(1, 4, 7))

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        x = self.embed(x)
        keys, values = self.keys(other), self.values(other)
        x = self.norm(x + self.attention(x, keys, values, need_weights=False)[0])
        return self.head((x + self.mlp(x)).mean(1))


class Pooled(nn.Module):
    """Attention of one learned query in place of a mean over time."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(10, WIDTH)
        self.heads = HEADS
        self.query = nn.Parameter(0.3 * torch.randn(1, HEADS, 1, HEAD))
        self.key, self.value = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.output = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)
        self.example_input_array = example(1, TIME, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.embed(x))
        key = self.key(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        value = self.value(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        shares = (self.query @ key.transpose(-2, -1) * HEAD**-0.5).softmax(-1)
        mixed = (shares @ value).flatten(1)  # (batch, head, 1, column): heads and columns in one
        return self.head(torch.relu(self.output(mixed)))


ATTENTION: dict[str, Callable[[], nn.Module]] = {
    "separate": lambda: Sequence(Separate()),
    "separate_narrow_keys": lambda: Sequence(Separate(key_width=3)),
    "relative_bias": lambda: Sequence(Separate(relative=True)),
    "einsum": lambda: Sequence(EinsumAttention()),
    "grouped_queries": lambda: Sequence(GroupedQueries()),
    "one_key_head": lambda: Sequence(GroupedQueries(groups=1)),
    "multihead": lambda: Sequence(SelfMultihead(batch_first=True)),
    "multihead_weights": lambda: Sequence(SelfMultihead(batch_first=True, weights=True)),
    "multihead_time_first": lambda: Sequence(SelfMultihead(batch_first=False)),
    "multihead_cross": CrossMultihead,
    "pooled": Pooled,
}
"""Networks by the name of their attention."""
