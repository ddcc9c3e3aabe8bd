"""The arguments of `compressor.sweep`, checked before any work; what tells it from others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from compressor import storage
from compressor.inputs.arguments import check_directory, check_form, name_of_function, takes
from compressor.inputs.batches import Batch, Batches
from compressor.inputs.checks import first_batch
from compressor.inputs.example import Example
from compressor.inputs.losses import Loss, loss_of
from compressor.inputs.settings import check_positive, check_whole
from compressor.inputs.sources import check_source
from compressor.inputs.tensors import all_tensors
from compressor.inputs.unlabelled import Unlabelled, is_unlabelled
from compressor.phases.train import FineTune, Recalibrate
from compressor.reports.result import Result
from compressor.reports.sweeps.plan import Models, grid_of
from compressor.reports.sweeps.records import NETWORK
from compressor.reports.sweeps.rows import Making
from compressor.run.identity import describe, first_digest
from compressor.run.phase import Phase, adapted, as_written, is_phase
from compressor.run.unfinished import check_given
from compressor.run.validation import Validation
from compressor.wording import brief

EPOCHS = 30
"""Length of a fine-tune, as of the default schedule of `fit`."""


def making_of(
    fit: Callable[..., Result],
    model: Models,
    data: Iterable[Batch] | None,
    budgets: object,
    methods: object,
    *,
    seeds: int | Iterable[int],
    then: Sequence[Phase] | None,
    evaluate: Iterable[Batch] | Callable[[nn.Module], float] | None,
    example: Example | None,
    loss: Loss | None,
    options: Mapping[str, Any],
    epochs: int | None,
    folder: str | os.PathLike[str] | None,
) -> Making:
    """What makes the rows of a sweep; arguments as of `compressor.sweep`, and `fit` itself.

    Raises:
        ValueError: If an argument is of the wrong kind.
    """
    if not callable(model) or isinstance(model, type):
        check_given(model)
    elif not isinstance(model, nn.Module):
        check_form(f"sweep(model={name_of_function(model)})", model, "f(seed) -> its network")
    loss_of(loss)
    if options.get("lr") is not None:
        check_positive("sweep", lr=options["lr"])
    grid = grid_of(budgets, methods, seeds)
    if isinstance(data, Tensor) and data.ndim > 1:
        data = data.split(64)
    if data is not None:
        check_source(data)
    if epochs is not None and None in grid.methods.values():
        check_whole("sweep", 1, epochs=epochs)
    if folder is not None:
        check_directory(folder)
    return Making(
        fit, model, data, grid, _then(then, data, loss, epochs), _judge(evaluate), example, loss,
        options, epochs, None if folder is None else Path(folder).absolute(),
    )  # fmt: skip


def identity_of(making: Making) -> dict[str, Any]:
    """What decides the rows of a sweep beside budgets, methods and seeds, as plain data."""
    model, judge = making.model, making.evaluate
    module = isinstance(model, nn.Module)
    digest = storage.numbers(all_tensors(model)) if module else describe(model)
    shown = making.example if isinstance(making.example, tuple) else (making.example,)
    return {
        NETWORK: f"{type(model).__name__} {digest}" if module else digest,
        "data": None if making.data is None else first_digest(Batches(making.data)),
        "evaluate": first_digest(judge) if isinstance(judge, Batches) else describe(judge),
        "loss": describe(making.loss),
        "example": [None if x is None else list(x.shape) for x in shown],
        "then": [describe(as_written(phase)) for phase in making.then],
        "epochs": making.epochs,
        **{name: describe(value) for name, value in making.options.items()},
    }


def _then(
    then: Sequence[Phase] | None,
    data: Iterable[Batch] | None,
    loss: Loss | None,
    epochs: int | None,
) -> tuple[Phase, ...]:
    """The phases after a cut."""
    if then is not None:
        if not isinstance(then, (list, tuple)) or not all(map(is_phase, then)):
            raise ValueError(
                f"sweep(then={brief(then)}): must be a list of phases, which follow every cut, "
                "such as then=[Recalibrate(), FineTune(epochs=30)], or [] for none"
            )
        return tuple(map(adapted, then))
    if data is None or isinstance(loss, Unlabelled):
        return ()
    if loss is None and is_unlabelled(first_batch(Batches(data))):
        return ()
    return (Recalibrate(), FineTune(epochs=EPOCHS if epochs is None else epochs))


def _judge(evaluate: object) -> Validation | None:
    """What a network is worth."""
    if evaluate is None:
        return None
    if callable(evaluate) and not isinstance(evaluate, (nn.Module, type)):
        if not takes(evaluate):
            raise ValueError(
                f"sweep(evaluate={brief(evaluate)}) does not take one argument, and is called with "
                "the network alone: functools.partial fills in the others"
            )
        return cast("Validation", evaluate)
    check_source(evaluate, "evaluate")
    return Batches(cast("Iterable[Batch]", evaluate), name="evaluate")
