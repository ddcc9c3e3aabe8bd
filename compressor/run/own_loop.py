"""A schedule in a loop of one's own: all that phases do between epochs is done, the loop trains.

`fit` and this go through the same course (`compressor.run.course`). It stops at every epoch that a
phase wants trained; here it waits until the loop says that the epoch is over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from compressor.inputs.batches import Batch
from compressor.run.checkpoint import Checkpoint
from compressor.run.compression import Compression
from compressor.run.course import lessons
from compressor.run.history import Epoch
from compressor.run.lesson import Lesson
from compressor.run.optimizers import add, check_held, hand_on
from compressor.run.own_training import OwnTraining, Stateful
from compressor.run.phase import Phase
from compressor.wording import brief

Followed = TypeVar("Followed", nn.Module, Optimizer)
Remembered = TypeVar("Remembered", bound=Stateful)


@dataclass
class Way:
    """A schedule under way.

    Attributes:
        training: What the phases work with.
        phases: The schedule.
        course: The epochs to come.
        checkpoint: Where they are written; None for nowhere.
        lesson: The one at hand; None when none is left.
        losses: What `batch_loss` gave since the last step.
    """

    training: OwnTraining
    phases: Sequence[Phase]
    course: Iterator[Lesson]
    checkpoint: Checkpoint | None = None
    lesson: Lesson | None = None
    losses: list[Tensor] = field(default_factory=list[Tensor])

    @classmethod
    def of(
        cls, training: OwnTraining, phases: Sequence[Phase], checkpoint: Checkpoint | None
    ) -> Way:
        """The way to the first epoch: what comes before it is done."""
        way = cls(training, phases, lessons(training, phases, checkpoint), checkpoint)
        way.go_on()
        return way

    def go_on(self) -> None:
        """Do what comes before the next epoch."""
        self.come_to(next(self.course, None))

    def come_to(self, lesson: Lesson | None) -> None:
        """Begin an epoch, if there is one."""
        self.lesson, self.losses = lesson, []
        if lesson is not None:
            self.training.begin_epoch(lesson)
            if self.training.paces:
                self.training.pace()

    @property
    def at_last(self) -> bool:
        """True if the epoch at hand is the last one that will be trained."""
        later = self.phases[self.training.session.phase + 1 :]
        last = self.lesson is None or self.lesson.last
        return last and not any(phase.trains for phase in later)


class OwnLoop(Compression):
    """A compression in a loop of one's own, with a schedule or without."""

    _way: Way | None = None

    @property
    def lesson(self) -> Lesson | None:
        """The epoch of training at hand: its phase, number and loss; None when none is left."""
        return None if self._way is None else self._way.lesson

    @property
    def passes(self) -> int:
        """Epochs of training in the whole schedule, as far as is known before."""
        return 0 if self._way is None else sum(phase.passes for phase in self._way.phases)

    @property
    def log(self) -> tuple[Epoch, ...]:
        """One entry for every epoch so far."""
        return () if self._way is None else tuple(self._way.training.log)

    def follow(self, followed: Followed) -> Followed:
        """Let an averaged copy of `model` (EMA, SWA) or one more optimiser follow all that is done.

        A copy loses the same channels, is zero where the model is masked, and is trained for int8
        where the model is; an optimiser keeps the state of what stays.

        Args:
            followed: A `torch.optim.swa_utils.AveragedModel` of `model`, any other module that has
                a copy of it inside, a copy itself (which can shrink, and not be trained for int8);
                or an optimiser of some of the parameters of `model`.

        Returns:
            The same object.

        Raises:
            ValueError: If it is nothing of the kind.
        """
        if not isinstance(followed, Optimizer):
            return self.average(followed)
        check_held(followed, self.model, "session.follow")
        self.others.append(followed)
        return followed

    def remember(self, thing: Remembered) -> Remembered:
        """Keep the state of a scheduler, a `GradScaler` or the like in every checkpoint.

        Args:
            thing: Has ``state_dict()``, of tensors and plain data, and ``load_state_dict(state)``.

        Returns:
            The same object.

        Raises:
            ValueError: If it has not, or there is no schedule, after whose epochs checkpoints are
                written.
        """
        if not isinstance(thing, Stateful):
            raise ValueError(
                f"session.remember({brief(thing)}): a {type(thing).__name__} has no state_dict() "
                "and load_state_dict(state), as schedulers and a GradScaler have"
            )
        self._on_the_way("remember").training.remembered.append(thing)
        return thing

    def take_up(self) -> None:
        """Give all that the session was told of the states that the checkpoint has; see `epochs`.

        Raises:
            ValueError: If it was told of other things than in the run before.
        """
        if self._way is not None:
            self._way.training.take_up()

    def epochs(self) -> Iterator[Lesson]:
        """The epochs to train, in order: the body of the loop trains one.

        Between two of them the session does what the schedule says: validate, remove, measure, come
        to the next phase, write the checkpoint. What comes after the last one is done by `finish`,
        so that an average can be put into the model before.

        An epoch that the loop leaves by `break` is not over: the next call goes on within it, and
        `finish` ends it. `end_epoch` in the body ends it at once.

        Raises:
            ValueError: If there is no schedule.
        """
        way = self._on_the_way("epochs")
        self.take_up()
        while (lesson := way.lesson) is not None:
            yield lesson
            if way.lesson is lesson:  # else it was over after so many steps
                self.end_epoch()

    def batch_loss(self, batch: Batch) -> Tensor:
        """The loss of the epoch at hand on a batch, with a teacher's or a mask's part in it.

        A loop may compute its own instead where the phase adds nothing to it.
        """
        way, lesson = self._at_hand("batch_loss")
        value = lesson.loss(self.model, batch)
        way.losses.append(value.detach())
        return value

    def step(self, loss: Tensor | float | None = None) -> None:
        """Say that the optimisers made a step: zeros stay zero, and what is due is done.

        Args:
            loss: The loss that it was made on, for the log; by default what `batch_loss` gave.

        Raises:
            ValueError: If it is no number, or the phase adds to the loss, and `batch_loss` was not
                asked for it.
        """
        way, lesson = self._at_hand("step")
        training = way.training
        if training.waiting is not None:
            raise ValueError(
                "the checkpoint has states that nobody has taken up: loop over session.epochs(), "
                "or call session.take_up() before the first step"
            )
        if lesson.loss is not self.loss and not way.losses:
            raise ValueError(
                f"{lesson.phase} adds to the loss (a teacher, smoothing, a mask), and this step "
                "was made without: compute it as session.batch_loss(batch), or leave that setting "
                "out of the schedule"
            )
        training.stepped(_mean(way.losses) if loss is None else _number(loss))
        way.losses = []
        if training.every is not None and training.taken >= training.every:
            self.end_epoch()
        elif training.paces and training.taken != training.length:
            training.pace()  # for the step to come; phases look at the rate of the last one

    def end_epoch(self, accuracy: float | None = None) -> None:
        """Say that the epoch at hand is over; `epochs` does it by itself.

        Args:
            accuracy: Value for the log, and for phases that return the best epoch; by default what
                `val` gives.

        Raises:
            TrainingError: If there was no step, or a weight is not finite.
        """
        way, _ = self._at_hand("end_epoch")
        last = way.at_last
        way.training.end_epoch(accuracy)
        if last:
            way.lesson = None
        else:
            way.go_on()

    def arrive(self, *, early: bool) -> None:
        """Do all that the schedule has after the last epoch.

        Args:
            early: Pass over epochs that were not trained.

        Raises:
            ValueError: If some were not, and that is not asked for.
        """
        way = self._on_the_way("finish")
        if way.lesson is not None and way.training.taken:
            self.end_epoch()
        if way.lesson is not None and not early:
            raise _unfinished(way.lesson)
        if way.checkpoint is not None:
            # The same loop again finds a model that it can make its optimisers of.
            way.checkpoint.rest()
        while (lesson := next(way.course, None)) is not None:
            if not early:  # of a phase that counts its epochs in a way of its own
                way.come_to(lesson)
                raise _unfinished(lesson)
        way.lesson = None

    def _become(
        self, model: nn.Module, change: Callable[[nn.Module], nn.Module] | None = None
    ) -> None:
        """Another module in the place of `model`; optimisers of the loop go on with it."""
        before, optimizer, followed = self.model, self.optimizer, self.optimizers
        super()._become(model, change)
        if all(module is not before for module in model.modules()):
            before.register_forward_pre_hook(_refuse_training)
        made = self._way is not None and self._way.training.paces
        if made or not followed or not any(p.requires_grad for p in model.parameters()):
            return
        for each in followed:
            hand_on(each, before, model)
        held = {id(p) for each in followed for group in each.param_groups for p in group["params"]}
        known = held | {id(p) for p in before.parameters()}
        fresh = [p for p in model.parameters() if p.requires_grad and id(p) not in known]
        grown = len(list(model.parameters())) > len(list(before.parameters()))
        add(followed[0], fresh if grown else [])
        self.optimizer, self.others = optimizer, followed[optimizer is not None :]

    def _on_the_way(self, what: str) -> Way:
        if self._way is None:
            raise ValueError(
                f"session.{what}() goes with a schedule: Session(..., schedule=[Prune(), "
                "Recalibrate(), FineTune(epochs=30)])"
            )
        return self._way

    def _at_hand(self, what: str) -> tuple[Way, Lesson]:
        way = self._on_the_way(what)
        if way.lesson is None:
            raise ValueError(
                f"session.{what}(): no epoch of the schedule is left to train: call "
                "session.finish()"
            )
        return way, way.lesson


def _unfinished(lesson: Lesson) -> ValueError:
    return ValueError(
        f"session.finish(): {lesson.phase} is at epoch {lesson.number + 1} of {lesson.total}, and "
        "the schedule is not over: train on, for epoch in session.epochs(), or pass over the rest, "
        "session.finish(early=True)"
    )


def _number(loss: Tensor | float) -> float:
    """A loss as a number."""
    try:
        return float(torch.as_tensor(loss).detach())
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"session.step({brief(loss)}): must be the loss that the step was made on, one number "
            "or a tensor of one, or nothing where session.batch_loss gave it"
        ) from error


def _mean(losses: Sequence[Tensor]) -> float:
    """The mean of some losses; NaN where there are none."""
    return sum(map(float, losses)) / len(losses) if losses else math.nan


def _refuse_training(model: nn.Module, _: Any) -> None:
    """Refuse to train a module whose place another has taken."""
    if model.training and torch.is_grad_enabled():
        raise RuntimeError(
            f"this {type(model).__name__} is the model of before: another module has taken its "
            "place, as for int8 training. Say session.model in the loop, and not a name that was "
            "given to it before"
        )
