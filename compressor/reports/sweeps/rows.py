"""One row of a sweep: a network made, counted and judged, or the reason why there is none."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from compressor import storage
from compressor.budget import RESOURCES, Budget
from compressor.counting.measuring import measure
from compressor.errors import ResumeError, TrainingError
from compressor.graph.program import example_of
from compressor.inputs import randomness
from compressor.inputs.batches import Batches
from compressor.inputs.checks import example_given
from compressor.inputs.copies import private_copy
from compressor.inputs.evaluation import evaluating
from compressor.inputs.example import Example
from compressor.inputs.losses import Loss, loss_of
from compressor.inputs.tensors import all_tensors
from compressor.phases.beginning import started
from compressor.phases.schedule import phases_of as schedule_of
from compressor.reports.result import Result
from compressor.reports.sweeps.failures import DONE, FAILED, RefusedError, ended, ends_all
from compressor.reports.sweeps.plan import Cut, Grid, Models, Point, folder_name, is_cut, phases_of
from compressor.run.caps import among
from compressor.run.compression import Compression
from compressor.run.phase import Phase
from compressor.run.validation import Validation, number_of, valued
from compressor.wording import brief, line

Row = dict[str, Any]
"""Plain data: the point's key, what became of it, and its figures."""

EMPTY: Row = {
    "state": "", "value": None, **dict.fromkeys(RESOURCES), "gap": None,
    **{f"cap_{name}": None for name in RESOURCES}, "why": "",
}  # fmt: skip
"""A row of which nothing is known."""


@dataclass(frozen=True)
class Making:
    """All that the rows of a sweep are made of; called with a point it makes its row.

    Attributes:
        fit: `compressor.fit`.
        model: The network, or what makes the one of a seed.
        data: Batches, as for `fit`.
        grid: What is compared.
        then: Phases after a cut that is a single phase, or another pruner's.
        evaluate: What a network is worth; None for nothing.
        example: An input, as for `fit`.
        loss: As for `fit`.
        options: Further arguments of `fit`, by name.
        epochs: Length of the fine-tune of its default schedule.
        folder: Of the sweep; None to keep nothing.
    """

    fit: Callable[..., Result]
    model: Models
    data: Any
    grid: Grid
    then: Sequence[Phase]
    evaluate: Validation | None
    example: Example | None
    loss: Loss | None
    options: Mapping[str, Any]
    epochs: int | None
    folder: Path | None

    def __call__(self, point: Point) -> Row:
        """The row of a point, made in this process.

        Raises:
            Exception: Whatever the first row of all ends in that is no refusal: the network alone
                is in it, counted and judged, so that it is a mistake of the call. For want of
                memory any row raises.
        """
        began, row = time.perf_counter(), {**point.key, **EMPTY}
        judge = self.evaluate.source if isinstance(self.evaluate, Batches) else None
        try:
            with randomness.preserved(self.data, judge):  # no row hangs on the rows before it
                self._fill(row, point)
        except Exception as error:
            why = ended(error)
            if ends_all(error) or (why["state"] == FAILED and point == self.grid.points[0]):
                raise
            row |= why
        return {**row, "seconds": round(time.perf_counter() - began, 3)}

    def dense(self, seed: int) -> nn.Module:
        """The network of a seed.

        Raises:
            ValueError: If what makes it makes none.
        """
        if isinstance(self.model, nn.Module):
            return self.model
        with randomness.preserved():
            randomness.seed_everything(seed)
            made: object = self.model(seed)
        if not isinstance(made, nn.Module):
            raise ValueError(
                f"sweep(model=...) called with seed {seed} gives {brief(made)}: it must give the "
                "network of that seed, a torch.nn.Module"
            )
        return made

    def _fill(self, row: Row, point: Point) -> None:
        """Write into a row what is found; what was found before an error stays."""
        model = self.dense(point.seed)
        if not point.budget:
            cost = measure(model, self._shown(model))
            self._check(model)
            row |= {**asdict(cost), "value": self._value(model), "state": DONE}
            return
        budget = self._resolved(self.grid.budgets[point.budget], model)
        row |= {f"cap_{name}": cap for name, cap in budget.caps.items()}
        result = self._result(point, model, budget)
        report = result.report
        row |= {**asdict(report.after), "gap": report.row()["gap"]}
        row |= {} if report.files is None else {"bytes": report.files[1]}
        row |= {"value": self._value(result.model), "state": DONE}

    def _result(self, point: Point, model: nn.Module, budget: Budget) -> Result:
        method = self.grid.methods[point.method]
        options, run, example = dict(self.options), "fit", self.example
        if is_cut(method):
            example = self._shown(model)  # which what it makes may not know
            model = self._cut(cast("Cut", method), model, budget, point.seed, example)
            run = storage.numbers(all_tensors(model))[:8]  # it may cut otherwise the next time
        schedule = phases_of(method, self.then)
        if schedule is None and self.data is not None:
            options["epochs"] = self.epochs
        idle = schedule is not None and not schedule
        try:
            return self.fit(
                model, None if idle else self.data, budget=budget, schedule=schedule,
                example=self._shown(model) if idle and example is None else example, loss=self.loss,
                seed=point.seed, progress=False, **options,
                checkpoint=None if self.folder is None else self._place(point) / run,
            )  # fmt: skip
        except ValueError as error:
            if not is_cut(method) or isinstance(error, ResumeError):
                raise
            raise RefusedError(f"what it returned cannot be trained: {line(error)}") from error

    def _cut(
        self, method: Cut, model: nn.Module, budget: Budget, seed: int, example: Example
    ) -> nn.Module:
        """What another pruner makes of a network, within the caps that can be counted of it."""
        with randomness.preserved():
            randomness.seed_everything(seed)
            made: object = method(private_copy(model), budget)
        if not isinstance(made, nn.Module):
            raise RefusedError(
                f"it returned {brief(made)}: a function (model, budget) must return the smaller "
                "model"
            )
        counts = {n: cap for n, cap in budget.caps.items() if n in ("params", "nonzero", "macs")}
        cost = measure(made, example)
        over = among(counts).excess(cost) if counts else {}
        if over:
            found = ", ".join(f"{name} {getattr(cost, name):,}" for name in over)
            raise RefusedError(f"what it returned has {found} under {budget}")
        return made

    def _check(self, model: nn.Module) -> None:
        """Check that network, data, loss, optimiser and the phases after a cut fit each other.

        Raises:
            ValueError: If they do not, which is no matter of a method.
        """
        phases = schedule_of(self.then, (), data=self.data is not None, val=False, caller="sweep")
        optimizer = self.options["optimizer"]
        started(model, self.data, None, lambda _: (phases, None), self.loss, optimizer, None)

    def _shown(self, model: nn.Module) -> tuple[torch.Tensor, ...]:
        loss = loss_of(self.loss)
        return example_of(model, example_given(model, self.example, self.data, loss))

    def _resolved(self, budget: Budget, model: nn.Module) -> Budget:
        """The budget with its shares as those of a network, which `fit` would make of it."""
        if not budget.unresolved:
            return budget
        shown = self._shown(model)
        if {"bytes", "ram"} & set(budget.unresolved):
            return Compression(model, budget=budget, example=shown, verify=False).budget
        return budget.resolved(measure(model, shown))

    def _value(self, model: nn.Module) -> float | None:
        if self.evaluate is None:
            return None
        with randomness.preserved():
            if isinstance(self.evaluate, Batches):
                return valued(self.evaluate, model, model, None)
            own = private_copy(model)  # whatever a function of the user's does to it
            with evaluating(own), torch.no_grad():
                value = number_of(self.evaluate(own), "evaluate")
        if not math.isfinite(value):
            raise TrainingError(f"evaluate(model) gives {value}: what is compared must be finite")
        return value

    def _place(self, point: Point) -> Path:
        """Where the checkpoints of a point are."""
        words = [f"{name}={value}" for name, value in point.key.items()]
        return cast("Path", self.folder) / "runs" / folder_name(words)

    def forget(self, point: Point) -> None:
        """Delete the checkpoints of a point whose row is kept."""
        if self.folder is not None:
            shutil.rmtree(self._place(point), ignore_errors=True)
