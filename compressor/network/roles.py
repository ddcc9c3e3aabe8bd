"""Roles of a network's tensors, read off the steps that use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn

from compressor.counting.stored import Integral, Role, Stored
from compressor.inputs.tensors import all_tensors, named_tensors
from compressor.network.steps import Ref, Step, Value, Weight, packet

Producer = Callable[[Value], Step | None]
"""The step that makes a value; None for an input."""

aten = torch.ops.aten

_NORM = {"weight": Role.NORM, "bias": Role.NORM} | dict.fromkeys(
    ("running_mean", "running_var"), Role.STATISTICS
)
"""Arguments of a batch normalisation."""


def described(steps: Sequence[Step], owner: nn.Module, producer: Producer) -> tuple[Stored, ...]:
    """Every distinct tensor of a network, `owner`, once, with its role.

    A parameter is what its name says, as in the model that it came from, unless a batch
    normalisation reads it. Of buffers those have a role that hold integers, or what belongs to
    them; others are constants, as they are in any model.
    """
    roles = dict(_said(steps, owner, producer))
    found: dict[int, Stored] = {}
    for name, tensor in all_tensors(owner).items():
        leaf = name.rpartition(".")[2]
        usual = Role.BIAS if leaf == "bias" else Role.WEIGHT
        role = usual if isinstance(tensor, nn.Parameter) else Role.NONE
        found[id(tensor)] = Stored(tensor, roles.get(id(tensor), role))
    return tuple(found.values())


def source(value: Value, producer: Producer) -> str | None:
    """Name of the tensor that an argument is, widened on the way or not; None for another result.

    What `Half` stores in 16 bits is read through a conversion.
    """
    if isinstance(value, Ref):
        step = producer(value)
        value = step.args[0] if step is not None and packet(step) is aten.to else None
    return value.name if isinstance(value, Weight) else None


def _said(
    steps: Sequence[Step], owner: nn.Module, producer: Producer
) -> Iterator[tuple[int, Role]]:
    """Tensors, by identity, whose role a step or a module of integers says."""
    held = dict(named_tensors(owner))
    for step in steps:
        if packet(step) is aten.batch_norm:
            for argument, role in _NORM.items():
                name = source(step.argument(argument), producer)
                if name is not None:
                    yield id(held[name]), role
        if isinstance(step.op, str) and isinstance(owner.get_submodule(step.op), Integral):
            # What a layer multiplies by is its second argument; others are grids' scales.
            _, weight = (*step.args, None)[:2]
            if isinstance(weight, Weight):
                yield id(held[weight.name]), Role.WEIGHT
    for module in owner.modules():
        if isinstance(module, Integral):
            for name, role in module.roles.items():
                yield id(module.get_buffer(name)), role
