"""One training run: a compression, the data, and the epoch loop that phases share."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from compressor.errors import TrainingError
from compressor.inputs import finite
from compressor.inputs.batches import Batch, Batches
from compressor.inputs.copies import private_copy
from compressor.inputs.gradients import check_value
from compressor.inputs.losses import Distill, Loss
from compressor.inputs.tensors import all_tensors, check_tensors, fill
from compressor.network import Network
from compressor.run.choice import Chooses, WidthChoice
from compressor.run.clipping import clip_gradients
from compressor.run.compression import Compression
from compressor.run.history import Epoch, Step
from compressor.run.lesson import Judged, Lesson
from compressor.run.optimizers import OptimizerFactory, adamw, groups, is_scaled
from compressor.run.progress import Bar
from compressor.run.rate_range import Trials, measured
from compressor.run.rates import Decay
from compressor.run.telling import Told
from compressor.run.validation import Validation, mean_of_processes, valued

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch.optim import Optimizer

    from compressor.run.later import Later

Compiler = Callable[[nn.Module], nn.Module]
"""Makes a module that computes the same in less time, such as `torch.compile`."""


class Training:
    """The model, the data and the epoch loop that phases work with.

    Attributes:
        session: The model that shrinks.
        model: The same model, compiled if asked for and as Fabric wraps it; train and run this one.
        log: One entry per epoch.
        best: Accuracy and tensors of the best epoch of the phase at hand; None if not asked for.
        steps: Steps of an optimiser so far.
        told: What is said of the run.
        state: The memory of the phase at hand between its parts: tensors and plain data, as
            `compressor.storage.flatten` takes them. In every checkpoint; empty when a phase begins.
    """

    def __init__(
        self,
        session: Compression,
        data: Batches | None,
        *,
        val: Validation | None = None,
        optimizer: OptimizerFactory = adamw,
        fabric: Fabric | None = None,
        compiler: Compiler | None = None,
        bar: Bar | None = None,
        on_epoch: Callable[[Sequence[Epoch]], object] | None = None,
        on_step: Callable[[Step], object] | None = None,
        told: Told | None = None,
        lr: float | None = None,
    ) -> None:
        self._on_epoch, self._on_step, self._known = on_epoch, on_step, lr
        self.told = told or Told()
        self.session = session
        self.log: list[Epoch] = []
        self.best: tuple[float, dict[str, Tensor]] | None = None
        self.state: dict[str, Any] = {}
        self.steps = 0
        self._numbers: dict[str, float] = {}
        self._losses: list[float] = []
        self._lesson: Lesson | None = None
        self._began = 0.0
        self._data, self._factory, self._fabric = data, optimizer, fabric
        self._compiler = compiler
        self._bar = bar or Bar(enabled=False)
        session.show(self._bar)
        self._val = val
        self.model: nn.Module = session.model
        self._optimizer = session.optimizer
        self.refresh()

    def begin(self, phase: int, later: Sequence[Later], *, part: int = 0, name: str = "") -> None:
        """Come to a phase of the schedule, which has nothing to remember before its first part."""
        self.session.begin(phase, later)
        self.doing(name, None)
        self.told.phase(phase, name)
        if part == 0:
            self.state = {}

    def start(self, lr: float, weight_decay: float) -> None:
        """Begin a phase of training with a fresh optimiser."""
        optimizer = self._factory(groups(self.session.model), lr=lr, weight_decay=weight_decay)
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        self.session.attach(optimizer)
        self.best = None
        self.refresh()

    def find_rate(
        self, phase: str, loss: Loss, weight_decay: float, clip: float | None = None
    ) -> float:
        """The learning rate for the model (`compressor.run.rate_range`), recorded.

        Nothing is trained but copies, which are not compiled; no random state moves.

        Args:
            phase: Name of the phase, for the report.
            loss: The function that will be minimised.
            weight_decay: That of the phase.
            clip: Largest norm of the gradient; None for no bound.

        Raises:
            ValueError: If there is no data.
        """
        if self._data is None:
            raise _no_data()
        self._bar.begin(f"{phase}: rate", None)
        session = self.session

        def optimizer(twin: nn.Module, lr: float) -> Optimizer:
            return self._factory(groups(twin), lr=lr, weight_decay=weight_decay)

        def trials(batches: Sequence[Batch], held: Sequence[Batch], steps: int) -> Trials:
            return Trials(
                session.model, optimizer, loss, batches, held, steps,
                hold=session.masks.hold, start=session.unrepair, clip=clip,
                scaled=is_scaled(self._factory), fabric=self._fabric,
            )  # fmt: skip

        session.rates.append(measured(self._data, trials, self._known, phase))
        return session.rates[-1].lr

    def doing(self, what: str, total: int | None) -> None:
        """Say what begins, and of how many steps (`did`) it is, if that is known."""
        self._bar.begin(what, total)

    def did(self) -> None:
        """Say that one of them is done."""
        self._bar.advance()

    def snapshot(self) -> dict[str, Any]:
        """Everything that the same call needs to go on from here: tensors and plain data."""
        optimizer = self.session.optimizer
        return {
            **self.session.snapshot(),
            "optimizer": None if optimizer is None else optimizer.state_dict(),
            "best": self.best,
            "log": [dataclasses.asdict(epoch) for epoch in self.log],
            "steps": self.steps,
            "solver": self.state,
        }

    def restore(self, state: Mapping[str, Any], redo: Callable[[int, Any], None]) -> None:
        """Take over a snapshot; the arguments are those of `Compression.restore`.

        Raises:
            ValueError: If it is no snapshot of a run like this one.
        """
        self.session.restore(state, redo)
        if state["optimizer"] is None:
            self.refresh()
        else:
            self.start(1.0, 0.0)  # both are in the state
            cast("Optimizer", self.session.optimizer).load_state_dict(state["optimizer"])
        self.state = dict(state["solver"])
        self.log = [Epoch(**epoch) for epoch in state["log"]]
        self.steps = state.get("steps", 0)  # not in checkpoints of earlier versions
        self.best = state["best"]
        if self.best is not None:
            check_tensors(self.session.model, self.best[1])

    def shrink(self, choice: WidthChoice | Chooses, *, remaining: int) -> None:
        """Remove units; the optimiser follows."""
        self._bar.begin("Prune", None)
        self.session.shrink(choice, remaining=remaining)
        self.refresh()

    def logged(self, **numbers: float) -> None:
        """Add numbers of a solver (residuals, a penalty) to the log of the epoch at hand."""
        self._numbers |= numbers

    def batches(self, *, whole: bool = False) -> Iterator[Batch]:
        """The batches of one epoch; with `whole` all of them, the same in every process.

        Raises:
            ValueError: If there is no data.
        """
        if self._data is None:
            raise _no_data()
        return iter(self._data.whole if whole else self._data)

    def distilled(self, distill: Distill | None, task: Loss | None = None) -> Loss:
        """The task's loss, or another one, with the dense original as a teacher if asked for."""
        task = task or self.session.loss
        return task if distill is None else distill.of(task, self.teach)

    def teach(self, *args: Any, **kwargs: Any) -> Any:
        """The dense network's output, in eval mode, at the precision of training."""
        teacher = self.session.teacher
        if self._fabric is None:
            return teacher(*args, **kwargs)
        with self._fabric.autocast():
            return teacher(*args, **kwargs)

    def epoch(
        self,
        phase: str,
        number: int,
        total: int,
        loss: Loss,
        rate: Decay,
        *,
        after: Callable[[], None] | None = None,
        end: Callable[[], None] | None = None,
        clip: float | None = None,
    ) -> None:
        """Train one pass and log it, as `give` does; the arguments are those of a `Lesson`."""
        self.give(Lesson(phase, number, total, loss, rate, after, end, clip))

    def give(self, lesson: Lesson) -> None:
        """Train one pass over the data as a phase asks for it, and log it.

        Raises:
            TrainingError: If the loss is not finite or has no gradient, or a label is out of range.
        """
        self.begin_epoch(lesson)
        for batch in self.batches():
            self.pace()
            where = f"{lesson.phase} epoch {lesson.number + 1}, step {len(self._losses) + 1}"
            self.stepped(self._step(batch, lesson.loss, where, lesson.clip))
        self.end_epoch()

    def begin_epoch(self, lesson: Lesson) -> None:
        """Come to an epoch of training: whoever makes the steps, this is before the first."""
        self._began, self._lesson, self._losses = time.perf_counter(), lesson, []
        self._bar.begin(f"{lesson.phase} {lesson.number + 1}/{lesson.total}", self.length)
        self.model.train()
        self._numbers = {}

    def pace(self) -> None:
        """Set the learning rates for the step to come."""
        share, optimizer = self._share(), cast("Optimizer", self.session.optimizer)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * cast("Lesson", self._lesson).rate(share)

    def stepped(self, loss: float) -> None:
        """Take in a step of the optimiser, and the loss that it was made on."""
        lesson = cast("Lesson", self._lesson)
        self.session.hold()
        self._losses.append(loss)
        if lesson.after is not None:
            lesson.after()
        self.steps += 1
        self._bar.advance(f"loss {loss:.3f}")
        if self._on_step is not None:
            optimizer = self.session.optimizer
            lr = None if optimizer is None else float(optimizer.param_groups[0]["lr"])
            number, step = lesson.number + 1, len(self._losses)
            self._on_step(Step(lesson.phase, number, step, self.steps, loss, lr))

    def end_epoch(self, accuracy: float | None = None) -> None:
        """Check what the epoch left, validate it where no accuracy is given, and log it.

        Raises:
            TrainingError: If there was no step, or a number is not finite.
        """
        lesson = cast("Lesson", self._lesson)
        name = f"{lesson.phase} epoch {lesson.number + 1}"
        if not self._losses:
            raise TrainingError(f"{name} got no batch: the loader ran empty")
        self.average_buffers()
        if lesson.end is not None:
            lesson.end()
            self.average_buffers()  # those that are other ones now
        session = self.session
        finite.check_tensors(session.model, session.given, f"after {name.replace('epoch ', '')}")
        self._check_numbers(name)
        mean = mean_of_processes(self._fabric, sum(self._losses), len(self._losses))
        accuracy = self.validate(lesson.judged) if accuracy is None else accuracy
        seconds = time.perf_counter() - self._began
        what = Epoch(lesson.phase, lesson.number + 1, mean, accuracy, seconds, self._numbers)
        self.log.append(what)
        self.told.epoch(what, lesson.total)
        if self._on_epoch is not None:
            self._on_epoch(tuple(self.log))

    @property
    def length(self) -> int | None:
        """Steps of an epoch; None where the loader does not know."""
        return None if self._data is None else self._data.length

    def _share(self) -> float:
        """The share of the phase that is over in the middle of the step to come."""
        lesson, length = cast("Lesson", self._lesson), self.length
        within = 0.5 if length is None else min((len(self._losses) + 0.5) / length, 1.0)
        return (lesson.number + within) / lesson.total

    def _check_numbers(self, where: str) -> None:
        """Check what a solver put into the log.

        Infinity is no fault there: a residual relative to nothing (ADMM's dual one, while its dual
        variable is zero) is infinite, and the weights are checked by themselves.
        """
        if wrong := {k: v for k, v in self._numbers.items() if math.isnan(v)}:
            raise TrainingError(
                f"{', '.join(f'{name} is {value}' for name, value in wrong.items())} at {where}: "
                "look for NaN or infinity in the data, or lower the learning rate"
            )

    def validate(self, judged: Judged | None = None) -> float | None:
        """Accuracy on `val`, or what the caller's function says; None without either.

        Raises a TrainingError if the function returns no number; `judged` is that of a `Lesson`.
        """
        val, model = self._val, self.session.model
        return None if val is None else valued(val, model, self.model, self._fabric, judged)

    def before_and_after(self) -> tuple[float, float] | None:
        """Accuracy on `val` of the model given and of the model now; None without a loader."""
        if not isinstance(self._val, Batches):  # a function is called once an epoch, as was said
            return None
        given, model = private_copy(self.session.given), self.session.model
        before = valued(self._val, given, given, self._fabric)
        return before, valued(self._val, model, self.model, self._fabric)

    def remember_best(self, *, start: bool = False, judged: Judged | None = None) -> None:
        """Keep a copy of the model if the last epoch, or the `start`, was the best of its phase."""
        accuracy = self.validate(judged) if start else self.log[-1].accuracy
        if accuracy is None or math.isnan(accuracy):
            return
        if self.best is None or accuracy > self.best[0]:
            copies = {n: t.detach().clone() for n, t in all_tensors(self.session.model).items()}
            self.best = (accuracy, copies)

    def recall_best(self) -> None:
        """Go back to the best epoch."""
        if self.best is not None:
            fill(self.session.model, self.best[1])
        self.best = None

    def average_buffers(self) -> None:
        """Give every process the mean of what the processes' floating-point buffers hold."""
        if self._fabric is not None and self._fabric.world_size > 1:
            for buffer in self.session.model.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(cast("Tensor", self._fabric.all_reduce(buffer)))

    def refresh(self) -> None:
        """Compile the session's model and have Fabric wrap it: anew after every change of it."""
        model, optimizer = self.session.model, self.session.optimizer
        self.model, self._optimizer = model, optimizer
        if not any(p.requires_grad for p in model.parameters()):
            return  # in a network of integers several processes have nothing to agree on
        if self._compiler is not None and not isinstance(model, Network):
            # A network that is data decides in Python, step by step, what a compiler cannot follow.
            self.model = self._compiler(model)
        if self._fabric is None:
            return
        types = [p.dtype for p in model.parameters()]
        parts: Any = self._fabric.setup(self.model, *([] if optimizer is None else [optimizer]))
        self.model, self._optimizer = (parts, None) if optimizer is None else parts
        if types != [p.dtype for p in model.parameters()]:
            raise ValueError(
                "this Fabric precision converts the weights themselves, so that their bytes would "
                "not be those of the model given: use a mixed precision such as 'bf16-mixed', or "
                "convert the model and the data before"
            )

    def _step(self, batch: Batch, loss: Loss, where: str, clip: float | None) -> float:
        """One step of the optimiser; returns the loss."""
        value = loss(self.model, batch)
        source = partial(finite.where, self.session.model, finite.on(loss, batch), batch)
        number = check_value(value, f"at {where}", source)
        optimizer = cast("Optimizer", self._optimizer)
        optimizer.zero_grad()
        if self._fabric is None:
            value.backward()
        else:
            self._fabric.backward(value)
        clip_gradients(self.model, optimizer, clip, self._fabric)
        optimizer.step()
        self.session.hold()
        return number


def _no_data() -> ValueError:
    return ValueError("this phase needs data and fit was given none: pass a loader")
