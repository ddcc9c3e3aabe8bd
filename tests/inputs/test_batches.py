"""Batches of every kind are cut into parts of their own kind; single examples are foreseen."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from compressor import Budget, FineTune, Prune, Recalibrate, fit
from compressor.errors import TrainingError
from compressor.importance import frobenius
from compressor.inputs.batches import Batch, first_examples, split, tensors
from tests.helpers.tiny import Tiny, loader, scenes, tiny
from tests.test_fitting_errors import refuses

CAPS = Budget(params=700, macs="30k")


class Pair(NamedTuple):
    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Clips:
    x: Tensor
    y: Tensor
    names: list[str] = field(default_factory=list[str])


class Attributes(dict[str, Tensor]):
    __getattr__ = dict.__getitem__


class Encoding(UserDict[str, Tensor]):
    """Knows its content by attribute, as tokenisers' batches do."""

    def __getattr__(self, name: str) -> Tensor:
        if name == "data":
            raise AttributeError(name)
        return self.data[name]


KINDS: list[Callable[[Tensor, Tensor], Batch]] = [
    Pair,
    Clips,
    lambda x, y: Attributes(x=x, y=y),
    lambda x, y: Encoding(x=x, y=y),
]


@pytest.mark.parametrize("kind", KINDS, ids=["named", "dataclass", "dict", "mapping"])
def test_parts_of_a_batch_are_of_its_own_type(kind: Callable[[Tensor, Tensor], Batch]) -> None:
    def own(model: nn.Module, batch: Batch) -> Tensor:
        return functional.cross_entropy(model(batch.x), batch.y)

    x, y = scenes(8).tensors
    whole = kind(x, y)
    parts = list(split({"deep": [whole, 3]}, 3))
    assert {type(part["deep"][0]) for part in parts} == {type(whole)}
    assert [len(part["deep"][0].x) for part in parts] == [3, 3, 2]
    assert all(type(part["deep"]) is list and part["deep"][1] == 3 for part in parts)
    assert torch.equal(torch.cat([part["deep"][0].y for part in parts]), y)
    assert [t.shape for t in tensors(whole)] == [x.shape, y.shape]
    schedule = [Prune(), FineTune(epochs=1)]
    assert fit(tiny(), [kind(x, y)], budget=CAPS, loss=own, schedule=schedule).report.log


class Pooled(Tiny):
    """Normalises what pooling leaves: one value per channel and example."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.BatchNorm1d(16)


SINGLE = "a batch of a single example reaches a BatchNorm .* pass drop_last=True"


def ones(*sizes: int) -> list[Batch]:
    return [tuple(scenes(size).tensors) for size in sizes]


@pytest.mark.parametrize(
    ("data", "number"),
    [
        (loader(33), 2),
        (loader(32, batch=1), 1),
        (ones(8, 8, 1, 8), 3),
    ],
)
def test_a_single_example_under_batch_norm(data: Iterable[Batch], number: int) -> None:
    schedules = [Prune()], [Prune(importance=frobenius, method="dual"), FineTune(epochs=1)]
    for schedule in schedules:
        with refuses(f"batch {number} of data: {SINGLE}"):
            fit(Pooled(), data, budget=Budget(params=650), schedule=schedule)


def test_a_single_example_that_does_no_harm() -> None:
    schedule = [Prune(), Recalibrate(), FineTune(epochs=1)]
    assert fit(tiny(), loader(33), budget=CAPS, schedule=schedule).report.log
    dropped = DataLoader(scenes(33), batch_size=32, drop_last=True)
    assert fit(Pooled(), dropped, budget=CAPS, schedule=schedule).report.log
    early = [Prune(batches=2), Recalibrate(batches=2)]
    assert fit(Pooled(), ones(8, 8, 1), budget=CAPS, schedule=early).model


def test_a_single_example_that_comes_unforeseen() -> None:
    class Stream:
        def __iter__(self) -> Iterator[Batch]:
            return iter(ones(8, 1))

    for phase in (Recalibrate(), FineTune(epochs=1)):
        schedule = [Prune(importance=frobenius, method="dual"), phase]
        with refuses(f"{type(phase).__name__}: {SINGLE}", TrainingError):
            fit(Pooled(), Stream(), budget=CAPS, schedule=schedule)


def test_batches_that_cannot_be_cut() -> None:
    class Opaque:
        def __init__(self) -> None:
            self.x, self.y = scenes(8).tensors

    class Filled(dict[str, Tensor]):
        def __init__(self, x: Tensor, y: Tensor) -> None:
            super().__init__(x=x, y=y)
            self.x, self.y = x, y

    def own(model: nn.Module, batch: Batch) -> Tensor:
        return functional.cross_entropy(model(batch.x), batch.y)

    schedule = [FineTune(epochs=1), Prune()]
    batches: list[Batch] = [Opaque(), Filled(*scenes(8).tensors)]
    for batch, match in zip(batches, ["a Opaque, in which no", "a Filled, which can"], strict=True):
        with refuses(rf"a batch (is|holds) {match}.* cut into parts.*give batches that are tuples"):
            fit(tiny(), [batch], budget=CAPS, loss=own, schedule=schedule)
        weights_alone = [Prune(importance=frobenius), schedule[0]]
        assert fit(tiny(), [batch], budget=CAPS, loss=own, schedule=weights_alone).report.log


def test_first_examples_are_so_many_and_the_last_batch_is_cut() -> None:
    batches = [torch.zeros(5, 2), torch.ones(5, 2), torch.ones(5, 2)]
    assert [len(x) for x in first_examples(batches, 7)] == [5, 2]
    assert [len(x) for x in first_examples(batches, 5)] == [5]
    assert [len(x) for x in first_examples(batches, 100)] == [5, 5, 5]


def test_first_examples_of_a_batch_that_cannot_be_cut_are_all_of_it() -> None:
    class Own(dict[str, torch.Tensor]):
        def __init__(self, x: torch.Tensor, y: torch.Tensor) -> None:
            super().__init__(x=x, y=y)

    batch = Own(torch.zeros(5, 2), torch.zeros(5))
    assert list(first_examples([batch, batch], 3)) == [batch]
    assert list(first_examples(["one", "two"], 1)) == ["one"]
