"""Layers come in the order of a run, each with what it is applied to."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compressor.inputs.batches import call
from compressor.repair.applied import Applied, Watch
from compressor.repair.layers import EnoughError, Layer, Parts, layers_of, watched
from compressor.surgery.attention import opened
from tests.helpers.tiny import Tied, scenes, tiny


def found(model: nn.Module, x: Tensor | tuple[Tensor, ...]) -> dict[tuple[str, int], Layer]:
    return {one.key: one for one in layers_of(model.eval(), x, call)}


def test_layers_in_the_order_of_the_run_with_their_taps_and_norms() -> None:
    layers = found(tiny(), scenes(3).tensors[0])
    names = ["stem", "depthwise", "pointwise", "down", "head"]
    assert list(layers) == [(f"{name}.weight", 0) for name in names]
    assert [one.normed for one in layers.values()] == [True, False, True, False, False]
    assert [one.kernel for one in layers.values()] == [(3, 3), (3, 3), (1, 1), (3, 3), ()]
    assert all(not len(one.example.inputs) for one in layers.values()), "no example is kept"


def test_a_layer_of_two_names_or_two_calls_is_one() -> None:
    layers = found(Tied(), scenes(3).tensors[0])
    assert layers["first.weight", 0].calls == 2
    assert ("second.weight", 0) not in layers


def test_a_norm_after_one_of_two_calls_is_none() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Linear(4, 4, bias=False), nn.BatchNorm1d(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(self.norm(self.layer(x)))

    (layer,) = found(Both(), torch.randn(3, 4)).values()
    assert layer.calls == 2
    assert not layer.normed


def test_queries_keys_and_values_are_parts_of_one_weight() -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.MultiheadAttention(6, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x, x, x, need_weights=False)[0]

    layers = found(opened(Attends()), torch.randn(2, 5, 6))
    parts = [one for key, one in layers.items() if key[0] == "layer.in_proj_weight"]
    assert [(one.example.row, one.example.offset) for one in parts] == [(0, 0), (6, 6), (12, 12)]
    assert [one.key[1] for one in parts] == [0, 1, 2]


def test_recurrent_layers_and_computed_weights_are_not_seen() -> None:
    model = nn.LSTM(4, 3, batch_first=True)
    assert not found(model, torch.randn(2, 5, 4))


def test_a_run_ends_where_who_watches_has_seen_enough_and_draws_nothing() -> None:
    model, seen = tiny(dropout=0.5).train(), list[str]()
    parts = Parts()

    def applied(one: Applied) -> None:
        seen.append(parts.key(one)[0])
        if len(seen) == 2:
            raise EnoughError

    state = torch.get_rng_state()
    watched(model, scenes(3).tensors[0], call, Watch(model, applied))
    assert seen == ["stem.weight", "depthwise.weight"]
    assert torch.equal(torch.get_rng_state(), state)
