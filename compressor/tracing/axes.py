"""From ids and ties to axes of interchangeable units, and the graph written in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from compressor.graph.graph import ALWAYS, Axis, Dim, Graph, Site, Units, Weight
from compressor.inputs.tensors import first_names, named_tensors
from compressor.tracing.couplings import Ids
from compressor.tracing.flow import Flow, fixed
from compressor.tracing.labels import Label


@dataclass(frozen=True)
class Tensors:
    """The parameters and buffers of a model, each once, by their first names.

    Attributes:
        first: The first name of each, by all of its names.
        trainable: Names of the parameters.
    """

    by_name: Mapping[str, Tensor]
    first: Mapping[str, str]
    trainable: frozenset[str]

    @classmethod
    def of(cls, model: nn.Module) -> Tensors:
        """Those of a model."""
        tensors, first = dict(reversed(list(named_tensors(model)))), first_names(model)
        distinct = {name: tensors[name] for name in dict.fromkeys(first.values())}
        return cls(distinct, first, frozenset(name for name, _ in model.named_parameters()))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Their shapes, by name."""
        return {name: tuple(tensor.shape) for name, tensor in self.by_name.items()}

    def weight(self, name: str, dims: tuple[Dim, ...], out_dim: int | None = None) -> Weight:
        """One of them in the graph."""
        aliases = tuple(a for a, first in self.first.items() if first == name and a != name)
        size = self.by_name[name].element_size()
        return Weight(name, dims, size, name in self.trainable, aliases, out_dim)


@dataclass(frozen=True)
class Numbering:
    """Units and axes.

    Attributes:
        unit_of: The unit of every id, `ALWAYS` for one that stays.
        reasons: Why the output of a layer stays whole, by layer.
        held: Why a weight stays whole, by weight (for its first dimension that does).
    """

    unit_of: Units
    axes: tuple[Axis, ...]
    reasons: Mapping[str, str]
    held: Mapping[str, str]

    def dim(self, ids: Ids) -> Dim:
        """Ids as a dimension."""
        return Dim(self.unit_of[ids])


def assemble(flow: Flow, tensors: Tensors, numbering: Numbering) -> Graph:
    """Build the graph from a finished walk (without constant MACs, which are measured)."""
    out_dims, dim = {use.weight: use.out_dim for use in reversed(flow.uses)}, numbering.dim
    weights = {
        name: tensors.weight(name, _dims(flow, numbering, name), out_dims.get(name))
        for name in flow.shapes
    }
    sites = [
        Site(u.module, u.weight, u.positions, u.kind, dim(u.reads), dim(u.writes), u.dense)
        for u in flow.uses
    ]
    labels = {name: label for name, label in flow.labels.items() if isinstance(label, Label)}
    activations = {name: (label.dim, dim(label.ids)) for name, label in labels.items()}
    return Graph(
        axes=numbering.axes,
        weights=weights,
        sites=tuple(sites),
        frozen={**_other_layers(flow, numbering, weights), **numbering.reasons},
        channels={name: dim(ids) for name, ids in flow.channels.items()},
        remembered={name: dim(ids) for name, ids in flow.sizes.items()},
        activations={name: a for name, a in activations.items() if not a[1].fixed},
        program=flow.program,
    )


def _dims(flow: Flow, numbering: Numbering, name: str) -> tuple[Dim, ...]:
    owned = [flow.owners.get((name, d), fixed(n)) for d, n in enumerate(flow.shapes[name])]
    return tuple(map(numbering.dim, owned))


def number(flow: Flow) -> Numbering:
    """Number the units: components that are not frozen, grouped by what they occur in.

    Two units are interchangeable, and so on one axis, when they own equally many entries of every
    weight dimension. Axes are ordered by the first layer that writes them.
    """
    roots, reasons = flow.couplings.solve()
    free = np.ones(int(roots.max()) + 1, dtype=bool)
    free[list(reasons)] = False
    unit_of_root = np.full(len(free), ALWAYS, dtype=np.int64)
    axes: list[Axis] = []
    first = 0
    for members in _signatures(flow, roots, free):
        unit_of_root[members] = np.arange(first, first + len(members))
        axes.append(_axis(flow, roots, members, first, [a.name for a in axes]))
        first += len(members)
    held = {
        name: reasons[root]
        for (name, _), ids in reversed(flow.owners.items())
        for root in np.unique(roots[ids]).tolist()
        if root in reasons
    }
    whole = {layer: axis.frozen for axis in axes if axis.frozen for layer in axis.layers}
    whole |= _frozen_layers(flow, roots, reasons)
    return Numbering(unit_of_root[roots], tuple(axes), whole, held)


def _signatures(flow: Flow, roots: Ids, free: NDArray[np.bool_]) -> list[Ids]:
    """Free components grouped by how many entries of which weight dimension they own."""
    places: dict[int, list[tuple[int, int]]] = {}
    written = np.zeros(len(free), dtype=bool)
    for use in flow.uses:
        written[roots[use.writes]] = True
    for number, ids in enumerate(flow.owners.values()):
        found, counts = np.unique(roots[ids], return_counts=True)
        for root, count in zip(found.tolist(), counts.tolist(), strict=True):
            if free[root] and written[root]:
                places.setdefault(root, []).append((number, count))
    groups: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for root, signature in places.items():
        groups.setdefault(tuple(signature), []).append(root)
    # Within an axis units keep the order of their first entry, so that ties read well.
    _, order = np.unique(roots, return_index=True)
    return [np.array(sorted(g, key=order.__getitem__), np.int64) for g in groups.values()]


def _axis(flow: Flow, roots: Ids, members: Ids, first: int, taken: list[str]) -> Axis:
    inside = np.zeros(int(roots.max()) + 1, dtype=bool)
    inside[members] = True
    writing = [use for use in flow.uses if inside[roots[use.writes]].any()]
    dense = {use.weight for use in writing if use.dense}
    layers = tuple(dict.fromkeys(use.module for use in writing))
    name, count = layers[0], 2
    while name in taken:
        name, count = f"{layers[0]}#{count}", count + 1
    together = "its channels could only go all together" if len(members) == 1 else ""
    return Axis(name, first, len(members), max(1, len(dense)), layers, together)


def _frozen_layers(flow: Flow, roots: Ids, reasons: dict[int, str]) -> dict[str, str]:
    """The reason why a layer's output stays whole, for every layer where it does."""
    found: dict[str, str] = {}
    for use in flow.uses:
        for root in np.unique(roots[use.writes]).tolist():
            if root in reasons:
                found.setdefault(use.module, reasons[root])
    return found


def _other_layers(
    flow: Flow, numbering: Numbering, weights: Mapping[str, Weight]
) -> dict[str, str]:
    """The reason for every layer that stays whole without writing channels that are known.

    Vectors (a normalisation) follow the layer that writes their channels, whose reason is theirs.
    """
    free = {_layer(w.name) for w in weights.values() if not all(dim.fixed for dim in w.dims)}
    read = [node.name for node in flow.program.graph.nodes if node.users]
    used = {flow.program.weights[name] for name in read if name in flow.program.weights}
    found: dict[str, str] = {}
    for weight in weights.values():
        layer = _layer(weight.name)
        if not weight.trainable or layer in free:
            continue
        if weight.name not in used:
            found.setdefault(layer, "it is not used in forward in eval mode")
        elif len(weight.dims) > 1:
            general = numbering.held.get(weight.name, "its weight is not applied as a layer")
            found[layer] = flow.whole.get(layer, general)
    return found


def _layer(weight: str) -> str:
    """The layer that a weight belongs to, also where a parametrization has moved it deeper."""
    layer, moved, _ = f".{weight}".partition(".parametrizations.")
    return layer[1:] if moved else weight.rpartition(".")[0] or weight
