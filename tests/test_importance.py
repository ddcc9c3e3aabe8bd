"""Scores are what their formulas say, entry by entry, and leave the model alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.graph.graph import Axis, Dim, Graph, Site, Weight
from compressor.importance import (
    Evidence,
    Importance,
    Scores,
    fisher,
    frobenius,
    gradients,
    l1,
    normalised,
    per_unit,
    residual,
    taylor,
    writers,
)
from compressor.inputs.losses import cross_entropy
from compressor.inputs.unlabelled import Unlabelled
from compressor.tracing.tracer import trace
from tests.helpers.tiny import Tied, Tiny, TwoInputs, scenes, tiny

TENSOR_SCORES = (frobenius, l1)
GRADIENT_SCORES = (fisher, taylor)


def named(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in model.named_parameters()}


def axis_of(graph: Graph, layer: str) -> Axis:
    return next(axis for axis in graph.axes if layer in axis.layers)


@cache
def traced() -> tuple[Tiny, Graph]:
    """Hypothesis runs a test many times; tracing once is enough."""
    model = tiny()
    return model, trace(model)


def brute(graph: Graph, tensors: dict[str, Tensor]) -> np.ndarray:
    """Sum of squares by a loop over every entry of every weight that writes a unit."""
    scores = np.zeros(graph.units)
    for weight in graph.weights.values():
        if not weight.trainable:
            continue
        written = weight.out_dim
        if written is None:
            written = 0
        for place, value in np.ndenumerate(tensors[weight.name].double().numpy()):
            owner = weight.dims[written].owner[place[written]]
            if owner >= 0:
                scores[owner] += value**2
    return np.sqrt(scores)


def test_frobenius_is_the_sum_of_squares_of_what_a_unit_writes() -> None:
    model = tiny()
    graph = trace(model)
    scores = frobenius(graph, named(model), normalise=False)
    np.testing.assert_allclose(scores, brute(graph, named(model)), rtol=1e-12)
    trunk = axis_of(graph, "stem")
    rows = [model.stem.weight, model.depthwise.weight, model.pointwise.weight]
    vectors = [
        model.norm.weight, model.norm.bias, model.depthwise.bias, model.pointwise.bias,
        model.norm2.weight, model.norm2.bias,
    ]  # fmt: skip
    total = sum(r.flatten(1).square().sum(1) for r in rows) + sum(v.square() for v in vectors)
    by_hand = total.sqrt().detach().numpy()
    np.testing.assert_allclose(np.sort(scores[trunk.units]), np.sort(by_hand), rtol=1e-6)


@pytest.mark.parametrize("importance", TENSOR_SCORES)
def test_normalised_scores_ignore_the_scale_of_an_axis(importance: Importance) -> None:
    model = tiny()
    graph = trace(model)
    before = importance(graph, named(model))
    for axis in graph.axes:
        assert before[axis.units].mean() == pytest.approx(1)
    with torch.no_grad():
        for parameter in model.down.parameters():
            parameter.mul_(7)
    np.testing.assert_allclose(importance(graph, named(model)), before, rtol=1e-5)


def test_transposed_convolutions_and_interleaved_rows_are_scored_by_their_owner() -> None:
    """A weight (in 2, out 3): out_dim 1. A norm of 6 rows: two rows a unit, in blocks."""
    inputs, outputs = Dim(np.array([-1, -1])), Dim(np.array([0, 1, 2]))
    rows = Dim(np.array([0, 0, 1, 1, 2, 2]))
    graph = Graph(
        axes=(Axis("up", 0, 3),),
        weights={
            "up.weight": Weight("up.weight", (inputs, outputs), 4, out_dim=1),
            "norm.weight": Weight("norm.weight", (rows,), 4),
            "norm.mean": Weight("norm.mean", (rows,), 4, trainable=False),
        },
        sites=(Site("up", "up.weight", 1, "conv", inputs, outputs),),
    )
    tensors = {
        "up.weight": torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
        "norm.weight": torch.tensor([1.0, -1.0, 2.0, -2.0, 3.0, -3.0]),
    }
    np.testing.assert_allclose(l1(graph, tensors, normalise=False), [5 + 2, 7 + 4, 9 + 6])
    squares = [17 + 2, 29 + 8, 45 + 18]
    np.testing.assert_allclose(frobenius(graph, tensors, normalise=False) ** 2, squares)
    gradient = [{name: torch.ones_like(t) for name, t in tensors.items()}]
    # Every unit's norm rows cancel to s = 0, so only the convolution's sums are left.
    np.testing.assert_allclose(fisher(graph, tensors, gradient, normalise=False), [25, 49, 81])
    np.testing.assert_allclose(taylor(graph, tensors, gradient, normalise=False), [5, 7, 9])


def test_fisher_and_taylor_follow_their_formulas() -> None:
    model = tiny().eval()
    graph = trace(model)
    clips, labels = scenes(6).tensors
    axis = axis_of(graph, "down")
    squares, magnitudes = np.zeros(axis.size), np.zeros(axis.size)
    for start, stop in pairwise((0, 4, 6)):
        model.zero_grad()
        functional.cross_entropy(model(clips[start:stop]), labels[start:stop]).backward()
        for p in (model.down.weight, model.down.bias):
            s = (p * p.grad).reshape(len(p), -1).sum(1).detach().double().numpy()
            squares += s**2 / 2
            magnitudes += abs(s) / 2
    batches = [(clips, labels)]
    got = fisher(graph, named(model), gradients(model, batches), normalise=False)
    np.testing.assert_allclose(got[axis.units], squares, rtol=1e-4)
    got = taylor(graph, named(model), gradients(model, batches), normalise=False)
    np.testing.assert_allclose(got[axis.units], magnitudes, rtol=1e-4)


def test_taylor_predicts_what_the_loss_does_when_a_unit_is_scaled_down() -> None:
    """The derivative along "scale the unit's filter to zero" is the sum of w * g."""
    model = tiny().double().eval()
    graph = trace(model, model.example_input_array.double())
    clips, labels = scenes(4).tensors
    batch = (clips.double(), labels)
    (gradient,) = gradients(model, [batch])
    change = (gradient["down.weight"][3] * model.down.weight[3]).sum().detach()
    step = 1e-6
    with torch.no_grad():
        before = cross_entropy(model, batch)
        model.down.weight[3] *= 1 - step
        fall = (before - cross_entropy(model, batch)) / step
    assert float(fall) == pytest.approx(float(change), rel=1e-4)
    only = {"down.weight": gradient["down.weight"]}
    scores = taylor(graph, named(model), [only], normalise=False)
    unit = axis_of(graph, "down").first + 3
    assert scores[unit] == pytest.approx(abs(float(change)), rel=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_leave_the_model_as_it_was(training: bool) -> None:  # noqa: FBT001
    model = tiny(dropout=0.5).train(training)
    model.norm.eval()
    model.stem.requires_grad_(False)  # noqa: FBT003
    model.head.weight.grad = torch.ones_like(model.head.weight)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    batch = tuple(scenes(10).tensors)
    found = list(gradients(model, [batch], clips=4))
    assert len(found) == 3
    assert found[0].keys() == named(model).keys()
    assert found[0]["stem.weight"].abs().sum() > 0
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert modes == [m.training for m in model.modules()]
    assert not model.stem.weight.requires_grad
    assert torch.equal(model.head.weight.grad, torch.ones_like(model.head.weight))
    assert model.down.weight.grad is None
    again = list(gradients(model, [batch], clips=4))
    assert all(torch.equal(a[k], b[k]) for a, b in zip(found, again, strict=True) for k in a)


def test_tied_weights_are_scored_once() -> None:
    model = Tied()
    graph = trace(model)
    tensors = named(model)
    assert "second.weight" not in tensors
    np.testing.assert_allclose(
        frobenius(graph, tensors, normalise=False), brute(graph, tensors), rtol=1e-12
    )


def test_several_inputs_and_half_precision() -> None:
    model = TwoInputs()
    graph = trace(model)
    x, y = (torch.randn(6, *t.shape[1:]) for t in model.example_input_array)
    batch = ((x, y), torch.arange(6) % 4)
    scores = fisher(graph, named(model), gradients(model, [batch]))
    assert np.isfinite(scores).all()
    assert (scores > 0).all()
    half = {name: t.half() for name, t in named(model).items()}
    np.testing.assert_allclose(frobenius(graph, half), frobenius(graph, named(model)), rtol=1e-2)


def test_an_axis_of_zeros_has_equal_units() -> None:
    model = Tiny()
    graph = trace(model)
    with torch.no_grad():
        for p in model.down.parameters():
            p.zero_()
    scores = frobenius(graph, named(model))
    assert (scores[axis_of(graph, "down").units] == 1).all()


@pytest.mark.parametrize("importance", GRADIENT_SCORES)
def test_no_gradients_is_an_error(importance: Importance) -> None:
    model = Tiny()
    with pytest.raises(ValueError, match="got no gradients: pass data"):
        importance(trace(model), named(model), [])


def test_bad_tensors_are_named() -> None:
    model = tiny()
    graph = trace(model)
    broken = named(model) | {"down.weight": torch.full_like(model.down.weight, torch.nan)}
    with pytest.raises(ValueError, match=r"16 of 16 units of 'down' is not finite"):
        frobenius(graph, broken)
    with pytest.raises(ValueError, match=r"'down.weight' has shape \(2,\) where the graph has"):
        frobenius(graph, named(model) | {"down.weight": torch.zeros(2)})
    with pytest.raises(ValueError, match=r"no tensor for weight 'stem\.weight'"):
        frobenius(graph, {})


# --- after repair ---


def evidence(model: nn.Module, count: int = 32, **how: int) -> Evidence:
    clips, labels = scenes(count).tensors
    batches = list(zip(clips.split(16), labels.split(16), strict=True))
    return Evidence(model, batches, cross_entropy, **how)


def test_evidence_is_the_gradients_and_activations_of_so_many_inputs() -> None:
    model = tiny()
    found = evidence(model, clips=8, inputs=20)
    wanted = list(gradients(model, found._batches, cross_entropy, clips=8))
    for mine, other in zip(found, wanted, strict=True):
        assert all(torch.equal(mine[name], other[name]) for name in other)
    assert found.activations["stem.weight", 0].products.count == 20 * 64
    assert found.activations is found.activations, "measured once"
    assert not list(Evidence(model, []))
    assert Evidence(model, []).activations == {}


def test_residual_is_what_repair_leaves_of_every_reader_and_needs_no_label() -> None:
    model = tiny().eval()
    graph = trace(model)
    clips = scenes(32).tensors[0]
    labelled = residual(graph, named(model), evidence(model))
    alone = residual(graph, named(model), Evidence(model, [clips[:16], clips[16:]], Unlabelled()))
    np.testing.assert_array_equal(labelled, alone)
    assert np.isfinite(labelled).all()
    assert (labelled >= 0).all()


def test_residual_of_units_that_say_nothing_is_next_to_nothing() -> None:
    model = tiny().eval()
    with torch.no_grad():
        model.down.bias[3] = -1e3
        model.head.weight[:, 5] = 0
        model.down.weight[7], model.down.bias[7] = model.down.weight[1], model.down.bias[1]
    graph = trace(model)
    axis = axis_of(graph, "down")
    scores = residual(graph, named(model), evidence(model))[axis.units]
    others = np.delete(scores, [1, 3, 5, 7])
    assert scores[5] == 0
    assert scores[3] < np.median(others) / 10, "a part of its weights, which the ridge holds on to"
    assert min(scores[1], scores[7]) < others.min()


def test_residual_does_not_hang_on_a_scale_of_outputs() -> None:
    model = tiny().eval()
    graph = trace(model)
    before = residual(graph, named(model), evidence(model))
    with torch.no_grad():
        model.head.weight.mul_(8)
        model.head.bias.mul_(8)
    after = residual(graph, named(model), evidence(model))
    np.testing.assert_allclose(after, before, rtol=1e-5)


def test_units_of_readers_that_are_not_seen_share_a_one_by_their_size() -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.rnn = nn.Linear(4, 6), nn.LSTM(6, 5, batch_first=True)
            self.head = nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(self.up(x).relu())[0][:, -1])

    torch.manual_seed(0)
    model = Reads().eval()
    graph = trace(model, torch.zeros(1, 7, 4))
    scores = residual(graph, named(model), Evidence(model, [torch.randn(16, 7, 4)], Unlabelled()))
    axis = axis_of(graph, "up")
    assert scores[axis.units].sum() == pytest.approx(1, rel=1e-6)
    energy = frobenius(graph, named(model), normalise=False)[axis.units] ** 2
    np.testing.assert_allclose(scores[axis.units], energy / energy.sum(), rtol=1e-6)


@pytest.mark.parametrize("given", [[], [{}], iter(())])
def test_residual_without_activations_says_what_it_needs(given: object) -> None:
    model = tiny()
    with pytest.raises(ValueError, match=r"residual is measured on activations .*Evidence\("):
        residual(trace(model), named(model), given)  # type: ignore[arg-type]


def test_residual_moves_no_random_state_and_no_mode() -> None:
    model = tiny(dropout=0.3).train()
    graph, state = trace(model), torch.get_rng_state()
    residual(graph, named(model), evidence(model))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())


# ------------------------------------------------------------------------------- one of one's own


def test_what_a_unit_has_is_the_sum_over_the_rows_that_it_owns() -> None:
    """Of random rows, by hand: every row of every writer, for each of its owners."""
    graph = trace(tiny())
    random = np.random.default_rng(0)
    writing = writers(graph)
    rows = {name: random.random(weight.dims[dim].size) for name, (weight, dim) in writing.items()}
    wanted = np.zeros(graph.units)
    for name, (weight, dim) in writing.items():
        for owner in weight.dims[dim].owners:
            for place, unit in enumerate(owner):
                wanted[unit] += rows[name][place] if unit >= 0 else 0
    np.testing.assert_allclose(per_unit(graph, rows), wanted, rtol=1e-12)
    assert (wanted > 0).all()
    one, *_ = rows
    np.testing.assert_allclose(
        per_unit(graph, {one: rows[one]}) + per_unit(graph, {**rows, one: 0 * rows[one]}), wanted
    )


def test_the_norm_is_its_own_formula_in_three_functions() -> None:
    model = tiny()
    graph, tensors = trace(model), named(model)
    squares = {
        name: tensors[name].double().square().movedim(dim, 0).flatten(1).sum(1)
        if len(weight.dims) > 1
        else tensors[name].double().square()
        for name, (weight, dim) in writers(graph).items()
    }
    mine = normalised(graph, per_unit(graph, squares) ** 0.5)
    np.testing.assert_allclose(mine, frobenius(graph, tensors), rtol=1e-12)


@pytest.mark.parametrize("by", [np.mean, np.max, np.median, np.linalg.norm, np.sum])
def test_axes_are_divided_by_what_is_asked(by: Callable[[Scores], float]) -> None:
    graph = trace(tiny())
    scores = np.random.default_rng(0).random(graph.units)
    before = scores.copy()
    found = normalised(graph, scores, by)
    assert (scores == before).all()
    for axis in graph.axes:
        assert by(found[axis.units]) == pytest.approx(1)
        np.testing.assert_allclose(
            found[axis.units] * by(scores[axis.units]), scores[axis.units], rtol=1e-12
        )
    zeros = normalised(graph, np.zeros(graph.units), by)
    assert (zeros == 1).all()


def test_wrong_rows_and_scores_are_refused() -> None:
    graph = trace(tiny())
    with pytest.raises(ValueError, match=r"'head.weight' writes no units.*importance.writers"):
        per_unit(graph, {"head.weight": torch.ones(4)})
    with pytest.raises(ValueError, match=r"'stem.weight' needs .* shape \(8,\), not \(8, 9\)"):
        per_unit(graph, {"stem.weight": torch.ones(8, 9)})
    with pytest.raises(ValueError, match="one per unit"):
        normalised(graph, np.ones(3))
    with pytest.raises(ValueError, match="not finite"):
        normalised(graph, np.full(graph.units, np.nan))
    with pytest.raises(ValueError, match=r"gives -1 of the scores of .*above zero"):
        normalised(graph, np.ones(graph.units), lambda _: -1.0)
    few = np.zeros(graph.units)
    few[[axis.units.start for axis in graph.axes]] = 1.0
    with pytest.raises(ValueError, match=r"gives 0 of the scores of .*above zero"):
        normalised(graph, few, np.median)
    for by in ("max", torch.max, lambda scores: scores):
        with pytest.raises(ValueError, match=r"gives nan \(.* one finite number above zero"):
            normalised(graph, np.ones(graph.units), by)  # type: ignore[arg-type]
