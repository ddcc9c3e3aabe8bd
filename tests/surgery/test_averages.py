"""Averaged copies of a model in a loop of one's own: they shrink with it, or stop the shrink."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from compressor import Budget, Prune, Session, measure
from compressor.surgery.averages import MARK
from tests.helpers.tiny import Tied, equal, refuses, scenes, tiny

CAPS = Budget(params=500, macs="25k")


def ema(model: nn.Module) -> AveragedModel:
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))


def ema_with_buffers(model: nn.Module) -> AveragedModel:
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)


def wrapped(model: nn.Module) -> AveragedModel:
    return AveragedModel(nn.Sequential(model))


KINDS = {"swa": AveragedModel, "ema": ema, "ema with buffers": ema_with_buffers}


def session_of(model: nn.Module, *, steps: int = 2, every: int = 10**6) -> Session:
    session = Session(model, budget=CAPS, prune=Prune(steps=steps), every=every)
    session.optimizer = torch.optim.SGD(session.model.parameters(), lr=0.05, momentum=0.9)
    return session


def steps(session: Session, averaged: AveragedModel, count: int, seed: int = 0) -> None:
    inputs, targets = scenes(32, seed=seed).tensors
    session.model.train()
    optimizer = session.optimizer
    assert optimizer is not None
    for _ in range(count):
        optimizer.zero_grad()
        functional.cross_entropy(session.model(inputs), targets).backward()
        optimizer.step()
        session.step()
        averaged.update_parameters(session.model)


def tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in model.state_dict().items()}


@pytest.mark.parametrize("kind", KINDS)
def test_what_stays_of_an_average_is_what_it_was(kind: str) -> None:
    session = session_of(tiny())
    averaged = session.average(KINDS[kind](session.model))
    steps(session, averaged, 3)
    before, graph, alive = tensors(averaged.module), session.graph, session.alive
    session.shrink()
    keep = np.isin(alive, session.alive)
    assert not keep.all()
    after = tensors(averaged.module)
    for name, tensor in before.items():
        places = (
            [np.flatnonzero(d.alive(keep)) for d in graph.weights[name].dims]
            if (name in graph.weights)
            else []
        )
        assert torch.equal(after[name], tensor[np.ix_(*places)] if places else tensor), name
    assert int(averaged.n_averaged) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_averaging_goes_on_as_if_the_model_had_been_small_all_along(kind: str) -> None:
    """After the shrink an average equals that of the slices of all networks before and after."""
    session = session_of(tiny(), steps=2, every=2)
    averaged = session.average(KINDS[kind](session.model))
    history: list[tuple[np.ndarray, dict[str, Tensor]]] = []
    for seed in range(6):
        steps(session, averaged, 1, seed)
        history.append((session.alive, dict(session.model.named_parameters())))
        history[-1] = session.alive, {n: p.detach().clone() for n, p in history[-1][1].items()}
    assert len(session.shrinks) == 2
    last, dense = history[-1][0], session.dense
    wanted: dict[str, Tensor] = {}
    for number, (alive, found) in enumerate(history):
        owned, kept = np.zeros(dense.units, bool), np.zeros(dense.units, bool)
        owned[alive], kept[last] = True, True
        for name, tensor in found.items():
            dims = dense.weights[name].dims
            places = [np.flatnonzero(d.alive(kept)[d.alive(owned)]) for d in dims]
            own = tensor[np.ix_(*places)]
            if number == 0:
                wanted[name] = own
            elif kind == "swa":
                wanted[name] = wanted[name] + (own - wanted[name]) / (number + 1)
            else:
                wanted[name] = 0.9 * wanted[name] + 0.1 * own
    for name, parameter in averaged.module.named_parameters():
        torch.testing.assert_close(parameter.detach(), wanted[name])


@pytest.mark.parametrize("make", [copy.deepcopy, wrapped], ids=["plain copy", "in a wrapper"])
def test_other_copies_follow_too(make: Callable[[nn.Module], nn.Module]) -> None:
    session = session_of(tiny(), steps=1)
    averaged = session.average(make(session.model))
    session.shrink()
    sizes = [tuple(p.shape) for p in session.model.parameters()]
    assert [tuple(p.shape) for p in averaged.parameters()] == sizes
    assert (
        len({id(p) for p in averaged.parameters()} & set(map(id, session.model.parameters()))) == 0
    )


def test_an_average_runs_and_is_returned() -> None:
    model = tiny()
    session = session_of(model, steps=1, every=2)
    averaged = session.average(ema(session.model))
    steps(session, averaged, 4)
    update_bn([scenes(32).tensors[0]], averaged)
    clip = torch.randn(2, *model.example_input_array.shape[1:])
    session.model.load_state_dict(averaged.module.state_dict())
    result = session.finish()
    assert CAPS.allows(measure(result.model, model.example_input_array))
    with torch.no_grad():
        assert torch.equal(result.model.eval()(clip), averaged.module.eval()(clip))


def test_tied_parameters_stay_tied_in_an_average() -> None:
    model = Tied()
    whole = measure(model)
    session = Session(
        model, budget=Budget(params=whole.params // 2), prune=Prune(steps=1), every=10**6
    )
    averaged = session.average(AveragedModel(session.model))
    session.shrink()
    names = [name for name, _ in session.model.named_parameters()]
    assert [name for name, _ in averaged.module.named_parameters()] == names
    averaged.update_parameters(session.model)
    assert equal(averaged.module, session.model)


def test_an_average_that_nobody_named_stops_the_shrink_and_nothing_is_cut() -> None:
    session = session_of(tiny(), steps=1)
    before = [tuple(p.shape) for p in session.model.parameters()]
    averaged = ema(session.model)
    with refuses(r"1 AveragedModel of it would stay as it is.*session\.follow\(averaged\)"):
        session.shrink()
    assert [tuple(p.shape) for p in session.model.parameters()] == before
    session.average(averaged)
    session.shrink()
    averaged.update_parameters(session.model)


def test_averages_of_other_models_are_no_hindrance() -> None:
    model = tiny()
    dense, other = ema(model), session_of(tiny())
    beside = ema(other.model)
    session = session_of(model, steps=1)
    snapshot = copy.deepcopy(session.model)
    session.shrink()
    for kept in (dense, beside, snapshot):
        assert sum(p.numel() for p in kept.parameters()) == measure(model).params


def test_what_is_returned_carries_no_mark() -> None:
    session = session_of(tiny(), steps=1)
    stream = io.BytesIO()
    pickle.dump(session.model, stream)  # it does not hinder that either
    assert MARK in vars(session.model)
    assert MARK not in vars(session.finish().model)


def test_no_copies_are_refused() -> None:
    session = session_of(tiny(), steps=1)
    early = ema(session.model)
    with refuses(r"follow\(3\): pass a module"):
        session.average(3)  # type: ignore[type-var]
    with refuses("holds the model's own parameters"):
        session.average(session.model)
    with refuses("no copy of the model as it is now: .* is .* there and"):
        session.average(tiny(width=6))
    del early
    late = copy.deepcopy(session.model)
    session.shrink()
    with refuses("no copy of the model as it is now"):
        session.average(late)


def test_a_model_that_is_replaced_takes_its_averages_along() -> None:
    session = session_of(tiny(), steps=1)
    averaged = session.average(ema(session.model))
    steps(session, averaged, 2)
    before, old = tensors(averaged.module), averaged.module
    session.replace(copy.deepcopy(session.model), settled="it is over")
    assert averaged.module is not old
    assert all(torch.equal(before[name], t) for name, t in tensors(averaged.module).items())
    averaged.update_parameters(session.model)


def test_what_cannot_be_replaced_stops_it() -> None:
    session = session_of(tiny(), steps=1)
    averaged = ema(session.model)
    with refuses("another module is to take the model's place, and 1 AveragedModel of it would"):
        session.replace(copy.deepcopy(session.model), settled="it is over")
    del averaged
    session = session_of(tiny(), steps=1)
    session.average(copy.deepcopy(session.model))
    with refuses("Tiny that is itself the copy cannot become another one: let a module that holds"):
        session.replace(copy.deepcopy(session.model), settled="it is over")
    session = session_of(tiny(), steps=1)
    session.average(ema(session.model))
    with refuses("which has no 'stem.weight' as before, so that an average"):
        session.replace(tiny(width=6), settled="it is over")


def test_an_average_is_over_where_nothing_trains_any_more() -> None:
    session = session_of(tiny(), steps=1)
    averaged = session.average(ema(session.model))
    before = averaged.module
    frozen = copy.deepcopy(session.model).requires_grad_(False)  # noqa: FBT003
    session.replace(frozen, settled="it is over")
    assert averaged.module is before
    assert not session.averages.any
