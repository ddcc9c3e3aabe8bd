"""What a phase says of itself, and what it means where it says nothing.

A phase has `length` and `run`, and whoever writes one need not say more. Everything else has a
meaning when it is left out, and the meaning is always the careful one: a phase that does not say
what it lowers lowers nothing, so that no cap is left to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar

from compressor.budget import Budget

if TYPE_CHECKING:
    from compressor.phases import Phase
    from compressor.session import Session

NOTHING: frozenset[str] = frozenset()
"""No key of a budget."""

KEYS = frozenset(field.name for field in fields(Budget))
"""What a phase can lower: the keys of a budget."""


class Plain:
    """A phase that lowers no cost, for phases that train, measure or look: a base class to take.

    To be followed by `length` and `run`, and by whatever of this is otherwise.
    """

    lowers: ClassVar[frozenset[str]] = NOTHING
    settles: ClassVar[frozenset[str]] = NOTHING

    def check(self, session: Session, earlier: Sequence[Phase]) -> None:
        """Nothing that could be impossible."""

    def redo(self, session: Session, change: Any) -> None:
        """Nothing: it records no change of structure."""


def lowers(phase: Phase) -> frozenset[str]:
    """The keys of a budget that a phase can lower; none where it does not say.

    Raises:
        ValueError: If what it says are no keys of a budget.
    """
    return _keys(phase, "lowers") | settles(phase)


def settles(phase: Phase) -> frozenset[str]:
    """Those of them that it brings under the caps alone; none where it does not say.

    Raises:
        ValueError: If what it says are no keys of a budget.
    """
    return _keys(phase, "settles")


def final(phase: Phase) -> bool:
    """Whether nothing that changes weights may follow a phase; not so where it does not say."""
    return bool(getattr(phase, "final", False))


def silent(phase: Phase) -> bool:
    """Whether a phase does not say what it lowers, and so is taken to lower nothing."""
    return getattr(phase, "lowers", None) is None


def check(phase: Phase, session: Session, earlier: Sequence[Phase]) -> None:
    """Have a phase find out whether it can do what it will be asked for, if it ever does.

    Raises:
        BudgetError: If it cannot.
    """
    own = getattr(phase, "check", None)
    if callable(own):
        own(session, earlier)


def _keys(phase: Phase, name: str) -> frozenset[str]:
    said: object = getattr(phase, name, None)
    if said is None:
        return NOTHING
    listed = isinstance(said, (frozenset, set, tuple, list))
    if not listed or not all(key in KEYS for key in said):  # pyright: ignore[reportUnknownVariableType]
        raise ValueError(
            f"{type(phase).__name__}.{name} is {said!r}, and must be a set of keys of a budget: of "
            f"{', '.join(sorted(KEYS))}, for instance frozenset({{'nonzero'}})"
        )
    return frozenset(said)  # pyright: ignore[reportUnknownArgumentType]
