"""The graph of coupled axes: a network written as shapes, so that cost is arithmetic.

Every parameter and buffer has a shape whose dimensions are written in *axes*. A **unit** is the
smallest thing that can be removed: a channel of one layer with everything that must live or die
with it (the other summands of a residual sum, its BatchNorm entries, its depthwise filter, the
weights that read it). An **axis** is a set of interchangeable units: removing any one of them saves
exactly the same. A **dimension** (`Dim`) says, entry by entry, which unit owns it.

From this follows the cost of every sub-network without a forward pass:

    parameters(weight) = product over its dimensions of the entries still alive
    MACs(site)         = positions x parameters(weight)

Example: a `Conv2d(16, 32, 3)` whose input is axis ``a`` and whose output is axis ``b`` has the
dimensions ``(b, a, 3, 3)``; with 10 units of ``a`` and 20 of ``b`` kept it holds 1,800 weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compressor.errors import TraceError

if TYPE_CHECKING:
    from compressor.graph.program import Program

Units = NDArray[np.int64]

ALWAYS = -1
"""Owner of an entry that no unit owns: it always stays."""

DEGREE = 3
"""Most widths that one cost may be a product of."""

OUTPUT = "it is the network's output"
"""Why the last layer stays whole, and what the reason begins with where a model returns several."""


@dataclass(frozen=True)
class Axis:
    """A set of interchangeable units.

    Attributes:
        name: The layer that first writes it, for reports and `keep=`.
        first: Number of its first unit; the axis owns units ``first … first + size - 1``.
        size: How many units it has.
        writers: How many convolutions and linear layers write it (a trunk of a residual stage has
            several); the weight of this axis in a retention objective.
        layers: Names of all modules that write it.
        frozen: Why nothing may be removed from it; empty when it is free.
    """

    name: str
    first: int
    size: int
    writers: int = 1
    layers: tuple[str, ...] = ()
    frozen: str = ""

    @property
    def units(self) -> slice:
        """The slice of the global unit numbers that belongs to this axis."""
        return slice(self.first, self.first + self.size)


@dataclass(frozen=True)
class Dim:
    """One dimension of a tensor: which unit owns each entry (`ALWAYS` where none does).

    Attributes:
        owner: The unit that an entry hangs on.
        also: A second one, without which it does not stay either: a channel of attention hangs on
            a head and on a place in the heads. None where no entry has two.
    """

    owner: Units
    also: Units | None = None

    @property
    def size(self) -> int:
        """Number of entries."""
        return len(self.owner)

    @property
    def fixed(self) -> bool:
        """True if no entry can be removed."""
        return bool((self.owner < 0).all())

    @property
    def owners(self) -> tuple[Units, ...]:
        """The units of every entry: one array, or two."""
        return (self.owner,) if self.also is None else (self.owner, self.also)

    def alive(self, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Find the entries that stay when the units in `keep` (boolean, one per unit) stay."""
        # The extra entry at the end is what ALWAYS (-1) points to.
        stays = np.append(keep, True)
        found = stays[self.owner]
        return found if self.also is None else found & stays[self.also]

    def renumbered(self, number: Units, keep: NDArray[np.bool_]) -> Dim:
        """What is left of it, under new numbers of units (one each, the last for `ALWAYS`)."""
        alive = self.alive(keep)
        also = None if self.also is None else number[self.also[alive]]
        return Dim(number[self.owner[alive]], also)


@dataclass(frozen=True)
class Weight:
    """A parameter or buffer.

    Attributes:
        name: Its name in `model.named_parameters()` or `named_buffers()`; the first one if tied.
        dims: Its dimensions, outermost first.
        itemsize: Bytes of one entry.
        trainable: True for a parameter, False for a buffer (buffers are sliced, never counted).
        aliases: Other names of the same tensor (tied parameters).
        out_dim: The dimension whose entries are the channels that a layer *writes* (0 for `Conv2d`
            and `Linear`, 1 for a transposed convolution); None for a weight of no `Site`.
    """

    name: str
    dims: tuple[Dim, ...]
    itemsize: int
    trainable: bool = True
    aliases: tuple[str, ...] = ()
    out_dim: int | None = None


@dataclass(frozen=True)
class Site:
    """One place where a weight is applied as a convolution or matrix product.

    Attributes:
        module: Name of the module that does it (empty for a functional call at the top).
        weight: Name of the weight.
        positions: How often every weight entry is used for one input:
            MACs = positions x (entries of the weight that are alive).
        kind: ``"conv"`` or ``"linear"``.
        reads: The channels that come in.
        writes: The channels that go out.
        dense: False where a grouped convolution loses whole groups (a depthwise one): it passes
            its channels on and does not count as a writer.
    """

    module: str
    weight: str
    positions: int
    kind: str
    reads: Dim
    writes: Dim
    dense: bool = True
    dims: tuple[Dim, ...] | None = None


@dataclass(frozen=True)
class Product:
    """A product of two activations, such as attention's.

    Attributes:
        module: Name of the module that does it.
        positions: Multiply-accumulates for every combination of entries of `dims`, for one input.
        dims: The dimensions of it that shrink.
    """

    module: str
    positions: int
    dims: tuple[Dim, ...]


@dataclass(frozen=True)
class Size:
    """A number among an operation's arguments that is a power of how many entries there are.

    Attributes:
        place: Which argument.
        power: The power: ``-0.5`` of what is divided by the root of the number of channels.
        dims: The dimensions whose entries it counts, among others that stay.
    """

    place: int
    power: float
    dims: tuple[Dim, ...]

    def factor(self, keep: NDArray[np.bool_]) -> float:
        """What the number is multiplied with where the units in `keep` stay."""
        shares = (float(dim.alive(keep).sum()) / dim.size for dim in self.dims)
        return prod(shares) ** self.power


@dataclass(frozen=True)
class Scaled:
    """Rows of a weight that make the queries of an attention that divides by their width's root.

    With fewer places in a head it would divide by less. So where some go, what is left of the rows
    is multiplied with the root of the share that stays, and all scores are what they were.

    Attributes:
        weight: Name of the weight.
        dim: Its dimension of rows.
        rows: Boolean, one per entry of that dimension.
        width: The places in a head.
    """

    weight: str
    dim: int
    rows: NDArray[np.bool_]
    width: Dim

    def factor(self, keep: NDArray[np.bool_]) -> float:
        """What the rows are multiplied with when the units in `keep` stay."""
        return sqrt(int(self.width.alive(keep).sum()) / self.width.size)


@dataclass(frozen=True)
class Polynomial:
    """An integer cost in the kept widths, of third degree at most.

    ``const + linear · w + Σ coef · w[i] · w[j] + Σ rate · w[i] · w[j] · w[k]``

    Attributes:
        const: Cost that nothing can remove.
        linear: One coefficient per axis.
        pairs: Axis numbers ``(i, j)``, ``i <= j``, each pair once.
        coefs: One coefficient per pair.
        triples: Axis numbers ``(i, j, k)``, ``i <= j <= k``, each triple once.
        rates: One coefficient per triple.
        unit: What one of a resource's own units counts here: 256 says 256ths of a byte.
        told: What the cost of the smallest widths is made of, for messages; empty for nothing.
    """

    const: int
    linear: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...] = ()
    coefs: tuple[int, ...] = ()
    triples: tuple[tuple[int, int, int], ...] = ()
    rates: tuple[int, ...] = ()
    unit: int = 1
    told: str = field(default="", compare=False)

    def __call__(self, widths: NDArray[np.int64]) -> int:
        """The exact cost at these widths (one per axis)."""
        w = [int(x) for x in widths]
        linear = sum(c * x for c, x in zip(self.linear, w, strict=True))
        pairs = sum(c * w[i] * w[j] for c, (i, j) in zip(self.coefs, self.pairs, strict=True))
        threes = zip(self.rates, self.triples, strict=True)
        return self.const + linear + pairs + sum(c * w[i] * w[j] * w[k] for c, (i, j, k) in threes)


Quadratic = Polynomial
"""The name that `Polynomial` had while no cost was a product of three widths."""


@dataclass(frozen=True)
class Graph:
    """A network as coupled axes. Made by `compressor.trace`; pure data afterwards.

    Attributes:
        axes: All axes; unit numbers run through them in order.
        weights: Every parameter and buffer by (first) name.
        sites: Where weights are applied; the source of MACs.
        products: Products of two activations; they cost MACs as well.
        scaled: Rows that are smaller where queries are narrower.
        const_macs: MACs of operations of which nothing can be removed.
        frozen: Reason by layer for everything that stays whole.
        channels: Channels that a normalisation module works on, by module name.
        remembered: Channels that an attribute of a module counts, by the attribute's name.
        activations: The dimensions of every activation that shrink, by name of the operation: of
            each ``(dimension, its entries)``; what `compressor.surgery.masking` masks.
        numbers: Numbers in the code that follow the kept entries, by name of the operation.
        program: The exported operations these names belong to; None for a restricted graph.
    """

    axes: tuple[Axis, ...]
    weights: Mapping[str, Weight]
    sites: tuple[Site, ...]
    products: tuple[Product, ...] = ()
    scaled: tuple[Scaled, ...] = ()
    const_macs: int = 0
    frozen: Mapping[str, str] = field(default_factory=dict[str, str])
    channels: Mapping[str, Dim] = field(default_factory=dict[str, Dim])
    remembered: Mapping[str, Dim] = field(default_factory=dict[str, Dim])
    activations: Mapping[str, tuple[tuple[int, Dim], ...]] = field(
        default_factory=dict[str, Any], repr=False
    )
    numbers: Mapping[str, Size] = field(default_factory=dict[str, Size], repr=False)
    program: Program | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        """One line: what can be removed."""
        return f"<Graph: {len(self.axes)} axes, {self.units:,} units, {len(self.frozen)} held>"

    @property
    def units(self) -> int:
        """Number of units in all axes."""
        return sum(axis.size for axis in self.axes)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Full width of every axis."""
        return np.array([axis.size for axis in self.axes], dtype=np.int64)

    @cached_property
    def axis_of(self) -> Units:
        """Axis number of every unit."""
        return np.repeat(np.arange(len(self.axes)), self.sizes)

    @cached_property
    def params(self) -> Polynomial:
        """Parameters, each distinct one once."""
        return self._total([(1, w.dims) for w in self.weights.values() if w.trainable], 0)

    @cached_property
    def bytes(self) -> Polynomial:
        """Bytes of the parameters as stored now."""
        weights = [w for w in self.weights.values() if w.trainable]
        return self._total([(w.itemsize, w.dims) for w in weights], 0)

    @cached_property
    def macs(self) -> Polynomial:
        """Multiply-accumulates of convolutions and matrix products for one input."""
        terms = [(site.positions, self.multiplied(site)) for site in self.sites]
        terms += [(product.positions, product.dims) for product in self.products]
        return self._total(terms, self.const_macs)

    def multiplied(self, site: Site) -> tuple[Dim, ...]:
        """The dimensions whose entries alive, with its positions, make the MACs of a site."""
        return self.weights[site.weight].dims if site.dims is None else site.dims

    def priced(self, entries: Mapping[str, int], const: int, unit: int) -> Polynomial:
        """Any other cost that is so much for every entry of a tensor, in parts of a unit.

        Entries cost what stands under the name of their tensor; `const` cannot be removed; a `unit`
        has so many parts.
        """
        terms = [(price, self.weights[name].dims) for name, price in entries.items()]
        return replace(self._total(terms, const), unit=unit)

    def combined(self, price: int, dims: tuple[Dim, ...]) -> Polynomial:
        """A price for every combination of entries alive in some dimensions."""
        return self._total([(price, dims)], 0)

    def terms(self, dim: Dim) -> dict[tuple[int, ...], int]:
        """Entries alive in `dim` as a sum over the axes that they hang on.

        A coefficient for every tuple of axes, whose widths it is multiplied with: none for entries
        that stay, one, or two in ascending order. An axis of one unit has the width one.
        """
        owners = [np.append(self.axis_of, ALWAYS)[owner] for owner in dim.owners]
        found = Counter(zip(*(axes.tolist() for axes in owners), strict=True))
        terms: dict[tuple[int, ...], int] = {}
        for axes, count in found.items():
            free = tuple(sorted(a for a in axes if a >= 0 and self.axes[a].size > 1))
            terms[free] = terms.get(free, 0) + count // prod(self.axes[a].size for a in free)
        return terms

    def _total(self, costs: list[tuple[int, tuple[Dim, ...]]], const: int) -> Polynomial:
        """Sum of ``factor x entries alive`` over tensors, multiplied out."""
        total: Counter[tuple[int, ...]] = Counter({(): const})
        for price, dims in costs:
            product: dict[tuple[int, ...], int] = {
                (): price * prod(d.size for d in dims if d.fixed)
            }
            for dim in dims:
                if not dim.fixed:
                    product = _multiplied(product, self.terms(dim))
            total.update(product)
        if any(len(axes) > DEGREE for axes in total):
            raise TraceError(
                f"a cost of this network is a product of more than {DEGREE} widths, which "
                "no budget can be proven for. Please report this model"
            )
        pairs, triples = (sorted(k for k in total if len(k) == n) for n in (2, 3))
        return Polynomial(
            const=total[()],
            linear=tuple(total[axis,] for axis in range(len(self.axes))),
            pairs=tuple(pairs),  # type: ignore[arg-type]
            coefs=tuple(total[k] for k in pairs),
            triples=tuple(triples),  # type: ignore[arg-type]
            rates=tuple(total[k] for k in triples),
        )


def _multiplied(
    left: Mapping[tuple[int, ...], int], right: Mapping[tuple[int, ...], int]
) -> dict[tuple[int, ...], int]:
    """The product of two polynomials, by monomial."""
    found: Counter[tuple[int, ...]] = Counter()
    for first, a in left.items():
        for second, b in right.items():
            found[tuple(sorted(first + second))] += a * b
    return found
