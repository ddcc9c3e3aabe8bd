"""How large the file of a model will be when its schedule is over: a bound, before any training.

A file (`compressor.network.file.container`) holds streams of numbers and a description of the
network. What its numbers take is known from their count and kind alone, and deflating can only make
it less; so there is a bound that no training changes, and that is a function of the widths. Later
phases say what they make of a network, in shape, and of the size of an entry (`run.later`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor, prod
from typing import TYPE_CHECKING, cast

from compressor.budget import Cost
from compressor.errors import TraceError
from compressor.graph.graph import Graph, Quadratic, Weight
from compressor.graph.program import named_tensors
from compressor.network import Network, network
from compressor.network.file import container
from compressor.run.later import EntryBits, Later

if TYPE_CHECKING:
    from compressor.session import Session

UNIT = 256
"""Parts of a byte that an entry's size is counted in: a quarter of 8 bits is no whole byte."""


@dataclass(frozen=True)
class Footprint:
    """A bound on the length of a file, in bytes, as a function of the widths.

    Attributes:
        entries: What an entry of each tensor takes, in 256ths of a byte, by its name.
        const: Bytes that no width changes.
    """

    entries: Mapping[str, int]
    const: int

    def form(self, graph: Graph) -> Quadratic:
        """The bound for the structures of a graph."""
        return graph.priced(self.entries, self.const * UNIT, UNIT)

    def __call__(self, graph: Graph) -> int:
        """The bound for all of a graph, in bytes."""
        return ceil(Fraction(self.form(graph)(graph.sizes), UNIT))


def footprint(session: Session, phases: Sequence[Later]) -> Footprint:
    """The bound for a session's model at the end of some phases; exact for the model as it is.

    Args:
        session: Its model has a graph, from which the number of every tensor's entries is known.
        phases: Those that are still to come.

    Raises:
        TraceError: If the model cannot be written as a network, so that there is no file.
    """
    graph, end = session.graph, _end(session, phases)
    entries = {w.name: _entry(session, w, end) for w in graph.weights.values()}
    counted = sum(
        size * prod(dim.size for dim in graph.weights[name].dims) for name, size in entries.items()
    )
    whole = _bound(session, end)
    return Footprint(entries, max(ceil(whole - Fraction(counted, UNIT)), 0))


def forms(session: Session) -> dict[str, Quadratic]:
    """Forms of cost that take the place of a graph's own: bytes are those of the file.

    There are none where bytes have no cap, are left to later phases, or no file can be written
    (`Session.fileless` then says why); a cap on bytes then counts the stored parameters.
    """
    if session.due is None or session.due.bytes is None or session.fileless:
        return {}
    try:
        return {"bytes": footprint(session, session.later).form(session.graph)}
    except TraceError as error:
        session.fileless = str(error)
        return {}


def spent(session: Session, costs: Mapping[str, Quadratic]) -> Cost:
    """What a session's model costs, its bytes by their form, if there is one."""
    form = costs.get("bytes")
    if form is None:
        return session.cost
    return replace(session.cost, bytes=ceil(Fraction(form(session.graph.sizes), form.unit)))


def bound(session: Session, phases: Sequence[Later]) -> int:
    """Most bytes that the file of a session's model can have at the end of some phases.

    Raises:
        TraceError: If the model cannot be written as a network, so that there is no file.
    """
    return _bound(session, _end(session, phases))


@dataclass(frozen=True)
class _End:
    """What some phases will leave of a session's model.

    Attributes:
        made: The network, in shape.
        stored: What each phase makes of the size of an entry, in order.
        sparing: The phases, some of which make zeros.
    """

    made: Network
    stored: tuple[EntryBits, ...]
    sparing: tuple[Later, ...]


def _end(session: Session, phases: Sequence[Later]) -> _End:
    made, stored = network(session.model, session.example), list[EntryBits]()
    for phase in phases:
        stored.append(phase.bits_after(made))  # by what it is given, so before it is changed
        made = phase.network_after(made, session.bits)
    return _End(made, tuple(stored), tuple(phases))


def _bound(session: Session, end: _End) -> int:
    return container.bound(end.made) - floor(_saved(session, end))


def most_bytes(session: Session) -> int | None:
    """Most bytes of the file that a schedule, none of whose phases looks at the cap, will leave."""
    try:
        return bound(session, session.later)
    except TraceError as error:
        session.fileless = str(error)
        return None


def most_alive(session: Session, phases: Sequence[Later]) -> int:
    """Most non-zero parameters that it will leave."""
    total = Fraction()
    for weight in session.graph.weights.values():
        shares = [phase.density_after(weight) for phase in phases]
        total += weight.trainable * _size(session, weight) * min((Fraction(1), *shares))
    return round(total)


def affordable(session: Session, names: Collection[str]) -> int:
    """How many entries of some parameters can be other than zero under the cap on bytes.

    Every one of these tensors is counted as a mask and its other entries; one that is smaller
    without a mask has none, and takes less.

    Raises:
        TraceError: If the model cannot be written as a network, so that there is no file.
    """
    cap, end = cast("int", session.budget.bytes), _end(session, session.later)
    whole = container.bound(end.made)
    weights = [w for w in session.graph.weights.values() if w.name in names]
    sizes = {w.name: _size(session, w) for w in weights}
    bits = {w.name: _bits(session, w, end, Fraction(1)) for w in weights}
    dense = sum(sizes[name] * bits[name] for name in sizes)
    room = 8 * (cap - whole) + dense
    if dense <= room:
        return sum(sizes.values())
    masks = sum(8 * ceil(Fraction(size, 8)) for size in sizes.values())
    return max(floor((room - masks) / max(bits.values())), 0)


def files(session: Session) -> tuple[bytes, bytes] | None:
    """The files of the model given and of the model now, under a cap on bytes.

    None where there is no such cap, or no file (`Session.fileless` then says why).
    """
    if session.budget.bytes is None or session.fileless:
        return None
    try:
        before = network(session.given, session.example)
        after = network(session.model, session.example)
    except TraceError as error:
        session.fileless = str(error)
        return None
    return container.pack(before), container.pack(after)


def sparse(bits: Fraction, share: Fraction) -> Fraction:
    """Bits that an entry takes, on average, where only a share of them is not zero."""
    return min(bits, share * bits + 1)


def _entry(session: Session, weight: Weight, end: _End) -> int:
    """What an entry will take, in 256ths of a byte."""
    return ceil(_bits(session, weight, end, _share(session, weight)) * UNIT / 8)


def _saved(session: Session, end: _End) -> Fraction:
    """Bytes that zeros save, those that are masked and those that later phases will make."""
    whole, saved = replace(end, sparing=()), Fraction()
    for weight in session.graph.weights.values():
        size = _size(session, weight)
        dense = _bits(session, weight, whole, Fraction(1))
        saved += size * (dense - _bits(session, weight, end, _share(session, weight))) / 8
    return saved


def _size(session: Session, weight: Weight) -> int:
    """Entries of a tensor as it is now: slim layers have fewer than their graph says."""
    now = dict(named_tensors(session.model)).get(weight.name)
    return 0 if now is None else now.numel()


def _bits(session: Session, weight: Weight, end: _End, share: Fraction) -> Fraction:
    """Bits of an entry at the end, where a share of them is not zero."""
    bits = Fraction(8 * weight.itemsize)
    for stored in end.stored:
        bits = stored(weight, bits)
    share = min((share, *(phase.density_after(weight) for phase in end.sparing)))
    return sparse(min(bits, Fraction(session.bits.get(weight.name, bits))), share)


def _share(session: Session, weight: Weight) -> Fraction:
    """The share of a parameter's entries that no mask holds at zero."""
    live = session.masks.get(weight.name)
    return Fraction(1) if live is None else Fraction(int(live.sum()), max(live.numel(), 1))
