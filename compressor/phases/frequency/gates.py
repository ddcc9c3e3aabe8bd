"""Factors on the rows of an input, put where they act as the rows' removal does.

The 2022 report multiplies the input, ``f(w * X)``. Behind a norm of every row (the Residual
Normalization of its own network, BatchNorm over the bands) the loss is nearly flat in w until w is
zero, and no gradient says what a row is worth. The factors therefore stand where rows end: at the
convolutions and matrix products that mix them. For a matrix product a factor of zero *is* removal.
Where rows end in anything else, the input is multiplied after all.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd  # of all convolutions, transposed or not
from torch.nn.modules.pooling import (  # of all poolings of one kind
    _AdaptiveAvgPoolNd,
    _AdaptiveMaxPoolNd,
    _AvgPoolNd,
    _MaxPoolNd,
)

from compressor.inputs import finite
from compressor.inputs.batches import Batch
from compressor.inputs.evaluation import evaluating
from compressor.inputs.gradients import check_value, micro_batches
from compressor.inputs.losses import Loss, cross_entropy
from compressor.phases.frequency.select import Rows
from compressor.phases.frequency.trace import RowGraph
from compressor.tracing.couplings import Ids

READERS = (_ConvNd, nn.Linear, _AvgPoolNd, _MaxPoolNd, _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd)
"""Modules whose forward is the reading operation and nothing else."""


def places(model: nn.Module, graph: RowGraph) -> dict[str, tuple[int, Ids]]:
    """Places of factors in a network: module name -> (dimension of its input, row by entry).

    `model` is the network that `graph` was traced from (inside of a `Rows`: its network). Where no
    others will do, the place is the network's own input, under the name ``""``.
    """
    found = dict(graph.gates)
    if found and all(isinstance(model.get_submodule(name), READERS) for name in found):
        return found
    return {"": (graph.dim, np.arange(graph.count))}


@contextmanager
def gated(model: nn.Module, graph: RowGraph, factors: Tensor) -> Generator[None]:
    """While inside, every row is multiplied by its factor.

    Args:
        model: The network, or a `Rows` around it; hooks are set on it and taken off again.
        graph: Where the network's rows end.
        factors: One for every row that the network sees (rows,); differentiable.
    """
    while isinstance(model, Rows):
        model = model.network
    with ExitStack() as stack:
        for name, (dim, owner) in places(model, graph).items():
            hook = partial(_multiply, factors=factors, dim=dim, owner=owner)
            handle = model.get_submodule(name).register_forward_pre_hook(hook)
            stack.callback(handle.remove)
        yield


def _multiply(
    module: nn.Module,  # noqa: ARG001 - a hook
    args: tuple[Any, ...],
    *,
    factors: Tensor,
    dim: int,
    owner: Ids,
) -> tuple[Any, ...]:
    """The first argument with every entry of `dim` multiplied by its row's factor."""
    x: Tensor = args[0]
    # The extra one at the end is what ALWAYS (-1) points to.
    of_entry = torch.cat([factors, factors.new_ones(1)])[torch.from_numpy(owner)]
    shape = [1] * x.ndim
    shape[dim] = len(owner)
    return (x * of_entry.reshape(shape).to(x.device, x.dtype), *args[1:])


def row_gradients(
    model: nn.Module,
    graph: RowGraph,
    batches: Iterable[Batch],
    loss: Loss = cross_entropy,
    *,
    clips: int = 4,
) -> Tensor:
    """Derivatives of the loss with respect to factors of one on the rows.

    The model is in eval mode meanwhile and is left as it was.

    Args:
        model: The network, or a `Rows` around it.
        graph: Where the network's rows end.
        batches: Batches as the loss wants them.
        loss: Called as ``loss(model, batch)``.
        clips: Examples per micro-batch: few, as the squared mean of many is not the mean of
            squares that the Fisher information asks for.

    Returns:
        One row per micro-batch: (micro-batches, rows), double precision.

    Raises:
        TrainingError: If the loss is not finite or does not depend on the rows.
        ValueError: If there is no batch with a label.
    """
    found: list[Tensor] = []
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    for part, place in micro_batches(batches, loss, clips):
        where, run = f"{place} while measuring rows", finite.on(loss, part)
        ones = torch.ones(graph.count, device=device, requires_grad=True)
        with evaluating(model), torch.enable_grad(), gated(model, graph, ones):
            value = loss(model, part)
        check_value(value, where, partial(finite.where, model, run, part))
        (gradient,) = torch.autograd.grad(value, [ones])
        if not finite.is_finite(gradient):
            raise finite.not_finite(model, run, "the gradient of the rows", where, part)
        found.append(gradient.double())
    if not found:
        raise ValueError(
            "the importance of rows is measured on data, and there was no batch with a label: pass "
            "a loader that yields some"
        )
    return torch.stack(found)
