"""What a loop of one's own left of an epoch: steps that it told of, and weights that moved.

Such a loop can go wrong without a sound: its optimiser holds the parameters of another model, or it
tells of its steps in the wrong place, or not at all. The end of every epoch is where that shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from compressor.errors import TrainingError
from compressor.inputs.finite import is_finite

if TYPE_CHECKING:
    from compressor.run.shrinking import Shrinking

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Trail:
    """What is remembered of an epoch, to say at its end what was forgotten.

    Args:
        session: At the begin of the epoch.
    """

    def __init__(self, session: Shrinking) -> None:
        self._session = session
        self._before = self._digests()
        self._rates = [self._has_rate()]

    def stepped(self) -> None:
        """Take in that a step is over, and whether the one to come has a rate."""
        self._rates.append(self._has_rate())

    def check(self, epoch: str, steps: int) -> None:
        """Check that an epoch trained the session's model.

        A rate of zero is taken for meant, and so are steps that a GradScaler passed over. The
        optimisers' rates are known as they were before the steps, where schedulers leave them; that
        of a last one is of the step after it.

        Args:
            epoch: Its name.
            steps: Steps that the session was told of.

        Raises:
            TrainingError: If there were none, no weight moved, or masked weights are not zero.
        """
        moved = self._digests() != self._before
        if not steps:
            raise TrainingError(_untold(epoch, moved=moved))
        told = self._session.optimizers
        meant = told and (not any(self._rates[:-1]) or self._overflowed())
        if self._before and not moved and not meant:
            raise TrainingError(
                f"{epoch} moved no weight of the model (steps: {steps}), though session.step() "
                "says that an optimiser made them: " + (_held(told[0]) if told else _UNTOLD)
            )
        session = self._session
        if off := session.masks.broken(session.model):
            raise TrainingError(
                f"{epoch} left {off:,} masked weights that are not zero: call session.step() after "
                "optimizer.step(), and not before it, so that the model that is trained is the "
                "one that is stored"
            )

    def _digests(self) -> list[int]:
        """A number for each parameter that is trained, of all its bits."""
        return [_digest(p) for p in self._session.model.parameters() if p.requires_grad]

    def _overflowed(self) -> bool:
        """True where a gradient is not finite, on which a GradScaler makes no step."""
        grads = [p.grad for p in self._session.model.parameters() if p.grad is not None]
        return not all(map(is_finite, grads))

    def _has_rate(self) -> bool:
        groups = [group for each in self._session.optimizers for group in each.param_groups]
        return any(float(group.get("lr", 1.0)) != 0 for group in groups)


_UNTOLD = (
    "it was told of no optimiser. Where units go, or another module takes the model's place, "
    "parameters are other ones afterwards, and an optimiser goes on with them if the session is "
    "told of it: session.optimizer = torch.optim.AdamW(session.model.parameters())"
)


def _held(optimizer: object) -> str:
    return (
        f"it was told of a {type(optimizer).__name__}. Call its step() and no other optimiser's, "
        "after loss.backward() of a loss of session.model; where a GradScaler passed over every "
        "step, begin with a lower init_scale"
    )


def _untold(epoch: str, *, moved: bool) -> str:
    if moved:
        return (
            f"{epoch} moved the weights, and session.step() was not called: call it after every "
            "optimizer.step()"
        )
    return (
        f"{epoch} got no batch: the loader ran empty, or session.step() was not called after "
        "optimizer.step()"
    )


def _digest(parameter: Tensor) -> int:
    """The sum of a parameter's bits, read as integers: exact, and the same on every device."""
    numbers = parameter.detach()
    numbers = torch.view_as_real(numbers) if numbers.is_complex() else numbers
    whole = numbers.contiguous().view(_INTEGERS[numbers.element_size()])
    return int(whole.sum(dtype=torch.int64))
