"""Operations that do one thing in training and another in evaluation, and how each is run.

The export happens in eval mode and writes the mode down as an argument. Here that argument follows
the module which ran the operation, as the module's own code would: batch normalisation learns its
statistics in training, dropout drops. What was exported as True in eval mode (a normalisation
without running statistics, dropout that never stops) looked at no mode and stays as it is.

Not followed is a mode that the user's code reads itself, and the dropout inside an attention
product, which the export writes down as a rate of zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.nn import functional

from compressor.network.steps import Ref, Step, Value, Weight, packet

if TYPE_CHECKING:
    from compressor.network.core import Network

_MODES = ("training", "train", "use_input_stats")
"""What the argument is called that says whether an operation trains."""

aten = torch.ops.aten


@cache
def switch(op: OpOverload) -> str:
    """Name of the argument that says whether an operation trains; empty where there is none."""
    names = [argument.name for argument in op._schema.arguments]  # noqa: SLF001
    return next((name for name in _MODES if name in names), "")


def adapted(network: Network, step: Step, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The result of an operation with a `switch`, run as its module's mode says."""
    op: Any = step.op
    training = network.owner(step).training
    given = _bound(op, args, kwargs)
    name = switch(op)
    given[name] = given[name] or training
    if packet(step) is aten.batch_norm:
        return _batch_norm(network, step, given, training=training)
    if packet(step) is aten.instance_norm:
        return _instance_norm(given)
    return op(**given)


def learns(step: Step) -> bool:
    """Whether it is a normalisation whose statistics, which it writes into, are no buffers."""
    norm = packet(step) in (aten.batch_norm, aten.instance_norm)
    return norm and any(
        isinstance(step.argument(name), Ref) for name in ("running_mean", "running_var")
    )


def counter(step: Step) -> str:
    """Name of the buffer that counts the batches which a batch normalisation has learned from."""
    running = step.argument("running_mean")
    owner = running.name.rpartition(".")[0] if isinstance(running, Weight) else ""
    return f"{owner}.num_batches_tracked".lstrip(".")


def _bound(op: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a call by name, defaults included."""
    bound: dict[str, Any] = {}
    for position, declared in enumerate(op._schema.arguments):  # noqa: SLF001
        if position < len(args):
            bound[declared.name] = args[position]
        elif declared.name in kwargs:
            bound[declared.name] = kwargs[declared.name]
        else:
            bound[declared.name] = declared.default_value
    return bound


def _batch_norm(network: Network, step: Step, given: dict[str, Any], *, training: bool) -> Tensor:
    """As `torch.nn.BatchNorm2d.forward`: counts the batches; no momentum means their plain mean."""
    momentum: Value = given["momentum"]
    if training and given["running_mean"] is not None:
        count = _count(network, step)
        if count is not None:
            count.add_(1)
            momentum = 1.0 / float(count) if momentum is None else momentum
    # Through `functional`, which asks whether cuDNN is on where it runs, not where it was exported.
    return functional.batch_norm(
        given["input"],
        given["running_mean"],
        given["running_var"],
        given["weight"],
        given["bias"],
        given["training"],
        0.0 if momentum is None else momentum,
        given["eps"],
    )


def _count(network: Network, step: Step) -> Tensor | None:
    try:
        return network.tensor(counter(step))
    except AttributeError:  # a call of `functional.batch_norm`, which counts nothing
        return None


def _instance_norm(given: dict[str, Any]) -> Tensor:
    return functional.instance_norm(
        given["input"],
        given["running_mean"],
        given["running_var"],
        given["weight"],
        given["bias"],
        given["use_input_stats"],
        given["momentum"],
        given["eps"],
    )
