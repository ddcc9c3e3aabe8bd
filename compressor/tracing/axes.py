"""From ids and ties to axes of interchangeable units, and the graph written in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from compressor.graph.graph import (
    ALWAYS,
    DEGREE,
    Axis,
    Dim,
    Graph,
    Product,
    Scaled,
    Site,
    Size,
    Units,
    Weight,
)
from compressor.inputs.tensors import first_names, named_tensors
from compressor.tracing.couplings import STAYS, Ids, Solved
from compressor.tracing.flow import Flow, Use, fixed
from compressor.tracing.labels import parts


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
        also_of: The other unit that it hangs on, `ALWAYS` for none.
        reasons: Why the output of a layer stays whole, by layer.
        held: Why a weight stays whole, by weight (for its first dimension that does).
    """

    unit_of: Units
    also_of: Units
    axes: tuple[Axis, ...]
    reasons: Mapping[str, str]
    held: Mapping[str, str]

    def dim(self, ids: Ids) -> Dim:
        """Ids as a dimension."""
        also = self.also_of[ids]
        return Dim(self.unit_of[ids], also if (also >= 0).any() else None)


def assemble(flow: Flow, tensors: Tensors, numbering: Numbering) -> Graph:
    """Build the graph from a finished walk (without constant MACs, which are measured)."""
    out_dims, dim = _written_along(flow, numbering), numbering.dim
    weights = {
        name: tensors.weight(name, _dims(flow, numbering, name), out_dims.get(name))
        for name in flow.shapes
    }
    sites = [
        Site(
            u.module,
            u.weight,
            u.positions,
            u.kind,
            dim(u.reads),
            dim(u.writes),
            u.dense,
            None if u.dims is None else tuple(map(dim, u.dims)),
        )
        for u in flow.uses
    ]
    products = [Product(p.module, p.positions, tuple(map(dim, p.dims))) for p in flow.products]
    scaled = [Scaled(p.weight, p.dim, p.rows, dim(p.width)) for p in flow.proportions]
    labels = {name: found for name, found in flow.labels.items() if not isinstance(found, list)}
    masked = {
        name: tuple((label.dim, dim(label.ids)) for label in parts(found))
        for name, found in labels.items()
    }
    activations = {
        name: tuple((at, owned) for at, owned in found if not owned.fixed)
        for name, found in masked.items()
    }
    return Graph(
        axes=numbering.axes,
        weights=weights,
        sites=tuple(sites),
        products=tuple(products),
        scaled=tuple(one for one in scaled if not one.width.fixed),
        frozen={**_other_layers(flow, numbering, weights), **numbering.reasons},
        channels={name: dim(ids) for name, ids in flow.channels.items()},
        remembered={name: dim(ids) for name, ids in flow.sizes.items()},
        activations={name: found for name, found in activations.items() if found},
        numbers={
            name: Size(found.place, found.power, tuple(map(dim, found.dims)))
            for name, found in flow.sized.items()
        },
        program=flow.program,
    )


def _written_along(flow: Flow, numbering: Numbering) -> dict[str, int]:
    """The dimension of every applied weight along which it writes.

    Of one that others are computed of it is that with the units that are written.
    """
    found: dict[str, int] = {}
    for use in reversed(flow.uses):  # the first one says it
        dims = [use.out_dim]
        if use.dims is not None:
            dims += range(len(flow.shapes[use.weight]))
            dims = [dim for dim in dims if _writes(flow, numbering, use, dim)]
        if dims:
            found[use.weight] = dims[0]
    return found


def _writes(flow: Flow, numbering: Numbering, use: Use, dim: int) -> bool:
    """True if a dimension of a weight has units that its layer writes."""
    own = numbering.unit_of[flow.owners.get((use.weight, dim), fixed(1))]
    return bool(np.isin(own[own >= 0], numbering.unit_of[use.writes]).any())


def _dims(flow: Flow, numbering: Numbering, name: str) -> tuple[Dim, ...]:
    owned = [flow.owners.get((name, d), fixed(n)) for d, n in enumerate(flow.shapes[name])]
    return tuple(map(numbering.dim, owned))


def number(flow: Flow) -> Numbering:
    """Number the units: components that are not frozen, grouped by what they occur in.

    Two units are interchangeable, and so on one axis, when they own equally many entries of every
    weight dimension, and share these with the same units. Axes are ordered by the first layer that
    writes them.
    """
    solved = _bounded(flow)
    roots, reasons = solved.roots, solved.reasons
    free = np.ones(int(roots.max()) + 1, dtype=bool)
    free[list(reasons)] = False
    unit_of_root = np.full(len(free), ALWAYS, dtype=np.int64)
    axes: list[Axis] = []
    first = 0
    for members in _signatures(flow, solved, free):
        unit_of_root[members] = np.arange(first, first + len(members))
        axes.append(_axis(flow, solved, members, first, [a.name for a in axes]))
        first += len(members)
    also_of_root = np.full(len(free), ALWAYS, dtype=np.int64)
    for root, ends in solved.factors.items():
        units = [unit_of_root[end] for end in ends if unit_of_root[end] >= 0]
        unit_of_root[root], also_of_root[root] = [*units, ALWAYS, ALWAYS][:2]
    held = {
        name: reasons[root]
        for (name, _), ids in reversed(flow.owners.items())
        for root in np.unique(roots[ids]).tolist()
        if root in reasons
    }
    whole = {layer: axis.frozen for axis in axes if axis.frozen for layer in axis.layers}
    whole |= _frozen_layers(flow, roots, reasons)
    return Numbering(unit_of_root[roots], also_of_root[roots], tuple(axes), whole, held)


STEEP = "with it a cost would be a product of more than three widths"
"""Why heads stay where their number and their width both hang on the trunk."""


def _bounded(flow: Flow) -> Solved:
    """The components, with heads frozen where a cost were a product of too many widths."""
    while True:
        solved = flow.couplings.solve()
        steep = _steep(flow, solved)
        if not len(steep):
            return solved
        flow.couplings.freeze(steep, STEEP)


def _steep(flow: Flow, solved: Solved) -> Ids:
    """Ids whose freezing lowers the degree of the first cost that has one too high."""
    weights: dict[str, list[Ids]] = {}
    for (name, _), ids in flow.owners.items():
        weights.setdefault(name, []).append(ids)
    costs = [*weights.values(), *(list(use.dims) for use in flow.uses if use.dims is not None)]
    costs += [list(product.dims) for product in flow.products]
    if not solved.factors:
        costs = [dims for dims in costs if len(dims) > DEGREE]
    free = _Free.of(flow, solved)
    for dims in costs:
        ends = [free.ends(ids) for ids in dims]
        if sum(map(len, ends)) <= DEGREE:
            continue
        # Of heads and places in them the fewer stay, else what the last dimension is made of.
        several = [found for found in ends if len(found) > 1] or [ends[-1]]
        return min(several[0], key=len)
    return np.zeros(0, np.int64)


def _written(flow: Flow, solved: Solved) -> NDArray[np.bool_]:
    """Find the components that a layer writes: nothing else is a unit."""
    written = np.zeros(int(solved.roots.max()) + 1, dtype=bool)
    for use in flow.uses:
        written[solved.roots[use.writes]] = True
    crossed = solved.crossed
    written[crossed.ends[written[crossed.roots]]] = True
    return written


@dataclass(frozen=True)
class _Free:
    """The free components that every component hangs on, and the first id of each.

    Attributes:
        roots: The component of every id.
        ends_of: By place among the factors and component, `ALWAYS` for none, shape
            (2, components).
        first: The first id of every component.
    """

    roots: Ids
    ends_of: Ids
    first: Ids

    @classmethod
    def of(cls, flow: Flow, solved: Solved) -> _Free:
        """Those of a walk."""
        free = _written(flow, solved)
        free[list(solved.reasons)] = False
        ends = _ends(solved, len(free))
        ends[~free[ends]] = ALWAYS
        return cls(solved.roots, ends, np.unique(solved.roots, return_index=True)[1])

    def ends(self, ids: Ids) -> list[Ids]:
        """Ids that a dimension hangs on, of those places where there are several."""
        found = (np.unique(ends) for ends in self.ends_of[:, np.unique(self.roots[ids])])
        free = (ends[ends >= 0] for ends in found)
        return [self.first[ends] for ends in free if len(ends) > 1]


def _ends(solved: Solved, count: int) -> Ids:
    """The components that every one hangs on, `ALWAYS` for none, shape (2, components)."""
    ends, crossed = np.full((2, count), ALWAYS, np.int64), solved.crossed
    ends[0] = np.arange(count)
    ends[:, crossed.roots] = crossed.ends.T
    ends[1, crossed.roots[crossed.alone]] = ALWAYS
    return ends


def _owned(
    solved: Solved, counted: Iterable[Ids], wanted: NDArray[np.bool_]
) -> Iterator[tuple[int, Ids, Ids]]:
    """By number of what is counted: components that are wanted, and how many entries each owns."""
    ends = _ends(solved, len(wanted))
    for number, ids in enumerate(counted):
        roots, counts = np.unique(solved.roots[ids], return_counts=True)
        flat, counts = ends[:, roots].T.ravel(), np.repeat(counts, 2)
        kept = flat != ALWAYS
        own, first, inverse = np.unique(flat[kept], return_index=True, return_inverse=True)
        owned = np.bincount(inverse, counts[kept], len(own)).astype(np.int64)
        order = np.argsort(first)
        order = order[wanted[own[order]]]
        yield number, own[order], owned[order]


def _signatures(flow: Flow, solved: Solved, free: NDArray[np.bool_]) -> list[Ids]:
    """Free components grouped by how many entries they own of which weight, and of which cost."""
    roots, factors = solved.roots, solved.factors
    wanted = free & _written(flow, solved)
    partners: dict[int, set[int]] = {}
    for ends in factors.values():
        for place, end in enumerate(ends):
            partners.setdefault(end, set()).update(ends[:place] + ends[place + 1 :])
    costs = [use.dims or () for use in flow.uses] + [product.dims for product in flow.products]
    counted = [*flow.owners.values(), *(ids for dims in costs for ids in dims)]
    # Roots of one name own the same of all that has been looked at; every weight parts them more.
    name, names, met = np.zeros(len(free), np.int64), 1, [np.zeros(0, np.int64)]
    for _, own, counts in _owned(solved, counted, wanted):
        if len(own):
            different, place = np.unique(
                name[own] * (counts.max() + 1) + counts, return_inverse=True
            )
            name[own], names = names + place, names + len(different)
            met.append(own)
    shared: dict[tuple[int, tuple[int, ...]], int] = {}
    for root, others in partners.items():
        name[root] = -1 - shared.setdefault((int(name[root]), tuple(sorted(others))), len(shared))
    distinct, first = np.unique(np.concatenate(met), return_index=True)
    _, place = np.unique(name[distinct], return_inverse=True)
    begin = np.full(int(place.max(initial=-1)) + 1, len(name) * len(met) + 1)
    np.minimum.at(begin, place, first)
    # Within an axis units keep the order of their first entry, so that ties read well.
    _, order = np.unique(roots, return_index=True)
    members = distinct[np.lexsort((order[distinct], begin[place]))]
    sizes = np.bincount(place)[np.argsort(begin)]
    return np.split(members, np.cumsum(sizes)[:-1]) if len(members) else []


def _axis(flow: Flow, solved: Solved, members: Ids, first: int, taken: list[str]) -> Axis:
    roots = solved.roots
    inside = np.zeros(int(roots.max()) + 1, dtype=bool)
    inside[members] = True
    crossed = solved.crossed
    inside[crossed.roots[inside[crossed.ends].any(1)]] = True
    writing = [use for use in flow.uses if inside[roots[use.writes]].any()]
    dense = {use.weight for use in writing if use.dense}
    layers = tuple(dict.fromkeys(use.module for use in writing))
    name, count = layers[0], 2
    while name in taken:
        name, count = f"{layers[0]}#{count}", count + 1
    together = "its channels could only go all together" if len(members) == 1 else ""
    return Axis(name, first, len(members), max(1, len(dense)), layers, together)


SINGLE = "it writes a single channel, which stays"


def _frozen_layers(flow: Flow, roots: Ids, reasons: dict[int, str]) -> dict[str, str]:
    """The reason why a layer's output stays whole, for every layer where it does."""
    found: dict[str, str] = {}
    for use in flow.uses:
        for root in np.unique(roots[use.writes]).tolist():
            if root in reasons:
                alone = len(use.writes) == 1 and reasons[root] == STAYS
                found.setdefault(use.module, SINGLE if alone else reasons[root])
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
