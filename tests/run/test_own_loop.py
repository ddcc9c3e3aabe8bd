"""A schedule in a loop of one's own: what `fit` does, and all that such a loop has beside."""

from __future__ import annotations

import copy
import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from compressor import (
    Budget,
    Distill,
    FilterPruning,
    FineTune,
    FrequencyMask,
    Half,
    Int8,
    Joint,
    Prune,
    Recalibrate,
    Result,
    ResumeError,
    Session,
    Train,
    TrainingError,
    Unstructured,
    fit,
    storage,
)
from compressor.inputs.tensors import all_tensors
from compressor.network import Network
from compressor.phases import Phase
from compressor.phases.frequency.masks import AdmmMask
from compressor.run.lesson import Lesson
from compressor.run.phase import Teaching
from compressor.run.training import Training
from tests.helpers.own_loop import CAPS, GRADUAL, ONCE, call, data, run_and_save, started
from tests.helpers.tiny import equal, loader, refuses, scenes, tiny


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
    for _ in session.epochs():
        for batch in data():
            optimizer.zero_grad()
            session.batch_loss(batch).backward()
            optimizer.step()
            session.step()
            ema.update_parameters(session.model)
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


def test_a_name_given_to_the_model_before_is_refused() -> None:
    session = started([Int8(epochs=1)], Budget(bytes="20KB"))
    assert isinstance(session.model, Network)
    stale = session.unrounded
    assert stale is not None
    with pytest.raises(RuntimeError, match=r"Tiny is the model of before.*Say session.model"):
        stale.train()(scenes(4).tensors[0])
    stale.eval()(scenes(4).tensors[0])


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


def nudge(session: Session) -> None:
    """Move a weight, as a step of an optimiser would."""
    with torch.no_grad():
        next(session.model.parameters()).add_(1e-3)


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


def once_through(session: Session, optimizer: torch.optim.Optimizer) -> None:
    """All epochs with one optimiser, whether the session knows it or not."""
    for _ in session.epochs():
        for batch in data():
            optimizer.zero_grad()
            session.batch_loss(batch).backward()
            optimizer.step()
            session.step()


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
    for _ in session.epochs():
        for batch in data():
            optimizer.zero_grad()
            session.batch_loss(batch).backward()
            optimizer.step()
            session.step()
            ema.update_parameters(session.model)
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
