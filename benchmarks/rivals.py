"""Other pruners as methods of `compressor.sweep`: a network and caps in, a smaller network out.

    from benchmarks.rivals import Kirigami, Osscar, TorchPruning

    methods = {"Torch-Pruning": TorchPruning(example=images[:1]), "fit": None}
    compressor.sweep(model, loader, [Budget(macs="50%")], methods, evaluate=val)

Each is driven as its pages show, with `compressor.measure` to say when the caps are met, so that
all get the same. They run from a checkout, and need the packages that they are of:
pip install torch-pruning torch-kirigami. Caps that one cannot meet are a
`BudgetError`; what it does not take it says by an error of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from compressor import Budget, BudgetError, measure

try:
    from torch_kirigami.pruning import PlanningError

    from benchmarks.common.kirigami import within_caps
    from benchmarks.common.osscar import reconstructed
    from benchmarks.common.pruner import STEPS, torch_pruning_loop
except ImportError as error:
    raise ImportError(
        f"other pruners need their packages ({error}): pip install torch-pruning torch-kirigami"
    ) from error


def exampled(model: nn.Module, example: Tensor | None) -> Tensor:
    """The input to trace a network with: the one given, else its `example_input_array`.

    Raises:
        ValueError: If there is none.
    """
    found = getattr(model, "example_input_array", None) if example is None else example
    if not isinstance(found, Tensor):
        raise ValueError("other pruners need one input, batch first: pass example=images[:1]")
    return found


@dataclass(frozen=True)
class TorchPruning:
    """Torch-Pruning: channels go by group magnitude in small steps until the caps are met.

    G. Fang et al., CVPR 2023 (DepGraph), and ECCV 2024 for `isomorphic`. `GroupMagnitudeImportance`
    of the second power under `BasePruner`, as its README has it; the last layer is left out.

    Attributes:
        example: An input, batch first; None for the network's `example_input_array`.
        globally: Rank all channels together, not layer by layer.
        isomorphic: Rank those of alike groups together, where all are ranked together.
        steps: More of them land closer to the caps.
    """

    example: Tensor | None = None
    globally: bool = False
    isomorphic: bool = False
    steps: int = STEPS

    def __call__(self, model: nn.Module, budget: Budget) -> nn.Module:
        """The network, smaller in place; a BudgetError if no step meets the caps."""
        shown = exampled(model, self.example)
        return torch_pruning_loop(
            model, lambda smaller: budget.allows(measure(smaller, shown)), example=shown,
            globally=self.globally, isomorphic=self.isomorphic, steps=self.steps,
        )  # fmt: skip


@dataclass(frozen=True)
class Kirigami:
    """torch-kirigami: greedy group magnitude under its budget of parameters.

    It has none of multiply-accumulates: for these the one of parameters is tightened a few times.

    Attributes:
        example: An input, batch first; None for the network's `example_input_array`.
    """

    example: Tensor | None = None

    def __call__(self, model: nn.Module, budget: Budget) -> nn.Module:
        """A smaller copy.

        Raises:
            KirigamiError: If it does not take the network.
            BudgetError: If it plans nothing within the caps.
            ValueError: If something else is capped.
        """
        shown, caps = exampled(model, self.example), budget.caps
        if caps.keys() - {"params", "macs"}:
            raise ValueError(f"torch-kirigami is driven by caps on params and macs, not {budget}")

        def counts(smaller: nn.Module) -> tuple[int, int]:
            cost = measure(smaller, shown)
            return cost.params, cost.macs

        asked = caps.get("params", counts(model)[0])
        fresh = partial(copy.deepcopy, model)
        try:
            return within_caps(fresh, (shown,), asked, caps.get("macs"), counts)
        except PlanningError as error:
            raise BudgetError(str(error)) from error


@dataclass(frozen=True)
class Osscar:
    """OSSCAR: inner channels chosen, and their readers solved anew, by least squares on inputs.

    X. Meng et al., ICML 2024; see `benchmarks.common.osscar`. One share of all inner widths.

    Attributes:
        inputs: Batches of inputs, no labels.
    """

    inputs: Sequence[Tensor]

    def __call__(self, model: nn.Module, budget: Budget) -> nn.Module:
        """A smaller copy, in evaluation mode.

        Raises:
            KirigamiError: If torch-kirigami, which it stands on, does not take the network.
            WholeError: If no share of the inner channels is small enough.
        """
        example = self.inputs[0][:1]
        return reconstructed(
            model.eval(), self.inputs, lambda smaller: budget.allows(measure(smaller, example))
        )
