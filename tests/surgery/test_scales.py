"""Attention that divides by the root of the width that it finds, with fewer places in its heads."""

from __future__ import annotations

import copy
from itertools import product
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

from compressor import Budget, FineTune, Prune, Result, Session, fit, load, measure, storage, trace
from compressor.errors import VerificationError
from compressor.graph.graph import Graph
from compressor.graph.structure import Structure, restrict
from compressor.surgery.cutting import shrink
from compressor.surgery.embedding import embed
from compressor.surgery.proof import verify
from compressor.surgery.scales import as_rounded, factors
from tests.helpers.pulled import Pulled, Stop
from tests.helpers.tiny import equal
from tests.zoo.attention import CLASSES, TIME
from tests.zoo.scaled import HEADS, PARTS, PLACES, SCALED


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def built(name: str) -> nn.Module:
    """A network in float32 with biases and affines of any size."""
    model = SCALED[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.normal_(0.5, 0.5)
    return model


def thinned(graph: Graph, share: float, seed: int = 0) -> Structure:
    """Without a share of every free axis."""
    random = np.random.default_rng(seed)
    keep = np.ones(graph.units, dtype=bool)
    for axis in graph.axes:
        if not axis.frozen:
            keep[axis.first + random.permutation(axis.size)[: int(share * axis.size)]] = False
    return Structure(graph, keep)


def inputs(count: int = 3) -> Tensor:
    return torch.randn(count, TIME, 10, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "share"), [*product(SCALED, (0.3, 0.6))])
def test_the_smaller_network_is_the_masked_one(name: str, share: float) -> None:
    model = built(name)
    graph = trace(model)
    assert {one.weight for one in graph.scaled} == set(PARTS[name])
    assert set(graph.frozen) == {"head"}
    structure = thinned(graph, share)
    assert factors(structure).keys() == set(PARTS[name])
    small = shrink(model, graph, structure)
    assert verify(model, graph, structure, small) < 1e-9
    cost = measure(small)
    assert cost.macs == graph.macs(structure.widths)
    assert cost.params == graph.params(structure.widths)


@pytest.mark.parametrize("name", ["apart", "added", "convolved"])
def test_places_that_say_nothing_go_without_a_trace(name: str) -> None:
    model = built(name)
    graph = trace(model)
    named = dict(model.named_parameters())
    queries = [named[part] for part in PARTS[name]]
    gone = [2, 5, 6]
    with torch.no_grad():
        for one, tensor in zip(graph.scaled, queries, strict=True):
            rows = [head * PLACES + place for head in range(HEADS) for place in gone]
            tensor.index_fill_(one.dim, torch.tensor(rows), 0)
    axis = next(axis for axis in graph.axes if axis.name == "block.attn.to_q#2")
    keep = np.ones(graph.units, dtype=bool)
    keep[[axis.first + place for place in gone]] = False
    small = shrink(model, graph, Structure(graph, keep))
    with torch.no_grad():
        torch.testing.assert_close(small(inputs()), model(inputs()))
    for one, tensor, part in zip(graph.scaled, queries, PARTS[name], strict=True):
        left = graph.weights[part].dims[one.dim].alive(keep)
        kept = tensor.detach().index_select(one.dim, torch.from_numpy(np.flatnonzero(left)))
        factor = sqrt((PLACES - len(gone)) / PLACES)
        assert torch.equal(small.get_parameter(part), (kept.double() * factor).float())


def test_keys_and_values_beside_the_queries_stay_what_they_were() -> None:
    model = built("packed")
    graph = trace(model)
    structure = thinned(graph, 0.5)
    small = shrink(model, graph, structure)
    alive = graph.weights["block.attn.qkv.bias"].dims[0].alive(structure.keep)
    before = model.get_parameter("block.attn.qkv.bias")[torch.from_numpy(alive)]
    after = small.get_parameter("block.attn.qkv.bias")
    third = len(after) // 3
    assert torch.equal(before[third:], after[third:])
    assert not torch.equal(before[:third], after[:third])


@pytest.mark.parametrize("name", SCALED)
def test_several_shrinks_are_one(name: str) -> None:
    model = built(name)
    graph = trace(model)
    first = thinned(graph, 0.3)
    once = shrink(model, graph, first)
    second = thinned(restrict(first), 0.4, seed=1)
    twice = shrink(once, second.graph, second)
    keep = first.keep.copy()
    keep[keep] = second.keep
    both = shrink(model, graph, Structure(graph, keep))
    for (path, one), (_, other) in zip(
        twice.named_parameters(), both.named_parameters(), strict=True
    ):
        torch.testing.assert_close(one, other, msg=path)
    large = embed(model, first, once)
    assert verify(large, graph, Structure(graph, keep), twice) < 1e-9


def test_what_is_put_back_is_what_was_cut() -> None:
    model = built("packed")
    graph = trace(model)
    structure = thinned(graph, 0.5)
    large = embed(model, structure, shrink(model, graph, structure))
    for (name, one), (_, other) in zip(
        large.named_parameters(), model.named_parameters(), strict=True
    ):
        if name in PARTS["packed"]:
            torch.testing.assert_close(one, other, msg=name)
        else:
            assert torch.equal(one, other), name


@pytest.mark.parametrize("wrong", [1 / sqrt(0.5), 1.001, 1 + 1e-5])
def test_other_queries_are_found_out(wrong: float) -> None:
    model = built("apart")
    graph = trace(model)
    structure = thinned(graph, 0.5)
    small = shrink(model, graph, structure)
    with torch.no_grad():
        small.get_parameter("block.attn.to_q.weight").mul_(wrong)
    with pytest.raises(VerificationError):
        verify(model, graph, structure, small)


def test_rounding_is_all_that_is_taken_over() -> None:
    model = built("apart")
    graph = trace(model)
    structure = thinned(graph, 0.5)
    small = shrink(model, graph, structure)
    name = "block.attn.to_q.weight"
    with torch.no_grad():
        small.get_parameter(name)[0] += 0.1
    rounded, own = as_rounded(model, structure, small)[name], model.get_parameter(name).double()
    alive = [dim.alive(structure.keep) for dim in graph.weights[name].dims]
    row = np.flatnonzero(alive[0])[0]
    assert torch.equal(rounded[row], own[row])
    assert not torch.equal(rounded, own)
    torch.testing.assert_close(rounded, own, rtol=1e-6, atol=0)
    gone = torch.from_numpy(np.flatnonzero(~alive[0]))
    assert torch.equal(rounded[gone], own[gone])


def test_a_network_that_says_the_same_of_every_input() -> None:
    model = built("packed")
    with torch.no_grad():
        model.get_parameter("head.weight").zero_()
    graph = trace(model)
    structure = thinned(graph, 0.5)
    small = shrink(model, graph, structure)
    assert verify(model, graph, structure, small) < 1e-9
    with torch.no_grad():
        small.get_parameter("block.attn.qkv.weight").mul_(1.001)
    with pytest.raises(VerificationError, match=r"'block.attn.qkv.weight' is not what was kept"):
        verify(model, graph, structure, small)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_weights_of_fewer_bits(kind: torch.dtype) -> None:
    model = built("apart")
    graph = trace(model)
    structure = thinned(graph, 0.5)
    model.to(kind)
    small = shrink(model, graph, structure)
    assert small.get_parameter("block.attn.to_q.weight").dtype == kind
    assert verify(model, graph, structure, small, inputs(1).to(kind)) < 1e-9


def test_averages_follow() -> None:
    model = built("packed_width_of_input")
    session = Session(model, budget=Budget(params=measure(model).params // 2), every=10**6)
    averaged = session.average(AveragedModel(session.model, multi_avg_fn=get_ema_multi_avg_fn(0.9)))
    session.shrink()
    assert len(session.model.get_parameter("block.attn.qkv.bias")) < len(
        model.get_parameter("block.attn.qkv.bias")
    )
    assert equal(averaged.module, session.model)
    averaged.update_parameters(session.model)
    assert equal(averaged.module, session.model)


def clips(count: int = 32) -> TensorDataset:
    random = torch.Generator().manual_seed(2)
    x = torch.randn(count, TIME, 10, generator=random)
    return TensorDataset(x, (x.mean((1, 2)) > 0).long() + (x[:, 0, 0] > 0) * (CLASSES - 2))


def fitted(folder: Path | None, after: int = 10**6) -> Result:
    """Half of the parameters, in three steps."""
    torch.manual_seed(0)
    model = built("causal")
    return fit(
        model,
        DataLoader(clips(), batch_size=8),
        budget=Budget(params=measure(model).params // 2),
        schedule=[Prune(steps=3, epochs=1), FineTune(1)],
        loss=Pulled(after),
        checkpoint=folder,
    )


@pytest.mark.slow
def test_gradual_pruning_is_verified_saved_and_loaded(tmp_path: Path) -> None:
    result = fitted(None)
    bias = "block.attn.c_attn.bias"
    kept, whole = (len(m.get_parameter(bias)) for m in (result.model, built("causal")))
    assert kept < whole
    assert len(result.report.shrinks) == 3
    assert all(one.difference is not None for one in result.report.shrinks)
    assert all(float(one.difference or 0) < 1e-9 for one in result.report.shrinks)
    result.save(tmp_path / "run")
    loaded = load(tmp_path / "run", built("causal"))
    assert equal(loaded, result.model)
    result.write(tmp_path / "file.bin")
    stored = load(tmp_path / "file.bin")
    with torch.no_grad():
        wanted = result.model.eval()(inputs())
        assert torch.equal(loaded.eval()(inputs()), wanted)
        torch.testing.assert_close(stored(inputs()), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("after", [450])
def test_a_run_that_was_stopped_ends_in_the_same_bits(after: int, tmp_path: Path) -> None:
    """Stopped in an epoch after a shrink: rows that were scaled are not once more."""
    with pytest.raises(Stop):
        fitted(tmp_path, after)
    tensors, _ = storage.read(tmp_path, "checkpoint")
    assert 0 < (tensors["/alive"] < PLACES).sum() < PLACES  # the first axis, of which heads are
    again, whole = fitted(tmp_path), fitted(None)
    assert equal(again.model, whole.model)


def test_a_copy_of_a_smaller_network_is_traced_by_what_it_is() -> None:
    """It has the temperature of the dense one in its rows, and loses more by its own width."""
    model = built("apart")
    graph = trace(model)
    first = thinned(graph, 0.5)
    small = copy.deepcopy(shrink(model, graph, first))
    again = trace(small)
    structure = thinned(again, 0.5)
    assert verify(small, again, structure, shrink(small, again, structure)) < 1e-9
