"""Search spaces of a sweep: every combination of lists, or points that Optuna proposes.

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
from typing import TYPE_CHECKING

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
        name: The setting.
        texts: The values, as they were given.
    """

    name: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Range:
    """Anything between two numbers.

    Attributes:
        name: The setting.
        low: The least.
        high: The greatest.
        log: Every factor is as likely, instead of every difference.
        whole: Only whole numbers are meant.
    """

    name: str
    low: float
    high: float
    log: bool
    whole: bool


Dimension = Choices | Range


def dimensions(config: object, texts: Sequence[str]) -> list[Dimension]:
    """Read what is varied: texts such as ``train.lr=0.01,0.035`` or ``pruned=0.5:0.9``.

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
    """Read low:high or low:high:log."""
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
    """Split a list at its commas outside brackets: `(1,2),(3,4)` are two tuples."""
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

    Attributes:
        points: All of them.

    Raises:
        ValueError: If a setting has a range.
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
        """The next point; None after the last."""
        return next(self._left, None)

    def tell(self, point: Point, values: tuple[float, float, float] | None) -> None:
        """Learn nothing: no point depends on another's values."""


class Study:
    """Points that Optuna proposes: high accuracy, few MACs, few bytes (multi-objective TPE).

    Its memory is the folders of the trials: points of an earlier call are proposed first, in the
    same order, so that the values of finished ones are told at once and the others go on.

    Args:
        found: The settings to search.
        number: Points in all.
        begun: Points of an earlier call, in their order.
        seed: Start of the random proposals.

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
        self._space = {one.name: _distribution(one) for one in found if one.name != SEED}
        # A seed of its own after a restart: the first random points would come again.
        sampler = optuna.samplers.TPESampler(seed=seed + len(begun))
        directions = ["maximize", "minimize", "minimize"]
        self._study = optuna.create_study(sampler=sampler, directions=directions)
        self._failed = optuna.trial.TrialState.FAIL
        self._left, self._asked = number, dict[Point, list["Trial"]]()
        for point in begun[:number]:
            texts = dict(text.split("=", 1) for text in point)
            kinds = self._space.items()
            self._study.enqueue_trial({n: _read(kind, texts[n]) for n, kind in kinds})

    def ask(self) -> Point | None:
        """The next point, perhaps one that was proposed before; None after the last."""
        if self._left == 0:
            return None
        self._left -= 1
        trial = self._study.ask(self._space)
        point = tuple(f"{name}={trial.params[name]}" for name in self._space)
        self._asked.setdefault(point, []).append(trial)
        return point

    def tell(self, point: Point, values: tuple[float, float, float] | None) -> None:
        """Learn accuracy, MACs and bytes of a point; None if it failed."""
        for trial in self._asked.pop(point, []):
            self._study.tell(trial, values, state=None if values else self._failed)


Search = Grid | Study


def _distribution(one: Dimension) -> BaseDistribution:
    from optuna import distributions as kinds  # noqa: PLC0415 - optional

    if isinstance(one, Choices):
        return kinds.CategoricalDistribution(one.texts)
    if one.whole:
        return kinds.IntDistribution(int(one.low), int(one.high), log=one.log)
    return kinds.FloatDistribution(one.low, one.high, log=one.log)


def _read(kind: BaseDistribution, text: str) -> object:
    """The value that a text of a point stands for."""
    return kind.to_external_repr(kind.to_internal_repr(text))
