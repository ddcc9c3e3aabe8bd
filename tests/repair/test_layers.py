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


class TiedCoder(nn.Module):
    """What is coded by a weight is read by its transpose."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.code, self.down = nn.Linear(5, 8), nn.Linear(8, 6), nn.Linear(8, 4)
        self.example_input_array = torch.zeros(1, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(x).relu()
        return self.down((self.code(x).relu() @ self.code.weight).relu())


def test_a_weight_that_is_applied_in_two_ways_is_no_layer() -> None:
    layers = found(TiedCoder(), torch.randn(3, 5))
    assert [key[0] for key in layers] == ["up.weight", "down.weight"]


def test_gradients_that_a_loss_takes_are_no_applications() -> None:
    def loss(model: nn.Module, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(model(x).square().sum(), x)
        return model(x + gradient.sign())

    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(6, 4)).eval()
    layers = layers_of(model, torch.randn(3, 1, 5), loss)
    assert [(one.key[0], one.calls) for one in layers] == [("0.weight", 2)]


def test_a_table_of_words_that_outputs_are_read_from_is_no_layer() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.mix = nn.Embedding(9, 6), nn.Linear(6, 6)
            self.head = nn.Linear(6, 9, bias=False)
            self.head.weight = self.table.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.mix(self.table(x)).relu())

    layers = found(Words(), torch.randint(9, (3, 4)))
    assert [key[0] for key in layers] == ["mix.weight"]
