"""Random sets of lifetimes, for laws of memory."""

from __future__ import annotations

from hypothesis import strategies as st

from compressor.counting.memory.lifetimes import Lifetime


@st.composite
def lifetimes(draw: st.DrawFn, most: int = 12, steps: int = 8) -> list[Lifetime]:
    """Up to `most` tensors over some steps; many of equal size, some of none."""
    found: list[Lifetime] = []
    for n in range(draw(st.integers(0, most))):
        first = draw(st.integers(0, steps))
        last = draw(st.integers(first, steps))
        found.append(
            Lifetime(f"t{n}", draw(st.integers(0, 6)) * 16 + draw(st.integers(0, 3)), first, last)
        )
    return found
