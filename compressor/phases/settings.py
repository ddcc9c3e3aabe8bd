"""Settings of `fit` that go to phases: the length of the default's fine-tune, and a known rate."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.inputs.settings import check_positive, check_whole
from compressor.phases.train import FineTune
from compressor.run.phase import Phase


def epochs_of(epochs: int | None, schedule: object, *, data: bool) -> int:
    """The length of the fine-tune that the default schedule has, in epochs.

    Args:
        epochs: As `fit` was given it.
        schedule: The same; it has lengths of its own.
        data: Whether there is something to train on: labelled data.

    Raises:
        ValueError: If it is no length, or would be that of nothing.
    """
    if epochs is None:
        return FineTune.epochs
    check_whole("fit", 1, epochs=epochs)
    said = f"fit(epochs={epochs}) is the length of the fine-tune in the default schedule"
    if schedule is not None:
        raise ValueError(
            f"{said}, and a schedule was given: write FineTune(epochs={epochs}) into the schedule, "
            "and leave epochs out"
        )
    if not data:
        raise ValueError(
            f"{said}, and without labelled data nothing is trained: pass a loader of (inputs, "
            "targets) as the second argument, or leave epochs out"
        )
    return epochs


def rate_known(lr: float | None, phases: Sequence[Phase]) -> float | None:
    """The rate of the dense training: as `fit` was given it, else that of a first `Train`.

    Raises:
        ValueError: If it is no rate, or no phase would ask for it.
    """
    if lr is None:
        return phases[0].lr if phases and phases[0].trains_dense else None
    check_positive("fit", lr=lr)
    if not any(phase.finds_rate for phase in phases):
        raise ValueError(
            f"fit(lr={lr}) is the rate of the dense training, around which FineTune() looks for "
            "its own, and no phase of the schedule looks for one: write the rate into the phases, "
            f"as in FineTune(lr={lr}), or leave lr out"
        )
    return lr
