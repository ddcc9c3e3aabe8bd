"""What is compared: every method at every budget, seed by seed; checked before any work."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar, cast

from torch import nn

from compressor.budget import Budget, Limits, required
from compressor.inputs.arguments import check_form, check_seed, name_of_function
from compressor.run.identity import describe
from compressor.run.phase import Phase, adapted, as_written, is_phase, name_of
from compressor.wording import brief

Cut = Callable[[nn.Module, Budget], nn.Module]
"""Makes a smaller network within caps, which are numbers; the one given is a copy."""

CUT = "f(model, budget) -> smaller model"
"""The form of such a function."""

Method = Phase | Sequence[Phase] | Cut | None
"""A single phase, a whole schedule, another pruner, or the default schedule of `fit`."""

Models = nn.Module | Callable[[int], nn.Module]
"""A network, or what makes the one of a seed."""

DENSE = "dense"
"""The method of rows that hold the network given."""

LONGEST = 120
"""Characters of a folder's name; a longer one is cut and ends in a digest."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Point:
    """One row of a sweep.

    Attributes:
        budget: Name of the budget; empty for the network given.
        method: Name of the method.
        seed: The seed.
    """

    budget: str
    method: str
    seed: int

    @property
    def key(self) -> dict[str, Any]:
        """What tells its row from others."""
        return {"budget": self.budget, "method": self.method, "seed": self.seed}

    def __str__(self) -> str:
        """For people."""
        at = f" at {self.budget}" if self.budget else ""
        return f"{self.method}{at}, seed {self.seed}"


@dataclass(frozen=True)
class Grid:
    """Everything that is compared.

    Attributes:
        budgets: By name.
        methods: By name.
        seeds: Each of them once.
    """

    budgets: Mapping[str, Budget]
    methods: Mapping[str, Method]
    seeds: tuple[int, ...]

    @property
    def points(self) -> list[Point]:
        """All of them, seed by seed, so that every method is soon seen once."""
        found: list[Point] = []
        for seed in self.seeds:
            every = product(self.budgets, self.methods)
            found += [Point("", DENSE, seed), *(Point(b, m, seed) for b, m in every)]
        return found

    def asked(self, point: Point) -> dict[str, str]:
        """What a row stands for, which a name may not say: it must be the same to go on."""
        if not point.budget:
            return {"asked": "", "how": ""}
        method = self.methods[point.method]
        listed = _phases(method)
        how = method if listed is None else [as_written(phase) for phase in listed]
        return {"asked": str(self.budgets[point.budget]), "how": describe(how)}


def grid_of(budgets: object, methods: object, seeds: int | Iterable[int]) -> Grid:
    """The grid of some budgets, methods and seeds as a caller gives them.

    Raises:
        ValueError: If something is none, there is none, or two have one name.
    """
    caps = _named("budgets", budgets, "Budget(macs='50%')", str, (Budget, Limits))
    ways = _named("methods", methods, "Prune()", _name, (Phase, nn.Module))
    for name, method in ways.items():
        _check_method(name, method)
    return Grid({n: required(b, "sweep") for n, b in caps.items()}, ways, _seeds(seeds))


def _seeds(given: int | Iterable[int]) -> tuple[int, ...]:
    """Each seed once; a number stands for so many, from 0."""
    if isinstance(given, int) and not isinstance(given, bool):
        given = range(given)
    try:
        numbers = tuple(dict.fromkeys(cast("Iterable[int]", given)))
    except TypeError:
        raise ValueError(
            f"sweep(seeds={brief(given)}): give how many, 3, or which, such as range(3)"
        ) from None
    for seed in numbers:
        check_seed(seed)
    if not numbers:
        raise ValueError("sweep(seeds=...): there is none: give at least one")
    return numbers


def phases_of(method: Method, then: Sequence[Phase]) -> Sequence[Phase] | None:
    """The schedule that a method is; None for the default one of `fit`."""
    if method is None:
        return None
    listed = _phases(method)
    return (*(listed or ()), *then) if listed is None or is_phase(method) else listed


def is_cut(method: Method) -> bool:
    """True for another pruner."""
    return method is not None and _phases(method) is None


def folder_name(words: Sequence[str], nothing: str = "") -> str:
    """A name by which a person knows settings; different ones have different names.

    `nothing` is the name where there are no words.
    """
    text = "-".join(words) or nothing
    name = re.sub(r"[^\w.=+-]+", "_", text)
    if name == text and len(name) <= LONGEST:
        return name
    digest = hashlib.sha256("\0".join(words).encode()).hexdigest()[:8]
    return f"{name[:LONGEST]}-{digest}"


def _phases(method: object) -> tuple[Phase, ...] | None:
    """The phases that a method is; None where it is none."""
    if is_phase(method):
        return (adapted(method),)
    if isinstance(method, (list, tuple)):
        return tuple(map(adapted, cast("list[Any]", method)))
    return None


def _check_method(name: str, method: object) -> None:
    phases = method if isinstance(method, (list, tuple)) else [method]
    listed = isinstance(method, (list, tuple)) and all(map(is_phase, phases))
    cut = callable(method) and not isinstance(method, (type, nn.Module))
    if not (method is None or listed or is_phase(method) or cut):
        made = f"make one, {method.__name__}()" if isinstance(method, type) else "pass one of these"
        raise ValueError(
            f"sweep(methods={{{name!r}: {brief(method)}}}): a method is a phase, a list of phases, "
            "a function (model, budget) -> smaller model, or None for the default of fit: "
            f"{made}"
        )
    if cut:
        check_form(f"sweep(methods={{{name!r}: {name_of_function(method)}}})", method, CUT)


def _name(method: object) -> str:
    """The name of a method that was given none."""
    if method is None:
        return "fit"
    listed = _phases(method)
    if listed is not None:
        return ", ".join(map(name_of, listed))
    return name_of_function(method)


def _named(
    what: str, given: Any, such: str, name: Callable[[Any], str], single: tuple[type, ...]
) -> dict[str, Any]:
    """Things by name, those given in a sequence under names of their own."""
    one = isinstance(given, (str, type, *single)) or is_phase(given)
    if one or not isinstance(given, Iterable):
        raise ValueError(
            f"sweep({what}={brief(given)}): give several, [{such}, ...], or by name, "
            f"{{'one': {such}}}"
        )
    if isinstance(given, Mapping):
        found = {str(key): value for key, value in cast("Mapping[Any, Any]", given).items()}
    else:
        listed = list(cast("Iterable[Any]", given))
        names = [name(value) for value in listed]
        twice = next((one for one in names if names.count(one) > 1), None)
        if twice is not None:
            raise ValueError(
                f"sweep({what}=[...]): two of them are called {twice!r}: name them, "
                f"{{'one': {such}, 'another': ...}}"
            )
        found = dict(zip(names, listed, strict=True))
    if not found:
        raise ValueError(f"sweep({what}={brief(given)}): there is none: give [{such}, ...]")
    if what == "methods" and DENSE in found:
        raise ValueError(f"sweep(methods=...): {DENSE!r} is the network given: take another name")
    return found
