"""Places where values are rounded: results of a network that get a quantiser.

*Rounded* are the results of operations that runtimes have integer kernels for and those that the
next quantiser may follow directly: layers with what goes into their scales, sums and products of
two rounded tensors, concatenation, average pooling, activation functions. A quantiser follows each.
Everything else is *floating* (a softmax, Residual Normalization unless its parts are rounded): its
result is rounded only where a layer reads it. Operations that merely move values (views, maximum
pooling) leave them as they are.

A quantiser moves behind a ReLU that is the only reader, as its grid then starts at zero and the
ReLU costs nothing, and behind dropout, which conversion removes.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import cast

import torch

from compressor.graph.kinds import Rounding
from compressor.graph.operations import operation_of
from compressor.network import Network, Ref, Step, packet
from compressor.network.steps import Value
from compressor.quantization.chains import Layer, Scaling, layers, only_reader, scaling
from compressor.quantization.pools import windows
from compressor.quantization.residual import NormQuantiser

aten = torch.ops.aten

_ROUNDED = (Rounding.JOINED, Rounding.PAIR, Rounding.CUT)
_MOVED = (Rounding.MOVED, Rounding.DROPPED)


@dataclass(frozen=True)
class Places:
    """Layers and results that are rounded in a network.

    Attributes:
        layers: The layers whose weights are rounded.
        results: Names of the results (or inputs) that a quantiser follows, in order.
    """

    layers: tuple[Layer, ...]
    results: tuple[str, ...]


def places(network: Network, *, bands: bool) -> Places:
    """Find places for the quantisers of a network, which has none yet.

    With `bands` normalisation by sub-bands goes into a layer's scales; else it is an operation of
    its own, with a quantiser before and behind it.
    """
    found = layers(network, bands=bands)
    rounded = _rounded(network, found)
    order = [*network.inputs, *(step.name for step in network.steps)]
    behind = {_moved(network, name) for name in rounded}
    return Places(found, tuple(name for name in order if name in behind))


def scalings(network: Network, layers: Iterable[Layer]) -> tuple[Scaling, ...]:
    """The normalisations that follow no layer."""
    taken = {name for part in layers for name in part.steps}
    found: list[Scaling] = []
    for step in network.steps:
        part = None if step.name in taken else scaling(network, step)
        if part is not None:
            found.append(part)
            taken.update(part.steps)
    return tuple(found)


def _rounded(network: Network, layers: tuple[Layer, ...]) -> set[str]:
    """Results that a quantiser follows, before any is moved."""
    alone = {part.steps[0]: part for part in scalings(network, layers)}
    parts = (*layers, *alone.values())
    ends, inside = {part.end for part in parts}, {name for part in parts for name in part.steps}
    rounded = {part.end for part in layers}

    def stands(value: Value) -> bool:
        return origin(network, value, ends) in rounded

    read = [network.step(part.step).argument("input") for part in layers]
    read += [step.args[0] for step in network.steps if _normalises(network, step)]
    for value in read:  # they read rounded values, whatever these are
        rounded.add(origin(network, value, ends))
    while True:
        before = len(rounded)
        for step in network.steps:
            part = alone.get(step.name)
            if part is not None and stands(Ref(part.source)):
                rounded.add(part.end)
            elif step.name not in inside and _joins(network, step):
                given = _tensors(step)  # none of a step that works on constants alone
                rounded |= {step.name} if given and all(map(stands, given)) else set()
        if len(rounded) == before:
            return rounded


def _joins(network: Network, step: Step) -> bool:
    """True if the result of a step is rounded when all that it works on is."""
    does = operation_of(step.op).rounding
    if does is Rounding.PAIR and (len(_tensors(step)) != 2 or step.kwargs.get("alpha", 1) != 1):
        return False
    known = does in _ROUNDED or windows(network, step) is not None
    return known or _normalises(network, step)


def _normalises(network: Network, step: Step) -> bool:
    """True for Residual Normalization with quantisers inside."""
    return isinstance(network.called(step), NormQuantiser)


def only_moves(step: Step) -> bool:
    """True if a step's results are some of its input's values."""
    return operation_of(step.op).rounding in _MOVED


def origin(network: Network, value: Value, ends: Container[str] = ()) -> str:
    """Name of the result or input that a value was moved from, in a network prepared or not.

    `ends` are results that were not moved, though what makes them would say so: the last view of a
    normalisation by sub-bands.
    """
    step = network.producer(value)
    while step is not None and only_moves(step) and step.name not in ends:
        value = step.args[0]
        step = network.producer(value)
    return cast("Ref", value).name


def cut(step: Step) -> tuple[float | None, float | None] | None:
    """Bounds of a ReLU or its kin, below and above, None for nowhere; None for other steps."""
    kind = packet(step)
    if kind in (aten.relu, aten.relu6):
        return 0.0, None if kind is aten.relu else 6.0
    if operation_of(step.op).rounding is not Rounding.CUT:
        return None
    names = ("min", None) if kind is aten.clamp_min else ("min_val", "max_val")
    low, high = (None if name is None else step.argument(name) for name in names)
    numbers = isinstance(low, int | float) and isinstance(high, int | float | None)
    return (low, high) if numbers else None


def _moved(network: Network, name: str) -> str:
    """Find the place of a result's quantiser: behind dropout and ReLU if nothing else reads it."""
    reader = only_reader(network, name)
    behind = (Rounding.CUT, Rounding.DROPPED)
    while reader is not None and operation_of(reader.op).rounding in behind:
        name = reader.name
        reader = only_reader(network, name)
    return name


def _tensors(step: Step) -> list[Ref]:
    """The results that an operation computes with."""
    given: Value = step.args[0] if packet(step) is aten.cat else step.args[:2]
    return [value for value in cast("tuple[Value, ...]", given) if isinstance(value, Ref)]
