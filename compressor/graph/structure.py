"""Structure of a network: one boolean per unit of every axis. A structure only ever shrinks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from compressor.graph.graph import Dim, Graph


@dataclass(frozen=True, eq=False)
class Structure:
    """The units of a graph that are kept.

    Structures of one graph form a lattice: ``a & b`` keeps what both keep, ``a <= b`` says that
    `a` keeps no unit that `b` removed.

    Attributes:
        graph: The graph whose units these are.
        keep: Boolean, one per unit; read-only.
    """

    graph: Graph
    keep: NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Check the length and freeze the array."""
        units, shape = self.graph.units, self.keep.shape
        if shape != (units,):
            raise ValueError(f"a structure of this graph needs {units} booleans, got shape {shape}")
        keep = self.keep.astype(bool, copy=True)
        keep.flags.writeable = False
        object.__setattr__(self, "keep", keep)

    def __repr__(self) -> str:
        """One line: the units that stay."""
        return f"<Structure: {int(self.keep.sum()):,} of {len(self.keep):,} units>"

    @property
    def widths(self) -> NDArray[np.int64]:
        """Number of units that each axis keeps."""
        return np.array([int(self.keep[a.units].sum()) for a in self.graph.axes], dtype=np.int64)

    def __and__(self, other: Structure) -> Structure:
        """Keep what both keep."""
        return Structure(self.graph, self.keep & other.keep)

    def __le__(self, other: Structure) -> bool:
        """True if this keeps nothing that `other` removed."""
        return bool((self.keep <= other.keep).all())

    def __eq__(self, other: object) -> bool:
        """True if the same units of the same graph are kept."""
        if not isinstance(other, Structure):
            return False
        return other.graph is self.graph and bool((self.keep == other.keep).all())

    def __hash__(self) -> int:
        """Hash of the kept units."""
        return hash(self.keep.tobytes())


def full(graph: Graph) -> Structure:
    """The structure that keeps everything."""
    return Structure(graph, np.ones(graph.units, dtype=bool))


def top(graph: Graph, scores: NDArray[np.float64], widths: NDArray[np.int64]) -> Structure:
    """Keep in every axis the `widths` best units by `scores` (one score per unit).

    Ties are broken by unit number, so the result is a function of its arguments.
    """
    keep = np.zeros(graph.units, dtype=bool)
    for axis, width in zip(graph.axes, widths, strict=True):
        order = np.argsort(-scores[axis.units], kind="stable")
        keep[axis.first + order[: int(width)]] = True
    return Structure(graph, keep)


def restrict(structure: Structure) -> Graph:
    """The graph of the network that `structure` leaves: same axes, fewer units, no tracing.

    Positions and constant costs are those of the original. The exported operations belong to the
    full-size network, so the result carries none and cannot be masked.
    """
    graph, keep = structure.graph, structure.keep
    number = np.append(np.cumsum(keep) - 1, -1)

    def smaller(dim: Dim) -> Dim:
        return dim.renumbered(number, keep)

    def smaller_all(dims: tuple[Dim, ...]) -> tuple[Dim, ...]:
        return tuple(map(smaller, dims))

    widths = structure.widths
    starts = np.cumsum(widths) - widths
    axes = [
        replace(axis, first=int(first), size=int(width))
        for axis, first, width in zip(graph.axes, starts, widths, strict=True)
    ]
    weights = {
        name: replace(weight, dims=smaller_all(weight.dims))
        for name, weight in graph.weights.items()
    }
    sites = tuple(
        replace(
            site,
            reads=smaller(site.reads),
            writes=smaller(site.writes),
            dims=None if site.dims is None else smaller_all(site.dims),
        )
        for site in graph.sites
    )
    products = tuple(replace(p, dims=smaller_all(p.dims)) for p in graph.products)
    scaled = tuple(
        replace(
            one,
            rows=one.rows[graph.weights[one.weight].dims[one.dim].alive(keep)],
            width=smaller(one.width),
        )
        for one in graph.scaled
    )
    return replace(
        graph,
        axes=tuple(axes),
        weights=weights,
        sites=sites,
        products=products,
        scaled=scaled,
        channels={name: smaller(dim) for name, dim in graph.channels.items()},
        remembered={name: smaller(dim) for name, dim in graph.remembered.items()},
        activations={},
        numbers={},
        program=None,
    )


def check_same_axes(name: str, before: Graph, after: Graph) -> None:
    """Check that a change of the input left the axes of channels as they were.

    Args:
        name: Of the model, for the message.
        before: Its graph.
        after: That of the changed one.

    Raises:
        ValueError: If it did not.
    """
    if [axis.size for axis in before.axes] != [axis.size for axis in after.axes]:
        raise ValueError(
            f"a change of the input makes another network of the {name}: its {len(before.axes)} "
            f"axes of channels become {len(after.axes)}, of {after.units:,} instead of "
            f"{before.units:,} units. Change the input before compressing"
        )
