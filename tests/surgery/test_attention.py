"""Opened attention computes what PyTorch's does, and what is left of it with fewer heads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor import Budget, fit, measure, trace
from compressor.graph.structure import Structure
from compressor.surgery.attention import Attention, can_be_opened, open_attention
from compressor.surgery.cutting import shrink
from compressor.surgery.proof import verify

WIDTH, HEADS, TIME = 12, 3, 5


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def pair(**settings: Any) -> tuple[nn.MultiheadAttention, nn.MultiheadAttention]:
    """PyTorch's attention with random weights, and the same opened."""
    mine = nn.MultiheadAttention(WIDTH, HEADS, **settings)
    with torch.no_grad():
        for parameter in mine.parameters():
            parameter.normal_(0, 0.3)
    theirs = nn.MultiheadAttention(WIDTH, HEADS, **settings)
    theirs.load_state_dict(mine.state_dict())
    open_attention(mine)
    assert isinstance(mine, Attention)
    return mine.eval(), theirs.eval()


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {"batch_first": True},
        {"batch_first": False},
        {"batch_first": True, "bias": False},
        {"batch_first": True, "kdim": 7, "vdim": 9},
        {"batch_first": False, "kdim": 7, "vdim": 9, "bias": False},
        {"batch_first": True, "add_bias_kv": True},
        {"batch_first": False, "add_zero_attn": True},
        {"batch_first": True, "add_bias_kv": True, "add_zero_attn": True},
    ],
)
def test_is_pytorchs(settings: dict[str, Any], *, need_weights: bool) -> None:
    mine, theirs = pair(**settings)
    keys, values = settings.get("kdim", WIDTH), settings.get("vdim", WIDTH)
    inputs = [torch.randn(2, 4, WIDTH), torch.randn(2, TIME, keys), torch.randn(2, TIME, values)]
    if not settings["batch_first"]:
        inputs = [x.transpose(0, 1) for x in inputs]
    for a, b in zip(
        mine(*inputs, need_weights=need_weights),
        theirs(*inputs, need_weights=need_weights),
        strict=True,
    ):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b)


masks: dict[str, Callable[[], dict[str, Tensor]]] = {
    "causal": lambda: {"attn_mask": torch.triu(torch.ones(TIME, TIME), 1).bool()},
    "added": lambda: {"attn_mask": torch.randn(TIME, TIME)},
    "of heads": lambda: {"attn_mask": torch.randn(2 * HEADS, TIME, TIME)},
    "padding": lambda: {
        "key_padding_mask": torch.tensor([[False] * TIME, [False] * 3 + [True] * 2])
    },
    "both": lambda: {
        "attn_mask": torch.randn(TIME, TIME),
        "key_padding_mask": torch.randn(2, TIME),
    },
}


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("name", masks)
@pytest.mark.parametrize("longer", [False, True])
def test_masks_are_pytorchs(name: str, *, need_weights: bool, longer: bool) -> None:
    mine, theirs = pair(batch_first=True, add_bias_kv=longer, add_zero_attn=longer)
    x, mask = torch.randn(2, TIME, WIDTH), masks[name]()
    for average in (True, False):
        settings = {"need_weights": need_weights, "average_attn_weights": average, **mask}
        for a, b in zip(mine(x, x, x, **settings), theirs(x, x, x, **settings), strict=True):
            if b is not None:
                torch.testing.assert_close(a, b)


def test_without_a_batch() -> None:
    mine, theirs = pair(batch_first=True)
    x = torch.randn(TIME, WIDTH)
    for a, b in zip(mine(x, x, x), theirs(x, x, x), strict=True):
        torch.testing.assert_close(a, b)


class Other(nn.MultiheadAttention):
    """What somebody has made of it."""


def test_what_inherits_from_it_is_left_alone() -> None:
    module = Other(WIDTH, HEADS)
    assert not can_be_opened(module)
    open_attention(module)
    assert type(module) is Other


class Encoder(nn.Module):
    def __init__(self, *, norm_first: bool, batch_first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 20, batch_first=batch_first, norm_first=norm_first
        )
        self.inner = nn.Linear(4, WIDTH)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, 3)
        self.batch_first = batch_first
        self.example_input_array = torch.randn(1, TIME, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        x = self.body(x if self.batch_first else x.transpose(0, 1))
        return self.head(x.mean(1 if self.batch_first else 0))


@pytest.mark.parametrize(("norm_first", "batch_first"), [(True, True), (False, False)])
def test_an_encoder_shrinks_in_heads_widths_and_trunk(
    *, norm_first: bool, batch_first: bool
) -> None:
    model = Encoder(norm_first=norm_first, batch_first=batch_first)
    graph = trace(model)
    assert set(graph.frozen) == {"head"}
    sizes = sorted(axis.size for axis in graph.axes if "layers.0" in axis.name)
    assert sizes == [HEADS, WIDTH // HEADS, WIDTH // HEADS, 20]
    assert graph.macs(graph.sizes) == measure(model).macs
    keep = np.ones(graph.units, dtype=bool)
    for axis in graph.axes:
        keep[axis.first : axis.first + axis.size // 3] = False
    structure = Structure(graph, keep)
    small = shrink(model, graph, structure)
    assert verify(model, graph, structure, small) < 1e-9
    cost = measure(small, model.example_input_array)
    assert cost.macs == graph.macs(structure.widths)
    assert cost.params == graph.params(structure.widths)


def test_dead_places_of_queries_and_keys_are_removed_without_a_trace() -> None:
    model = Encoder(norm_first=True, batch_first=True).eval()
    x = torch.randn(2, TIME, 4)
    with torch.no_grad():
        for layer in model.body.layers:
            packed, bias = layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias
            for part in range(3):
                rows = slice(part * WIDTH + 1, (part + 1) * WIDTH, WIDTH // HEADS)
                packed[rows], bias[rows] = 0, 0
    graph = trace(model)
    keep = np.ones(graph.units, dtype=bool)
    for axis in graph.axes:
        if "self_attn" in axis.name and axis.size == WIDTH // HEADS:
            keep[axis.first + 1] = False
    assert (~keep).sum() == 4
    small = shrink(model, graph, Structure(graph, keep))
    torch.testing.assert_close(small(x), model(x))


def test_fit_meets_both_caps() -> None:
    model = Encoder(norm_first=True, batch_first=True)
    before = measure(model)
    caps = Budget(params=before.params // 2, macs=before.macs // 2)
    result = fit(model, budget=caps)
    assert result.report.after.params <= caps.params
    assert result.report.after.macs <= caps.macs
