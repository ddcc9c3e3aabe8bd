"""Parts of the transformers that say nothing, planted: what is removed without a trace.

A head, a place in all heads of an attention (a column of its queries and keys, or of its values), a
unit of a perceptron, a channel of a trunk that no norm of statistics reads. Each is named by what
has to go with it, and silenced where it would be heard.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from .attention import HEAD, HEADS, WIDTH
from .scaled import HEADS as TWO
from .scaled import SCALED


@dataclass(frozen=True)
class Entries:
    """Entries of a tensor along one of its dimensions."""

    tensor: str
    dim: int
    places: tuple[int, ...]


@dataclass(frozen=True)
class Plant:
    """One part of a network.

    Attributes:
        kind: What it is.
        gone: Entries that it takes along, no more and no fewer, of one tensor.
        silent: Entries to set to zero, so that the rest of the network does not hear of it.
    """

    kind: str
    gone: Entries
    silent: tuple[Entries, ...]

    def put_into(self, model: nn.Module) -> None:
        """Silence this part of a network, in place."""
        tensors = dict(model.named_parameters())
        with torch.no_grad():
            for one in self.silent:
                tensors[one.tensor].index_fill_(one.dim, torch.tensor(one.places), 0.0)


def rows(name: str, places: tuple[int, ...], *, bias: bool = True) -> tuple[Entries, ...]:
    """Rows of a linear layer."""
    tensors = ("weight", "bias") if bias else ("weight",)
    return tuple(Entries(f"{name}.{tensor}", 0, places) for tensor in tensors)


def columns(name: str, places: tuple[int, ...]) -> tuple[Entries, ...]:
    """Columns of a linear layer."""
    return (Entries(f"{name}.weight", 1, places),)


def of_head(head: int, width: int) -> tuple[int, ...]:
    """Rows or columns of one head."""
    return tuple(range(head * width, (head + 1) * width))


def of_place(place: int, width: int, heads: int = HEADS) -> tuple[int, ...]:
    """Rows or columns of one place in all heads."""
    return tuple(head * width + place for head in range(heads))


def perceptron(first: str, second: str, unit: int = 3) -> Plant:
    """A unit that the second layer does not read."""
    return Plant("unit", Entries(f"{first}.weight", 0, (unit,)), columns(second, (unit,)))


def apart(
    query: str, value: str, output: str, *, key_width: int = HEAD, bias: bool = True
) -> Iterator[Plant]:
    """Parts of an attention of separate layers."""
    head, key, place = of_head(2, HEAD), of_place(1, key_width), of_place(2, HEAD)
    yield Plant("head", Entries(f"{value}.weight", 0, head), columns(output, head))
    yield Plant("key column", Entries(f"{query}.weight", 0, key), rows(query, key, bias=bias))
    yield Plant("value column", Entries(f"{value}.weight", 0, place), columns(output, place))


def packed(
    weight: str, bias: str | None, output: str, *, width: int = WIDTH, heads: int = HEADS
) -> Iterator[Plant]:
    """Parts of an attention of one layer, whose rows are (3, heads, columns of a head).

    One view divides all rows alike, as `chunk` does, so that a column of queries and keys goes with
    one of values.
    """
    each = width // heads
    head, place = of_head(1, each), of_place(2, each, heads)
    yield Plant("head", Entries(weight, 0, _thrice(head, width)), columns(output, head))
    queries = tuple(Entries(name, 0, place) for name in (weight, bias) if name is not None)
    silent = (*queries, *columns(output, place))
    yield Plant("column", Entries(weight, 0, _thrice(place, width)), silent)


def _thrice(places: tuple[int, ...], width: int) -> tuple[int, ...]:
    return tuple(part * width + place for part in range(3) for place in places)


def _of_group(values: str, output: str) -> tuple[Entries, tuple[Entries, ...]]:
    """The second of two heads of values, which two heads of queries read."""
    read = tuple(range(2 * HEAD, 4 * HEAD))
    return Entries(f"{values}.weight", 0, of_head(1, HEAD)), columns(output, read)


def layers(name: str) -> tuple[Plant, ...]:
    """Parts of a packed attention and a perceptron of a block as `attention.Block` is one."""
    attention = packed(f"{name}.attn.qkv.weight", f"{name}.attn.qkv.bias", f"{name}.attn.proj")
    return (*attention, perceptron(f"{name}.mlp.0", f"{name}.mlp.2"))


def opened(name: str) -> Iterator[Plant]:
    """Parts of a `nn.MultiheadAttention`: its columns of queries and keys go apart from values."""
    head, place = of_head(1, HEAD), of_place(2, HEAD)
    weight, bias, output = (
        f"{name}.{part}" for part in ("in_proj_weight", "in_proj_bias", "out_proj")
    )
    yield Plant("head", Entries(weight, 0, _thrice(head, WIDTH)), columns(output, head))
    queries = (Entries(weight, 0, place), Entries(bias, 0, place))
    yield Plant("key column", Entries(weight, 0, (*place, *_moved(place, WIDTH))), queries)
    values = Entries(weight, 0, _moved(place, 2 * WIDTH))
    yield Plant("value column", values, columns(output, place))


def _moved(places: tuple[int, ...], by: int) -> tuple[int, ...]:
    return tuple(place + by for place in places)


def torch_layers(name: str) -> tuple[Plant, ...]:
    """Parts of a layer of PyTorch's encoder."""
    return (*opened(f"{name}.self_attn"), perceptron(f"{name}.linear1", f"{name}.linear2"))


def multihead(name: str) -> tuple[Plant, ...]:
    """Parts of a `nn.MultiheadAttention` in a block."""
    return (*opened(name), BLOCK_UNIT)


BLOCK_UNIT = perceptron("block.mlp.0", "block.mlp.2")
SEPARATE = (*apart("block.attn.to_q", "block.attn.to_v", "block.attn.to_out"), BLOCK_UNIT)
NARROW = (
    *apart("block.attn.to_q", "block.attn.to_v", "block.attn.to_out", key_width=3),
    BLOCK_UNIT,
)
ENCODER = torch_layers("encoder.layers.1")
TRUNK = Plant(
    "channel of the trunk",
    Entries("patch_embed.weight", 0, (5,)),
    (
        *(part for i in range(2) for part in columns(f"blocks.{i}.attn.qkv", (5,))),
        *(part for i in range(2) for part in columns(f"blocks.{i}.mlp.0", (5,))),
        *columns("head", (5,)),
    ),
)
EINSUM = (  # `chunk` gives queries, keys and values equally many columns
    *packed("block.attn.to_qkv.weight", None, "block.attn.to_out"),
    BLOCK_UNIT,
)
GROUP = Plant("group of two heads", *_of_group("block.attn.v_proj", "block.attn.o_proj"))
CROSS = (
    Plant(
        "head",
        Entries("attention.v_proj_weight", 0, of_head(1, HEAD)),
        columns("attention.out_proj", of_head(1, HEAD)),
    ),
    perceptron("mlp.0", "mlp.2"),
    Plant(
        "channel of the keys",
        Entries("keys.weight", 0, (4,)),
        (Entries("attention.k_proj_weight", 1, (4,)),),
    ),
)
POOLED = (
    Plant("key column", Entries("key.weight", 0, of_place(1, HEAD)), (Entries("query", 3, (1,)),)),
    Plant(
        "value column",
        Entries("value.weight", 0, of_place(2, HEAD)),
        columns("output", of_place(2, HEAD)),
    ),
    Plant(
        "channel",
        Entries("embed.weight", 0, (5,)),
        (*columns("key", (5,)), *columns("value", (5,))),
    ),
)
CONFORMER = (
    *packed("block.attention.qkv.weight", "block.attention.qkv.bias", "block.attention.proj"),
    perceptron("block.first.1", "block.first.3"),
    perceptron("block.second.1", "block.second.3"),
    Plant(
        "gated channel",
        Entries("block.depthwise.weight", 0, (6,)),
        (Entries("block.pointwise.weight", 1, (6,)),),
    ),
)
SWIN = (
    *packed(
        "blocks.1.attn.qkv.weight", "blocks.1.attn.qkv.bias", "blocks.1.attn.proj", width=8, heads=2
    ),
    perceptron("blocks.1.mlp.0", "blocks.1.mlp.2"),
    *packed("last.attn.qkv.weight", "last.attn.qkv.bias", "last.attn.proj", width=16, heads=2),
    perceptron("last.mlp.0", "last.mlp.2"),
)

JOINED = (  # the bias has no rows for keys
    Plant(
        "head",
        Entries("block.attn.qkv.weight", 0, _thrice(of_head(1, HEAD), WIDTH)),
        columns("block.attn.proj", of_head(1, HEAD)),
    ),
    Plant(
        "column",
        Entries("block.attn.qkv.weight", 0, _thrice(of_place(2, HEAD), WIDTH)),
        (
            Entries("block.attn.qkv.weight", 0, of_place(2, HEAD)),
            Entries("block.attn.q_bias", 0, of_place(2, HEAD)),
            *columns("block.attn.proj", of_place(2, HEAD)),
        ),
    ),
    BLOCK_UNIT,
)
PAIR = (*of_place(2, HEAD), *of_place(3, HEAD))
PAIRS = (
    SEPARATE[0],
    Plant(
        "pair of key columns",
        Entries("block.attn.to_q.weight", 0, tuple(sorted(PAIR))),
        rows("block.attn.to_q", PAIR),
    ),
    *SEPARATE[2:],
)
COMPLEX = (
    Plant("group of two heads", *_of_group("block.attn.wv", "block.attn.wo")),
    Plant(
        "pair of columns",  # one attribute counts those of keys and of values
        Entries("block.attn.wq.weight", 0, tuple(sorted(PAIR))),
        (*rows("block.attn.wq", PAIR, bias=False), *columns("block.attn.wo", PAIR)),
    ),
    BLOCK_UNIT,
)
ANNOTATED = (SEPARATE[0], BLOCK_UNIT)  # the scale is that of the columns, which none leaves alone
HALF = (
    Plant(
        "two channels",
        Entries("stem.weight", 0, (1, 7)),
        (
            *rows("theta", (1,)),
            *columns("w", (1,)),
            *(part for layer in ("theta", "phi", "g", "head") for part in columns(layer, (1, 7))),
        ),
    ),
)

PLANTS: dict[str, tuple[Plant, ...]] = {
    "vit": layers("blocks.1"),
    "vit_fused": layers("blocks.1"),
    "vit_width_of_input": (perceptron("blocks.1.mlp.0", "blocks.1.mlp.2"),),
    "vit_without_norm": (*layers("blocks.0"), TRUNK),
    "swin": SWIN,
    "ast": layers("blocks.1"),
    "encoder": ENCODER,
    "encoder_pre_norm": ENCODER,
    "encoder_time_first": ENCODER,
    "encoder_pre_norm_time_first": ENCODER,
    "conformer": CONFORMER,
    "separate": SEPARATE,
    "separate_narrow_keys": NARROW,
    "relative_bias": SEPARATE,
    "einsum": EINSUM,
    "grouped_queries": (GROUP, BLOCK_UNIT),
    "one_key_head": (BLOCK_UNIT,),
    "multihead": multihead("block.attn.attention"),
    "multihead_weights": multihead("block.attn.attention"),
    "multihead_time_first": multihead("block.attn.attention"),
    "multihead_cross": CROSS,
    "pooled": POOLED,
    "of_input": (BLOCK_UNIT,),
    "of_attributes": ANNOTATED,
    "annotated": ANNOTATED,
    "sized": (SEPARATE[0], *SEPARATE[2:]),
    "sized_by_tensor": (SEPARATE[0], *SEPARATE[2:]),
    "joined": JOINED,
    "complex": COMPLEX,
    "pairs": PAIRS,
    "linear": (SEPARATE[0], *SEPARATE[2:]),
    "tokens": multihead("block.attn.attention"),
    "non_local": HALF,
    **dict.fromkeys(SCALED, (BLOCK_UNIT,)),
    "packed": (
        *packed("block.attn.qkv.weight", "block.attn.qkv.bias", "block.attn.proj", heads=TWO),
        BLOCK_UNIT,
    ),
}
"""What can go from every network, by its name."""
