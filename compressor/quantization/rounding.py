"""Rounding in the integer reference as runtimes do it: once, from the whole sum to the next grid.

A runtime's kernel multiplies a layer's sum by one factor, ``input scale * weight scale / output
scale`` in single precision, and rounds. Making the number that the sum stands for, and then looking
for its step, differs once in some 100,000 values, several in every clip. So layers and sums whose
result goes to a grid are told the grid, and the reference is the file's to the last step.

Source: ONNX Runtime 1.31, `QLinearConv` (output scale, MlasRequantizeOutput) and `QLinearAdd`
(MlasQLinearAdd: one fused multiplication and addition for each of the two).
"""

from __future__ import annotations

from typing import cast

import torch

from compressor.network import Network, Rewrite, Step, Weight, packet
from compressor.network.integer import IntConv, IntLinear, IntTransposed
from compressor.network.sums import IntSum
from compressor.quantization.chains import only_reader
from compressor.quantization.grids import put_on_grid, requantise, wraps

aten = torch.ops.aten


def rounded_once(network: Network, place: str) -> Network:
    """The same network of integers, its layers and sums told the grids that their results go to.

    `place` is the branch of the network that holds them.
    """
    rewrite = Rewrite(network)
    for step in network.steps:
        called = network.called(step)
        target = _target(network, step)
        if target is None:
            continue
        if isinstance(called, IntConv | IntLinear) and _has_kernel(network, step, called):
            rewrite.edit(step.name, args=(*step.args[:2], _scale(target)))
        elif packet(step) is aten.add:
            _sum(network, rewrite, step, target, place)
    return rewrite.build()


def _has_kernel(network: Network, step: Step, called: IntConv | IntLinear) -> bool:
    """True if runtimes compute a layer in integers from its input to the rounded result."""
    if isinstance(called, IntTransposed) or called.bias.is_floating_point():
        return False
    if isinstance(called, IntLinear) and len(network.shapes[step.name]) != 2:
        return False
    return not wraps(network, step, called, network.tensor(cast("Weight", step.args[1])))


def _sum(network: Network, rewrite: Rewrite, step: Step, target: Step, place: str) -> None:
    """Put a sum of integers in the place of one whose two terms stand on grids."""
    terms = step.args[:2]
    sources = [put_on_grid(network, term) for term in terms]
    if step.kwargs.get("alpha", 1) != 1 or any(source is None for source in sources):
        return
    steps = [*(source for source in sources if source is not None), target]
    grids = [requantise(network, each) for each in steps]
    module = IntSum(tuple(grid.grid for grid in grids if grid is not None))
    op = rewrite.add(f"{place}.{step.name}_sum", module)
    rewrite.edit(step.name, op=op, args=(*terms, *map(_scale, steps)), kwargs={})


def _target(network: Network, step: Step) -> Step | None:
    """The step that moves a result to a grid, where nothing else reads it.

    A ReLU may lie between, if the grid begins at zero: then it does nothing but cut off below.
    """
    reader = only_reader(network, step.name)
    relu = reader is not None and packet(reader) is aten.relu
    if reader is not None and relu:
        reader = only_reader(network, reader.name)
    found = None if reader is None else requantise(network, reader)
    if found is None or (relu and found.grid.zero != found.grid.low):
        return None
    return reader


def _scale(step: Step) -> Weight:
    return Weight(f"{step.op}.scale")
