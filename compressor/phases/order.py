"""In which order phases can stand, and the nearest schedule that can: advice that works as it is.

A rule looks at a whole schedule and, where it is broken, says what is wrong and gives the schedule
that obeys it. Rules are applied again until all are obeyed, so that nobody who follows the advice
meets another refusal of the order. What a budget asks of phases is not looked at here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields

from compressor.phases.int8 import Int8
from compressor.phases.train import FineTune
from compressor.run.phase import Phase, name_of

Schedule = tuple[Phase, ...]

Rule = Callable[[Schedule], tuple[str, Schedule] | None]
"""The fault of a schedule and the schedule without it; None if it has none."""


def check_order(phases: Sequence[Phase]) -> None:
    """Check that every phase can stand where it does.

    Raises:
        ValueError: If one cannot; says what is wrong and which schedule is right.
    """
    given = tuple(phases)
    if (found := broken(given)) is not None:
        right = ", ".join(map(name_of, mended(given)))
        raise ValueError(f"{found[0]}. In order, with your settings: {right}")


def broken(phases: Schedule) -> tuple[str, Schedule] | None:
    """The first rule that a schedule breaks: what is wrong, and the schedule that obeys it."""
    return next((found for rule in RULES if (found := rule(phases)) is not None), None)


def mended(phases: Schedule) -> Schedule:
    """The nearest schedule that breaks no rule."""
    while (found := broken(phases)) is not None:
        phases = found[1]
    return phases


def _one_end(phases: Schedule) -> tuple[str, Schedule] | None:
    """Only one phase can fix every weight."""
    ends = [n for n, phase in enumerate(phases) if phase.final]
    if len(ends) < 2:
        return None
    kept = next((n for n in ends if phases[n].rounds_weights), ends[-1])
    wrong = (
        f"the schedule has {' and '.join(_name(phases[n]) for n in ends)}, after each of which no "
        "weight can change, so that only one of them can be in it, at the end: leave the others out"
    )
    return wrong, _without(phases, [n for n in ends if n != kept])


def _end_last(phases: Schedule) -> tuple[str, Schedule] | None:
    """Nothing comes after a phase that fixes every weight."""
    for number, phase in enumerate(phases[:-1]):
        if phase.final:
            following = _name(phases[number + 1])
            wrong = (
                f"schedule[{number}] is {_name(phase)}, after which no weight can change, and "
                f"{following} comes after it: put {_name(phase)} at the end"
            )
            return wrong, (*_without(phases, [number]), phase)
    return None


def _train_first(phases: Schedule) -> tuple[str, Schedule] | None:
    """The dense network is trained before anything else, once."""
    late = next((n for n, phase in enumerate(phases) if n and phase.trains_dense), 0)
    if not late:
        return None
    train, twice = phases[late], phases[0].trains_dense
    moved = (train, *_without(phases, [late]))
    again = (*phases[:late], _tuned(train), *phases[late + 1 :])
    return (
        f"schedule[{late}] is Train(), which trains the dense network that others learn from, "
        f"after {_name(phases[late - 1])}: "
        + ("write FineTune() here" if twice else "put it first, or write FineTune() here"),
        again if twice else moved,
    )


def _joint_once(phases: Schedule) -> tuple[str, Schedule] | None:
    """The bytes are divided once."""
    joints = [n for n, phase in enumerate(phases) if phase.divides_bytes]
    if len(joints) < 2:
        return None
    return (
        f"Joint() comes after Joint(), {_DIVIDES}: leave one of the two out",
        _without(phases, joints[1:]),
    )


def _zeros_before_joint(phases: Schedule) -> tuple[str, Schedule] | None:
    """Nobody after `Joint` makes zeros whose bytes it has spent."""
    joint = next((n for n, phase in enumerate(phases) if phase.divides_bytes), len(phases))
    late = [n for n in range(joint, len(phases)) if phases[n].makes_zeros]
    if not late:
        return None
    wrong = (
        f"{_name(phases[late[0]])} comes after Joint(), {_DIVIDES}: leave one of the two out, "
        "or put what makes zeros before Joint()"
    )
    return wrong, _without(phases, late)


def _joint_rounds(phases: Schedule) -> tuple[str, Schedule] | None:
    """Bits are chosen for a phase that rounds to them."""
    divided = any(phase.divides_bytes for phase in phases)
    if not divided or any(phase.rounds_weights for phase in phases):
        return None
    others = [n for n, phase in enumerate(phases) if phase.final]
    place = (
        f"put it in the place of {_name(phases[others[0]])}"
        if others
        else "end the schedule with Int8()"
    )
    return (
        f"Joint() chooses bits for Int8(), which is not in the schedule: {place}",
        (*_without(phases, others), Int8()),
    )


def _filters_last(phases: Schedule) -> tuple[str, Schedule] | None:
    """Nothing is cut after single filters."""
    first = next((n for n, phase in enumerate(phases) if phase.leaves_uncut), len(phases))
    late = [n for n in range(first + 1, len(phases)) if phases[n].cuts]
    if not late:
        return None
    following = phases[late[0]]
    cut = (
        f"{_name(following)} comes after FilterPruning(), which leaves layers narrower than the "
        "channels between them, so that nothing else can be cut, neither channels nor rows: "
    )
    rest = _without(phases, [late[0]])
    if following.leaves_uncut:
        return f"{cut}leave one of the two out", rest
    return (f"{cut}put {_name(following)} before it", (*rest[:first], following, *rest[first:]))


_DIVIDES = (
    "which divides the bytes between width, density and bits alone, zeros included, so that they "
    "would be spent twice"
)

RULES: tuple[Rule, ...] = (
    _one_end,
    _end_last,
    _train_first,
    _joint_once,
    _zeros_before_joint,
    _joint_rounds,
    _filters_last,
)


def _tuned(train: Phase) -> FineTune:
    """A fine-tune with the settings of a training of the dense network."""
    return FineTune(**{field.name: getattr(train, field.name) for field in fields(FineTune)})


def _without(phases: Schedule, numbers: Sequence[int]) -> Schedule:
    return tuple(phase for n, phase in enumerate(phases) if n not in numbers)


def _name(phase: Phase) -> str:
    return f"{name_of(phase)}()"
