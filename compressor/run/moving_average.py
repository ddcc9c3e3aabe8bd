"""The moving average of a network's weights over a phase, which takes their place at its end.

Between two epochs the model holds the average, so that it is what is validated, kept as the best,
written to a checkpoint and returned. The weights that are trained lie in the memory of the phase
meanwhile, and come back before the next epoch.

The decay is that of TensorFlow's `ExponentialMovingAverage` with a number of updates,
``min(decay, (1 + n) / (10 + n))``: a phase starts from weights that a cut has spoilt, and a
constant decay would keep them for long. BatchNorm's statistics are averaged as the weights are
(they are averages themselves), and what is no finite number is that of the last step. What is
masked is zero in all that is averaged, and so in the average.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from compressor.inputs.tensors import all_tensors, check_tensors, fill

if TYPE_CHECKING:
    from torch import nn

LIVE, UPDATES = "trained weights", "updates of the average"
"""Names in the memory of a phase."""


class MovingAverage:
    """The average of one epoch's steps and of all before it in the phase."""

    def __init__(self, model: nn.Module, state: dict[str, Any], decay: float) -> None:
        """Put the trained weights back into the model, and its average aside.

        Args:
            model: At the start of an epoch: it holds the average, or is new.
            state: The memory of the phase (`Training.state`).
            decay: Share of the average that a step leaves, in the long run.

        Raises:
            ValueError: If the memory holds tensors of another model.
        """
        self._model, self._state, self._decay = model, state, decay
        self._average = _copies(model)
        if LIVE in state:
            check_tensors(model, state[LIVE])
            fill(model, state[LIVE])
        self._updates = int(state.get(UPDATES, 0))
        # A constant of infinities, such as an attention's mask, has no average.
        self._averaged = {n for n, t in self._average.items() if _is_number(t)}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        for name, tensor in all_tensors(self._model).items():
            if name in self._averaged:
                self._average[name].lerp_(tensor.detach(), 1 - decay)
            else:
                self._average[name].copy_(tensor)

    def show(self) -> None:
        """Put the average into the model, and the trained weights aside."""
        self._state |= {LIVE: _copies(self._model), UPDATES: self._updates}
        fill(self._model, self._average)


def _is_number(tensor: Tensor) -> bool:
    kind = tensor.is_floating_point() or tensor.is_complex()
    return kind and bool(tensor.isfinite().all())


def _copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in all_tensors(model).items()}
