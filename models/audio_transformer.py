"""A small transformer for log-mel spectrograms, after those for audio events and for keywords.

Patches of a spectrogram become tokens by a convolution, as in Y. Gong, Y.-A. Chung, J. Glass, "AST:
Audio Spectrogram Transformer", Interspeech 2021 (section 2.1: patches that overlap, learned
positions, a class token). The sizes are those of A. Berg, M. O'Connor, M. T. Cruz, "Keyword
Transformer", Interspeech 2021: patches as high as the spectrogram, heads of 64 columns there and of
16 here. Blocks normalise before each branch (A. Dosovitskiy et al., ICLR 2021, section 3.1).
Spectrograms are (batch, channel, frequency, time), sequences (batch, token, width).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.sizes import at_least


class Attention(nn.Module):
    """Self-attention of several heads (A. Vaswani et al., NeurIPS 2017, section 3.2.2).

    Queries, keys and values are projected apart. Row `h * key_width + i` of the first two, row
    `h * value_width + i` of the third and column `h * value_width + i` of the output belong to
    place `i` of head `h`. A head whose output columns are zero can go, and so can a place whose
    query or value is: the products are divided by the square root of the width that keys had when
    the layer was built, not of what is left.

    Args:
        width: Columns of the tokens.
        heads: Heads.
        key_width: Columns of the queries and keys of one head; None for `width // heads`.
        value_width: Columns of the values of one head; None for `width // heads`.

    Attributes:
        heads: Heads.
        scale: Factor of the products of queries and keys.

    Raises:
        ValueError: If a size is below 1.
    """

    def __init__(
        self, width: int, heads: int, key_width: int | None = None, value_width: int | None = None
    ) -> None:
        super().__init__()
        at_least(1, "Attention", width=width, heads=heads)
        key_width = width // heads if key_width is None else key_width
        value_width = width // heads if value_width is None else value_width
        at_least(1, "Attention", key_width=key_width, value_width=value_width)
        self.heads = heads
        self.scale = float(key_width) ** -0.5
        self.query = nn.Linear(width, heads * key_width)
        self.key = nn.Linear(width, heads * key_width)
        self.value = nn.Linear(width, heads * value_width)
        self.output = nn.Linear(heads * value_width, width)

    @property
    def key_width(self) -> int:
        """Columns of the queries and keys of one head."""
        return self.query.out_features // self.heads

    @property
    def value_width(self) -> int:
        """Columns of the values of one head."""
        return self.value.out_features // self.heads

    def forward(self, x: Tensor) -> Tensor:
        """Mix the tokens of (batch, token, width); the shape is kept."""
        batch, tokens, _ = x.shape
        # (batch, token, heads * columns) -> (batch, head, token, column)
        query = self.query(x).view(batch, tokens, self.heads, -1).transpose(1, 2)
        key = self.key(x).view(batch, tokens, self.heads, -1).transpose(1, 2)
        value = self.value(x).view(batch, tokens, self.heads, -1).transpose(1, 2)
        # (batch, head, token, token): of every token, the shares of the tokens that it takes from.
        shares = (self.scale * query @ key.transpose(-2, -1)).softmax(dim=-1)
        return self.output((shares @ value).transpose(1, 2).flatten(2))

    def extra_repr(self) -> str:
        """Text that `print(model)` shows."""
        return f"heads={self.heads}, key_width={self.key_width}, value_width={self.value_width}"


class TransformerBlock(nn.Module):
    """`x + attention(norm(x))`, and then `x + mlp(norm(x))`."""

    def __init__(
        self, width: int, heads: int, hidden: int, key_width: int | None, dropout: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, key_width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (batch, token, width); the shape is kept."""
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.dropout(self.mlp(self.norm2(x)))


class AudioTransformer(nn.Module):
    """Convolution to patches, positions, transformer blocks, a norm, a linear layer.

    With the defaults (keywords of one second, 40 bands every 10 ms) it has 15 patches and a
    class token, 232,716 parameters and 3.7 million MACs, the products of attention among them.

    Args:
        num_classes: Number of outputs.
        width: Columns of a token.
        depth: Blocks.
        heads: Heads of each attention.
        hidden: Units of each block's multilayer perceptron; None for four times the width.
        key_width: Columns of queries and keys of a head; None for `width // heads`.
        patch: Bands and frames of a patch; None for all bands, and twelve frames.
        stride: Bands and frames from one patch to the next; None for half a patch in time.
        class_token: True to classify by a learned token, as both papers do; False by the mean of
            the patches.
        dropout: Share of what a branch adds that is dropped in training.
        mels: Frequency rows: positions are learned for these patches alone.
        frames: Time frames, likewise.

    Attributes:
        example_input_array: Zeros (1, 1, mels, frames); neither parameter nor buffer.

    Raises:
        ValueError: If a size is below 1, or a patch is larger than the spectrogram.
    """

    def __init__(
        self,
        num_classes: int = 12,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        *,
        hidden: int | None = None,
        key_width: int | None = None,
        patch: Sequence[int] | None = None,
        stride: Sequence[int] | None = None,
        class_token: bool = True,
        dropout: float = 0.0,
        mels: int = 40,
        frames: int = 101,
    ) -> None:
        super().__init__()
        at_least(1, "AudioTransformer", num_classes=num_classes, width=width, depth=depth)
        at_least(1, "AudioTransformer", heads=heads, mels=mels, frames=frames)
        hidden = 4 * width if hidden is None else hidden
        at_least(1, "AudioTransformer", hidden=hidden)
        size, step = _patches(patch, stride, mels)
        tokens = _tokens(size, step, mels, frames)
        self.patches = nn.Conv2d(1, width, size, step)
        self.token = nn.Parameter(torch.zeros(1, 1, width)) if class_token else None
        self.positions = nn.Parameter(torch.zeros(1, tokens + class_token, width))
        self.blocks = nn.Sequential(
            *(TransformerBlock(width, heads, hidden, key_width, dropout) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, num_classes)
        nn.init.trunc_normal_(self.positions, std=0.02)
        if self.token is not None:
            nn.init.trunc_normal_(self.token, std=0.02)
        self.example_input_array = torch.zeros(1, 1, mels, frames)

    def forward(self, x: Tensor) -> Tensor:
        """Log-mel spectrograms (batch, 1, mels, frames) -> class logits (batch, classes)."""
        # (batch, width, rows, columns) -> (batch, rows * columns, width)
        x = self.patches(x).flatten(2).transpose(1, 2)
        if self.token is not None:
            x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1)
        x = self.norm(self.blocks(x + self.positions))
        return self.classifier(x.mean(dim=1) if self.token is None else x[:, 0])


def _patches(
    patch: Sequence[int] | None, stride: Sequence[int] | None, mels: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Size of a patch, and from one to the next, in bands and frames."""
    size = (mels, 12) if patch is None else tuple(patch)
    step = (size[0], max(1, size[-1] // 2)) if stride is None else tuple(stride)
    if len(size) != 2 or len(step) != 2:
        raise ValueError(
            f"AudioTransformer(patch={patch}, stride={stride}): both are two numbers, of bands and "
            "of frames."
        )
    for name, (bands, frames) in {"patch": size, "stride": step}.items():
        at_least(1, "AudioTransformer", **{f"{name}[0]": bands, f"{name}[1]": frames})
    return size, step


def _tokens(size: tuple[int, int], step: tuple[int, int], mels: int, frames: int) -> int:
    """Patches of a spectrogram of this size."""
    if size[0] > mels or size[1] > frames:
        raise ValueError(
            f"AudioTransformer(patch={size}): larger than the spectrogram of {mels} bands and "
            f"{frames} frames. Take a smaller patch."
        )
    return ((mels - size[0]) // step[0] + 1) * ((frames - size[1]) // step[1] + 1)
