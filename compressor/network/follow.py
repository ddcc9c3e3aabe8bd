"""Operations that do one thing in training and another in evaluation, and how each is run.

The export happens in eval mode and writes the mode down as an argument. Here that argument follows
the module which ran the operation. What was exported as True in eval mode (a normalisation without
running statistics, dropout that never stops) looked at no mode and stays as it is.

Not followed is a mode that the user's code reads itself, and the dropout inside an attention
product, which the export writes down as a rate of zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.nn import functional

from compressor.network.steps import Ref, Step, Weight, packet

_MODES = ("training", "train", "use_input_stats")
"""Names of the argument that says whether an operation trains."""

aten = torch.ops.aten


@cache
def switch(op: OpOverload) -> str:
    """Name of the argument that says whether an operation trains; empty where there is none."""
    names = [argument.name for argument in op._schema.arguments]  # noqa: SLF001
    return next((name for name in _MODES if name in names), "")


def adapted(
    step: Step,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    training: bool,
    count: Tensor | None,
) -> Any:
    """The result of an operation with a `switch`, run as its module's mode says.

    Args:
        step: Runs the operation.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        training: The mode of the module that ran it.
        count: Batches that a batch normalisation has learned from, (); None if nothing counts them.
    """
    op: Any = step.op
    given = _bound(op, args, kwargs)
    name = switch(op)
    given[name] = given[name] or training
    if packet(step) not in (aten.batch_norm, aten.instance_norm):
        return op(**given)
    # Through `functional`, which asks whether cuDNN is on where it runs, not where it was exported.
    del given["cudnn_enabled"]
    if packet(step) is aten.instance_norm:
        return functional.instance_norm(**given)
    # As `torch.nn.BatchNorm2d.forward`: counts the batches; no momentum means their plain mean.
    momentum: float | None = given["momentum"]
    if count is not None:
        count.add_(1)
        momentum = 1.0 / float(count) if momentum is None else momentum
    given["momentum"] = 0.0 if momentum is None else momentum
    return functional.batch_norm(**given)


def learns(step: Step) -> bool:
    """True if it is a normalisation whose statistics, which it writes into, are no buffers."""
    norm = packet(step) in (aten.batch_norm, aten.instance_norm)
    return norm and any(
        isinstance(step.argument(name), Ref) for name in ("running_mean", "running_var")
    )


def counter(step: Step) -> str:
    """Name of the buffer that counts the batches a batch normalisation has learned from.

    Empty for other operations, and where the statistics are no buffers.
    """
    running = step.argument("running_mean") if packet(step) is aten.batch_norm else None
    if not isinstance(running, Weight):
        return ""
    return f"{running.name.rpartition('.')[0]}.num_batches_tracked".lstrip(".")


def _bound(op: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a call by name, defaults included."""
    bound = {a.name: a.default_value for a in op._schema.arguments}  # noqa: SLF001
    return bound | dict(zip(bound, args, strict=False)) | dict(kwargs)
