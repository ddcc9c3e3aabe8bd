"""Settings changed from a command line: names with dots, values of the declared kind."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor import Budget
from recipes.running.overrides import names, override


@dataclass(frozen=True, kw_only=True)
class Inner:
    low: float = 0.1
    high: float = 0.5

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"{self}: low must be below high")


@dataclass(frozen=True, kw_only=True)
class Outer:
    count: int = 3
    rate: float = 1  # an int by value, a float by declaration
    share: float | None = None
    limit: int | None = 5
    whether: bool = True
    word: str = "a"
    pair: tuple[int, ...] = (1, 2)
    perhaps: bool | None = None
    inner: Inner = field(default_factory=Inner)
    budget: Budget = field(default_factory=lambda: Budget(macs=1000))
    shape: Callable[[int], int] = abs


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("count=7", "count", 7),
        ("count=2e3", "count", 2000),
        ("rate=0.5", "rate", 0.5),
        ("rate=2", "rate", 2.0),
        ("share=0.25", "share", 0.25),
        ("share=None", "share", None),
        ("limit=none", "limit", None),
        ("limit=1e6", "limit", 1_000_000),
        ("whether=False", "whether", False),
        ("perhaps=true", "perhaps", True),
        ("word=3", "word", "3"),
        ("word=none", "word", "none"),
        ("word=a=b", "word", "a=b"),
        ("pair=(3,4,5)", "pair", (3, 4, 5)),
        ("pair=3,4", "pair", (3, 4)),
        ("pair=3", "pair", (3,)),
    ],
)
def test_a_value_is_read_as_what_is_declared(text: str, name: str, value: object) -> None:
    found = getattr(override(Outer(), [text]), name)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("count=1.5", "count is 3, and takes a whole number"),
        ("count=none", "whole number"),
        ("count=true", "whole number"),
        ("count=many", "whole number"),
        ("rate=none", "takes a finite number"),
        ("rate=nan", "takes a finite number"),
        ("rate=1e999", "takes a finite number"),
        ("rate=[1]", "takes a finite number"),
        ("rate=", "takes a finite number"),
        ("share=false", "a finite number or none"),
        ("whether=1", "true or false"),
        ("whether=none", "true or false"),
        ("rate=" + "(" * 500, "takes a finite number"),
        ("shape=abs", "no setting 'shape'"),
        ("inner=3", "no setting 'inner'. Did you mean inner.low"),
        ("inner.lo=3", "Did you mean inner.low"),
        ("inner.low=0.9", "low must be below high"),
        ("budget.macs=none", "Budget"),
        ("count", "changes no setting: write name=value"),
        ("=3", "changes no setting"),
    ],
)
def test_what_is_no_setting_or_no_value_is_refused(text: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        override(Outer(), [text])


def test_changes_of_one_part_are_made_together_and_each_once() -> None:
    found = override(Outer(), ["inner.low=0.7", "inner.high=0.8", "count=2"])
    assert (found.inner, found.count) == (Inner(low=0.7, high=0.8), 2)
    assert Outer().inner == Inner()  # the original is untouched
    assert override(Outer(), []) == Outer()
    with pytest.raises(ValueError, match="count=2: count stands there twice: leave one out"):
        override(Outer(), ["count=1", "rate=2", "count=2"])


def test_budgets_read_numbers_and_sizes() -> None:
    found = override(Outer(), ["budget.macs=20e6", "budget.bytes=64KiB", "budget.params=1000.5"])
    assert found.budget == Budget(macs=20_000_000, bytes=65_536, params=1000)


def test_every_setting_is_named_once_and_no_function_is() -> None:
    found = list(names(Outer()))
    assert found[-7:] == [
        "inner.low", "inner.high", "budget.params", "budget.nonzero", "budget.macs", "budget.bytes",
        "budget.ram",
    ]  # fmt: skip
    assert "shape" not in found
    assert len(set(found)) == len(found)


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**9), 10**9))
def test_what_python_writes_is_read_back(rate: float, count: int) -> None:
    found = override(Outer(), [f"rate={rate!r}", f"count={count}"])
    assert (found.rate, found.count) == (rate, count)


def test_settings_of_the_recipes_can_be_set_to_what_they_are() -> None:
    """Every number, switch and word of every recipe survives being written and read."""
    for name in ("dcase2020", "dcase2021", "dcase2022"):
        config: Any = importlib.import_module(f"recipes.{name}").Config()
        for setting in names(config):
            value = config
            for part in setting.split("."):
                value = getattr(value, part)
            if isinstance(value, bool | int | float | str):
                assert override(config, [f"{setting}={value}"]) == config, setting
