"""What a session is given, checked before work starts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from torch import nn
from torch.optim import Optimizer

from compressor.budget import Budget
from compressor.inputs.arguments import check_fabric, check_follower
from compressor.inputs.batches import Batch, Batches
from compressor.inputs.checks import check_data, first_batch
from compressor.inputs.losses import Loss, cross_entropy, loss_of
from compressor.inputs.settings import check_whole
from compressor.inputs.sources import check_source
from compressor.inputs.unlabelled import Unlabelled, check_alike, is_unlabelled
from compressor.phases.beginning import Plan, Start, started
from compressor.phases.order import check_order
from compressor.phases.prune import Prune
from compressor.phases.schedule import check_labelled, phases_of
from compressor.phases.settings import rate_known
from compressor.run.optimizers import OptimizerFactory
from compressor.run.phase import Phase
from compressor.run.unfinished import check_given
from compressor.wording import brief

if TYPE_CHECKING:
    from lightning_fabric import Fabric

ONCE = Prune()
"""The removal of a session without a schedule, unless another is given."""


def check_settings(
    model: nn.Module,
    prune: object,
    every: int | None,
    optimizer: object,
    fabric: object,
    schedule: object,
) -> None:
    """Check the settings that say what is removed, and that the model is one to be compressed."""
    if every is not None:
        check_whole("Session", 1, every=every)
    if prune is not None and not isinstance(prune, Prune):
        raise ValueError(
            f"Session(prune={brief(prune)}): must be Prune(...), or None; several phases are a "
            "schedule, Session(schedule=[...])"
        )
    if schedule is not None and prune is not ONCE and prune is not None:
        raise ValueError(
            f"Session(schedule=[...], prune={brief(prune)}): what is removed is said once: put "
            "Prune(...) into the schedule, and leave prune out"
        )
    check_given(model)
    check_fabric(fabric)
    if schedule is None or not callable(optimizer):
        check_follower(optimizer)


def check_alone(**options: object) -> None:
    """Check that nothing is asked of a session without a schedule that goes with one."""
    for name, value in options.items():
        if value is not None:
            raise ValueError(
                f"Session({name}={brief(value)}) goes with a schedule: Session(..., "
                "schedule=[Prune(), Recalibrate(), FineTune(epochs=30)])"
            )


def loss_for(model: nn.Module, data: Iterable[Batch] | None, given: Loss | None) -> Loss:
    """The loss that was meant, checked on the data."""
    loss = loss_of(given)
    if data is not None:
        if loss is cross_entropy and is_unlabelled(first_batch(Batches(data))):
            check_alike(data)
            loss = Unlabelled()
        check_data(model, data, loss)
    return loss


def schedule_for(
    model: nn.Module,
    data: Iterable[Batch] | None,
    val: Iterable[Batch] | Callable[[nn.Module], float] | None,
    schedule: Sequence[Phase],
    loss: Loss | None,
    optimizer: Optimizer | OptimizerFactory | None,
    lr: float | None,
    fabric: Fabric | None,
) -> Start:
    """The schedule and the data, checked as `fit` checks them."""
    if data is not None:
        check_source(data)
    factory = optimizer if callable(optimizer) else None
    if lr is not None and factory is None:
        raise ValueError(
            f"Session(lr={lr}) is the rate around which the session looks for one, and here rates "
            "are set by the loop: leave lr out, or have the session make the optimisers, "
            "optimizer=torch.optim.AdamW"
        )

    def planned(task: Loss) -> Plan:
        given = {"data": data is not None, "val": val is not None}
        phases = phases_of(schedule, (), **given, caller="Session")
        check_labelled(phases, task)
        return phases, rate_known(lr, phases)

    check_order(planned(loss_of(loss))[0])
    return started(model, data, val, planned, loss, factory, fabric)


def check_stored(model: nn.Module, budget: object, bits: int | None, *, alone: bool) -> None:
    """Check that who caps the bytes of a session knows what they count.

    `fit` divides bytes and rounds weights; a session without a schedule rounds nothing, so that the
    same cap leaves a quarter of the weights. `bits` are those that a weight is said to be stored
    in, if anything is said; `alone` that the session itself removes units.
    """
    kinds = {p.dtype: 8 * p.element_size() for p in model.parameters()}
    names = " and ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
    rounded = "Session(..., schedule=[Prune(), Int8()]) prunes for a file of 8-bit weights"
    if bits is not None and {bits} != set(kinds.values()):
        raise ValueError(
            f"Session(weight_bits={bits!r}): the weights of this {type(model).__name__} are {names}"
            f" and stay so, as a session without Int8() in a schedule rounds nothing; {rounded}"
        )
    cap = budget.bytes if isinstance(budget, Budget) else None
    other = isinstance(budget, Budget) and budget.file is not None
    if cap is not None and not other and bits is None and alone:
        warnings.warn(
            f"Session(budget={budget}) counts a file of {names} weights, as a session without "
            f"Int8() in a schedule rounds nothing: {rounded}. If that is what is wanted, say "
            f"weight_bits={max(kinds.values(), default=32)}",
            stacklevel=3,
        )
