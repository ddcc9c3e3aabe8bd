"""What a loop of one's own may not do, and how it is told so."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from compressor import (
    Budget,
    Distill,
    FineTune,
    Int8,
    Prune,
    Session,
    TrainingError,
    Unstructured,
)
from compressor.phases import Phase
from compressor.run.lesson import Lesson
from compressor.run.phase import Teaching
from compressor.run.training import Training
from tests.helpers.own_loop import (
    CAPS,
    ONCE,
    data,
    nudge,
    once_through,
    started,
)
from tests.helpers.tiny import loader, refuses, tiny


class Alone(Phase):
    """A phase that trains by itself."""

    trains, epochs, lowers = True, 1, frozenset[str]()

    def run(self, training: Training, part: int) -> None:
        loss = training.session.loss
        training.epoch("Alone", part, 1, loss, lambda _: 1.0)


class Odd(Teaching):
    """Two epochs, of which each says that it is the only one."""

    trains, length, epochs, lowers = True, 2, 2, frozenset[str]()

    def lessons(self, training: Training, part: int) -> Iterator[Lesson]:
        del part
        yield Lesson("Odd", 0, 1, training.session.loss, lambda _: 1.0)


def test_epochs_that_are_counted_in_another_way_are_not_passed_over() -> None:
    session = started([Odd()], Budget(params=10**6))
    for _ in session.epochs():
        nudge(session)
        session.step(1.0)
    with refuses("Odd is at epoch 1 of 1, and the schedule is not over: train on"):
        session.finish()
    for _ in session.epochs():
        nudge(session)
        session.step(2.0)
    assert [epoch.loss for epoch in session.finish().report.log] == [1.0, 2.0]


MISUSES: dict[str, tuple[Callable[[], object], str]] = {
    "two removals": (lambda: started([ONCE], prune=Prune()), "what is removed is said once"),
    "a rate": (lambda: started([ONCE, FineTune()], lr=0.1), "rates are set by the loop"),
    "no data": (lambda: started([ONCE, FineTune()], data=None), "Session was given none.*data=lo"),
    "no val": (
        lambda: started([ONCE, FineTune(select=True)]), "the best val and Session was given none",
    ),
    "no schedule": (lambda: Session(tiny(), budget=CAPS).epochs().__next__(), "goes with a sched"),
    "val alone": (lambda: Session(tiny(), budget=CAPS, val=loader()), r"val=.*with a schedule"),
    "an order": (lambda: started([Int8(), Prune()]), "after which no weight can change"),
    "a teacher left out": (
        lambda: started([ONCE, FineTune(distill=Distill())]).step(), "FineTune adds to the loss",
    ),
    "no step": (lambda: started([ONCE, FineTune()]).end_epoch(), "got no batch"),
    "too early": (lambda: started([ONCE, FineTune()]).finish(), r"at epoch 1 of 30.*early=True"),
    "nothing left": (lambda: started([ONCE]).step(), "no epoch of the schedule is left to train"),
    "a run of its own": (lambda: started([Alone()], Budget(params=10**6)), "yield its epochs from"),
    "no state": (
        lambda: started([ONCE, FineTune()]).remember(3),  # type: ignore[type-var]
        r"remember\(3\): a int has no state_dict",
    ),
    "a loss that is text": (
        lambda: started([ONCE, FineTune()]).step("a"),  # type: ignore[arg-type]
        r"^session.step\('a'\): must be the loss that the step was made on, one number",
    ),
    "a loss of every example": (
        lambda: started([ONCE, FineTune()]).step(torch.ones(3)), "step was made on, one number",
    ),
    "other parameters": (
        lambda: started([ONCE, FineTune()]).follow(torch.optim.SGD(tiny().parameters(), 0.1)),
        "holds no parameter of the model as it is now",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISUSES)
def test_misuse(name: str) -> None:
    call, match = MISUSES[name]
    with pytest.raises(Exception, match=match) as caught:
        call()
    assert type(caught.value).__name__ in {"ValueError", "TrainingError"}


def stale(session: Session) -> None:
    """An optimiser of the model given."""
    session.optimizer = torch.optim.AdamW(session.given.parameters())


def no_optimizer(session: Session) -> None:
    """Something else."""
    session.optimizer = 3  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("assign", "match"),
    [
        (stale, "session.optimizer got a AdamW that holds no parameter of the model as it is now"),
        (no_optimizer, r"session.optimizer = 3: must be an optimiser built on session.model, such"),
    ],
)
def test_an_optimizer_that_trains_nothing_is_refused(
    assign: Callable[[Session], None], match: str
) -> None:
    session = started([ONCE, FineTune(epochs=1)])
    with refuses(match):
        assign(session)
    session.optimizer = None
    assert session.optimizers == []


@pytest.mark.parametrize("kind", ["of the model given", "never told", "of other weights"])
def test_an_epoch_that_moves_no_weight_is_an_error(kind: str) -> None:
    session = started([ONCE, FineTune(epochs=1), Int8(epochs=1)], Budget(bytes=6000))
    model = session.given if kind == "of the model given" else session.model
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    match = "FineTune epoch 1 moved no weight .*: it was told of no optimiser"
    if kind == "never told":  # it trains the network until int8 training makes it another one
        match = "Int8 epoch 1 moved no weight .*: it was told of no optimiser.*session.optimizer ="
    elif kind == "of other weights":
        session.optimizer = torch.optim.SGD(session.model.parameters(), 0.1)
        optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], 0.1)
        match = "FineTune epoch 1 moved no weight .*: it was told of a SGD"
    with refuses(match, TrainingError):
        once_through(session, optimizer)


def test_a_rate_of_zero_is_meant() -> None:
    session = started([ONCE, FineTune(epochs=2)])
    optimizer = session.optimizer = torch.optim.SGD(session.model.parameters(), 0.1)
    warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, float)
    before = [p.detach().clone() for p in session.model.parameters()]
    for lesson in session.epochs():
        assert lesson.number < 2
        assert all(map(torch.equal, session.model.parameters(), before))  # a first epoch at zero
        for batch in data():
            optimizer.zero_grad()
            session.batch_loss(batch).backward()
            optimizer.step()
            session.step()
        warmup.step()
    assert len(session.log) == 2


def test_steps_that_a_scaler_passes_over_are_no_fault() -> None:
    session = started([ONCE, FineTune(epochs=1)])
    optimizer = session.optimizer = torch.optim.SGD(session.model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=float("inf"))
    before = [p.detach().clone() for p in session.model.parameters()]
    for _ in session.epochs():
        scaler.scale(session.batch_loss(next(iter(data())))).backward()
        for _ in range(2):
            scaler.step(optimizer)
            scaler.update()
            session.step()
    assert all(map(torch.equal, session.model.parameters(), before))
    assert len(session.log) == 1


def test_a_step_that_the_session_is_not_told_of() -> None:
    session = started([ONCE, FineTune(epochs=1)])
    optimizer = session.optimizer = torch.optim.SGD(session.model.parameters(), 0.1)
    with refuses(r"moved the weights, and session.step\(\) was not called: call", TrainingError):
        for _ in session.epochs():
            session.batch_loss(next(iter(data()))).backward()
            optimizer.step()


def test_a_step_told_of_before_it_is_made_breaks_masks() -> None:
    session = started([Unstructured(amount=0.5), FineTune(epochs=2)], Budget(bytes="9KB"))
    optimizer = session.optimizer = torch.optim.SGD(session.model.parameters(), 0.1)
    match = r"FineTune epoch 1 left .* not zero: call session.step\(\) after optimizer.step"
    with refuses(match, TrainingError):
        for _ in session.epochs():
            session.batch_loss(next(iter(data()))).backward()
            session.step()
            optimizer.step()
