"""What every tensor of a network is for, read off the steps that use it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import nn

from compressor.counting.stored import Integral, Role, Stored
from compressor.network.steps import Ref, Step, Value, Weight, packet

if TYPE_CHECKING:
    from compressor.network.core import Network

aten = torch.ops.aten

_NORM = {"weight": Role.NORM, "bias": Role.NORM} | dict.fromkeys(
    ("running_mean", "running_var"), Role.STATISTICS
)
"""Arguments of a batch normalisation."""


def described(network: Network) -> tuple[Stored, ...]:
    """Every distinct tensor of a network once, with its role.

    A parameter is what its name says, as in the model that it came from, unless a batch
    normalisation reads it. Of buffers those have a role that hold integers, or what belongs to
    them; others are constants, as they are in any model.
    """
    roles = dict(_said(network))
    found: dict[int, Stored] = {}
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        leaf = name.rpartition(".")[2]
        usual = Role.BIAS if leaf == "bias" else Role.WEIGHT
        role = usual if isinstance(tensor, nn.Parameter) else Role.NONE
        found[id(tensor)] = Stored(tensor, roles.get(id(tensor), role))
    return tuple(found.values())


def source(network: Network, value: Value) -> str | None:
    """Name of the tensor that an argument is, widened on the way or not; None for another result.

    What `Half` stores in 16 bits is read through a conversion.
    """
    if isinstance(value, Ref):
        step = network.producer(value)
        value = step.args[0] if step is not None and packet(step) is aten.to else None
    return value.name if isinstance(value, Weight) else None


def _said(network: Network) -> Iterator[tuple[int, Role]]:
    """Tensors whose role a step or a module of integers says."""
    for step in network.steps:
        if packet(step) is aten.batch_norm:
            yield from _normalising(network, step)
        if isinstance(step.op, str) and isinstance(network.get_submodule(step.op), Integral):
            # What a layer multiplies by is its second argument; others are grids' scales.
            _, weight = (*step.args, None)[:2]
            if isinstance(weight, Weight):
                yield id(network.tensor(weight)), Role.WEIGHT
    for module in network.modules():
        if isinstance(module, Integral):
            for name, role in module.roles.items():
                yield id(module.get_buffer(name)), role


def _normalising(network: Network, step: Step) -> Iterator[tuple[int, Role]]:
    for argument, role in _NORM.items():
        name = source(network, step.argument(argument))
        if name is not None:
            yield id(network.tensor(name)), role
