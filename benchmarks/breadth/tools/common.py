"""Words that all tools share: caps, costs, and the two ways in which a tool may say no."""

from __future__ import annotations

from dataclasses import dataclass

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
        params = sum(p.numel() for p in model.parameters())
        return params, counter.get_total_flops() // 2 // len(inputs[0])
    return cost.params, cost.macs


def within(cost: tuple[int, int], caps: Caps) -> bool:
    """True if a cost is within the caps."""
    return cost[0] <= caps.params and (caps.macs is None or cost[1] <= caps.macs)
