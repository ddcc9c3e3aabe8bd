"""Worth of a structure before any training: how well what it leaves does, repaired, on data."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType

import torch
from torch import Tensor, nn

from compressor.graph.graph import Graph
from compressor.graph.structure import Structure
from compressor.inputs import randomness
from compressor.inputs.batches import Batch, first_examples
from compressor.inputs.copies import private_copy
from compressor.inputs.evaluation import evaluating
from compressor.inputs.losses import Loss
from compressor.inputs.unlabelled import Unlabelled
from compressor.repair.dense import Dense
from compressor.repair.least_squares import Repaired, distance, repair
from compressor.run.calibration import calibration_loss, recalibrate
from compressor.surgery.attention import opened
from compressor.surgery.cutting import index_of, shrink, take


class Judge:
    """Loss of what a structure leaves of a model; where there are no labels, distance of outputs.

    Attributes:
        graph: Graph of the model that is cut.
        batches: Data.
        loss: Called as ``loss(model, batch)``.
        inputs: Examples that what is left is repaired on, at most; 0 for batch norms alone.
        watch: Is told the name of every layer that is repaired.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: Graph,
        batches: Sequence[Batch],
        loss: Loss,
        inputs: int,
        masks: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> None:
        """Be ready to judge; `masks` of the entries that live are by parameter, whole or as cut."""
        self.graph, self.batches, self.loss, self.inputs = graph, batches, loss, inputs
        self._model, self._masks = model, masks
        self.watch: Callable[[str], object] | None = None

    @cached_property
    def dense(self) -> Dense:
        """The model as it is before anything is cut, on the inputs that repair is measured on."""
        some = first_examples(self.batches, self.inputs or sys.maxsize)
        with randomness.preserved():
            return Dense(opened(self._model), list(some), self.loss)

    def __call__(self, structure: Structure) -> float:
        """The loss, or the distance; infinity where it is not finite.

        Raises:
            TrainingError: If the data hold NaN or infinity themselves.
        """
        small = shrink(self._model, self.graph, structure)
        if not self.inputs:
            return self.unrepaired(small)
        self.repaired(small, structure)
        if isinstance(self.loss, Unlabelled):
            return distance(small, self.dense)
        with randomness.preserved():
            return self._mean(small)

    def unrepaired(self, small: nn.Module) -> float:
        """The worth of a model with its batch norms estimated anew and nothing else.

        Raises:
            TrainingError: As above.
        """
        if not isinstance(self.loss, Unlabelled):
            return calibration_loss(small, self.batches, self.loss)
        scratch = private_copy(small)
        with randomness.preserved():
            recalibrate(scratch, self.batches, self.loss)
            return distance(scratch, self.dense)

    def repaired(self, small: nn.Module, structure: Structure) -> Repaired:
        """Repair what a structure left of the model, in place; the masks are those of `small`."""
        with randomness.preserved():
            return repair(
                small, self.dense, structure, masks=self._left(structure), watch=self.watch
            )

    def _left(self, structure: Structure) -> dict[str, Tensor]:
        """What a structure leaves of masks of the whole; others are of what is left already."""
        weights = structure.graph.weights
        found: dict[str, Tensor] = {}
        for name, mask in self._masks.items():
            dims = weights[name].dims if name in weights else ()
            whole = tuple(mask.shape) == tuple(dim.size for dim in dims)
            found[name] = take(mask, index_of(weights[name], structure.keep)) if whole else mask
        return found

    def _mean(self, small: nn.Module) -> float:
        """Mean loss in eval mode."""
        with evaluating(small), torch.no_grad():
            found = sum(float(self.loss(small, batch)) for batch in self.batches)
        mean = found / len(self.batches)
        if math.isfinite(mean):
            return mean
        calibration_loss(small, self.batches, self.loss)  # data that are spoilt are an error
        return math.inf


def measure_of(loss: Loss, *, repaired: bool) -> str:
    """What candidates are compared by, for the report."""
    what = "distance of outputs to the dense network's" if isinstance(loss, Unlabelled) else "loss"
    return f"{what} {'after repair' if repaired else 'before fine-tuning'}"
