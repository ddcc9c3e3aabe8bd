"""A structure as plain data and back, so that a small model can be rebuilt without tracing.

A graph's exported operations are left out: what remains says which entries of which tensor belong
to which unit, which is all that `compressor.surgery.cutting.cut` needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from compressor.graph.attributes import size_at
from compressor.graph.graph import Axis, Dim, Graph, Product, Scaled, Site, Weight
from compressor.graph.structure import Structure
from compressor.inputs.tensors import named_tensors

Data = dict[str, Any]

MOST = 1 << 24
"""Units, and entries of all tensors' dimensions, that are read: each takes eight bytes."""


def pack(structure: Structure) -> Data:
    """The structure and its graph as data that JSON can hold."""
    graph = structure.graph
    return {
        "axes": [asdict(axis) for axis in graph.axes],
        "weights": {name: _weight(weight) for name, weight in graph.weights.items()},
        "sites": [_site(site) for site in graph.sites],
        "products": [_product(product) for product in graph.products],
        "scaled": [_scaled(one) for one in graph.scaled],
        "const_macs": graph.const_macs,
        "frozen": dict(graph.frozen),
        "channels": {name: _dim(dim) for name, dim in graph.channels.items()},
        "remembered": {name: _dim(dim) for name, dim in graph.remembered.items()},
        "keep": runs(np.flatnonzero(structure.keep)),
    }


def unpack(data: Mapping[str, Any]) -> Structure:
    """The structure that `pack` was given; its graph has no exported operations.

    Raises:
        ValueError: If axes do not follow each other, or something is owned by a unit that there is
            not; if it has more than `MOST` units or entries.
        KeyError, TypeError: If something is missing, or of another type.
    """
    axes = [_read_axis(axis) for axis in data["axes"]]
    units = _units(axes)
    reader = _Reader(units)
    weights = {name: _read_weight(weight, reader) for name, weight in data["weights"].items()}
    graph = Graph(
        axes=tuple(axes),
        weights=weights,
        sites=tuple(_read_site(site, reader) for site in data["sites"]),
        products=tuple(_read_product(product, reader) for product in data.get("products", ())),
        scaled=tuple(_read_scaled(one, reader, weights) for one in data.get("scaled", ())),
        const_macs=_whole(data["const_macs"]),
        frozen={name: text(value) for name, value in data["frozen"].items()},
        channels={name: reader.dim(owner) for name, owner in data["channels"].items()},
        remembered={n: reader.dim(owner) for n, owner in data.get("remembered", {}).items()},
    )
    stays = reader.dim(data["keep"]).owner
    if stays.size and stays.min() < 0:
        raise ValueError("a unit that stays has no number")
    keep = np.zeros(units, dtype=bool)
    keep[stays] = True
    return Structure(graph, keep)


class _Reader:
    """Reads owners, each of which is a unit or none, and no more than `MOST` in all."""

    def __init__(self, units: int) -> None:
        self._units = units
        self._left = MOST

    def dim(self, compact: Any) -> Dim:
        """A dimension: runs of owners, or two lists of them where entries have two."""
        if isinstance(compact, dict):
            both: Data = compact
            owner, also = (self.numbers(both[part], self._units) for part in ("owner", "also"))
            if len(owner) != len(also):
                raise ValueError(f"{len(owner)} entries have {len(also)} second owners")
            return Dim(owner, also)
        return Dim(self.numbers(compact, self._units))

    def numbers(self, compact: list[list[int]], most: int) -> NDArray[np.int64]:
        """Numbers below `most`, or -1."""
        for first, step, count in compact:
            last = first + step * (count - 1)
            self._left -= _whole(count)
            if count < 1 or self._left < 0:
                raise ValueError(f"{count:,} entries in a row: {MOST:,} may be in all")
            if not all(-1 <= _whole(end) < most for end in (first, last)):
                raise ValueError(f"units {first} to {last} are named, of {most}")
        return spell(compact)


def _units(axes: list[Axis]) -> int:
    first = 0
    for axis in axes:
        if axis.first != first or axis.size < 1:
            raise ValueError(
                f"axis {axis.name!r} has {axis.size} units from {axis.first}, where {first} is next"
            )
        first += axis.size
    if first > MOST:
        raise ValueError(f"its axes have {first:,} units: {MOST:,} may be")
    return first


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is no whole number")
    return value


def text(value: Any) -> str:
    """A text of JSON; TypeError if it is none."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def mismatches(model: nn.Module, graph: Graph) -> list[str]:
    """List tensors and remembered sizes of a model that are not as a graph says, one line each."""
    found = {name: tuple(t.shape) for name, t in named_tensors(model)}
    wanted: dict[str, tuple[int, ...]] = {}
    for weight in graph.weights.values():
        shape = tuple(dim.size for dim in weight.dims)
        wanted |= dict.fromkeys((weight.name, *weight.aliases), shape)
    missing = [f"{name} {shape} is missing" for name, shape in wanted.items() if name not in found]
    extra = [f"{name} {shape} is new" for name, shape in found.items() if name not in wanted]
    other = [
        f"{name} is {found[name]} instead of {shape}"
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    ]
    return missing + extra + other + _forgotten(model, graph)


def _forgotten(model: nn.Module, graph: Graph) -> list[str]:
    """Attributes that do not count what a graph says they do."""
    holders = dict(model.named_modules())
    found: list[str] = []
    for name, dim in graph.remembered.items():
        path, _, leaf = name.rpartition(".")
        size = size_at(holders[path], leaf) if path in holders else None
        if size != dim.size:
            found.append(f"the attribute {name} is {size} instead of {dim.size}")
    return found


def runs(values: NDArray[np.int64]) -> list[list[int]]:
    """Integers as ``[first, step, count]`` runs, greedily.

    >>> runs(np.array([4, 5, 6, -1, -1]))
    [[4, 1, 3], [-1, 0, 2]]
    """
    found: list[list[int]] = []
    start, steps = 0, np.diff(values)
    while start < len(values):
        step = int(steps[start]) if start < len(steps) else 0
        breaks = np.flatnonzero(steps[start:] != step)
        count = int(breaks[0]) + 1 if len(breaks) else len(values) - start
        found.append([int(values[start]), step, count])
        start += count
    return found


def spell(compact: list[list[int]]) -> NDArray[np.int64]:
    """The integers that `runs` was given."""
    parts = [first + step * np.arange(count) for first, step, count in compact]
    return np.concatenate([np.empty(0, dtype=np.int64), *parts]).astype(np.int64)


def _read_axis(data: Mapping[str, Any]) -> Axis:
    changed: Data = {
        "name": text(data["name"]),
        "layers": tuple(map(text, data["layers"])),
        **{name: _whole(data[name]) for name in ("first", "size", "writers")},
    }
    return Axis(**(dict(data) | changed))


def _dim(dim: Dim) -> Any:
    """Runs of owners; of both, by name, where entries have two."""
    if dim.also is None:
        return runs(dim.owner)
    return {"owner": runs(dim.owner), "also": runs(dim.also)}


def _weight(weight: Weight) -> Data:
    dims = [_dim(dim) for dim in weight.dims]
    return {**{k: v for k, v in vars(weight).items() if k != "dims"}, "dims": dims}


def _read_weight(data: Mapping[str, Any], reader: _Reader) -> Weight:
    changed: Data = {
        "name": text(data["name"]),
        "dims": tuple(map(reader.dim, data["dims"])),
        "itemsize": _whole(data["itemsize"]),
        "aliases": tuple(map(text, data["aliases"])),
    }
    return Weight(**(dict(data) | changed))


def _site(site: Site) -> Data:
    dims = None if site.dims is None else [_dim(dim) for dim in site.dims]
    return {**vars(site), "reads": _dim(site.reads), "writes": _dim(site.writes), "dims": dims}


def _read_site(data: Mapping[str, Any], reader: _Reader) -> Site:
    ends: Data = {end: reader.dim(data[end]) for end in ("reads", "writes")}
    dims = data.get("dims")
    ends["dims"] = None if dims is None else tuple(map(reader.dim, dims))
    return Site(**(dict(data) | ends))


def _product(product: Product) -> Data:
    return {**vars(product), "dims": [_dim(dim) for dim in product.dims]}


def _read_product(data: Mapping[str, Any], reader: _Reader) -> Product:
    dims = tuple(map(reader.dim, data["dims"]))
    return Product(text(data["module"]), _whole(data["positions"]), dims)


def _scaled(scaled: Scaled) -> Data:
    rows = runs(np.flatnonzero(scaled.rows))
    return {**vars(scaled), "rows": rows, "width": _dim(scaled.width)}


def _read_scaled(data: Mapping[str, Any], reader: _Reader, weights: Mapping[str, Weight]) -> Scaled:
    name, dim = text(data["weight"]), _whole(data["dim"])
    dims = weights[name].dims
    if not 0 <= dim < len(dims):
        raise ValueError(f"rows of {name} lie in dimension {dim} of {len(dims)}")
    size = dims[dim].size
    places = reader.numbers(data["rows"], size)
    if len(places) and places.min() < 0:
        raise ValueError(f"a row of {name} has no number")
    rows = np.zeros(size, dtype=bool)
    rows[places] = True
    width = reader.dim(data["width"])
    if not width.size:
        raise ValueError(f"queries of {name} have no width")
    return Scaled(name, dim, rows, width)


def alive_units(numbers: Tensor, units: int) -> NDArray[np.int64]:
    """Numbers of the units that are left, checked.

    Raises:
        ValueError: If they are none.
    """
    alive = numbers.numpy()
    rising = alive.ndim == 1 and alive.dtype == np.int64 and bool((np.diff(alive) > 0).all())
    within = bool(((alive >= 0) & (alive < units)).all())
    if not rising or bool(units) != bool(alive.size) or not within:
        raise ValueError(f"the units left are no rising numbers below {units}")
    return alive
