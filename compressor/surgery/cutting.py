"""Make a structure real: slice the tensors of a model and set the sizes its modules remember."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from compressor.graph.archive import mismatches
from compressor.graph.attributes import set_size
from compressor.graph.graph import Graph, Site, Weight
from compressor.graph.structure import Structure
from compressor.inputs.copies import private_copy
from compressor.surgery.attention import Attention, open_attention
from compressor.surgery.scales import factors
from compressor.wording import brief

Index = tuple[Tensor | None, ...]


@dataclass(frozen=True)
class Cut:
    """One parameter that was replaced by a smaller one.

    Attributes:
        old: The parameter before.
        new: The parameter that took its place.
        index: Entries that stayed, per dimension (None: all), to slice an optimiser's state alike.
    """

    old: nn.Parameter
    new: nn.Parameter
    index: Index


def shrink(model: nn.Module, graph: Graph, structure: Structure) -> nn.Module:
    """A smaller copy of a model: only the units that `structure` keeps.

    Args:
        model: The model that `graph` was traced from; stays untouched.
        graph: Its graph.
        structure: What stays.

    Returns:
        A new module of the same class with the same device, dtype, mode and submodule names.

    Raises:
        ValueError: If the graph is that of another model.
    """
    if not isinstance(structure, Structure):
        raise ValueError(
            f"shrink needs a structure and got {brief(structure)}: pass allocate(...).structure"
        )
    wrong = mismatches(model, graph)
    if wrong:
        raise ValueError(
            f"this graph is not that of the {type(model).__name__} given: {'; '.join(wrong[:3])}. "
            "Trace the model itself"
        )
    sliced = {id(old): new for old, new, _, _ in _sliced(model, graph, structure)}
    smaller = private_copy(model, sliced)
    open_attention(smaller)
    _tell_sizes(smaller, graph, structure)
    return smaller


def cut(model: nn.Module, graph: Graph, structure: Structure) -> list[Cut]:
    """Shrink a model in place; returns the parameters that were replaced."""
    open_attention(model)
    cuts: list[Cut] = []
    for old, new, weight, index in _sliced(model, graph, structure):
        for name in (weight.name, *weight.aliases):  # tied weights stay tied
            setattr(_owner(model, name), name.rpartition(".")[2], new)
        if isinstance(old, nn.Parameter) and isinstance(new, nn.Parameter):
            cuts.append(Cut(old, new, index))
    _tell_sizes(model, graph, structure)
    return cuts


def _sliced(
    model: nn.Module, graph: Graph, structure: Structure
) -> Iterator[tuple[Tensor, Tensor, Weight, Index]]:
    """Every tensor of a model that gets smaller, with what takes its place."""
    scales = factors(structure)
    for weight in graph.weights.values():
        index = index_of(weight, structure.keep)
        if any(entries is not None for entries in index) or weight.name in scales:
            old: Any = getattr(_owner(model, weight.name), weight.name.rpartition(".")[2])
            small = take(old.detach(), index)
            if weight.name in scales:
                small = scales[weight.name].scaled(small)
            trained = weight.trainable
            new = nn.Parameter(small, requires_grad=old.requires_grad) if trained else small
            yield old, new, weight, index


def _tell_sizes(model: nn.Module, graph: Graph, structure: Structure) -> None:
    """Set the sizes that modules remember."""
    sites: dict[str, list[Site]] = {}
    for site in graph.sites:
        sites.setdefault(site.weight, []).append(site)
    for name, uses in sites.items():
        for owner, weight in _owners(model, graph.weights[name]):
            _resize(owner, weight, uses, structure.keep)
    for name, dim in graph.channels.items():
        _resize_norm(model.get_submodule(name), dim.alive(structure.keep))
    for name, dim in graph.remembered.items():
        size = int(dim.alive(structure.keep).sum())
        set_size(_owner(model, name), name.rpartition(".")[2], size)


def take(tensor: Tensor, index: Index) -> Tensor:
    """The entries of `tensor` named by `index`, dimension by dimension, as a new tensor."""
    taken = tensor
    for dim, entries in enumerate(index):
        if entries is not None:
            taken = taken.index_select(dim, entries.to(tensor.device))
    return tensor.clone(memory_format=torch.contiguous_format) if taken is tensor else taken


def index_of(weight: Weight, keep: NDArray[np.bool_]) -> Index:
    """The entries of a weight that stay when the units in `keep` stay, by dimension."""
    alive = [dim.alive(keep) for dim in weight.dims]
    return tuple(None if a.all() else torch.from_numpy(np.flatnonzero(a)) for a in alive)


def _owner(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


def _owners(model: nn.Module, weight: Weight) -> list[tuple[nn.Module, Tensor]]:
    """Every module that applies a tensor as its weight, or what a parametrization makes of it."""
    found: dict[nn.Module, Tensor] = {}
    for name in (weight.name, *weight.aliases):
        before, parametrized, _ = f".{name}".partition(".parametrizations.")
        owner = model.get_submodule(before[1:] if parametrized else name.rpartition(".")[0])
        found.setdefault(owner, getattr(_owner(model, name), name.rpartition(".")[2]))
    return list(found.items())


def _resize(owner: nn.Module, weight: Tensor, uses: list[Site], keep: NDArray[np.bool_]) -> None:
    """Tell a layer its sizes; of several uses of a tied weight, the one it had the sizes of."""
    if isinstance(owner, _ConvNd):
        sizes = (owner.in_channels, owner.out_channels)
        own = (use for use in uses if (use.reads.size, use.writes.size) == sizes)
        site = next(own, uses[0])
        owner.in_channels = int(site.reads.alive(keep).sum())
        owner.out_channels = int(site.writes.alive(keep).sum())
        transposed = isinstance(owner, _ConvTransposeNd)
        total = owner.out_channels if transposed else owner.in_channels
        owner.groups = total // weight.shape[1]
    elif isinstance(owner, Attention):
        owner.refresh()
    elif isinstance(owner, nn.Linear):
        owner.out_features, owner.in_features = weight.shape
    elif isinstance(owner, nn.Embedding):
        owner.embedding_dim = int(owner.weight.shape[1])


def _resize_norm(module: nn.Module, alive: NDArray[np.bool_]) -> None:
    """Tell a normalisation how many channels are left, and groups that have any."""
    size = int(alive.sum())
    if isinstance(module, _NormBase):
        module.num_features = size
    elif isinstance(module, nn.GroupNorm):
        module.num_groups = int(alive.reshape(module.num_groups, -1).any(axis=1).sum())
        module.num_channels = size
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
        module.normalized_shape = (*module.normalized_shape[:-1], size)
