"""An importance is named where it gives no scores, and told where there is no data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from compressor import Budget, FilterPruning, Prune, allocate, fit, importance, trace
from compressor.importance import Evidence, normalised, per_unit, writers
from compressor.run.scoring import scores_of
from tests.helpers.tiny import loader, tiny

FORM = r"must be f\(graph, tensors, evidence\) -> one score per unit"
EMPTY = "evidence is empty: there is no data; pass a loader, or take an importance of weights alone"


def summed(graph: Any, tensors: Any, evidence: Any) -> Any:
    """As the documentation has it."""
    del tensors
    scores = 0
    for gradients in evidence:
        rows = {
            name: gradients[name].square().movedim(dim, 0).reshape(weight.dims[dim].size, -1).sum(1)
            for name, (weight, dim) in writers(graph).items()
        }
        scores = scores + per_unit(graph, rows)
    return scores


def averaged(graph: Any, tensors: Any, evidence: Any) -> Any:
    return normalised(graph, summed(graph, tensors, evidence))


def first(graph: Any, tensors: Any, evidence: Any) -> Any:
    del tensors
    gradients = next(iter(evidence))
    return per_unit(graph, {n: gradients[n].abs().flatten(1).sum(1) for n in ("stem.weight",)})


def from_zeros(graph: Any, tensors: Any, evidence: Any) -> Any:
    return np.zeros(graph.units) + summed(graph, tensors, evidence)


def by_activations(graph: Any, tensors: Any, evidence: Any) -> Any:
    del tensors
    return np.full(graph.units, len(evidence.activations))


MEASURED = [
    summed, averaged, first, from_zeros, by_activations, importance.fisher, importance.taylor,
    importance.residual,
]  # fmt: skip


@pytest.mark.parametrize("measured", MEASURED)
@pytest.mark.parametrize("phase", [Prune, FilterPruning])
def test_what_is_measured_on_data_says_that_there_is_none(phase: Any, measured: Any) -> None:
    schedule = [phase(importance=measured)]
    if phase is FilterPruning:
        schedule = [phase(importance=measured, strategy="oneshot", allocator="uniform", epochs=0)]
    with pytest.raises(ValueError, match=f"the importance {measured.__name__} is .*{EMPTY}"):
        fit(tiny(), budget=Budget(params="50%"), example=torch.zeros(1, 1, 8, 8), schedule=schedule)


def test_one_may_ask_whether_there_is_data() -> None:
    def either(graph: Any, tensors: Any, evidence: Any) -> Any:
        return (importance.fisher if evidence else importance.l1)(graph, tensors, evidence)

    model = tiny()
    graph, tensors = trace(model), dict(model.named_parameters())
    some = Evidence(model, list(loader(16)))
    with_data = scores_of(either, graph, tensors, some, data=True)
    without = scores_of(either, graph, tensors, some, data=False)
    np.testing.assert_array_equal(with_data, importance.fisher(graph, tensors, some))
    np.testing.assert_array_equal(without, importance.l1(graph, tensors))


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ([1.0] * 3, rf"the importance mine {FORM}, shape \(\d+,\), and gives shape \(3,\)"),
        (0, rf"mine {FORM}, .* and gives shape \(\)$"),
        (None, rf"mine {FORM}, .* and gives None"),
        ({"a": 1}, rf"mine {FORM}, .* and gives a dict with 'a'"),
        ("much", rf"mine {FORM}, .* and gives 'much'"),
        ([[1], [1, 2]], rf"mine {FORM}, .* and gives a list of 2"),
        (np.sum, rf"mine {FORM}, .* and gives "),
        (-1.0, "the importance mine: .* scores are negative or not finite, the first is -1.0"),
        (1e308, "the importance mine: their sum is not finite"),
    ],
)
def test_what_gives_no_scores_is_named(given: Any, match: str) -> None:
    model = tiny()
    graph = trace(model)

    def mine(*_: object) -> Any:
        number = isinstance(given, float)
        return np.full(graph.units, given) if number else given

    with pytest.raises(ValueError, match=match):
        scores_of(mine, graph, {}, Evidence(model, []), data=True)


def test_scores_may_be_a_tensor_that_needs_a_gradient() -> None:
    model = tiny()
    graph = trace(model)
    found = scores_of(
        lambda *_: torch.ones(graph.units, requires_grad=True), graph, {}, Evidence(model, []),
        data=True,
    )  # fmt: skip
    assert found.dtype == np.float64
    assert found.tolist() == [1.0] * graph.units


def test_a_sum_over_no_evidence_by_hand_says_what_may_be_the_matter() -> None:
    model = tiny()
    graph, tensors = trace(model), dict(model.named_parameters())
    match = r"not \(\)\. A single number is what a sum over empty evidence gives"
    with pytest.raises(ValueError, match=match):
        averaged(graph, tensors, ())
    with pytest.raises(ValueError, match=match):
        allocate(graph, summed(graph, tensors, ()), Budget(params="50%"))
