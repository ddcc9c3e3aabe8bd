"""Rounding in the integer reference as TensorFlow Lite Micro does it: fixed-point factors, twice.

There every operation writes to a grid. So layers, means, sums, products, sigmoids and moves between
grids are put together with the quantiser behind them, which is left with limiting the result. What
has no such kernel, or no quantiser behind it, stays as it is, in floating point.

Scales are passed by name where no weight is: the second argument of a called module is a weight.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from compressor.network import Network, Ref, Rewrite, Step, Weight, packet
from compressor.network.fixed import (
    FixedConv,
    FixedLinear,
    FixedMean,
    FixedMove,
    FixedProduct,
    FixedScale,
    FixedSigmoid,
    FixedSum,
)
from compressor.network.fixed_norm import FixedNorm
from compressor.network.grid import Integers
from compressor.network.integer import IntConv, IntLinear, IntMean, IntTransposed, Layer
from compressor.network.steps import Value
from compressor.quantization.chains import only_reader
from compressor.quantization.grids import put_on_grid, requantise, wraps
from compressor.quantization.place import cut

aten = torch.ops.aten


def rounded_twice(network: Network, place: str) -> Network:
    """The same network of integers in fixed point; `place` is the branch that holds its modules."""
    rewrite = Rewrite(network)
    for step in network.steps:
        target = target_of(network, step)
        if target is not None:
            _operation(network, rewrite, step, target, place)
        if requantise(network, step) is not None:
            _move(network, rewrite, step, place)
    return rewrite.build()


def target_of(network: Network, step: Step) -> Step | None:
    """The step that puts a result on a grid, where nothing else reads it but ReLU and its kin."""
    reader = only_reader(network, step.name)
    while reader is not None and cut(reader) is not None:
        reader = only_reader(network, reader.name)
    return None if reader is None or requantise(network, reader) is None else reader


def scale_of(step: Step) -> Weight:
    """The scale of the grid that a step puts values on."""
    return Weight(f"{step.op}.scale")


def _operation(network: Network, rewrite: Rewrite, step: Step, target: Step, place: str) -> None:
    """Put an operation in fixed point in the place of one whose result goes to a grid."""
    called = network.called(step)
    if packet(step) is aten.cat:
        _parts(network, rewrite, step, target, place)
    elif isinstance(called, Layer):
        made = _layer(network, step, called)
        if made is not None:
            op = rewrite.add(f"{place}.{step.name}_fixed", made)
            rewrite.edit(step.name, op=op, kwargs={"output_scale": scale_of(target)})
    elif isinstance(called, FixedNorm):
        kwargs = {**step.kwargs, "output_scale": scale_of(target)}
        rewrite.edit(step.name, kwargs=kwargs)
    elif isinstance(called, IntMean):
        made = FixedMean(called.windows, called.input_scale)
        op = rewrite.add(f"{place}.{step.name}_fixed", made)
        rewrite.edit(step.name, op=op, kwargs={"output_scale": scale_of(target)})
    else:
        _between(network, rewrite, step, target, place)


def _layer(network: Network, step: Step, called: Layer) -> nn.Module | None:
    """A layer in fixed point; None where there is no kernel, or 32 bits may not hold its sums."""
    if isinstance(called, FixedScale):
        return called
    if isinstance(called, IntTransposed) or not isinstance(called, IntConv | IntLinear):
        return None
    weight = network.tensor(cast("Weight", step.args[1]))
    if called.bias.is_floating_point() or wraps(network, step, called, weight):
        return None
    content = Integers(weight, called.scale, called.bias, called.large)
    if isinstance(called, IntLinear):
        return FixedLinear(content, called.input_scale)
    return FixedConv(called.geometry, content, called.input_scale)


def _between(network: Network, rewrite: Rewrite, step: Step, target: Step, place: str) -> None:
    """A sum, a product or a sigmoid of values that stand on grids."""
    kind = packet(step)
    if kind not in (aten.add, aten.mul, aten.sigmoid) or step.kwargs.get("alpha", 1) != 1:
        return
    given = step.args[: 1 if kind is aten.sigmoid else 2]
    sources = [put_on_grid(network, value) for value in given]
    if any(source is None for source in sources):
        return
    whole = [source for source in sources if source is not None]
    made: nn.Module = FixedSigmoid() if kind is aten.sigmoid else FixedProduct()
    if kind is aten.add:
        grids = (requantise(network, each) for each in (*whole, target))
        made = FixedSum(tuple(grid.grid for grid in grids if grid is not None))
    op = rewrite.add(f"{place}.{step.name}_fixed", made)
    if kind is aten.sigmoid:
        kwargs = {"scale": scale_of(whole[0])}
        rewrite.edit(step.name, op=op, args=given, kwargs=kwargs)
        return
    scales = map(scale_of, (*whole, target))
    rewrite.edit(step.name, op=op, args=(*given, *scales), kwargs={})


def _parts(network: Network, rewrite: Rewrite, step: Step, target: Step, place: str) -> None:
    """Move what is put together to the grid of the result first: one grid holds all of it."""
    parts = cast("tuple[Ref, ...]", tuple(step.args[0]))
    sources = [put_on_grid(network, part) for part in parts]
    moved: list[Value] = []
    for number, (part, source) in enumerate(zip(parts, sources, strict=True)):
        if source is None:
            return
        move = _moving(rewrite, f"{step.name}_part_{number}", part, (source, target), place)
        moved.append(Ref(move.name))
        rewrite.insert_before(step.name, move)
    rewrite.edit(step.name, args=(tuple(moved), *step.args[1:]))


def _move(network: Network, rewrite: Rewrite, target: Step, place: str) -> None:
    """Put a move in front of a quantiser, and of what cuts off there, where a grid is left."""
    first = target
    before = network.producer(first.args[0])
    while before is not None and cut(before) is not None:
        first, before = before, network.producer(before.args[0])
    source = put_on_grid(network, first.args[0])
    if source is None:
        return
    move = _moving(rewrite, f"{target.name}_moved", first.args[0], (source, target), place)
    rewrite.insert_before(first.name, move)
    rewrite.edit(first.name, args=(Ref(move.name), *first.args[1:]))


def _moving(
    rewrite: Rewrite, name: str, value: Value, grids: tuple[Step, Step], place: str
) -> Step:
    """A move from the grid of one quantiser to that of another, even if they happen to be equal.

    What the file of a network holds must not depend on what its quantisers saw.
    """
    op = rewrite.add(f"{place}.{name}", FixedMove())
    source, target = map(scale_of, grids)
    kwargs = {"source": source, "output_scale": target}
    return Step(name, op, (value,), kwargs, grids[1].module)
