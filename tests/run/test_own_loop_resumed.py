"""A loop of one's own that stops, by an error, a kill or an end, and goes on."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from compressor import (
    Budget,
    FineTune,
    ResumeError,
    Session,
    storage,
)
from compressor.inputs.tensors import all_tensors
from tests.helpers.own_loop import (
    ONCE,
    call,
    data,
    nudge,
    run_and_save,
    started,
    trained,
)
from tests.helpers.tiny import equal, refuses


@pytest.mark.slow
def test_a_loop_that_was_killed_ends_in_the_same_bits(tmp_path: Path) -> None:
    whole = call(tmp_path / "whole")
    for stop in (1, 0, 2, 1):  # epochs of this process; all five in all but the last
        assert call(tmp_path / "parts", stop) is None
    again, once_more = (call(tmp_path / "parts") for _ in range(2))
    assert whole is not None
    assert again is not None
    assert once_more is not None
    assert equal(whole, again)
    assert equal(whole, once_more)


@pytest.mark.slow
def test_kill_9_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    start = multiprocessing.get_context("spawn").Process
    for step, code in ((3, -9), (4, -9), (None, 0)):  # of this process; two steps an epoch
        process = start(target=run_and_save, args=(tmp_path / "run", tmp_path / "saved", step))
        process.start()
        process.join()
        assert process.exitcode == code
    whole = call(tmp_path / "whole")
    found, _ = storage.read(tmp_path / "saved", "model")
    assert whole is not None
    own = all_tensors(whole)
    assert own.keys() == found.keys()
    assert all(torch.equal(own[name], found[name]) for name in own)


def test_a_loop_that_was_killed_before_its_optimiser_was_made(tmp_path: Path) -> None:
    started([ONCE, FineTune(epochs=1)], checkpoint=tmp_path / "parts").close()
    models: list[nn.Module] = []
    for directory in ("whole", "parts"):
        batches = data()
        session = started([ONCE, FineTune(epochs=1)], checkpoint=tmp_path / directory, data=batches)
        assert (tmp_path / directory / "checkpoint.json").exists()
        session.optimizer = torch.optim.AdamW(session.model.parameters(), 1e-2)
        session.follow(AveragedModel(session.model))
        models.append(trained(session, batches).model)
    assert equal(*models)


def test_a_session_lets_go_of_its_directory(tmp_path: Path) -> None:
    def session() -> Session:
        return started([ONCE, FineTune(epochs=1)], checkpoint=tmp_path)

    with refuses("no state_dict"), session() as one:
        one.remember(3)  # type: ignore[type-var]
    other = session()  # the one before is closed, though there is a name for it
    with pytest.raises(
        ResumeError, match=r"in this process: .*session.close\(\), .*`with Session\("
    ):
        session()
    del other
    last = session()  # nobody refers to the other
    last.close()
    with session():
        pass


def test_a_session_that_cannot_be_made_has_no_directory(tmp_path: Path) -> None:
    started([ONCE, FineTune(epochs=1)], checkpoint=tmp_path).close()
    with pytest.raises(ResumeError, match="another run") as caught:
        started([ONCE, FineTune(epochs=2)], checkpoint=tmp_path)
    assert caught.value.__traceback__ is not None  # it refers to what was half made
    started([ONCE, FineTune(epochs=1)], checkpoint=tmp_path).close()


def test_another_kind_of_optimiser_is_not_resumed(tmp_path: Path) -> None:
    def session(kind: type[torch.optim.Optimizer]) -> Session:
        made = started([ONCE, FineTune(epochs=2)], checkpoint=tmp_path)
        made.optimizer = kind(made.model.parameters(), lr=1e-3)  # type: ignore[call-arg]
        return made

    with session(torch.optim.SGD) as one:
        for _ in one.epochs():
            if one.log:
                break
            nudge(one)
            one.step(1.0)
    with session(torch.optim.Adam) as two, refuses("is a Adam, and the state .* of a SGD: make"):
        two.take_up()
    with session(torch.optim.SGD) as three:
        three.take_up()


DIES = """
import sys
from compressor import FineTune
from tests.helpers.own_loop import ONCE, started
session = started([ONCE, FineTune(epochs=1)], checkpoint=sys.argv[1])
for epoch in session.epochs():
    raise RuntimeError("stopped")
"""


@pytest.mark.slow
def test_an_error_that_nobody_catches_is_the_last_word(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DIES, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 1
    assert done.stderr.endswith("RuntimeError: stopped\n")
    started([ONCE, FineTune(epochs=1)], checkpoint=tmp_path).close()


def test_a_checkpoint_knows_what_the_loop_had(tmp_path: Path) -> None:
    schedule, batches = [FineTune(epochs=3, lr=1e-2)], data()
    loose = Budget(params=10**6)

    def session(**changes: Any) -> Session:
        made = started(schedule, loose, data=batches, checkpoint=tmp_path, **changes)
        made.optimizer = torch.optim.SGD(made.model.parameters(), 0.1)
        return made

    one = session()
    one.remember(torch.optim.lr_scheduler.StepLR(one.optimizer, 1))  # type: ignore[arg-type]
    with pytest.raises(ResumeError, match="a run that is going on"):
        session()
    for _ in one.epochs():
        one.optimizer.zero_grad()  # type: ignore[union-attr]
        one.step(1.0)
        if len(one.log):
            break
    one.close()
    again = session()
    with refuses(
        r"1 optimisers, 0 averaged copies and 1 others, and .* 0 averaged copies and 0 others"
    ):
        next(again.epochs())
    with refuses("nobody has taken up: loop over session.epochs"):
        again.step()
    again.close()
    with pytest.raises(ResumeError, match="another run"):
        session(lr=None, loss=nn.CrossEntropyLoss(label_smoothing=0.1))
