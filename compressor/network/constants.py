"""Results that depend on no input: views of parameters and buffers, and what is computed of them.

A buffer in another shape, a part of a parameter, a mask in another data type, a table that the
forward pass makes anew every time. Training has to compute them at every step, as parameters move;
a file for another runtime can hold what comes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from compressor.inputs.tensors import leaves
from compressor.network.core import Network
from compressor.network.rewrite import Rewrite
from compressor.network.steps import Ref, Step, Value, Weight, mapped, packet
from compressor.network.tree import Holder, plant

aten = torch.ops.aten

PLACE = "constants"
"""Branch of a network that holds what was computed once."""


def constant(network: Network, value: Value) -> Tensor | None:
    """A tensor that depends on parameters and buffers alone; None for anything else."""
    if isinstance(value, Weight):
        return network.tensor(value).detach()
    step = network.producer(value)
    if step is None or not _repeats(step):
        return None
    values: dict[str, Tensor] = {}
    for name in step.refs:
        found = constant(network, Ref(name))
        if found is None:
            return None
        values[name] = found
    if not values and not step.weights:
        return None
    with torch.no_grad():
        result = network.result(step, values)
    return result if isinstance(result, Tensor) else None


def with_constants(network: Network) -> Network:
    """The same network in evaluation, with every such result computed once and held as a buffer.

    Args:
        network: For a batch of one: a constant may be made for the sizes of the example.

    Returns:
        A network that shares the tensors of the one given; itself where there is nothing to hold.
    """
    found = {name: value for name, value in _known(network).items() if isinstance(value, Tensor)}
    if not found:
        return network
    tree = Holder()
    rewrite = Rewrite(network)
    place = _free(network)
    held = {name: Weight(f"{place}.{name}") for name in found}

    def weight(leaf: Value) -> Value:
        return held.get(leaf.name, leaf) if isinstance(leaf, Ref) else leaf

    rewrite.steps = [
        replace(step, args=mapped(step.args, weight), kwargs=mapped(step.kwargs, weight))
        for step in network.steps
        if step.name not in found
    ]
    rewrite.outputs = mapped(network.outputs, weight)
    read = {name for step in rewrite.steps for name in step.weights}
    read |= {leaf.name for leaf in leaves(rewrite.outputs) if isinstance(leaf, Weight)}
    for name, tensor in found.items():
        if held[name].name in read:
            plant(tree, name, tensor.detach().clone(), persistent=False)
    rewrite.add(place, tree)
    return rewrite.build()


def _free(network: Network) -> str:
    """A name for the branch that none of the network's own has."""
    name = PLACE
    while name in dict(network.named_children()):
        name += "_"
    return name


def _known(network: Network) -> Mapping[str, Any]:
    """Results that depend on no input, and the sizes of the example, by name."""
    known: dict[str, Any] = {}
    for step in network.steps:
        if packet(step) is aten.sym_size:
            dim: Any = step.argument("dim")
            if isinstance(step.args[0], Ref) and step.args[0].name in network.shapes:
                known[step.name] = network.shapes[step.args[0].name][dim]
        elif all(name in known for name in step.refs) and (_repeats(step) or _counts(step)):
            with torch.no_grad():
                known[step.name] = network.result(step, known)
    return known


def _repeats(step: Step) -> bool:
    """True for an operation of PyTorch that gives the same whenever it reads the same."""
    if not isinstance(step.op, OpOverload) or step.writes or packet(step) is aten.batch_norm:
        return False
    return torch.Tag.nondeterministic_seeded not in step.op.tags


def _counts(step: Step) -> bool:
    """True for arithmetic of sizes, and for what takes a tuple apart."""
    return not isinstance(step.op, OpOverload | str)
