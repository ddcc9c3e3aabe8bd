"""What a sweep tries: every combination of lists, or what Optuna proposes from ranges.

    train.lr=0.01,0.035     these
    pruned=0.5:0.9          anything between
    tune_lr=1e-4:1e-2:log   likewise, every factor as likely
    channels=16:80          whole numbers, as the setting is one

A point is a choice for every setting but `seed`. Seeds are never searched, as the best of them says
nothing about the next: every point is run with each, and its value is their mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import TYPE_CHECKING, Any, Protocol

from recipes.running.overrides import override

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

SEED = "seed"
OPEN, CLOSE = "([{", ")]}"

Point = tuple[str, ...]
"""Settings as texts, name=value, in the order in which they were named."""


@dataclass(frozen=True)
class Choices:
    """One of several values.

    Attributes:
        name: Of the setting.
        texts: The values, as they were given.
    """

    name: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Range:
    """Anything between two numbers.

    Attributes:
        name: Of the setting.
        low: The least.
        high: The greatest.
        log: Whether every factor is as likely, instead of every difference.
        whole: Whether whole numbers are meant.
    """

    name: str
    low: float
    high: float
    log: bool
    whole: bool


Dimension = Choices | Range


class Search(Protocol):
    """Where points come from."""

    def ask(self) -> Point | None:
        """The next; None when there is none any more."""
        ...

    def tell(self, point: Point, values: tuple[float, float, float] | None) -> None:
        """Accuracy, MACs and bytes of a point; None if it failed."""
        ...


def dimensions(config: object, texts: Sequence[str]) -> list[Dimension]:
    """What is varied, read from a command line.

    Args:
        config: The settings that are varied.
        texts: Such as ``train.lr=0.01,0.035`` or ``pruned=0.5:0.9``.

    Raises:
        ValueError: If there is no such setting, it refuses a value, or one is named twice.
    """
    found = [_dimension(config, text) for text in texts]
    names = [one.name for one in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not found or twice:
        raise ValueError(
            f"--over varies {', '.join(twice)} twice." if twice
            else "Name what to vary, such as --over train.lr=0.01,0.035 seed=0,1,2."
        )  # fmt: skip
    return found


def _dimension(config: object, text: str) -> Dimension:
    name, sign, value = text.partition("=")
    parts = value.split(":")
    if not sign or not value:
        raise ValueError(f"{text!r} varies nothing: write name=a,b,c or name=low:high[:log].")
    if len(parts) == 1:
        texts = tuple(_split(value))
        if len(set(texts)) < len(texts) or "" in texts:
            raise ValueError(f"{text}: a value is missing or there twice.")
        for one in texts:
            override(config, [f"{name}={one}"])
        return Choices(name, texts)
    if name == SEED:
        raise ValueError(f"{text}: seeds are not searched. List those to average over: seed=0,1,2.")
    override(config, [f"{name}={parts[0]}"])  # whether there is such a setting
    old = reduce(getattr, name.split("."), config)
    return _range(text, name, parts, whole=isinstance(old, int) and not isinstance(old, bool))


def _range(text: str, name: str, parts: Sequence[str], *, whole: bool) -> Range:
    """What low:high or low:high:log says."""
    try:
        low, high = float(parts[0]), float(parts[1])
    except ValueError as error:
        raise ValueError(f"{text}: a range is low:high or low:high:log, of numbers.") from error
    log = parts[2:] == ["log"]
    if parts[2:] not in ([], ["log"]) or not -math.inf < low < high < math.inf:
        raise ValueError(f"{text}: a range is low:high or low:high:log, with low below high.")
    if log and low <= 0:
        raise ValueError(f"{text}: a range by factors begins above 0.")
    if whole and not (low.is_integer() and high.is_integer()):
        raise ValueError(f"{text}: {name} is a whole number, and so are its ends.")
    return Range(name, low, high, log, whole)


def _split(value: str) -> Iterator[str]:
    """A list at its commas, but not those within brackets: `(1,2),(3,4)` are two tuples."""
    depth, begin = 0, 0
    for place, letter in enumerate(value):
        depth += (letter in OPEN) - (letter in CLOSE)
        if letter == "," and depth == 0:
            yield value[begin:place].strip()
            begin = place + 1
    yield value[begin:].strip()


def seeds_of(found: Sequence[Dimension]) -> tuple[str, ...]:
    """The seeds of every point; none if they are not varied."""
    return next((d.texts for d in found if d.name == SEED and isinstance(d, Choices)), ())


class Grid:
    """Every combination of lists, the last one varying fastest.

    Raises:
        ValueError: If something is a range.
    """

    def __init__(self, found: Sequence[Dimension]) -> None:
        lists: list[list[str]] = []
        for one in found:
            if isinstance(one, Range):
                raise ValueError(
                    f"{one.name}={one.low:g}:{one.high:g} is a range, of which a grid has no "
                    "points. List values, a,b,c, or let Optuna choose N points with --study N."
                )
            if one.name != SEED:
                lists.append([f"{one.name}={text}" for text in one.texts])
        self.points: list[Point] = list(product(*lists))
        self._left = iter(self.points)

    def ask(self) -> Point | None:
        return next(self._left, None)

    def tell(self, point: Point, values: tuple[float, float, float] | None) -> None:
        """Nothing depends on it."""


class Study:
    """Points that Optuna proposes: high accuracy, few MACs, few bytes (multi-objective TPE).

    Its memory are the folders of the trials: points that were begun before are proposed first, in
    the same order, so that what is finished is told at once and what is not goes on.

    Args:
        found: What is searched.
        number: Points in all.
        begun: Points of an earlier call, in their order.
        seed: Of the proposals.

    Raises:
        ImportError: If Optuna is not installed.
    """

    def __init__(
        self, found: Sequence[Dimension], number: int, begun: Sequence[Point] = (), seed: int = 0
    ) -> None:
        try:
            import optuna  # noqa: PLC0415 - optional
        except ImportError as error:
            raise ImportError(
                f"a study proposes settings with Optuna ({error}): pip install -e '.[sweep]' in "
                "the checkout, or leave --study out and try all settings"
            ) from error

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._searched = [one for one in found if one.name != SEED]
        self._distributions = {one.name: _distribution(one) for one in self._searched}
        # Of a restarted study, so that it does not propose its first random points again.
        sampler = optuna.samplers.TPESampler(seed=seed + len(begun))
        directions = ["maximize", "minimize", "minimize"]
        self._study = optuna.create_study(sampler=sampler, directions=directions)
        self._failed = optuna.trial.TrialState.FAIL
        self._left, self._asked = number, dict[Point, list["Trial"]]()
        for point in begun[:number]:
            self._study.enqueue_trial(self._params(point))

    def ask(self) -> Point | None:
        if self._left == 0:
            return None
        self._left -= 1
        trial = self._study.ask(self._distributions)
        point = tuple(f"{one.name}={_text(one, trial.params[one.name])}" for one in self._searched)
        self._asked.setdefault(point, []).append(trial)
        return point

    def tell(self, point: Point, values: tuple[float, float, float] | None) -> None:
        for trial in self._asked.pop(point, []):
            if values is None:
                self._study.tell(trial, state=self._failed)
            else:
                self._study.tell(trial, values)

    def _params(self, point: Point) -> dict[str, Any]:
        texts = dict(text.split("=", 1) for text in point)
        return {one.name: _value(one, texts[one.name]) for one in self._searched}


def _distribution(one: Dimension) -> BaseDistribution:
    from optuna.distributions import (  # noqa: PLC0415 - optional
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if isinstance(one, Choices):
        return CategoricalDistribution(one.texts)
    if one.whole:
        return IntDistribution(int(one.low), int(one.high), log=one.log)
    return FloatDistribution(one.low, one.high, log=one.log)


def _text(one: Dimension, value: Any) -> str:
    return value if isinstance(one, Choices) else repr(value)


def _value(one: Dimension, text: str) -> Any:
    if isinstance(one, Choices):
        return text
    return int(text) if one.whole else float(text)
