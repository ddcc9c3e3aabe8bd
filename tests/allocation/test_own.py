"""Methods and objectives of one's own that have another form are named, with the right one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.allocation.shapes import chain
from compressor import Budget, Prune
from compressor.allocation import LogRetention, PowerMean, Solution, allocate


def two(graph: object, tensors: object) -> None:
    del graph, tensors


class Changed(PowerMean):
    """An objective of whose methods one is another."""

    def __init__(self, **methods: Any) -> None:
        super().__init__(1)
        self.__dict__.update(methods)


IMPORTANCE = r"must be f\(graph, tensors, evidence\) -> one score per unit"
METHOD = r"must be f\(problem, graph, scores\) -> compressor.allocation.Solution"
GAINS = r"the objective Changed: gains\(scores, levels, writers\) -> one number per level, shape"


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (
            {"importance": two},
            rf"Prune\(importance=two\) {IMPORTANCE}, and takes \(graph: 'object', tensors: '",
        ),
        ({"importance": 3}, r"Prune\(importance=3\): must be f\(graph, tensors, evidence\) -> one"),
        ({"method": two}, rf"Prune\(method=two\) {METHOD}, and takes \(graph"),
        (
            {"objective": Changed(gains=two)},
            r"Prune\(objective=Changed\(\)\): its gains must be gains\(scores, levels, wr",
        ),
        ({"objective": Changed(scale=lambda full: full)}, r"its scale must be scale\(full, wr"),
        ({"objective": Changed(gap=lambda: 0.0)}, r"its gap must be gap\(value, bound, scale\)"),
    ],
)
def test_another_number_of_arguments_is_refused_with_the_settings(
    settings: dict[str, Any], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        Prune(**settings)


def test_forms_that_take_more_are_taken() -> None:
    def mine(*_: object, scale: float = 1.0) -> None:
        del scale

    Prune(importance=mine, method=mine, objective=Changed(gap=lambda *_, **__: 0.0))


@pytest.mark.parametrize(
    ("found", "match"),
    [
        (None, f"the method mine {METHOD}, and it gave None"),
        ([1, 1, 1], f"the method mine {METHOD}, and it gave a list of 3"),
        (Solution(np.array([1, 1])), r"mine .* one width per axis, shape \(3,\), .* shape \(2,\)"),
        (Solution(np.array([1, 9, 1])), r"the method mine gave 'conv1' the width 9.* 1 to 4"),
        (Solution(np.array([1, 0.5, 1])), r"the method mine gave 'conv1' the width 0.5"),
    ],
)
def test_what_a_method_answers_is_held_to_its_form(found: Any, match: str) -> None:
    def mine(*_: object) -> Any:
        return found

    with pytest.raises(ValueError, match=match):
        allocate(chain((4, 4, 4)), np.ones(12), Budget(params=200), method=mine)


@pytest.mark.parametrize(
    ("gains", "match"),
    [
        (None, rf"{GAINS} \(4,\), .* for 'conv0' it gave None"),
        (np.ones(3), rf"{GAINS} .* it gave a numpy array of shape \(3,\)"),
        ("abcd", rf"{GAINS} .* it gave 'abcd'"),
        (np.arange(4.0)[::-1], rf"{GAINS} .* it gave ones that fall, or are not finite"),
        (np.array([0, 1, 2, np.nan]), rf"{GAINS} .* ones that fall, or are not finite"),
    ],
)
def test_what_an_objective_gains_is_held_to_its_form(gains: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        allocate(
            chain((4, 4, 4)), np.ones(12), Budget(params=200),
            objective=Changed(gains=lambda *_: gains),
        )  # fmt: skip


def test_gains_may_be_a_list() -> None:
    graph, caps, plain = chain((4, 4, 4)), Budget(params=200), LogRetention()
    listed = Changed(
        gains=lambda *given: plain.gains(*given).tolist(), scale=plain.scale, gap=plain.gap
    )
    one = allocate(graph, np.arange(12.0), caps, objective=listed)
    other = allocate(graph, np.arange(12.0), caps, objective=plain)
    assert one.widths.tolist() == other.widths.tolist()
