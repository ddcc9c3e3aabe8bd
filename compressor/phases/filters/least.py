"""The fewest filters that leave no layer empty.

A filter in every layer is not enough: of two branches that a depthwise layer reads, one has nothing
left as soon as that layer keeps channels of the other alone, and a layer without filters or inputs
cannot be built. `Least` says what a closed structure lacks, over all layers at once: filters in a
bank, and entries in any tensor. Keeping more never lacks more, as killing a filter never revives
another, so that which filters have to come back is found by bisection.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from compressor.graph.graph import Units
from compressor.graph.structure import Structure
from compressor.phases.filters.ranking import Floats
from compressor.phases.filters.reach import Reach
from compressor.phases.filters.uncoupled import Bools, Split


class Least:
    """Needs of a network's layers, with at least `floor` filters in each.

    Attributes:
        reach: The reachability of its filters.
        floor: Fewest filters of a layer; of one that has fewer in all, those.
        whole: Structure left if every filter stays.
    """

    def __init__(self, reach: Reach, floor: int = 1) -> None:
        """Collect the tensors once; every answer afterwards is one sum over their entries."""
        self.reach, self.floor = reach, floor
        parts = reach.split
        self.whole = reach.closed(np.ones(parts.graph.units, dtype=bool))
        sets = [(parts.of(bank), floor) for bank in range(len(parts.banks))]
        sets = [(owner, count) for owner, count in sets if len(owner)]
        sets += [(owner, 1) for owner in _dimensions(parts)]
        self._entries = np.concatenate([np.zeros(0, np.int64), *(owner for owner, _ in sets)])
        sizes = np.array([len(owner) for owner, _ in sets], dtype=np.int64)
        self._starts = np.cumsum(sizes) - sizes
        wanted = np.array([count for _, count in sets], dtype=np.int64)
        # What nothing reads or reaches from the start cannot be asked for.
        self._wanted = np.minimum(wanted, self._alive(self.whole.keep))

    def met(self, structure: Structure) -> bool:
        """True if a closed structure leaves every layer what it needs."""
        return bool((self._alive(structure.keep) >= self._wanted).all())

    def filled(self, structure: Structure, scores: Floats) -> Structure:
        """A closed structure with the filters back that layers need: the best by `scores`.

        Of all sets of filters that would do, it is the one whose worst is the best, then whose
        second worst is, and so on; none of them could be left out.

        Args:
            structure: Closed; returned as it is if nothing is lacking.
            scores: One for every unit of the split graph.
        """
        free = self.reach.split.free
        out = np.flatnonzero(self.whole.keep & free & ~structure.keep)
        order = out[np.argsort(-scores[out], kind="stable")]
        chosen = structure.keep & free
        while not self.met(structure):
            none, enough = 0, len(order)
            while enough - none > 1:
                some = (none + enough) // 2
                if self.met(self._with(chosen, order[:some])):
                    enough = some
                else:
                    none = some
            # Without the last of them it is not enough, with any others before it.
            chosen[order[enough - 1]] = True
            order = order[: enough - 1]
            structure = self.reach.closed(chosen)
        return structure

    def reduced(self, structure: Structure, scores: Floats) -> Structure:
        """A closed structure that lacks nothing, without the filters that it could do without.

        Only in layers with more than they need is anything looked for, the worst first.
        """
        parts = self.reach.split
        crowded = [parts.of(bank) for bank in range(len(parts.banks))]
        crowded = [own for own in crowded if structure.keep[own].sum() > self.floor]
        units = np.concatenate([np.zeros(0, np.int64), *crowded])
        for unit in units[np.argsort(scores[units], kind="stable")]:
            if structure.keep[unit]:
                fewer = structure.keep.copy()
                fewer[unit] = False
                found = self.reach.closed(fewer)
                structure = found if self.met(found) else structure
        return structure

    def _with(self, chosen: Bools, more: Units) -> Structure:
        keep = chosen.copy()
        keep[more] = True
        return self.reach.closed(keep)

    def _alive(self, keep: Bools) -> Units:
        """Count the entries of every set that stay."""
        if not len(self._starts):
            return np.zeros(0, np.int64)
        alive = np.append(keep, True)[self._entries].astype(np.int64)
        return np.add.reduceat(alive, self._starts)


def _dimensions(parts: Split) -> Iterator[Units]:
    """Owners of the entries of every dimension of a parameter, buffer or activation, each once."""
    dims = [dim for weight in parts.graph.weights.values() for dim in weight.dims]
    dims += [dim for labels in parts.coupled.activations.values() for _, dim in labels]
    found = [owner for dim in dims for owner in dim.owners]
    distinct = {owner.tobytes(): owner for owner in found if len(owner) and (owner >= 0).all()}
    yield from distinct.values()
