"""Embeddings: their width is an axis, tied or not; numbers and tables in use elsewhere stay."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor import Budget, fit, measure
from compressor.graph.graph import OUTPUT
from compressor.graph.structure import Structure
from compressor.inputs.copies import private_copy
from compressor.surgery.cutting import shrink
from compressor.tracing.tracer import trace
from tests.tracing.test_walk_across import follows

WORDS = torch.randint(1, 30, (1, 9), generator=torch.Generator().manual_seed(0))


class TextCNN(nn.Module):
    """Convolutions of several sizes over vectors of words, and their maxima in time."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(30, 12, padding_idx=0)
        self.convs = nn.ModuleList(nn.Conv1d(12, 8, k) for k in (2, 3))
        self.head = nn.Linear(16, 4)

    def forward(self, words: Tensor) -> Tensor:
        x = self.words(words).transpose(1, 2)
        return self.head(torch.cat([torch.relu(conv(x)).amax(-1) for conv in self.convs], 1))


class Tied(nn.Module):
    """A language model whose last layer is the table of the first, with places added."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(30, 12), nn.Embedding(16, 12)
        self.inner, self.back = nn.Linear(12, 20), nn.Linear(20, 12)
        self.norm, self.out = nn.LayerNorm(12), nn.Linear(12, 30, bias=False)
        self.out.weight = self.words.weight

    def forward(self, words: Tensor) -> Tensor:
        x = self.words(words) * math.sqrt(12) + self.places(torch.arange(words.shape[1]))
        return self.out(self.norm(x + self.back(functional.gelu(self.inner(x)))))


class Functional(nn.Module):
    """A bare parameter as the table."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(30, 12))
        self.inner, self.head = nn.Linear(12, 10), nn.Linear(10, 4)

    def forward(self, words: Tensor) -> Tensor:
        x = functional.embedding(words, self.table, padding_idx=1)
        return self.head(torch.relu(self.inner(x)).mean(1))


def test_the_width_of_a_table_is_an_axis() -> None:
    graph = follows(TextCNN(), WORDS)
    assert {axis.name: axis.size for axis in graph.axes if not axis.frozen} == {
        "words": 12, "convs.0": 8, "convs.1": 8,
    }  # fmt: skip
    assert [site.positions for site in graph.sites if site.kind == "embedding"] == [0]


def test_a_tied_table_shrinks_with_its_trunk_in_every_place() -> None:
    graph = follows(Tied(), WORDS)
    trunk = next(axis for axis in graph.axes if axis.name == "words")
    assert trunk.size == 12
    assert set(trunk.layers) >= {"words", "places", "back"}
    assert graph.frozen == {"words": OUTPUT}  # the last layer, by the name of its table


def test_a_bare_table() -> None:
    assert {a.size for a in follows(Functional(), WORDS).axes if not a.frozen} == {12, 10}


def test_a_smaller_table_knows_its_width_and_keeps_its_padding() -> None:
    torch.manual_seed(0)
    model = TextCNN()
    budget = Budget(params=measure(model, WORDS).params // 2)
    found = fit(model, budget=budget, example=WORDS, progress=False).model
    assert found.words.embedding_dim == found.words.weight.shape[1] < 12
    assert found.words.padding_idx == 0
    assert not found.words.weight[0].any()
    assert found(WORDS).shape == (1, 4)
    assert f"30, {found.words.embedding_dim}" in repr(found.words)


class Numbers(nn.Module):
    """What a table is asked for is the number of a channel."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.words = nn.Linear(6, 8), nn.Embedding(8, 10)
        self.head = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.words(self.first(x).argmax(-1)) * x.mean(-1, keepdim=True))


class Bag(nn.Module):
    """A sum, mean or maximum of vectors, in one operation, of a table or of one made of it."""

    def __init__(self, mode: str = "mean", *, normed: bool = False, **settings: Any) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(30, 12, mode=mode, **settings)
        self.inner, self.head, self.normed = nn.Linear(12, 6), nn.Linear(6, 4), normed

    def forward(self, words: Tensor, shares: Tensor | None = None) -> Tensor:
        if self.normed:
            table = functional.normalize(self.words.weight, dim=1)
            return self.head(self.inner(functional.embedding_bag(words, table)).tanh())
        return self.head(self.inner(self.words(words, per_sample_weights=shares)).tanh())


def test_a_channels_number_that_is_read_holds_the_layer() -> None:
    graph = follows(Numbers(), torch.randn(1, 6), 1)
    assert "returns channel numbers, which are read" in graph.frozen["first"]
    assert "words" not in graph.frozen


BAGS: dict[str, tuple[nn.Module, tuple[Tensor, ...]]] = {
    "sum": (Bag("sum"), (WORDS,)),
    "mean": (Bag("mean", padding_idx=1), (WORDS,)),
    "max": (Bag("max"), (WORDS,)),
    "shares": (Bag("sum"), (WORDS, torch.rand(1, 9))),
    "computed": (Bag(normed=True), (WORDS,)),
}


@pytest.mark.parametrize("name", BAGS)
def test_bags_of_vectors_have_the_width_of_their_table(name: str) -> None:
    model, example = BAGS[name]
    graph = follows(model, example if len(example) > 1 else example[0])
    assert sorted(axis.size for axis in graph.axes if not axis.frozen) == [6, 12]
    assert set(graph.frozen) == {"head"}


def test_columns_of_a_bag_that_are_zero_go_without_a_trace() -> None:
    for name in ("sum", "mean", "max"):
        model = private_copy(BAGS[name][0]).eval()
        graph = trace(model, WORDS)
        axis = next(axis for axis in graph.axes if axis.size == 12)
        keep = np.ones(graph.units, dtype=bool)
        keep[axis.first + 2] = keep[axis.first + 7] = False
        with torch.no_grad():
            model.words.weight[:, [2, 7]] = 0
        smaller = shrink(model, graph, Structure(graph, keep))
        assert torch.allclose(model(WORDS), smaller(WORDS), atol=1e-6)


class Selected(nn.Module):
    """Rows that are selected of a bare table."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.inner = nn.Parameter(torch.randn(30, 12)), nn.Linear(12, 12)
        self.head = nn.Linear(12, 4)

    def forward(self, words: Tensor) -> Tensor:
        rows = self.table.index_select(0, words.flatten()).unflatten(0, words.shape)
        return self.head((rows + self.inner(rows).tanh()).mean(1))


def test_rows_that_are_selected_shrink_with_what_is_added_to_them() -> None:
    assert {a.size for a in follows(Selected(), WORDS).axes if not a.frozen} == {12}


@pytest.mark.parametrize(
    "words", [nn.Embedding(30, 12, max_norm=1.0), nn.EmbeddingBag(30, 12, max_norm=1.0)]
)
def test_a_table_that_is_normed_as_it_is_read_stays_and_says_how_not_to(words: nn.Module) -> None:
    model = nn.Sequential(words, nn.Flatten(0, -2), nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, 4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    graph = trace(model, WORDS)
    assert "norms rows of its table as they are read: with max_norm=None" in graph.frozen["0"]
    assert [axis.size for axis in graph.axes if not axis.frozen] == [6]
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
