"""A schedule in a loop of one's own: what `fit` does, and all that such a loop has beside."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from compressor import (
    Budget,
    Distill,
    FilterPruning,
    FineTune,
    FrequencyMask,
    Half,
    Int8,
    Joint,
    Recalibrate,
    Session,
    Train,
    Unstructured,
    fit,
)
from compressor.network import Network
from compressor.phases import Phase
from compressor.phases.frequency.masks import AdmmMask
from tests.helpers.own_loop import (
    CAPS,
    GRADUAL,
    ONCE,
    data,
    nudge,
    once_through,
    started,
    trained,
)
from tests.helpers.tiny import equal, loader, scenes, tiny

SCHEDULES: dict[str, tuple[Sequence[Phase], Budget]] = {
    "gradual, teacher, clip, average": (
        [
            GRADUAL, Recalibrate(),
            FineTune(epochs=2, lr=1e-2, clip=0.5, ema=0.9, distill=Distill(), select=True),
        ],
        CAPS,
    ),
    "dense first, a rate that is found": (
        [Train(epochs=1), ONCE, FineTune(epochs=1, smoothing=0.1)], CAPS,
    ),
    "masks, half": (
        [Unstructured(amount=0.5, steps=2, epochs=1), FineTune(epochs=1, lr=1e-2), Half()],
        Budget(bytes="9KB"),
    ),
    "bytes between width and bits": (
        [Joint(averages=(8.0, 4.0)), FineTune(epochs=1, lr=1e-2), Int8(epochs=2, select=True)],
        Budget(bytes=5000),
    ),
    "rows by ADMM": (
        [FrequencyMask(by=AdmmMask(), keep=6, epochs=2, fine_tune=1, settle=None), ONCE],
        Budget(params=700, macs="30k"),
    ),
    "filters by ADMM": ([FilterPruning(strategy="admm", epochs=1)], CAPS),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEDULES)
def test_an_own_loop_is_fit_to_the_bit(name: str) -> None:
    schedule, budget = SCHEDULES[name]
    val = loader(32, seed=5)
    batches = data()
    session = started(schedule, budget, data=batches, val=val, optimizer=torch.optim.AdamW)
    own = trained(session, batches)
    whole = fit(
        tiny(dropout=0.2), data(), budget=budget, schedule=schedule, val=val, seed=0,
        optimizer=torch.optim.AdamW, verify=False,
    )  # fmt: skip
    assert type(own.model) is type(whole.model)
    assert equal(own.model, whole.model)
    assert [(e.phase, e.loss, e.accuracy) for e in own.report.log] == [
        (e.phase, e.loss, e.accuracy) for e in whole.report.log
    ]
    assert own.report.after == whole.report.after
    assert own.report.files == whole.report.files
    assert own.report.rates == whole.report.rates


def mixed(session: Session, x: Tensor, y: Tensor) -> Tensor:
    """The loss of mixup."""
    order = torch.randperm(len(y))
    logits = session.model(0.7 * x + 0.3 * x[order])
    cross_entropy = functional.cross_entropy
    return 0.7 * cross_entropy(logits, y) + 0.3 * cross_entropy(logits, y[order])


@pytest.fixture(scope="module")
def into_int8() -> tuple[Session, AveragedModel, list[Any]]:
    """EMA, mixup, two optimisers, OneCycle, accumulation, across shrinks and into int8."""
    session = started([GRADUAL, FineTune(epochs=1), Int8(epochs=2)], Budget(bytes=6000))
    model, seen = session.model, []
    named = dict(model.named_parameters())
    head = [named.pop("head.weight"), named.pop("head.bias")]
    first = session.optimizer = torch.optim.SGD(named.values(), lr=0.05, momentum=0.9)
    second = session.follow(torch.optim.AdamW(head, lr=1e-2))
    ema = session.follow(AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9)))
    batches = loader(64, batch=16)
    course = torch.optim.lr_scheduler.OneCycleLR(first, 0.1, total_steps=2 * session.passes + 1)
    for lesson in session.epochs():
        for number, (x, y) in enumerate(batches):
            mixed(session, x, y).backward()
            if number % 2:
                for optimizer in (first, second):
                    optimizer.step()
                    optimizer.zero_grad()
                session.step(0.5)
                ema.update_parameters(session.model)
                course.step()
        shapes = [tuple(p.shape) for p in session.model.parameters()]
        same = [tuple(p.shape) for p in ema.module.parameters()] == shapes
        held = {id(p) for o in (first, second) for g in o.param_groups for p in g["params"]}
        own = {id(p) for p in session.model.parameters()}
        seen.append((lesson.phase, sum(map(len, shapes)), same, held == own, len(second.state)))
    return session, ema, seen


def test_everything_that_a_loop_has_follows(
    into_int8: tuple[Session, AveragedModel, list[Any]],
) -> None:
    session, _, seen = into_int8
    assert [phase for phase, *_ in seen] == ["Prune", "FineTune", "Int8", "Int8"]
    assert all(same and held and states == 2 for *_, same, held, states in seen)
    assert [epoch.loss for epoch in session.log] == [0.5] * 4
    assert isinstance(session.model, Network)


def test_an_average_is_rounded_and_returned(
    into_int8: tuple[Session, AveragedModel, list[Any]],
) -> None:
    session, ema, _ = into_int8
    x = scenes(8).tensors[0]
    before = ema.module.eval()(x)
    assert not torch.equal(before, session.model.eval()(x))
    assert isinstance(ema.module, Network)
    session.model.load_state_dict(ema.module.state_dict())
    with torch.no_grad():
        assert torch.equal(session.model.eval()(x), before)
    result = session.finish()
    assert result.report.files is not None
    assert result.report.files[1] <= 6000
    with torch.no_grad():
        steps = (result.model(x) - before).abs().max()
    assert any(t.dtype == torch.int8 for t in result.model.buffers())
    assert steps < 0.05 * before.abs().max()  # what was trained is what is stored


def test_masks_hold_in_an_average_and_through_every_step() -> None:
    session = started([Unstructured(amount=0.6), FineTune(epochs=1)], Budget(bytes="9KB"))
    ema = session.follow(AveragedModel(session.model, multi_avg_fn=get_ema_multi_avg_fn(0.5)))
    optimizer = session.optimizer = torch.optim.SGD(session.model.parameters(), 0.1)
    once_through(session, optimizer, ema)
    assert session.masks
    for name, live in session.masks.items():
        for model in (session.model, ema.module):
            assert not model.get_parameter(name)[~live].any()


@pytest.mark.parametrize("scaled", [False, True], ids=["autocast", "with a scaler"])
def test_mixed_precision(scaled: bool) -> None:  # noqa: FBT001
    session = started([GRADUAL, FineTune(epochs=1)])
    optimizer = session.optimizer = torch.optim.AdamW(session.model.parameters(), 1e-2)
    scaler = torch.amp.GradScaler("cpu", enabled=scaled)
    for _ in session.epochs():
        for batch in data():
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = session.batch_loss(batch)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            session.step()
    result = session.finish()
    assert result.report.after.params <= 700
    assert all(p.dtype == torch.float32 for p in result.model.parameters())
    assert len(result.report.log) == 2


def test_epochs_of_so_many_steps() -> None:
    session = started([GRADUAL, FineTune(epochs=2)], every=3)
    optimizer = session.optimizer = torch.optim.SGD(session.model.parameters(), 0.05)
    phases: list[str] = []
    while session.lesson is not None:
        phases.append(session.lesson.phase)
        optimizer.zero_grad()
        session.batch_loss(next(iter(data()))).backward()
        optimizer.step()
        session.step()
    assert phases == ["Prune"] * 3 + ["FineTune"] * 6
    assert session.finish().report.after.params <= 700


def test_a_name_given_to_the_model_before_is_refused() -> None:
    session = started([Int8(epochs=1)], Budget(bytes="20KB"))
    assert isinstance(session.model, Network)
    stale = session.unrounded
    assert stale is not None
    with pytest.raises(RuntimeError, match=r"Tiny is the model of before.*Say session.model"):
        stale.train()(scenes(4).tensors[0])
    stale.eval()(scenes(4).tensors[0])


def test_an_epoch_that_is_left_goes_on() -> None:
    session = started([ONCE, FineTune(epochs=2)])
    seen: list[int] = []
    for leave in (True, False):
        for lesson in session.epochs():
            seen.append(lesson.number)
            for loss in (1.0, 2.0):
                nudge(session)
                session.step(loss + leave)
            if leave:
                break
    assert seen == [0, 0, 1]
    assert [epoch.loss for epoch in session.log] == [(2.0 + 3.0 + 1.0 + 2.0) / 4, 1.5]


def test_an_early_end() -> None:
    session = started([GRADUAL, FineTune(epochs=5), Int8(epochs=2)], Budget(bytes=6000))
    session.optimizer = torch.optim.SGD(session.model.parameters(), 0.1)
    for _ in session.epochs():
        nudge(session)
        session.step(1.0)
        if len(session.log) == 1:
            break
    result = session.finish(early=True)
    assert isinstance(result.model, Network)
    assert [epoch.phase for epoch in result.report.log] == ["Prune", "FineTune"]


def test_the_given_model_is_never_touched() -> None:
    model = tiny()
    before = copy.deepcopy(model)
    session = Session(model, budget=CAPS, data=data(), schedule=[ONCE, FineTune(epochs=1)])
    session.optimizer = torch.optim.SGD(session.model.parameters(), 0.1)
    for _ in session.epochs():
        session.optimizer.zero_grad()
        session.batch_loss(next(iter(data()))).backward()
        session.optimizer.step()
        session.step()
    session.finish()
    assert equal(model, before)


@pytest.mark.slow
def test_rows_go_and_all_follows() -> None:
    """A copy and an optimiser go on where the model becomes one that sees fewer rows."""
    session = started(
        [FrequencyMask(keep=6, epochs=1, fine_tune=1), ONCE, FineTune(epochs=1)],
        Budget(params=700, macs="30k"),
    )
    optimizer = session.optimizer = torch.optim.AdamW(session.model.parameters(), 1e-2)
    ema = session.follow(AveragedModel(session.model, multi_avg_fn=get_ema_multi_avg_fn(0.5)))
    once_through(session, optimizer, ema)
    x = scenes(4).tensors[0]
    session.model.load_state_dict(ema.module.state_dict())
    with torch.no_grad():
        assert torch.equal(session.model.eval()(x), ema.module.eval()(x))
    assert session.finish().report.after.params <= 700


@pytest.mark.slow
def test_scales_that_are_learned_join_the_optimiser() -> None:
    session = started([FineTune(epochs=1), Int8(epochs=1, learned=True)], Budget(bytes="20KB"))
    optimizer = session.optimizer = torch.optim.SGD(
        [
            {"params": [p for p in session.model.parameters() if p.ndim > 1]},
            {"params": [p for p in session.model.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=0.01, weight_decay=0.1,
    )  # fmt: skip
    sizes = []
    for _ in session.epochs():
        sizes.append([len(group["params"]) for group in optimizer.param_groups])
        optimizer.zero_grad()
        session.batch_loss(next(iter(data()))).backward()
        optimizer.step()
        session.step()
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in session.model.parameters() if p.requires_grad}
    assert sizes[0][0] == sizes[1][0]
    assert sizes[0][1] < sizes[1][1]
    session.finish()
