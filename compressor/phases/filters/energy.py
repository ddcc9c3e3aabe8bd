"""Which parameters write which units, and the metric that their size is measured in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from compressor.graph.graph import Graph, Weight
from compressor.graph.structure import Structure
from compressor.importance import gradients
from compressor.inputs.batches import Batch
from compressor.phases.filters.bank import banks
from compressor.tracing.tracer import trace

if TYPE_CHECKING:
    from compressor.run.compression import Compression

Tensors = Mapping[str, Tensor]


def writers(graph: Graph) -> dict[str, tuple[Weight, int]]:
    """The parameters that write units, with the dimension they write them along."""
    applied = {site.weight for site in graph.sites}
    found: dict[str, tuple[Weight, int]] = {}
    for weight in graph.weights.values():
        dim = weight.out_dim
        if dim is None and weight.name not in applied:
            dim = next((place for place, d in enumerate(weight.dims) if not d.fixed), None)
        if weight.trainable and dim is not None and not weight.dims[dim].fixed:
            found[weight.name] = weight, dim
    return found


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
    sums: dict[str, Tensor] = {}
    for found in gradients(session.model, batches, session.loss, clips=clips):
        for name, gradient in found.items():
            sums[name] = sums.get(name, 0) + gradient.double().square()
    named = dict(session.model.named_parameters())
    metric: dict[str, Tensor] = {}
    for name, (_, dim) in writers(graph).items():
        square = sums.get(name, torch.zeros_like(named[name]).double())
        others = [place for place in range(square.ndim) if place != dim]
        row = square.mean(others, keepdim=True) if others else square
        metric[name] = row.expand_as(named[name]).to(named[name].dtype).clone()
    return metric


def normalised(session: Compression) -> frozenset[str]:
    """The filters whose size says nothing: a normalisation with a scale of its own follows them."""
    graph = session.graph
    if graph.program is None:
        graph = trace(session.model, session.example, check=False)
    trainable = {name for name, _ in session.model.named_parameters()}

    def scaled(norms: tuple[str, ...], vectors: tuple[str, ...]) -> bool:
        inside = [v for v in vectors if any(v.startswith(f"{norm}.") for norm in norms)]
        return not trainable.isdisjoint(inside)

    found = banks(session.model, graph)
    return frozenset(bank.weight for bank in found if scaled(bank.norms, bank.vectors))
