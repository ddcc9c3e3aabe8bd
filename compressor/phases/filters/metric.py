"""Which rows of parameters a structure keeps, and the metric that their size is measured in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from compressor.graph.graph import Graph
from compressor.graph.structure import Structure
from compressor.importance import gradients, squared, writers
from compressor.inputs.batches import Batch

if TYPE_CHECKING:
    from compressor.run.compression import Compression


def alive(graph: Graph, structure: Structure) -> dict[str, Tensor]:
    """For every parameter that writes units, which of its rows stay: boolean, to be broadcast."""
    found: dict[str, Tensor] = {}
    for name, (weight, dim) in writers(graph).items():
        rows = torch.from_numpy(weight.dims[dim].alive(structure.keep))
        shape = [-1 if place == dim else 1 for place in range(len(weight.dims))]
        found[name] = rows.reshape(shape)
    return found


def fisher_metric(
    session: Compression, graph: Graph, batches: Sequence[Batch], clips: int
) -> dict[str, Tensor]:
    """The mean square of the gradient, averaged over every filter, of the weights' shapes."""
    writing, named = writers(graph), dict(session.model.named_parameters())
    sums, _ = squared(gradients(session.model, batches, session.loss, clips=clips), writing)
    metric: dict[str, Tensor] = {}
    for name, (_, dim) in writing.items():
        square = sums.get(name, torch.zeros_like(named[name]).double())
        others = [place for place in range(square.ndim) if place != dim]
        row = square.mean(others, keepdim=True) if others else square
        metric[name] = row.expand_as(named[name]).to(named[name].dtype).clone()
    return metric
