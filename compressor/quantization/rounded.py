"""Weights that are rounded: the one answer for who plans bytes, trains and converts.

A layer multiplies an activation by a parameter: a matrix product, or a convolution in one, two or
three dimensions, transposed or not. Its weight is rounded if everything that reads it is such a
layer and takes its output channels from the same dimension, so that one scale for each channel
serves all, unless it is a table of a front end. Any other weight stays in floating point, in
training, in the file and in the plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from compressor.graph.kinds import Kind
from compressor.graph.operations import operation_of
from compressor.inputs.tensors import leaves
from compressor.network import Network, Ref, Step, Weight
from compressor.network.integer import Geometry
from compressor.network.steps import Value
from compressor.quantization.layers import WeightQuantiser
from compressor.quantization.tables import table_weights

_WEIGHTED = (Kind.LINEAR, Kind.CONVOLUTION, Kind.TRANSPOSED)


def rounded_weights(network: Network) -> dict[str, int]:
    """The parameters that int8 training rounds and the file holds as integers, by name.

    Args:
        network: Prepared for int8 or not.

    Returns:
        The groups of a transposed convolution, whose weight is (inputs, outputs / groups,
        kernel...); 0 for a weight (outputs, ...).
    """
    readers: dict[str, list[int | None]] = {}
    for step in network.steps:
        name = weight_name(network, step)
        groups = None if name is None else _groups(network, step, name)
        for read in _read(network, step):
            # A layer that reads its weight a second time, as its bias, reads it as something else.
            once = read == name and step.weights.count(read) <= 1
            readers.setdefault(read, []).append(groups if once else None)
    returned = {leaf.name for leaf in leaves(network.outputs) if isinstance(leaf, Weight)}
    left = returned | table_weights(network)
    found: dict[str, int] = {}
    for name, (first, *others) in readers.items():
        if first is not None and name not in left and set(others) <= {first}:
            found[name] = first
    return found


def weighted(network: Network) -> tuple[Step, ...]:
    """The steps that apply a weight which is rounded, in order."""
    names = rounded_weights(network)
    return tuple(step for step in network.steps if weight_name(network, step) in names)


def weight_name(network: Network, step: Step) -> str | None:
    """Name of the parameter that a layer multiplies by, rounded or not; None for any other step."""
    if operation_of(step.op).kind not in _WEIGHTED:
        return None
    weight: Value = step.argument("weight")
    if isinstance(weight, Ref):
        producer = network.producer(weight)
        rounded = producer is not None and rounds_weights(network, producer)
        weight = producer.args[0] if producer is not None and rounded else None
    return weight.name if isinstance(weight, Weight) else None


def rounds_weights(network: Network, step: Step) -> bool:
    """True if a step calls a quantiser of weights."""
    return isinstance(network.called(step), WeightQuantiser)


def geometry(network: Network, step: Step) -> Geometry | None:
    """The moves of a convolution by a parameter; None where `moves` has no answer."""
    kernel = network.tensor(cast("str", weight_name(network, step))).shape[2:]
    groups: Value = step.argument("groups")
    return moves(step, kernel, groups) if isinstance(groups, int) else None


def moves(step: Step, kernel: Sequence[int], groups: int = 1) -> Geometry | None:
    """The moves of a convolution by a kernel of some size.

    None where it pads one side more than the other, or by numbers known only when it runs.
    """
    names = ("stride", "padding", "dilation")
    names = (*names, "output_padding") if operation_of(step.op).kind is Kind.TRANSPOSED else names
    given: dict[str, Value] = {name: step.argument(name) for name in names}
    if isinstance(given["padding"], str):
        reach = _each(given["dilation"], len(kernel))
        given["padding"] = _named_padding(given["padding"], reach, kernel)
    each = {name: _each(value, len(kernel)) for name, value in given.items()}
    if not all(isinstance(number, int) for numbers in each.values() for number in numbers):
        return None
    stride, padding, dilation, *more = each.values()
    return Geometry(stride, padding, dilation, groups, more[0] if more else None)


def lopsided(network: Network, step: Step) -> bool:
    """True for a convolution that pads one side more than the other: "same" with an even kernel."""
    name = weight_name(network, step)
    if name is None or operation_of(step.op).kind is Kind.LINEAR:
        return False
    return step.argument("padding") == "same" and geometry(network, step) is None


def channels_last(network: Network, step: Step) -> bool:
    """True if the channels of a layer's result are not its second dimension."""
    weight = network.tensor(cast("str", weight_name(network, step)))
    # Without a batch the channels of a convolution come first.
    dims = 2 if operation_of(step.op).kind is Kind.LINEAR else weight.dim()
    return len(network.shapes[step.name]) != dims


def _groups(network: Network, step: Step, name: str) -> int | None:
    """The layout of a layer's weight (`rounded_weights`); None where it has no integer form."""
    weight, bias = network.tensor(name), step.argument("bias")
    if not isinstance(step.argument("input"), Ref) or not isinstance(bias, Weight | None):
        return None
    if not weight.is_floating_point() or weight.dim() < 2:
        return None
    if operation_of(step.op).kind is Kind.LINEAR:
        return 0
    found = geometry(network, step)
    if found is None:
        return None
    return 0 if found.more is None else found.groups


def _read(network: Network, step: Step) -> tuple[str, ...]:
    """The parameters that a step reads, itself or rounded; what rounds them reads none."""
    if rounds_weights(network, step):
        return ()
    names = dict.fromkeys((*step.weights, weight_name(network, step)))
    return tuple(name for name in names if name is not None)


def _named_padding(
    padding: str, dilation: Sequence[Value], kernel: Sequence[int]
) -> tuple[Value, ...]:
    """The padding that a word stands for, None where the two sides differ."""
    if padding == "valid":
        return (0,) * len(kernel)
    if not all(isinstance(d, int) for d in dilation):
        return (None,) * len(kernel)
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    return tuple(None if r % 2 else r // 2 for r in reach)


def _each(value: Value, count: int) -> tuple[Value, ...]:
    """One number for each dimension, where an operation takes one for all as well."""
    numbers = tuple(cast("Sequence[Value]", value)) if isinstance(value, list | tuple) else (value,)
    return numbers * count if len(numbers) == 1 else numbers
