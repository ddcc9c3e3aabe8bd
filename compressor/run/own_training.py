"""The training of a loop that somebody else runs: what it keeps, and what a checkpoint has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, runtime_checkable

import torch
from torch.optim import Optimizer

from compressor.inputs import randomness
from compressor.inputs.losses import Loss
from compressor.inputs.tensors import all_tensors, check_tensors, fill
from compressor.run import optimizers
from compressor.run.clipping import clip_gradients
from compressor.run.lesson import Lesson
from compressor.run.rate_range import FALLBACK
from compressor.run.trail import Trail
from compressor.run.training import Training

if TYPE_CHECKING:
    from compressor.run.compression import Compression


@runtime_checkable
class Stateful(Protocol):
    """What has a state, such as a scheduler or a `torch.amp.GradScaler`."""

    def state_dict(self) -> Any:
        """The state, tensors and plain data."""
        ...

    def load_state_dict(self, state_dict: Any, /) -> object:
        """Take a state over."""
        ...


class OwnTraining(Training):
    """A training whose steps are made by a loop of one's own.

    Args:
        session: The model that shrinks.
        options: As for `Training`, but for `optimizer` and `fabric`.
        factory: What makes the optimisers, one a phase, whose rates are then set here, as in `fit`;
            None where the loop has its own.
        every: Steps of an epoch, after which it is over; None where the loop says when.
        loaders: Data loaders whose generators belong to the state.

    Attributes:
        paces: The rates are set here.
        every: Steps of an epoch, after which it is over; None where the loop says when.
        remembered: Others whose state is in every checkpoint.
        waiting: States from a checkpoint that nobody has taken up yet.
    """

    def __init__(
        self,
        session: Compression,
        *,
        factory: Callable[..., Optimizer] | None,
        every: int | None,
        loaders: Sequence[object],
        **options: Any,
    ) -> None:
        self.paces, self.every, self._loaders = factory is not None, every, loaders
        self.remembered: list[Stateful] = []
        self.waiting: Mapping[str, Any] | None = None
        self._trail = Trail(session)
        super().__init__(session, optimizer=factory or optimizers.adamw, **options)

    @property
    def length(self) -> int | None:
        """Steps of an epoch; None where nobody knows."""
        return self.every or super().length

    @property
    def taken(self) -> int:
        """Steps so far of the epoch at hand."""
        return len(self._losses)

    def start(self, lr: float, weight_decay: float) -> None:
        """Begin a phase of training with a fresh optimiser, unless the loop has one of its own."""
        if not self.paces:
            self.best = None
            return
        super().start(lr, weight_decay)
        optimizer = self.session.optimizer
        if optimizer is not None:
            optimizer.register_step_pre_hook(self._clip)

    def begin_epoch(self, lesson: Lesson) -> None:
        """Come to an epoch of training, and look at what it is to move."""
        super().begin_epoch(lesson)
        self._trail = Trail(self.session)

    def stepped(self, loss: float) -> None:
        """Take in a step of the optimiser, and the loss that it was made on."""
        super().stepped(loss)
        self._trail.stepped()

    def end_epoch(self, accuracy: float | None = None) -> None:
        """Check what the loop did, and all that `Training` checks.

        Raises:
            TrainingError: If the session was told of no step, no weight moved, masked weights are
                not zero, or a number is not finite.
        """
        if self._lesson is not None:
            name = f"{self._lesson.phase} epoch {self._lesson.number + 1}"
            self._trail.check(name, self.taken)
        super().end_epoch(accuracy)

    def find_rate(
        self, phase: str, loss: Loss, weight_decay: float, clip: float | None = None
    ) -> float:
        """The learning rate for the model; where the loop sets it, it is not looked for."""
        if self.paces:
            return super().find_rate(phase, loss, weight_decay, clip)
        optimizer = self.session.optimizer
        return FALLBACK if optimizer is None else float(optimizer.param_groups[0]["lr"])

    def refresh(self) -> None:
        """Come to the model as it is now; who trains it wraps it."""
        self.model, self._optimizer = self.session.model, self.session.optimizer

    def give(self, lesson: Lesson) -> NoReturn:
        """Refuse to train: this is asked for by phases that run their own training alone."""
        raise ValueError(
            f"{lesson.phase} trains in a `run` of its own, and here the loop is yours: derive it "
            "from compressor.run.phase.Teaching and yield its epochs from `lessons`, or pass it to "
            "compressor.fit"
        )

    def snapshot(self) -> dict[str, Any]:
        """Everything that the same loop needs to go on from here."""
        own = {} if self.paces else {"optimizer": None}
        return {**super().snapshot(), **own, "loop": self._told_of()}

    def restore(self, state: Mapping[str, Any], redo: Callable[[int, Any], None]) -> None:
        """Take over a snapshot; what belongs to the loop waits for `take_up`.

        Before the first epoch there is nothing of the kind: a checkpoint may be older than the
        optimisers, and these have not trained yet.
        """
        super().restore(state, redo)
        self.waiting = {**state["loop"], "random": state["random"]} if self.log else None

    def take_up(self) -> None:
        """Give optimisers, copies and others the states that the checkpoint has of them.

        Raises:
            ValueError: If there are others than then.
        """
        waiting, session = self.waiting, self.session
        if waiting is None:
            return
        copies, own = list(session.averages), [] if self.paces else session.optimizers
        told = {"optimizers": own, "copies": copies, "remembered": self.remembered}
        before, now = ([len(by[name]) for name in told] for by in (waiting, told))
        if before != now:
            then, here = (
                "{} optimisers, {} averaged copies and {} others".format(*n) for n in (before, now)
            )
            raise ValueError(
                f"the checkpoint holds the states of {then}, and the session was told of {here}: "
                "before the loop say session.optimizer = ..., session.follow(...), "
                "session.remember(...) as the run before did"
            )
        for optimizer, groups in zip(own, waiting["optimizers"], strict=True):
            optimizers.fill(optimizer, session.model, groups)
        for copy, tensors in zip(copies, waiting["copies"], strict=True):
            check_tensors(copy, tensors)
            fill(copy, tensors)
        for thing, state in zip(self.remembered, waiting["remembered"], strict=True):
            thing.load_state_dict(state)
        randomness.put_back(waiting["random"], *self._loaders)
        self.waiting = None

    def _told_of(self) -> dict[str, Any]:
        if self.waiting is not None:  # nothing was trained since it was read
            return dict(self.waiting)
        session = self.session
        own = [] if self.paces else session.optimizers
        return {
            "optimizers": [optimizers.stored(each, session.model) for each in own],
            "copies": [all_tensors(copy) for copy in session.averages],
            "remembered": [_plain(thing) for thing in self.remembered],
        }

    def _clip(self, optimizer: Optimizer, *_: object) -> None:
        clip = None if self._lesson is None else self._lesson.clip
        clip_gradients(self.session.model, optimizer, clip, None)


def _plain(thing: Stateful) -> Any:
    """The state of something, without what is no data, as functions of a scheduler are none."""
    state = thing.state_dict()
    if not isinstance(state, dict):
        return state
    kinds = (bool, int, float, str, list, tuple, dict, torch.Tensor, type(None))
    return {key: value for key, value in state.items() if isinstance(value, kinds)}
