"""Embeddings: their width is an axis, tied or not; numbers and tables in use elsewhere stay."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor import Budget, fit, measure
from compressor.graph.graph import OUTPUT
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
    """The mean of vectors, in one operation."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.EmbeddingBag(30, 12), nn.Linear(12, 4)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.words(words))


def test_a_channels_number_that_is_read_holds_the_layer() -> None:
    graph = follows(Numbers(), torch.randn(1, 6), 1)
    assert "returns channel numbers, which are read" in graph.frozen["first"]
    assert "words" not in graph.frozen


@pytest.mark.parametrize("words", [WORDS])
def test_a_bag_of_vectors_stays_whole_and_says_why(words: Tensor) -> None:
    assert "embedding_bag" in follows(Bag(), words, 1).frozen["words"]
