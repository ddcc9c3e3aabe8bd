"""Pruning of units: channels and all that goes with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compressor.allocation import METHODS, Method, Objective, no_method
from compressor.allocation.own import check_method, check_objective
from compressor.budget import RESOURCES
from compressor.errors import BudgetError
from compressor.importance import Importance
from compressor.inputs.arguments import check_form, name_of_function
from compressor.inputs.losses import Distill
from compressor.inputs.scores import FORM
from compressor.inputs.settings import check_flag, check_whole
from compressor.phases.gradual import Gradual
from compressor.run.choice import WidthChoice
from compressor.run.phase import Phase
from compressor.wording import brief

if TYPE_CHECKING:
    from compressor.run.compression import Compression
    from compressor.run.training import Training


@dataclass(frozen=True)
class Prune(Gradual):
    """Remove units until the budget is met, at once or in several shrinks with training between.

    Attributes:
        method: Way to choose widths: see `compressor.allocate`. With neither a method nor an
            objective several are compared by what is left before any fine-tuning, repaired: the
            loss on the data, or how far outputs are from those before where there are no labels
            (`compressor.allocation.candidates`). Without data the default of `compressor.allocate`
            is taken.
        objective: What is maximised; see `compressor.allocation`.
        importance: A function (graph, tensors, evidence) -> one score per unit, such as those of
            `compressor.importance`. With none of the three, `fisher` and `residual` are compared
            as well where there is data; `frobenius` is taken where there is none, `fisher` where a
            method or an objective is given.
        floor: Fewest units that any axis keeps.
        round_to: Keep multiples of so many units.
        steps: Number of shrinks. Before shrink k of K every cost that is over its cap may fall by
            the same factor as in the shrinks that follow it (a geometric descent to the caps).
        epochs: Epochs of training after every shrink but the last.
        lr: Learning rate of those epochs.
        weight_decay: Weight decay of those epochs, on filters alone.
        distill: What those epochs learn from the dense original, beside the targets.
        batches: Most batches that the importance is measured on, and the loss of candidates. They
            are held in memory.
        clips: Examples per micro-batch of that measurement.
        repair: Repair what is left in closed form after every shrink, on the data
            (`compressor.repair.least_squares`); not where an averaged copy of the model follows.
        inputs: Examples that repair, and importance by activations, are measured on, at most.
        fold: Remove first what can go at no cost, folded into what stays: units that are dead, that
            nothing reads, that equal others or are combinations of them, on the data or, without
            data, by weights alone (`compressor.repair.folding`).
    """

    method: str | Method | None = None
    objective: Objective | None = None
    importance: Importance | None = None
    floor: int = 1
    round_to: int = 1
    steps: int = 1
    epochs: int = 0
    lr: float = 1e-3
    weight_decay: float = 1e-2
    distill: Distill | None = None
    batches: int = 16
    clips: int = 4
    repair: bool = True
    inputs: int = 256
    fold: bool = True

    def __post_init__(self) -> None:
        """Check the settings."""
        whole = {"batches": self.batches, "clips": self.clips, "inputs": self.inputs}
        check_whole("Prune", 1, **whole, floor=self.floor, round_to=self.round_to)
        check_flag("Prune", repair=self.repair, fold=self.fold)
        self.check_steps()
        if self.importance is not None and not callable(self.importance):
            raise ValueError(
                f"Prune(importance={brief(self.importance)}): must be {FORM}, such as "
                "compressor.importance.fisher, or None"
            )
        check_form(f"Prune(importance={name_of_function(self.importance)})", self.importance, FORM)
        if self.objective is not None:
            check_objective("Prune", self.objective)
        if not callable(self.method) and self.method not in (None, *METHODS):
            raise ValueError(f"Prune(method={brief(self.method)}): {no_method(self.method)}")
        if callable(self.method):
            check_method("Prune", self.method)

    lowers = frozenset(RESOURCES)
    cuts = True

    @property
    def measures_gradients(self) -> bool:
        """True where the importance is one of gradients."""
        return self.choice.measures_gradients

    @property
    def batches_in_train_mode(self) -> float:
        """Those of training, or on which candidates are recalibrated, where there are several."""
        if self.trains or len(self.choice.candidates(data=True)) == 1:
            return super().batches_in_train_mode
        return self.batches

    def check(self, session: Compression, earlier: Sequence[Phase]) -> None:  # noqa: ARG002
        """Find out whether any structure meets the caps.

        Raises:
            BudgetError: If none does, or a later phase meets all of them alone.
        """
        if session.nothing_due:
            raise BudgetError(
                f"Prune() has nothing to do: a later phase meets {session.budget} alone. Leave it "
                "out, cap params or macs as well, or give the later phase an amount"
            )
        session.check(self.choice)

    @property
    def choice(self) -> WidthChoice:
        """The choice of widths."""
        return WidthChoice(
            self.method, self.objective, self.importance, self.floor, self.round_to, self.batches,
            self.clips, self.repair, self.inputs, self.fold,
        )  # fmt: skip

    def remove(self, training: Training, remaining: int) -> None:
        """Shrink once."""
        training.shrink(self.choice, remaining=remaining)
