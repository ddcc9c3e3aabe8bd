"""Residual Normalization as operators: two tensors of its input's size at a time, no float32."""

from __future__ import annotations

from typing import cast

import numpy as np
from torch import Tensor

from compressor.export.micro.operations import (
    Convolution,
    Difference,
    Operation,
    Root,
    Squares,
    Sum,
    Times,
)
from compressor.export.micro.program import Steps
from compressor.export.micro.sheet import ENDS, Sheet, goal, numbers
from compressor.network import Step, Weight
from compressor.network.fixed_norm import FixedNorm, Weighting


class _Writer:
    """The operators of one normalisation, each with a grid of its own."""

    def __init__(self, sheet: Sheet, step: Step, module: FixedNorm) -> None:
        self.sheet, self.step, self.module = sheet, step, module

    def made(
        self, operation: Operation, inputs: tuple[int, ...], shape: tuple[int, ...], name: str
    ) -> int:
        """An operator whose result stands on one of the module's grids."""
        return self.sheet.run(operation, inputs, shape, self.steps(name), self.step)

    def steps(self, name: str) -> Steps:
        return Steps(numbers(self.module.scale(name)).reshape(1), self.module.zero(name))

    def weighted(self, x: int, by: Weighting, window: tuple[int, ...], name: str) -> int:
        """Sums over a window of columns and channels, or of one entry, in one channel."""
        draft, given = self.sheet.draft, self.sheet.steps(x).scale
        weight = np.full((1, 1, *window), int(by.weight), dtype=np.int8)
        scale, bias = numbers(by.scale).reshape(1), numbers(by.bias).reshape(1).astype(np.int32)
        constants = draft.constant(weight, Steps(scale)), draft.constant(bias, Steps(given * scale))
        rows = self.sheet.entry(x).shape[1]
        return self.made(_PLAIN, (x, *constants), (1, rows, 1, 1), name)


_PLAIN = Convolution((1, 1), (1, 1), same=False)


def normalised(sheet: Sheet, step: Step, module: FixedNorm) -> None:
    """Normalise (1, rows, columns, channels) by each row's own mean and variance."""
    write = _Writer(sheet, step, module)
    x = sheet.wanted(step, step.args[0])
    shape = sheet.entry(x).shape
    rows, entries = (1, shape[1], 1, 1), shape[2] * shape[3]
    weight = _weight(sheet, step, module)
    mean = write.weighted(x, module.averaging(entries), shape[2:], "mean")
    centred = write.made(Difference(), (x, mean), shape, "centred")
    flat = sheet.shaped(centred, (1, shape[1], 1, entries), step)
    power = write.made(Squares(), (flat, flat), rows, "power")
    more = np.full((1, 1, 1, 1), int(module.added(entries)) + ENDS[0], dtype=np.int8)
    eps = sheet.draft.constant(more, Steps(write.steps("power").scales, ENDS[0]))
    lifted = write.made(Sum(), (power, eps), rows, "power")
    root = write.made(Root(), (lifted,), rows, "root")
    gain = write.weighted(root, module.gaining(entries, weight), (1, 1), "gain")
    shift = write.weighted(mean, module.shifting(weight), (1, 1), "shift")
    product = write.made(Times(), (centred, gain), shape, "product")
    steps, cut = goal(sheet.network, step)
    sheet.keep(step, sheet.run(Sum(cut), (product, shift), shape, steps, step))


def _weight(sheet: Sheet, step: Step, module: FixedNorm) -> Tensor | float:
    """The share of the input that is passed on."""
    value = step.kwargs.get("weight")
    if isinstance(value, Weight):
        return sheet.network.tensor(value).detach()
    return cast("float", module.weight)
