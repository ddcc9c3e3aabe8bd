"""Rows removed from an input and from what only served them, against models built that small."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from compressor import measure, trace
from compressor.inputs.copies import private_copy
from compressor.phases.frequency import Rows, allowed, select_rows, trace_rows
from compressor.phases.frequency.select import nested
from models import BCResNetASC, DCASEBaseline, LinearMoments, Tandem
from tests.helpers.tiny import Tied, TwoInputs, equal

KEEP = [0, 2, 3, 7, 8, 11]


def seeded(model: nn.Module) -> nn.Module:
    """Every parameter and statistic random, none zero."""
    generator = torch.Generator().manual_seed(0)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.data.uniform_(0.5, 1.5, generator=generator)
    shown = model.example_input_array
    doubled = tuple(x.double() for x in shown) if isinstance(shown, tuple) else shown.double()
    model.example_input_array = doubled
    return model.double().eval()


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


# ------------------------------------------------------------------- what belongs to single rows


LINEAR = seeded(LinearMoments(12, order=3, frames=9))
LINEAR_GRAPH = trace_rows(LINEAR)


@given(st.sets(st.integers(0, 11), min_size=1))
@settings(max_examples=25)
def test_the_linear_model_is_the_full_one_without_the_other_rows_weights(keep: set[int]) -> None:
    small = select_rows(LINEAR, None, keep, graph=LINEAR_GRAPH)
    full = copy.deepcopy(LINEAR)
    others = [row not in keep for row in range(12)]
    columns = full.classifier.weight.data.view(-1, 3, 12)  # (class, moment, row)
    columns[:, :, others] = 0
    x = noise(4, 1, 12, 9)
    assert torch.allclose(small(x), full(x), rtol=1e-12)
    assert small.network.classifier.in_features == small.network.standardise.num_features


def test_the_tandem_becomes_one_that_was_built_that_small() -> None:
    big, keep = seeded(Tandem(64, 10, frames=16)), [*range(20), *range(40, 52)]
    small = select_rows(big, None, keep)
    built = Tandem(32, 10, frames=16).double().eval()
    built.load_state_dict(small.network.state_dict())  # strict: names and shapes are the same
    x = noise(3, 1, 64, 16)
    assert torch.equal(small(x), built(x[:, :, keep]))
    # Convolutions are untouched, the linear part has its own columns.
    assert torch.equal(built.cnn.stem[0].weight, big.cnn.stem[0].weight)
    wanted = big.linear.classifier.weight.view(10, 5, 64)[:, :, keep].flatten(1)
    assert torch.equal(built.linear.classifier.weight, wanted)
    assert tuple(small.network.example_input_array.shape) == (1, 1, 32, 16)


class PerRow(nn.Module):
    """Everything that can be one row's, one after the other; (batch, 1, rows, time)."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(rows))
        self.shift = nn.Parameter(torch.zeros(1, 1, rows, 1))
        self.norm = nn.BatchNorm2d(rows)
        self.over_time = nn.Conv2d(1, 2, (1, 3), padding=(0, 1))
        self.own = nn.Conv1d(rows, 2 * rows, 3, groups=rows)
        self.slope = nn.PReLU(rows)
        self.across = nn.LayerNorm(rows)
        self.both = nn.LayerNorm((rows, 8))
        self.mix = nn.Conv1d(2 * rows, 5, 3)
        self.head = nn.Linear(2 * rows * 8 + rows, 3)
        self.example_input_array = torch.zeros(1, 1, rows, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.scale[:, None] + self.shift.tanh()
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        x = self.both(x)
        x = self.slope(x[:, 0])[:, None]
        wide = self.over_time(x)  # (batch, 2, rows, time)
        level = self.across(x.mean((1, 3)))
        mixed = self.mix(self.own(x.squeeze(1))).mean((1, 2))
        return self.head(torch.cat([wide.flatten(1), level], 1)) + mixed[:, None]


def by_hand(big: dict[str, Tensor], keep: list[int], rows: int) -> dict[str, Tensor]:
    """The tensors of a `PerRow` for fewer rows."""
    flat = [c * rows * 8 + row * 8 + t for c in range(2) for row in keep for t in range(8)]
    flat += [2 * rows * 8 + row for row in keep]
    pairs = [2 * row + i for row in keep for i in range(2)]
    index: dict[str, tuple[int, list[int]]] = {
        "scale": (0, keep), "shift": (2, keep), "slope.weight": (0, keep),
        "own.weight": (0, pairs), "own.bias": (0, pairs), "mix.weight": (1, pairs),
        "head.weight": (1, flat),
    }  # fmt: skip
    index |= {f"{n}.{t}": (0, keep) for n in ("norm", "across", "both") for t in ("weight", "bias")}
    index |= {f"norm.running_{t}": (0, keep) for t in ("mean", "var")}
    return {
        name: t.index_select(index[name][0], torch.tensor(index[name][1])) if name in index else t
        for name, t in big.items()
    }


def test_whatever_belongs_to_a_row_is_sliced_with_it() -> None:
    big = seeded(PerRow(12))
    small = select_rows(big, None, KEEP)
    built = PerRow(len(KEEP)).double().eval()
    built.load_state_dict(by_hand(big.state_dict(), KEEP, 12))
    x = noise(4, 1, 12, 8)
    assert equal(small.network, built)
    assert torch.equal(small(x), built(x[:, :, KEEP]))
    assert torch.equal(small.network.train()(x[:, :, KEEP]), built.train()(x[:, :, KEEP]))
    assert str(small.network) == str(built)  # modules know their new sizes


class Fixed(nn.Module):
    """A model whose rows go through a function given; then a head."""

    def __init__(self, function: Any, features: int) -> None:
        super().__init__()
        self.function = [function]  # no module, no closure over one
        self.head = nn.Linear(features, 3)
        self.example_input_array = torch.zeros(1, 1, 12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.function[0](x))


@pytest.mark.parametrize(
    ("function", "features"),
    [
        (lambda x: (x + x.flip(2)).flatten(1), 48),
        (lambda x: x.roll(1, 2).flatten(1), 48),
        (lambda x: x.reshape(x.shape[0], 3, 4, -1).mean((2, 3)), 3),
        (lambda x: x.reshape(x.shape[0], 3, -1).mean(2), 3),
        (lambda x: x[:, :, 6:].flatten(1), 24),
        (lambda x: torch.cat([x[:, :, :6], x[:, :, 6:].cos()], 2).flatten(1), 48),
    ],
)
def test_what_is_no_rows_own_is_refused_or_left_alone(function: Any, features: int) -> None:
    model = seeded(Fixed(function, features))
    graph = trace_rows(model)
    assert not [w.name for w in graph.graph.weights.values() if not w.dims[-1].fixed]
    possible = allowed(model, graph=graph)
    for count in set(range(1, 12)) - set(possible):
        with pytest.raises(ValueError, match=f"Fixed does not run on {count} of its 12 rows"):
            select_rows(model, None, range(count), graph=graph)
    for count in possible:
        x, small = noise(2, 1, 12, 4), select_rows(model, None, range(count), graph=graph)
        assert torch.equal(small(x), model(x[:, :, :count]))


def test_a_size_written_as_a_number_lets_no_row_go() -> None:
    # In a batch of two, half the rows would pass for a batch of one.
    model = seeded(Fixed(lambda x: x.view(-1, 48), 48))
    assert allowed(model) == [12]


def test_an_output_with_a_value_per_row_cannot_lose_any() -> None:
    model = nn.Conv2d(1, 1, 3, padding=1)
    with pytest.raises(ValueError, match=r"its output has the shapes \[\(2, 1, 8, 4\)\]"):
        select_rows(model, torch.zeros(1, 1, 12, 4), range(8))


def test_tied_weights_stay_tied_and_frozen_ones_frozen() -> None:
    model = seeded(Tied())
    model.stem.requires_grad_(False)  # noqa: FBT003 - torch's own name for it
    small = select_rows(model, None, range(4)).network
    assert small.first.weight is small.second.weight
    assert not small.stem.weight.requires_grad


# ------------------------------------------------------------------------------- how many rows


def test_numbers_of_rows_that_models_run_on() -> None:
    model = BCResNetASC(4, mels=64, frames=8)
    assert allowed(model, counts=[1, 32, 50, 64, 100]) == [32, 64]
    assert allowed(LINEAR) == list(range(1, 13))
    assert allowed(TwoInputs(), dim=3) == [1, 6]  # a single one is added to all six of the other
    # The dense layer behind the flattened convolutions of the baseline takes two rows, 40 / 20.
    assert allowed(DCASEBaseline(2022)) == [40]


@pytest.mark.slow
def test_all_numbers_of_rows_are_tried() -> None:
    model = BCResNetASC(4, mels=64, frames=8)
    assert allowed(model) == [31, 32, 63, 64]  # strides round up: odd ones run too
    with pytest.raises(ValueError, match=r"of its 64 rows .* Ask for 32 or 63 rows"):
        select_rows(model, None, range(40))


def test_a_refusal_says_what_would_work() -> None:
    with pytest.raises(ValueError, match="Ask for 40 rows and on no fewer"):
        select_rows(DCASEBaseline(2022), None, range(39))
    with pytest.raises(ValueError, match="row 12 was asked of a LinearMoments that sees 12 rows"):
        select_rows(LINEAR, None, [3, 12])
    with pytest.raises(ValueError, match="no row at all was asked"):
        select_rows(LINEAR, None, [])
    with pytest.raises(ValueError, match="rows of dimension 4 were asked of an input of shape"):
        select_rows(LINEAR, None, [1], dim=4)


class OnItsDevice(nn.Module):
    """Makes a constant in forward, which is not on the meta device."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, stride=2)
        self.example_input_array = torch.zeros(1, 1, 12, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).mean((2, 3)) * torch.tensor([1.0, 2.0, 3.0])


def test_code_that_needs_values_is_tried_with_values() -> None:
    assert allowed(OnItsDevice()) == list(range(3, 13))


# ---------------------------------------------------------------------------------- the module


def test_macs_fall_to_those_of_the_shorter_input() -> None:
    model = Tandem(256, 80)
    small = select_rows(model, None, range(32, 224))
    assert measure(model).params == 327_780
    assert measure(small).params == 324_580  # the README of the models: 256 and 192 bands
    # 38.69 M multiply-accumulates of convolutions at 192 bands, and the linear layer's 9,600.
    assert measure(small).macs == measure(small.network).macs == 38_703_360
    assert measure(small).macs == measure(Tandem(192, 80)).macs


def test_rows_is_a_model_like_any_other() -> None:
    model = BCResNetASC(4, mels=64, frames=8).eval()
    model.stage1.train()
    before = copy.deepcopy(model)
    rows = select_rows(model, None, range(16, 48))
    assert equal(model, before)
    assert [m.training for m in rows.network.modules()] == [m.training for m in model.modules()]
    assert not rows.training
    assert measure(rows) == measure(rows.network)
    twin = private_copy(rows)
    assert equal(twin, rows)
    assert twin.rows.data_ptr() != rows.rows.data_ptr()
    again = Rows(BCResNetASC(4, mels=32, frames=8), range(32))
    again.load_state_dict(rows.state_dict())
    assert again.rows.tolist() == list(range(16, 48))
    graph = trace(rows, check=False)
    # The same axes as without it, every one as free as before.
    assert [(a.size, a.frozen) for a in graph.axes] == [
        (a.size, a.frozen) for a in trace(model, check=False).axes
    ]


def test_rows_of_rows_are_rows_of_the_input() -> None:
    once = select_rows(LINEAR, None, [1, 3, 5, 7, 9])
    twice = select_rows(once, None, [9, 3])
    x = noise(2, 1, 12, 9)
    assert twice.rows.tolist() == [3, 9]
    assert torch.equal(twice(x), select_rows(LINEAR, None, [3, 9])(x))
    below = nested(once, None, [9, 3])
    assert torch.equal(below(x), twice(x))
    assert {f"network.{name}" for name in once.state_dict()} <= {*below.state_dict()}
    assert torch.equal(select_rows(below, None, [9])(x), select_rows(LINEAR, None, [9])(x))
    assert allowed(below) == [1, 2]
    with pytest.raises(ValueError, match="row 2 was asked of a Rows that sees 5 rows"):
        select_rows(once, None, [2, 3])
    with pytest.raises(ValueError, match="already picks rows of dimension 2"):
        select_rows(once, None, [2], dim=3)


def test_other_inputs_are_passed_on() -> None:
    model = seeded(TwoInputs())
    with pytest.raises(ValueError, match="does not run on 3 of its 6 rows"):
        select_rows(model, None, range(3))  # the other input keeps its six
    other = seeded(Gated())
    rows = select_rows(other, None, [0, 4])
    x, y = noise(2, 1, 6, 6), noise(2, 3)
    assert torch.equal(rows(x, y), other(x[:, :, [0, 4]], y))


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.example_input_array = (torch.zeros(1, 1, 6, 6), torch.zeros(1, 3))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.conv(x).mean((2, 3)) * y
