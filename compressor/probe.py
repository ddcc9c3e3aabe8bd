"""Try a traced graph before anyone relies on it: remove some of everything and compare.

Tracing sees the numbers in a program, not where they come from: `x.view(b, 16, -1)` and
`x.view(b, c // 2, -1)` look alike. So a third of every axis is removed from a copy with random
weights (fresh models have zeros and ones that would hide mistakes), and the smaller copy is
compared with its masked original. Axes that fail are found by bisection and frozen with the
reason; what is left has been seen to work.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from compressor.comparison import Inputs
from compressor.copies import private_copy
from compressor.graph import Graph
from compressor.modes import failure_in_training, looks_at_mode, warn_of_other_code
from compressor.structure import Structure
from compressor.surgery import shrink
from compressor.verify import attempts, batch_of, compare


def probe(model: nn.Module, graph: Graph, example: Inputs) -> Graph:
    """Freeze every axis whose removal the model's own code does not survive.

    Args:
        model: The traced model; untouched.
        graph: Its graph.
        example: Inputs of the traced shape, batch of one.

    Returns:
        The graph with failing axes frozen, each with its reason.
    """
    random = randomised(model)
    if looks_at_mode(model) and failure_in_training(random, batch_of(example)) is None:
        warn_of_other_code(random, batch_of(example))
        trains = True
    else:
        trains = False
    free = [number for number, axis in enumerate(graph.axes) if not axis.frozen]
    reasons = _culprits(random, graph, example, free, trains=trains)
    while reasons:
        graph = freeze(graph, reasons)
        free = [number for number in free if number not in reasons]
        reasons = _culprits(random, graph, example, free, trains=trains)
    return graph


def freeze(graph: Graph, reasons: dict[int, str]) -> Graph:
    """The graph with these axes frozen (axis number -> reason)."""
    axes = tuple(
        replace(axis, frozen=reasons.get(number, axis.frozen))
        for number, axis in enumerate(graph.axes)
    )
    layers = {
        layer: reason for number, reason in reasons.items() for layer in graph.axes[number].layers
    }
    return replace(graph, axes=axes, frozen={**graph.frozen, **layers})


def _culprits(
    model: nn.Module, graph: Graph, example: Inputs, axes: list[int], *, trains: bool
) -> dict[int, str]:
    """Axes that fail, with what went wrong; a set that only fails together is named whole.

    With `trains` a forward pass in train mode has to survive, too.
    """
    if not axes:
        return {}
    structure = _thinned(graph, axes)
    found = _attempt(model, graph, structure, example, trains=trains)
    if found is None:
        return {}
    if len(axes) == 1:
        return {axes[0]: f"removing channels breaks the forward pass: {found}"}
    half = len(axes) // 2
    inner = _culprits(model, graph, example, axes[:half], trains=trains)
    inner |= _culprits(model, graph, example, axes[half:], trains=trains)
    together = f"removing channels here together breaks the forward pass: {found}"
    return inner or dict.fromkeys(axes, together)


def _attempt(
    model: nn.Module, graph: Graph, structure: Structure, example: Inputs, *, trains: bool
) -> str | None:
    try:
        smaller = shrink(model, graph, structure)
    except (RuntimeError, AttributeError, KeyError) as error:
        return f"its tensors cannot be sliced ({error})"
    found = compare(model, graph, structure, smaller, attempts(example), quick=True)
    if isinstance(found, str):
        return found
    failure = failure_in_training(smaller, batch_of(example)) if trains else None
    return None if failure is None else f"in training it does not run ({failure})"


def _thinned(graph: Graph, axes: list[int]) -> Structure:
    """About a third of the units of these axes removed, seeded, at least one kept and removed."""
    random = np.random.default_rng(0)
    keep = np.ones(graph.units, dtype=bool)
    for number in axes:
        axis = graph.axes[number]
        count = min(axis.size - 1, max(1, axis.size // 3))
        keep[axis.first + random.permutation(axis.size)[:count]] = False
    return Structure(graph, keep)


def randomised(model: nn.Module) -> nn.Module:
    """A copy whose weights and statistics are random, scaled so that signals keep their size."""
    twin = private_copy(model)
    generator = torch.Generator().manual_seed(0)
    tensors = [*twin.parameters(), *twin.buffers()]
    for tensor in tensors:
        if tensor.is_floating_point() and tensor.numel():
            with torch.no_grad():
                tensor.copy_(_noise(tensor, generator))
    return twin


def _noise(tensor: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.empty(tensor.shape, dtype=torch.float32)
    if tensor.ndim < 2:
        return noise.uniform_(0.5, 1.5, generator=generator)
    fan_in = max(1, tensor.numel() // tensor.shape[0])
    return noise.normal_(0.0, (2.0 / fan_in) ** 0.5, generator=generator)
