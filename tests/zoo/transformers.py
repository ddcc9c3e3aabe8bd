"""Small transformers as people write them: for images, spectrograms and sequences.

Sources: A. Dosovitskiy et al. 2021 (arXiv:2010.11929) for the ViT, in the style of the library that
most people take it from (one packed layer, `reshape`, `unbind`); Z. Liu et al. 2021
(arXiv:2103.14030) for windows that shift, their relative positions and the merging of patches;
Y. Gong et al. 2021 (arXiv:2104.01778) for the AST; A. Gulati et al. 2020 (arXiv:2005.08100) for the
Conformer. Sizes are our own. The kinds of attention are in `attention`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import CLASSES, HEAD, HEADS, HIDDEN, WIDTH, Block, mlp
from .layers import example

if TYPE_CHECKING:
    from collections.abc import Callable


class PackedAttention(nn.Module):
    """Queries, keys and values of one layer, rows (3, heads, columns of a head).

    `own_width` joins the heads by `flatten`; else by the width of the tokens that came in, which is
    right only as long as heads times their columns are that.
    """

    def __init__(self, *, fused: bool, own_width: bool = True) -> None:
        super().__init__()
        self.num_heads, self.head_dim = HEADS, HEAD
        self.scale = HEAD**-0.5
        self.fused, self.own_width = fused, own_width
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape  # noqa: N806 - as it is written everywhere
        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if self.fused:
            x = functional.scaled_dot_product_attention(q, k, v, scale=self.scale)
        else:
            x = (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1) @ v
        x = x.transpose(1, 2)
        return self.proj(x.flatten(2) if self.own_width else x.reshape(B, N, C))


class ViT(nn.Module):
    """Patches of 4 x 4, a class token, learned positions, two blocks."""

    def __init__(
        self, attention: Callable[[], nn.Module], norm: Callable[[int], nn.Module] = nn.LayerNorm
    ) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, WIDTH, 4, stride=4)
        self.cls_token = nn.Parameter(0.1 * torch.randn(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(0.1 * torch.randn(1, 17, WIDTH))
        self.blocks = nn.Sequential(*(Block(attention(), norm) for _ in range(2)))
        self.norm = norm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)
        self.example_input_array = example(1, 3, 16, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


def window_partition(x: Tensor, size: int) -> Tensor:
    """(batch, height, width, channel) -> (batch * windows, size, size, channel)."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // size, size, width // size, size, channels)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, size, size, channels)


def window_reverse(windows: Tensor, size: int, height: int, width: int) -> Tensor:
    """Put windows back: the inverse of `window_partition`."""
    x = windows.view(-1, height // size, width // size, size, size, windows.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, height, width, windows.shape[-1])


class WindowAttention(nn.Module):
    """Attention in windows of 4 x 4 with a learned bias for every head and relative position."""

    relative: Tensor

    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.num_heads, self.size = heads, size
        self.scale = (width // heads) ** -0.5
        self.table = nn.Parameter(0.1 * torch.randn((2 * size - 1) ** 2, heads))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        places = torch.stack(torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij"))
        apart = places.flatten(1)[:, :, None] - places.flatten(1)[:, None, :] + size - 1
        self.register_buffer("relative", apart[0] * (2 * size - 1) + apart[1])

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        windows, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(windows, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        scores = (q * self.scale) @ k.transpose(-2, -1)
        bias = self.table[self.relative.view(-1)].view(tokens, tokens, -1).permute(2, 0, 1)
        scores = scores + bias.contiguous().unsqueeze(0)
        if mask is not None:
            many = mask.shape[0]
            scores = scores.view(windows // many, many, self.num_heads, tokens, tokens)
            scores = scores + mask.unsqueeze(1).unsqueeze(0)
            scores = scores.view(-1, self.num_heads, tokens, tokens)
        x = (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(windows, tokens, -1)
        return self.proj(x)


class SwinBlock(nn.Module):
    """Attention in windows, which may be shifted by half of one, and a perceptron."""

    mask: Tensor | None

    def __init__(self, width: int, heads: int, side: int, *, shift: int, size: int = 4) -> None:
        super().__init__()
        self.side, self.shift, self.size = side, shift, size
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, size)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = mlp(width)
        self.register_buffer("mask", self._apart() if shift else None)

    def _apart(self) -> Tensor:
        """-100 between places of a window that were not neighbours before the roll."""
        number = torch.zeros(1, self.side, self.side, 1)
        cuts = (slice(-self.size), slice(-self.size, -self.shift), slice(-self.shift, None))
        for count, (rows, columns) in enumerate((a, b) for a in cuts for b in cuts):
            number[:, rows, columns] = count
        places = window_partition(number, self.size).view(-1, self.size**2)
        return (places[:, None, :] != places[:, :, None]) * -100.0

    def forward(self, x: Tensor) -> Tensor:
        batch, _, channels = x.shape
        y = self.norm1(x).view(batch, self.side, self.side, channels)
        if self.shift:
            y = torch.roll(y, (-self.shift, -self.shift), dims=(1, 2))
        windows = window_partition(y, self.size).view(-1, self.size**2, channels)
        windows = self.attn(windows, self.mask).view(-1, self.size, self.size, channels)
        y = window_reverse(windows, self.size, self.side, self.side)
        if self.shift:
            y = torch.roll(y, (self.shift, self.shift), dims=(1, 2))
        x = x + y.view(batch, -1, channels)
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    """Four neighbours side by side, normalised, and brought to twice the channels."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, channels = x.shape
        x = x.view(batch, self.side, self.side, channels)
        parts = [x[:, i::2, j::2, :] for j in (0, 1) for i in (0, 1)]
        x = torch.cat(parts, -1).view(batch, -1, 4 * channels)
        return self.reduction(self.norm(x))


class Swin(nn.Module):
    """Two blocks of 8 x 8 places, plain and shifted, and one of 4 x 4 after merging."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 2, stride=2)
        self.norm = nn.LayerNorm(8)
        self.blocks = nn.Sequential(SwinBlock(8, 2, 8, shift=0), SwinBlock(8, 2, 8, shift=2))
        self.merge = PatchMerging(8, 8)
        self.last = SwinBlock(16, 2, 4, shift=0)
        self.norm2 = nn.LayerNorm(16)
        self.head = nn.Linear(16, CLASSES)
        self.example_input_array = example(1, 3, 16, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.embed(x).flatten(2).transpose(1, 2))
        x = self.norm2(self.last(self.merge(self.blocks(x))))
        return self.head(x.mean(1))


class AST(nn.Module):
    """Overlapping patches of a spectrogram, a class and a distillation token; both are averaged."""

    def __init__(self, attention: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, WIDTH, 6, stride=5)
        self.tokens = nn.Parameter(0.1 * torch.randn(1, 2, WIDTH))
        self.positions = nn.Parameter(0.1 * torch.randn(1, 3 * 4 + 2, WIDTH))
        self.blocks = nn.ModuleList(Block(attention()) for _ in range(2))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES))
        self.example_input_array = example(1, 1, 16, 24)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.tokens.expand(x.shape[0], -1, -1), x), dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.head((x[:, 0] + x[:, 1]) / 2)


class Encoder(nn.Module):
    """PyTorch's own encoder between a linear layer and a mean over time."""

    def __init__(self, *, norm_first: bool, batch_first: bool) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.embed = nn.Linear(10, WIDTH)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, HIDDEN, norm_first=norm_first, batch_first=batch_first, activation="gelu"
        )
        norm = nn.LayerNorm(WIDTH) if norm_first else None
        self.encoder = nn.TransformerEncoder(layer, 2, norm, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, CLASSES)
        self.example_input_array = example(1, 7, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        if self.batch_first:
            return self.head(self.encoder(x).mean(1))
        return self.head(self.encoder(x.transpose(0, 1)).mean(0))


class ConformerBlock(nn.Module):
    """Half a perceptron, attention, a gated depthwise convolution over time, half a perceptron."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.first, self.second = (self._perceptron() for _ in range(2))
        self.norm1 = nn.LayerNorm(WIDTH)
        self.attention = attention
        self.norm2 = nn.LayerNorm(WIDTH)
        self.gated = nn.Conv1d(WIDTH, 2 * WIDTH, 1)
        self.depthwise = nn.Conv1d(WIDTH, WIDTH, 5, padding=2, groups=WIDTH)
        self.batch_norm = nn.BatchNorm1d(WIDTH)
        self.pointwise = nn.Conv1d(WIDTH, WIDTH, 1)
        self.norm3 = nn.LayerNorm(WIDTH)

    @staticmethod
    def _perceptron() -> nn.Sequential:
        layers = (nn.Linear(WIDTH, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, WIDTH))
        return nn.Sequential(nn.LayerNorm(WIDTH), *layers)

    def forward(self, x: Tensor) -> Tensor:
        x = x + 0.5 * self.first(x)
        x = x + self.attention(self.norm1(x))
        y = functional.glu(self.gated(self.norm2(x).transpose(1, 2)), dim=1)
        y = self.pointwise(functional.silu(self.batch_norm(self.depthwise(y))))
        x = x + y.transpose(1, 2)
        return self.norm3(x + 0.5 * self.second(x))


class Conformer(nn.Module):
    """A strided convolution over time, one block, a mean over time."""

    def __init__(self, attention: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.embed = nn.Conv1d(10, WIDTH, 3, stride=2, padding=1)
        self.block = ConformerBlock(attention())
        self.head = nn.Linear(WIDTH, CLASSES)
        self.example_input_array = example(1, 10, 14)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.embed(x).transpose(1, 2)).mean(1))


class Affine(nn.Module):
    """A scale and a shift for every channel (H. Touvron et al. 2021, ResMLP), no statistics."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(1 + 0.1 * torch.randn(width))
        self.bias = nn.Parameter(0.1 * torch.randn(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight + self.bias


def packed(*, fused: bool, own_width: bool = True) -> Callable[[], nn.Module]:
    """Builder of a packed attention."""
    return lambda: PackedAttention(fused=fused, own_width=own_width)


WHOLE: dict[str, Callable[[], nn.Module]] = {
    "vit": lambda: ViT(packed(fused=False)),
    "vit_fused": lambda: ViT(packed(fused=True)),
    "vit_width_of_input": lambda: ViT(packed(fused=True, own_width=False)),
    "vit_without_norm": lambda: ViT(packed(fused=False), Affine),
    "swin": Swin,
    "ast": lambda: AST(packed(fused=False)),
    "encoder": lambda: Encoder(norm_first=False, batch_first=True),
    "encoder_pre_norm": lambda: Encoder(norm_first=True, batch_first=True),
    "encoder_time_first": lambda: Encoder(norm_first=False, batch_first=False),
    "encoder_pre_norm_time_first": lambda: Encoder(norm_first=True, batch_first=False),
    "conformer": lambda: Conformer(packed(fused=False)),
}
"""Whole networks by name."""
