"""What `fit` and `Session` do alike before they begin: data, loss and schedule looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from compressor.inputs.batches import Batch, Batches, split
from compressor.inputs.checks import (
    check_classifier,
    check_inputs,
    check_loss,
    check_single,
    first_batch,
)
from compressor.inputs.losses import Loss, cross_entropy, loss_of
from compressor.inputs.sources import check_source
from compressor.inputs.unlabelled import Unlabelled, check_alike, is_unlabelled
from compressor.phases.schedule import check_optimizer, check_trainable
from compressor.run.compression import Compression
from compressor.run.identity import first_digest, identify
from compressor.run.optimizers import OptimizerFactory
from compressor.run.phase import Phase, as_written
from compressor.run.validation import Validation

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Plan = tuple[tuple[Phase, ...], float | None]
"""The phases, and the rate of the dense training where it is known."""


@dataclass(frozen=True)
class Start:
    """What was found.

    Attributes:
        batches: The data; None without.
        phases: The schedule.
        known: The rate of the dense training; None where it is not known.
        loss: The loss that was meant.
        judge: The validation; None without.
    """

    batches: Batches | None
    phases: tuple[Phase, ...]
    known: float | None
    loss: Loss
    judge: Validation | None


def started(
    model: nn.Module,
    data: Iterable[Batch] | None,
    val: Iterable[Batch] | Callable[[nn.Module], float] | None,
    planned: Callable[[Loss], Plan],
    loss: Loss | None,
    optimizer: OptimizerFactory | None,
    fabric: Fabric | None,
) -> Start:
    """Look at the first batches, and check that model, data, loss and schedule fit each other.

    Args:
        model: The model given.
        data: The data given.
        val: The validation given.
        planned: The schedule for a loss.
        loss: The loss given.
        optimizer: What makes an optimiser; None where there is one.
        fabric: The processes.

    Raises:
        ValueError: If something does not fit.
    """
    task = loss_of(loss)
    phases, known = planned(task)
    batches = None if data is None else Batches(data, fabric)
    batch = None if batches is None else first_batch(batches)
    if loss is None and is_unlabelled(batch):
        check_alike(data)
        task = Unlabelled()
        phases, known = planned(task)
    check_trainable(model, phases)
    if optimizer is not None:
        check_optimizer(optimizer, model, phases)
    if batches is not None:
        _check(model, batches, batch, task, phases)
    return Start(batches, phases, known, task, _judge(model, val, fabric))


def _judge(
    model: nn.Module,
    val: Iterable[Batch] | Callable[[nn.Module], float] | None,
    fabric: Fabric | None,
) -> Validation | None:
    """Make the validation of a training, with its first batch checked."""
    if val is None or (callable(val) and not isinstance(val, nn.Module)):
        return val
    check_source(val, "val")
    batches = Batches(cast("Iterable[Batch]", val), fabric, name="val")
    batches.classes = check_classifier(model, first_batch(batches), "val")
    return batches


def _check(
    model: nn.Module, batches: Batches, batch: Batch, loss: Loss, phases: Sequence[Phase]
) -> None:
    """Check the first batch; under cross entropy the labels of all others are checked as well."""
    measured = any(phase.measures_gradients for phase in phases)
    if isinstance(loss, Unlabelled):
        check_inputs(model, batch)
    if loss is cross_entropy:
        batches.classes = check_classifier(model, batch)
    else:
        differentiable = measured or any(phase.trains for phase in phases)
        check_loss(model, batch, loss, differentiable=differentiable)
    if measured:
        next(split(batch, 1), None)  # fails where batches cannot be cut
    most = max((phase.batches_in_train_mode for phase in phases), default=0)
    check_single(model, batches, batch, loss, most)


def identity_of(
    session: Compression, start: Start, settings: Mapping[str, object]
) -> dict[str, Any]:
    """The identity of a run; `settings` are what else decides the result."""
    batches, val = start.batches, start.judge
    judges = isinstance(val, Batches)
    return identify(
        session.original,
        session.budget,
        [as_written(phase) for phase in start.phases],
        example=[tuple(x.shape) for x in session.example],
        batches=None if batches is None else batches.length,
        val=val.length if judges else val,
        **settings,
        **{"first batch": None if batches is None else first_digest(batches)},
        **{"first batch of val": first_digest(val) if judges else None},
    )
