"""Reachability through the program, until nothing changes: what stays when filters go.

Forwards, a channel is *live* after an operation if it may be anything but zero: a filter that reads
only zeros is dead, its normalisation with it. Backwards, a channel is *read* if a filter that
stays, or an operation that looks across channels, depends on it. A coupled unit is gone when all
filters that write it are. Killing a filter never revives another, whatever the order.

An operation that may not map zero to zero makes every channel of the units that stay live; one that
may not keep channels apart reads them all. So what is called dead is exactly zero in the masked
network, which `compressor.phases.filters.masking` runs to prove it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import cast

import numpy as np

from compressor.graph.structure import Structure
from compressor.phases.filters.program import Step, steps
from compressor.phases.filters.rules import Flow
from compressor.phases.filters.uncoupled import Bools, Split

Choice = Callable[[int, Bools, Bools], Bools]
"""Called with the number of a bank, its live inputs and the filters that could stay (as coupled
units); returns those that do."""


class Reach:
    """The reachability of one network's filters.

    Attributes:
        split: The network as filters.
    """

    def __init__(self, split: Split) -> None:
        """Read the program once; every closure afterwards is a few passes over bit vectors."""
        self.split = split
        coupled = split.coupled
        self.frozen = np.array([bool(axis.frozen) for axis in coupled.axes], bool)[coupled.axis_of]
        self.held = self.frozen.copy()
        in_banks = {bank.weight for bank in split.banks}
        for site in coupled.sites:
            if site.weight not in in_banks:
                for owner in site.writes.owners:
                    self.held[owner[owner >= 0]] = True
        self.steps = steps(split)
        self.uses = [(step.bank, step) for step in self.steps if step.bank is not None]

    def closed(self, keep: Bools) -> Structure:
        """Structure left when only the filters in `keep` may stay.

        Args:
            keep: Boolean, one per unit of the split graph; only those of filters are looked at.

        Returns:
            The filters that something reaches and something reads, with the inputs that are live
            and the trunk units that some filter writes.
        """
        keep = keep | ~self.split.free
        while True:
            live = self.forwards(keep)
            fewer = keep & self._used(
                {step.name: self.reached(step, live) for _, step in self.uses}
            )
            fewer &= self._used(self.backwards(fewer))
            if (fewer == keep).all():
                return Structure(self.split.graph, self._whole(keep, live))
            keep = fewer

    def on(self, keep: Bools, bank: int) -> Bools:
        """The filters of a bank that `keep` keeps, as coupled units."""
        return np.append(keep, False)[self.split.numbers[bank].filters]

    def units(self, keep: Bools) -> Bools:
        """The coupled units that some filter in `keep` writes, or that always stay."""
        alive = self.held.copy()
        for bank in range(len(self.split.banks)):
            alive |= self.on(keep, bank)
        return alive

    def forwards(self, keep: Bools, choose: Choice | None = None) -> dict[str, Bools]:
        """The live channels after every operation, as coupled units.

        Args:
            keep: Filters that stay; changed in place where `choose` is given.
            choose: Called at the first use of every bank with its number, the live inputs and the
                filters that could stay; returns those that do.
        """
        alive = self.units(keep)
        live: dict[str, Bools] = {}
        seen: set[int] = set()
        for step in self.steps:
            if step.bank is None:
                live[step.name] = self._through(step, live, alive)
                continue
            could = self.on(keep, step.bank)
            several = len(self.split.banks[step.bank].nodes) > 1
            if not several or (choose is not None and step.bank not in seen):
                could &= self.reached(step, live) | self.frozen
            if choose is not None and step.bank not in seen:
                could = choose(step.bank, self.entering(step, live), could)
                own = self.split.numbers[step.bank].filters
                keep[own[own >= 0]] = could[own >= 0]
            seen.add(step.bank)
            live[step.name] = could
        return live

    def entering(self, step: Step, live: Mapping[str, Bools]) -> Bools:
        """The live channels that an operation reads, as coupled units."""
        return self._any(live, step.sources)

    def reached(self, step: Step, live: Mapping[str, Bools]) -> Bools:
        """The channels that a bank could write, were all its filters kept."""
        bank, entering = self.split.banks[cast("int", step.bank)], self.entering(step, live)
        if not bank.dense:
            return entering
        fed = step.fed or bool((entering & cast("Bools", step.reads)).any())
        return np.full(len(entering), fed)

    def backwards(self, keep: Bools) -> dict[str, Bools]:
        """The channels of every operation that something depends on, as coupled units."""
        none = np.zeros_like(self.frozen)
        read = {step.name: none for step in self.steps}
        for step in reversed(self.steps):
            wanted = read[step.name]
            if step.bank is not None:
                wanted = self.on(keep, step.bank) | step.always
                if self.split.banks[step.bank].dense:
                    wanted = np.full(len(none), bool(wanted.any()))
            elif step.flow is Flow.MIXES:
                wanted = np.ones_like(none)
            for source in step.sources:
                read[source] = read[source] | wanted
        return read

    def _through(self, step: Step, live: Mapping[str, Bools], alive: Bools) -> Bools:
        """The live channels after an operation that is no bank."""
        if step.flow in (Flow.FILLS, Flow.MIXES):
            return step.units & alive
        return self._any(live, step.carriers) & step.units & alive

    def _any(self, live: Mapping[str, Bools], names: Iterable[str]) -> Bools:
        """The channels that are live after some of these operations, or frozen."""
        found = [live[name] for name in names if name in live]
        return np.logical_or.reduce([self.frozen, *found])

    def _used(self, good: Mapping[str, Bools]) -> Bools:
        """The units that are `good` at some use of their bank, and all that are no filters."""
        found = ~self.split.free
        for bank, step in self.uses:
            own = self.split.numbers[bank].filters
            found[own[own >= 0]] |= good[step.name][own >= 0]
        return found

    def _whole(self, keep: Bools, live: Mapping[str, Bools]) -> Bools:
        """Filters, inputs and trunk units together."""
        whole, units = keep.copy(), self.split.coupled.units
        whole[:units] = self.units(keep)
        dense = [use for use in self.uses if self.split.banks[use[0]].dense]
        for bank, _ in dense:
            own = self.split.numbers[bank].inputs
            whole[own[own >= units]] = False
        for bank, step in dense:
            own = self.split.numbers[bank].inputs
            whole[own[own >= units]] |= self.entering(step, live)[own >= units]
        return whole
