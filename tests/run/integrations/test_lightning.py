"""A Lightning trainer drives a session, on the real package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from compressor import Budget, FineTune, Int8, Prune, Session, measure
from compressor.importance import frobenius
from compressor.network import Network
from tests.helpers.tiny import loader, refuses, tiny

lightning = pytest.importorskip("lightning", reason="pip install 'compressor-nn[lightning]'")

from compressor.run.integrations.lightning import SessionCallback  # noqa: E402 - as above

ONCE = Prune(method="uniform", importance=frobenius, repair=False, fold=False)
GRADUAL = Prune(method="uniform", importance=frobenius, repair=False, fold=False, steps=2, epochs=1)


class Task(lightning.LightningModule):  # type: ignore[misc, name-defined]
    """A classifier around a network; counts the channels that it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.network: nn.Module = tiny()
        self.seen: list[int] = []

    def training_step(self, batch: Any, _: int) -> Tensor:
        x, y = batch
        loss = functional.cross_entropy(self.network(x), y)
        self.log("loss", loss)
        self.log("score", 0.25)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), 1e-2)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]

    def on_train_epoch_start(self) -> None:
        self.seen.append(sum(p.numel() for p in self.network.parameters()))


def trainer(tmp_path: Path, callback: object, **options: Any) -> Any:
    return lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, callbacks=[callback], **options,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _calm() -> Iterator[None]:
    import warnings  # noqa: PLC0415

    with warnings.catch_warnings():  # of Lightning's: workers, CPUs, their own deprecations
        warnings.simplefilter("ignore")
        yield


def session_of(task: Task, budget: Budget, *schedule: Any) -> Session:
    return Session(task.network, budget=budget, data=loader(64), schedule=schedule, verify=False)


def test_a_trainer_goes_through_a_schedule_into_int8(tmp_path: Path) -> None:
    task = Task()
    session = session_of(task, Budget(bytes=6000), GRADUAL, FineTune(epochs=1), Int8(epochs=1))
    callback = SessionCallback(session, "network", monitor="score")
    run = trainer(tmp_path, callback, max_epochs=session.passes, accumulate_grad_batches=2)
    run.fit(task, loader(64, batch=16))
    assert session.passes == 3
    assert task.network is session.model
    assert isinstance(session.model, Network)
    assert len(task.seen) == 3
    result = session.finish()
    assert [e.phase for e in result.report.log] == ["Prune", "FineTune", "Int8"]
    assert all(e.accuracy == 0.25 and 0.1 < e.loss < 3 for e in result.report.log)
    assert result.report.files is not None
    assert result.report.files[1] <= 6000
    assert run.global_step == 6  # 4 batches an epoch, two of them a step


def test_it_equals_a_loop_of_its_own(tmp_path: Path) -> None:
    """The same steps by hand give the same bits."""
    schedule = (GRADUAL, FineTune(epochs=2))
    read = list(loader(64, generator=torch.Generator().manual_seed(1)))
    batches = DataLoader(read, batch_size=None)  # type: ignore[arg-type]
    task = Task()
    session = session_of(task, Budget(params=700), *schedule)
    run = trainer(tmp_path, SessionCallback(session, "network"), max_epochs=9)
    run.fit(task, batches)
    assert len(task.seen) == 3  # the schedule ends it
    hand = session_of(Task(), Budget(params=700), *schedule)
    optimizer = hand.optimizer = torch.optim.AdamW(hand.model.parameters(), 1e-2)
    course = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    for _ in hand.epochs():
        for x, y in batches:
            optimizer.zero_grad()
            functional.cross_entropy(hand.model(x), y).backward()
            optimizer.step()
            hand.step()
        course.step()
    one, two = session.finish().model, hand.finish().model
    assert measure(one, tiny().example_input_array).params <= 700
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_misuse(tmp_path: Path) -> None:
    task = Task()
    with refuses("drives a session through the epochs of its schedule, and this one is over"):
        SessionCallback(Session(task.network, budget=Budget(params=700)), "network")
    with refuses("and this one is 3: pass Session"):
        SessionCallback(3)  # type: ignore[arg-type]
    session = session_of(task, Budget(params=700), ONCE, FineTune(epochs=1))
    with refuses("Task that is trained has no submodule 'backbone'"):
        trainer(tmp_path, SessionCallback(session, "backbone"), max_epochs=1).fit(task, loader(64))
    with refuses("is not session.model, the copy that shrinks"):
        trainer(tmp_path, SessionCallback(session, ""), max_epochs=1).fit(task, loader(64))
