"""Views that split channels into heads, in the ways that people write their sizes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor import measure, trace
from compressor.graph.graph import Graph
from compressor.graph.structure import Structure
from compressor.surgery.cutting import shrink
from compressor.surgery.proof import verify

TIME, WIDTH = 5, 12


class Attended(nn.Module):
    """A packed attention between two linear layers; `mix` says how sizes are written."""

    def __init__(self, mix: Callable[[Attended, Tensor], Tensor], heads: int, width: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.heads, self.width, self.mix = heads, width, mix
        self.total = 0
        self.first = nn.Linear(3, WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * heads * width)
        self.proj = nn.Linear(heads * width, WIDTH)
        self.head = nn.Linear(WIDTH, 4)
        self.example_input_array = torch.randn(1, TIME, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.head((x + self.proj(self.mix(self, x))).mean(1))


def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(q, k, v, scale=0.5)


def by_attributes(model: Attended, x: Tensor) -> Tensor:
    b, n, _ = x.shape
    qkv = model.qkv(x).reshape(b, n, 3, model.heads, model.width).permute(2, 0, 3, 1, 4)
    return fused(*qkv).transpose(1, 2).flatten(2)


def by_chunks(model: Attended, x: Tensor) -> Tensor:
    b, n, _ = x.shape
    parts = (y.view(b, n, model.heads, -1).transpose(1, 2) for y in model.qkv(x).chunk(3, -1))
    return fused(*parts).transpose(1, 2).reshape(b, n, -1)


def by_hand(model: Attended, x: Tensor) -> Tensor:
    b, n, _ = x.shape
    q, k, v = model.qkv(x).reshape(b, n, 3, model.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    scores = (q * 0.5) @ k.transpose(-2, -1)
    return (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, -1)


def in_one_batch(model: Attended, x: Tensor) -> Tensor:
    """Heads become items of the batch, as in PyTorch's own."""
    b, n, _ = x.shape
    q, k, v = (
        y.reshape(b, n, model.heads, -1).transpose(1, 2).reshape(b * model.heads, n, -1)
        for y in model.qkv(x).chunk(3, -1)
    )
    scores = torch.baddbmm(x.new_zeros(1, 1, 1), q, k.transpose(1, 2), beta=0, alpha=0.5)
    y = torch.bmm(scores.softmax(-1), v)
    return y.view(b, model.heads, n, -1).transpose(1, 2).reshape(b, n, -1)


def checked(model: nn.Module, graph: Graph) -> None:
    """Remove a third of everything: costs exact, outputs those of the masked original."""
    keep = np.ones(graph.units, dtype=bool)
    for axis in graph.axes:
        if not axis.frozen:
            keep[axis.first : axis.first + max(1, axis.size // 3)] = False
    structure = Structure(graph, keep)
    small = shrink(model, graph, structure)
    assert verify(model, graph, structure, small) < 1e-9
    cost = measure(small, model.example_input_array)
    assert cost.macs == graph.macs(structure.widths)
    assert cost.params == graph.params(structure.widths)


@pytest.mark.parametrize("mix", [by_attributes, by_chunks, by_hand, in_one_batch])
@pytest.mark.parametrize(("heads", "width"), [(3, 4), (4, 4), (2, 6)])
def test_heads_and_their_width_shrink_both(
    mix: Callable[[Attended, Tensor], Tensor], heads: int, width: int
) -> None:
    model = Attended(mix, heads, width)
    graph = trace(model)
    assert set(graph.frozen) == {"head"}
    assert sorted(axis.size for axis in graph.axes) == sorted([heads, width, WIDTH])
    checked(model, graph)


def test_a_width_read_off_the_input_ties_the_trunk() -> None:
    def mix(model: Attended, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = model.qkv(x).reshape(b, n, 3, model.heads, c // model.heads).permute(2, 0, 3, 1, 4)
        return fused(*qkv).transpose(1, 2).reshape(b, n, c)

    model = Attended(mix, 3, 4)
    graph = trace(model)
    assert set(graph.frozen) == {"head"}
    assert [axis.size for axis in graph.axes] == [4]
    checked(model, graph)


def apart(model: Attended, x: Tensor, width: int) -> Tensor:
    """Three layers in one, of which each makes heads of its own in this width."""
    b, n, _ = x.shape
    q, k, v = (y.view(b, n, model.heads, width).transpose(1, 2) for y in model.qkv(x).chunk(3, -1))
    return fused(q, k, v).transpose(1, 2).flatten(2)


def test_a_width_computed_of_the_input_ties_the_trunk_wherever_it_is_written() -> None:
    graph = trace(model := Attended(lambda m, x: apart(m, x, x.shape[-1] // m.heads), 3, 4))
    assert set(graph.frozen) == {"head"}
    assert [axis.size for axis in graph.axes] == [4]
    checked(model, graph)


def test_a_width_computed_of_an_attribute_leaves_the_trunk() -> None:
    model = Attended(lambda m, x: apart(m, x, m.total // m.heads), 2, 5)
    model.total = 10
    graph = trace(model)
    assert set(graph.frozen) == {"head"}
    assert [axis.size for axis in graph.axes] == [WIDTH, 2, 5]
    assert graph.remembered.keys() == {"heads", "total"}
    checked(model, graph)


def test_half_of_the_channels_goes_with_both_halves() -> None:
    model = Attended(lambda m, x: m.qkv(x)[..., :6].reshape(*x.shape[:2], x.shape[-1] // 2), 1, 6)
    graph = trace(model)
    checked(model, graph)


class Two(nn.Module):
    """Attentions of four and of three heads, in the width of one trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(3, WIDTH), nn.Linear(WIDTH, 4)
        self.many, self.few = (Attended(self.mixed, heads, WIDTH // heads) for heads in (4, 3))
        self.many.first = self.few.first = self.many.head = self.few.head = nn.Identity()
        self.example_input_array = torch.randn(1, TIME, 3)

    @staticmethod
    def mixed(model: Attended, x: Tensor) -> Tensor:
        b, n, c = x.shape
        parts = (y.view(b, n, model.heads, c // model.heads) for y in model.qkv(x).chunk(3, -1))
        return fused(*(y.transpose(1, 2) for y in parts)).transpose(1, 2).reshape(b, n, c)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for layer in (self.many, self.few):
            x = x + layer.proj(layer.mix(layer, x))
        return self.head(x.mean(1))


def test_two_numbers_of_heads_in_one_trunk_are_counted() -> None:
    """Of what both divide alike there may be no unit left, and what there is has its price."""
    graph = trace(model := Two())
    assert graph.params(graph.sizes) == measure(model).params
    checked(model, graph)


def test_a_number_of_heads_in_the_code_leaves_their_width() -> None:
    def mix(model: Attended, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        qkv = model.qkv(x).reshape(b, n, 3, 3, -1).permute(2, 0, 3, 1, 4)
        return fused(*qkv).transpose(1, 2).flatten(2)

    graph = trace(Attended(mix, 3, 4))
    free = sorted(axis.size for axis in graph.axes if not axis.frozen)
    assert 4 in free
    assert 3 not in free


def test_a_scale_of_another_width_holds_what_it_depends_on() -> None:
    """The scale is that of the tokens, whose width is not that of the heads."""

    def mix(model: Attended, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = model.qkv(x).reshape(b, n, 3, model.heads, -1).permute(2, 0, 3, 1, 4)
        scale = (c * 40.0) ** -0.5
        return ((qkv[0] @ qkv[1].mT * scale).softmax(-1) @ qkv[2]).transpose(1, 2).flatten(2)

    model = Attended(mix, 3, 4)
    checked(model, trace(model))
