"""Integer labels of classes: in range, or left out of the loss."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor

from compressor.errors import TrainingError

IGNORED = -100
"""Label that `torch.nn.functional.cross_entropy` leaves out."""


def check_labels(
    targets: Tensor, classes: int, where: str, error: type[Exception] = TrainingError
) -> None:
    """Raise `error` unless integer labels lie in 0 ... classes - 1 (or are `IGNORED`).

    Args:
        targets: Labels of any shape; probabilities are not looked at.
        classes: How many classes there are.
        where: Which labels these are, for the message.
        error: What to raise.
    """
    if targets.is_floating_point() or not targets.numel():
        return
    wrong = targets[((targets < 0) | (targets >= classes)) & (targets != IGNORED)]
    if wrong.numel():
        raise error(
            f"label {int(wrong.reshape(-1)[0])} is out of range: {wrong.numel()} of "
            f"{targets.numel()} labels in {where} are not in 0 ... {classes - 1}, and the model "
            f"has {classes} outputs. Number the classes from 0, or build the model with more"
        )


def all_ignored(batch: object) -> bool:
    """True if a batch is a pair whose labels are all `IGNORED`: its cross entropy is 0 / 0."""
    pair = cast("list[Any]", batch) if isinstance(batch, (tuple, list)) else []
    targets: object = pair[1] if len(pair) == 2 else None
    if not isinstance(targets, Tensor) or targets.is_floating_point() or not targets.numel():
        return False
    return bool((targets == IGNORED).all())
