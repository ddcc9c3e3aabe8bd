"""A network as plain data and tensors, and back, without the user's class and without pickle.

The data is what JSON can hold, kept short: names of results are given anew in order, the module of
a step is left out where its weight says it, an argument where it is the default.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._ops import OpOverload

from compressor.network import values
from compressor.network.core import Network
from compressor.network.holders import Holder, branch, plant
from compressor.network.kinds import KINDS, kind_of
from compressor.network.operations import OPERATORS, name_of, operation
from compressor.network.steps import Step, Value

Plain = Any
"""What JSON can hold."""

_PARAMETER, _FROZEN, _BUFFER, _TEMPORARY = range(4)
"""What a tensor is: a parameter, one without gradient, a buffer, one no `state_dict` has."""


def to_plain(network: Network) -> tuple[dict[str, Plain], list[Tensor]]:
    """A network as plain data and the tensors that it speaks of by number.

    Raises:
        ValueError: If it runs an operation, calls a module or has an argument that cannot be
            stored.
    """
    names, tensors, ties = _distinct(network)
    numbers = {name: number for number, name in enumerate(names)}
    tree: dict[str, Plain] = {}
    for name, tensor in zip(names, tensors, strict=True):
        _put(tree, name, _role(network, name, tensor))
    modules = list(dict.fromkeys(s.op for s in network.steps if isinstance(s.op, str)))
    numbers |= {alias: numbers[name] for alias, name in ties}
    steps = list(_steps(network, modules, numbers))
    places = {name: n for n, name in enumerate((*network.inputs, *(s.name for s in network.steps)))}
    ago = {name: len(places) - place for name, place in places.items()}
    given = network.example_input_array
    example = given if isinstance(given, tuple) else (given,)
    inputs = [
        [name, list(x.shape), str(x.dtype).removeprefix("torch.")]
        for name, x in zip(network.inputs, example, strict=True)
    ]
    data: dict[str, Plain] = {
        "inputs": inputs,
        "tensors": tree,
        "ties": [[alias, numbers[name]] for alias, name in ties],
        "modules": [[name, *_settings(network, name)] for name in modules],
        "steps": steps,
        "outputs": _output(network.outputs, ago, numbers),
    }
    return {key: value for key, value in data.items() if value != []}, tensors
