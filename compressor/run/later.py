"""Questions to phases still to come: the caps they meet alone, and the file they leave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction

from compressor.graph.graph import Weight
from compressor.network import Network

NOTHING: frozenset[str] = frozenset()
"""No key of a budget."""

EntryBits = Callable[[Weight, Fraction], Fraction]
"""Bits that an entry of a tensor takes, on average, if it took so many before."""


class Later:
    """A phase before its turn; by default it changes nothing.

    Attributes:
        lowers: The keys of a budget that it can lower: params, nonzero, macs, bytes, ram.
        settles: Those that it brings under the caps alone, so that solvers before it need not.
    """

    lowers: frozenset[str] = NOTHING
    settles: frozenset[str] = NOTHING

    def network_after(self, network: Network, bits: Mapping[str, int]) -> Network:  # noqa: ARG002
        """The network that it makes of another, with any values: only kinds and counts matter.

        Args:
            network: As it is when its turn comes.
            bits: Bits per weight by parameter, where they were chosen.
        """
        return network

    def bits_after(self, network: Network) -> EntryBits:  # noqa: ARG002
        """Bits that an entry of a tensor takes after it was applied to a network."""
        return lambda _, bits: bits

    def density_after(self, weight: Weight) -> Fraction:  # noqa: ARG002
        """The share of a tensor's entries that it leaves, on average over the tensors."""
        return Fraction(1)


def lowers(phase: Later) -> frozenset[str]:
    """The keys of a budget that a phase can lower, those that it settles included."""
    return frozenset(phase.lowers) | frozenset(phase.settles)


def settles(later: Iterable[Later], *, sparse: bool = True) -> frozenset[str]:
    """The caps that some phases meet alone; one on bytes only in a file of `sparse` weights.

    What meets that alone makes zeros, which take a byte like any other weight in other files.
    """
    found = frozenset[str]().union(*(phase.settles for phase in later))
    return found if sparse else found - {"bytes"}
