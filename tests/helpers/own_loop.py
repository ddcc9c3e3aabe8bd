"""Loops of one's own over schedules of a few epochs, one of them with all that a loop can have."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from compressor import Budget, FineTune, Int8, Prune, Result, Session, storage
from compressor.importance import frobenius
from compressor.inputs import randomness
from compressor.inputs.tensors import all_tensors
from compressor.phases import Phase
from tests.helpers.tiny import loader, tiny

CAPS = Budget(params=700)
ONCE = Prune(method="uniform", importance=frobenius, repair=False, fold=False)
GRADUAL = Prune(
    method="uniform", importance=frobenius, repair=False, fold=False, steps=2, epochs=1, lr=1e-2
)


def data() -> DataLoader[tuple[Tensor, ...]]:
    """A shuffling loader of two batches."""
    return loader(64, generator=torch.Generator().manual_seed(1))


def started(schedule: Sequence[Phase], budget: Budget = CAPS, **options: Any) -> Session:
    """A session of a network with dropout, all generators seeded as `fit` seeds them."""
    randomness.seed_everything(0)
    given: dict[str, Any] = {"data": data(), "verify": False, **options}
    return Session(tiny(dropout=0.2), budget=budget, schedule=schedule, **given)


def call(
    directory: Path, stop: int | None = None, die: int | None = None, **changes: Any
) -> nn.Module | None:
    """A loop with EMA, scheduler and scaler; ended after so many epochs, or killed at a step."""
    steps = 0
    batches = data()
    session = started(
        [GRADUAL, FineTune(epochs=2), Int8(epochs=2)], Budget(bytes=6000), data=batches,
        checkpoint=directory, val=loader(32, seed=5), **changes,
    )  # fmt: skip
    optimizer = session.optimizer = torch.optim.AdamW(session.model.parameters(), 1e-2)
    ema = session.follow(AveragedModel(session.model, multi_avg_fn=get_ema_multi_avg_fn(0.9)))
    course = session.remember(torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, 20))
    scaler = session.remember(torch.amp.GradScaler("cpu"))
    for number, _ in enumerate(session.epochs()):
        if number == stop:
            session.close()
            return None
        for batch in batches:
            optimizer.zero_grad()
            scaler.scale(session.batch_loss(batch)).backward()
            scaler.step(optimizer)
            scaler.update()
            steps += 1
            if steps == die:
                os.kill(os.getpid(), signal.SIGKILL)
            session.step()
            ema.update_parameters(session.model)
            course.step()
    session.model.load_state_dict(ema.module.state_dict())
    return session.finish().model


def run_and_save(directory: Path, output: Path, die: int | None) -> None:
    """What the killed process does."""
    torch.set_num_threads(1)
    model = call(directory, die=die)
    assert model is not None
    storage.write(output, "model", all_tensors(model), {})


def trained(session: Session, batches: DataLoader[tuple[Tensor, ...]]) -> Result:
    """The plainest loop: the session makes the optimisers."""
    for _ in session.epochs():
        for batch in batches:
            loss = session.batch_loss(batch)
            assert session.optimizer is not None
            session.optimizer.zero_grad()
            loss.backward()
            session.optimizer.step()
            session.step()
    return session.finish()


def once_through(
    session: Session, optimizer: torch.optim.Optimizer, *averages: AveragedModel
) -> None:
    """All epochs with one optimiser, whether the session knows it or not, and averages."""
    for _ in session.epochs():
        for batch in data():
            optimizer.zero_grad()
            session.batch_loss(batch).backward()
            optimizer.step()
            session.step()
            for average in averages:
                average.update_parameters(session.model)


def nudge(session: Session) -> None:
    """Move a weight, as a step of an optimiser would."""
    with torch.no_grad():
        next(session.model.parameters()).add_(1e-3)
