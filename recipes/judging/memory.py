"""Memory of an inference, for which the forms of 2022 and 2023 ask."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from compressor.network import Network


@torch.no_grad()
def peak_entries(network: Network) -> int:
    """Most numbers that are alive at once while a network runs on one input; its weights apart.

    A result lives from the step that makes it to the last one that reads it, the input from the
    beginning; a view of another result takes nothing. An activation counts beside what it reads,
    though it could be computed in its place, so that this is a bound from above. In 8 bits a
    number is a byte.

    Args:
        network: In evaluation mode, on the CPU.
    """
    given = network.example_input_array
    inputs = given if isinstance(given, tuple) else (given,)
    values: dict[str, Any] = dict(zip(network.inputs, inputs, strict=True))
    last = {name: number for number, step in enumerate(network.steps) for name in step.refs}
    peak = 0
    for number, step in enumerate(network.steps):
        values[step.name] = network.result(step, values)
        peak = max(peak, _entries(values))
        values = {name: v for name, v in values.items() if last.get(name, -1) > number}
    return peak


def _entries(values: dict[str, Any]) -> int:
    pieces: dict[int, int] = {}
    for value in values.values():
        if isinstance(value, Tensor):
            storage = value.untyped_storage()
            pieces[storage.data_ptr()] = storage.nbytes() // value.element_size()
    return sum(pieces.values())
