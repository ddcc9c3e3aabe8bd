"""Words that all tools share: caps, costs, and the two ways in which a tool may say no."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.breadth.case import Inputs
from compressor import measure
from compressor.errors import CountError


@dataclass(frozen=True)
class Caps:
    """Most parameters and, unless None, most multiply-accumulates of one input."""

    params: int
    macs: int | None


@dataclass(frozen=True)
class Shrunk:
    """A smaller network, and what the tool says stays whole in it and why, by layer."""

    model: nn.Module
    whole: Mapping[str, str] = field(default_factory=dict)


class HeldError(Exception):
    """The caps were not reached: too much of the network stays whole."""

    def __init__(self, message: str, least: tuple[int, int] | None = None) -> None:
        super().__init__(message)
        self.least = least


class RefusedError(Exception):
    """The tool says that it does not take this network."""


def counted(model: nn.Module, inputs: Inputs) -> tuple[int, int]:
    """Parameters, and multiply-accumulates of one input by torch's counter.

    Where an operation with weights has no formula, it counts nothing.
    """
    try:
        cost = measure(model, inputs)
    except CountError:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(*inputs)
        return parameters(model), counter.get_total_flops() // 2 // len(inputs[0])
    return cost.params, cost.macs


def within(cost: tuple[int, int], caps: Caps) -> bool:
    """True if a cost is within the caps."""
    return cost[0] <= caps.params and (caps.macs is None or cost[1] <= caps.macs)


def copied(model: nn.Module, inputs: Inputs) -> nn.Module:
    """A copy; a network has to have run once for it where weights are made by hooks."""
    with torch.no_grad():
        model(*inputs)
    return copy.deepcopy(model)


def parameters(model: nn.Module) -> int:
    """Every distinct parameter once."""
    return sum(p.numel() for p in model.parameters())


def meets(model: nn.Module, inputs: Inputs, caps: Caps) -> bool:
    """True if a network is within the caps; it is run only where its parameters are."""
    if parameters(model) > caps.params:
        return False
    return caps.macs is None or within(counted(model, inputs), caps)
