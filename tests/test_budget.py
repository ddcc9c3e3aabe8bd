"""Budgets: what may be written, what is refused, what they allow."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.budget import Budget, Cost
from compressor.errors import BudgetError
from compressor.inputs.amounts import BYTE_UNITS, COUNT_UNITS
from compressor.run.tflite_size import Tflite

NAMES = ("params", "nonzero", "macs", "bytes")
costs = st.builds(Cost, *[st.integers(0, 10**12)] * 4)
caps = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 10**12), min_size=1)


@pytest.mark.parametrize(
    ("written", "cap"),
    [
        (128_000, 128_000),
        (128e3, 128_000),
        (np.int64(7), 7),
        (np.float32(2.5), 2),
        (Fraction(7, 2), 3),
        (1.999, 1),
        ("128000", 128_000),
        ("128_000", 128_000),
        ("128k", 128_000),
        ("128K", 128_000),
        (" 1.5 M ", 1_500_000),
        ("0.29M", 290_000),  # 0.29 * 1e6 is 289999.99999999994 in floating point
        ("1e6", 1_000_000),
        ("1.2345k", 1_234),
        (".5G", 500_000_000),
    ],
)
def test_a_cap_is_read_exactly(written: float | str, cap: int) -> None:
    for name in NAMES:
        assert Budget(**{name: written}).caps == {name: cap}
        assert type(getattr(Budget(**{name: written}), name)) is int


@pytest.mark.parametrize(
    ("written", "cap"),
    [
        ("61.0 KB", 61_000),
        ("61kB", 61_000),
        ("0.5 MB", 500_000),
        ("128KiB", 131_072),
        ("128k", 128_000),
        ("1 MiB", 1_048_576),
        ("500 B", 500),
        ("1GiB", 2**30),
    ],
)
def test_units_of_bytes(written: str, cap: int) -> None:
    assert Budget(bytes=written).bytes == cap


@given(st.integers(1, 10**6), st.sampled_from(sorted(BYTE_UNITS)), st.integers(0, 3))
def test_units_multiply_exactly(number: int, unit: str, decimals: int) -> None:
    text = f"{number}.{'0' * decimals}5{unit}"
    value = (number + Fraction(5, 10 ** (decimals + 1))) * BYTE_UNITS[unit]
    assert Budget(bytes=text).bytes == math.floor(value)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (0, "at least 1"),
        (0.5, "at least 1"),
        ("0k", "at least 1"),
        (-3, "at least 1"),
        ("-3k", "at least 1"),
        (math.nan, "finite"),
        (math.inf, "finite"),
        (-math.inf, "finite"),
        (True, "not bool"),
        ([1], "not list"),
        (1j, "not complex"),
        ("", "cannot read"),
        ("many", "cannot read"),
        ("nan", "cannot read"),
        ("1,000", "cannot read"),
        ("1e999", "cannot read"),
        ("1 2", "cannot read"),
        ("3 parsecs", "'parsecs' is not a unit"),
        ("30m", "'m' is not a unit"),
    ],
)
def test_a_wrong_cap_is_refused(wrong: object, why: str) -> None:
    for name in NAMES:
        with pytest.raises(BudgetError, match=f"Budget\\({name}=.*{why}"):
            Budget(**{name: wrong})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["params", "nonzero", "macs"])
@pytest.mark.parametrize("unit", sorted(BYTE_UNITS.keys() - COUNT_UNITS))
def test_a_count_has_no_bytes(name: str, unit: str) -> None:
    with pytest.raises(BudgetError, match=f"'{unit}' is a unit of bytes; {name} may be written"):
        Budget(**{name: f"128{unit}"})


def test_a_budget_needs_a_cap() -> None:
    with pytest.raises(BudgetError, match=r"at least one cap and none was given.*Budget\(params="):
        Budget()


def test_caps_have_names() -> None:
    with pytest.raises(TypeError):
        Budget(128e3)  # pyright: ignore[reportCallIssue]


@given(caps, costs)
def test_allows_is_every_cap_at_once(given_caps: dict[str, int], cost: Cost) -> None:
    budget = Budget(**given_caps)
    assert budget.caps == given_caps
    over = {name for name, cap in given_caps.items() if getattr(cost, name) > cap}
    assert budget.allows(cost) == (not over)
    excess = budget.excess(cost)
    assert set(excess) == over
    assert all(ratio > 1 for ratio in excess.values())


def test_excess_is_cost_over_cap() -> None:
    cost = Cost(params=100, nonzero=50, macs=54_000_000, bytes=400)
    budget = Budget(params=100, macs="30M")
    assert budget.excess(cost) == {"macs": 1.8}
    assert not budget.allows(cost)
    assert budget.allows(dataclasses.replace(cost, macs=30_000_000))


def test_budgets_are_values() -> None:
    budget = Budget(params="128k", macs=30e6)
    assert budget == Budget(params=128_000, macs="30M")
    assert hash(budget) == hash(Budget(params=128_000, macs="30M"))
    assert dataclasses.replace(budget, params=None) == Budget(macs=30e6)
    with pytest.raises(dataclasses.FrozenInstanceError):
        budget.params = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_as_text() -> None:
    assert str(Budget(params="128k", macs="30M")) == "params <= 128,000 and macs <= 30,000,000"
    cost = Cost(params=1_234, nonzero=1_000, macs=56_789, bytes=4_936)
    assert str(cost) == "1,234 parameters (1,000 non-zero), 56,789 MACs, 4,936 bytes"


def test_ram_is_a_size() -> None:
    caps = Budget(ram="64KiB", macs="1M")
    assert caps.caps == {"macs": 10**6, "ram": 65_536}
    assert str(caps) == "macs <= 1,000,000 and ram <= 65,536"
    assert Budget(ram="1.5kB").ram == 1500


def test_ram_that_was_not_counted_meets_no_cap() -> None:
    cost = Cost(params=1, nonzero=1, macs=1, bytes=1)  # as records from before had it
    assert cost.ram is None
    assert Budget(macs=1).allows(cost)
    with pytest.raises(BudgetError, match=r"RAM was not counted.*working_memory"):
        Budget(ram=100).allows(cost)
    counted = dataclasses.replace(cost, ram=150)
    assert Budget(ram=100, macs=1).excess(counted) == {"ram": 1.5}
    assert str(counted).endswith("1 bytes, 150 bytes of RAM")
    assert not str(cost).endswith("RAM")


# ------------------------------------------------------------------------------------------ shares

PERCENT = st.decimals("0.01", "100", places=2)
parts = st.dictionaries(st.sampled_from(NAMES), PERCENT, min_size=1)
large = st.builds(Cost, *[st.integers(10**4, 10**12)] * 4)


@given(parts, large)
def test_a_share_of_a_network_is_its_floor(found: dict[str, Decimal], cost: Cost) -> None:
    budget = Budget(**{name: f"{part}%" for name, part in found.items()})
    assert set(budget.unresolved) == set(found)
    caps = {n: math.floor(Fraction(p) * getattr(cost, n) / 100) for n, p in found.items()}
    fixed = budget.resolved(cost)
    assert fixed == Budget(**caps)
    assert hash(fixed) == hash(Budget(**caps))
    assert fixed.caps == caps
    assert all(type(cap) is int for cap in fixed.caps.values())
    assert not fixed.unresolved
    assert fixed.resolved(Cost(1, 1, 1, 1)) is fixed


@given(parts, large)
def test_shares_are_read_again_from_what_is_printed(found: dict[str, Decimal], cost: Cost) -> None:
    budget = Budget(**{name: f"{part}%" for name, part in found.items()})
    for one in (budget, budget.resolved(cost)):
        for again in (eval(repr(one)), copy.deepcopy(one), dataclasses.replace(one)):  # noqa: S307
            assert again == one
            assert (str(again), repr(again)) == (str(one), repr(one))


@given(parts, large, caps)
def test_plain_data_keeps_shares(
    found: dict[str, Decimal], cost: Cost, numbers: dict[str, int]
) -> None:
    budget = Budget(**(numbers | {name: f"{part}%" for name, part in found.items()}))
    again = json.loads(json.dumps(dataclasses.asdict(budget)))
    assert Budget(**again) == budget
    assert {name: again[name] for name in found} == budget.shares == budget.unresolved
    assert pickle.loads(pickle.dumps(budget)) == budget  # noqa: S301
    fixed = budget.resolved(cost)
    for one in (fixed, pickle.loads(pickle.dumps(fixed))):  # noqa: S301
        assert json.loads(json.dumps(dataclasses.asdict(one))) == dict.fromkeys(again) | one.caps
        assert Budget(**dataclasses.asdict(one)).shares == one.shares == fixed.shares
        assert Budget(**(one.caps | one.shares)) == one


def test_nothing_is_computed_with_a_share_of_nobody_knows_what() -> None:
    budget, cost = Budget(macs="50%"), Cost(10, 10, 60, 40)
    for wrong in (lambda cap: cap - 5, lambda cap: cap / 2, lambda cap: cap >= 60):
        with pytest.raises(TypeError):
            wrong(budget.macs)
    fixed = budget.resolved(cost)
    assert fixed.macs == 30 == int(str(fixed.macs))
    assert (fixed.macs - 5, f"{fixed.macs:,}") == (25, "30")  # type: ignore[operator]


def test_shares_say_of_which_bytes() -> None:
    cost = Cost(params=10, nonzero=10, macs=60, bytes=5864)
    fixed = Budget(bytes="50%").resolved(cost)
    assert str(fixed) == "bytes <= 2,932 of the parameters (50% of 5,864)"
    assert str(Budget(**fixed.shares)) == str(fixed)  # type: ignore[arg-type]
    budget = Budget(bytes="50%", file=Tflite())
    assert str(budget) == "bytes <= 50% of the .tflite"
    why = r"bytes <= 50% of the \.tflite is asked of a cost.*stored parameters.*Session"
    with pytest.raises(BudgetError, match=why):
        budget.resolved(cost)
    known = Budget(bytes="50% of 400", file=Tflite(), macs="50%").resolved(cost)
    assert known == Budget(bytes=200, file=Tflite(), macs=30)
    assert str(known).startswith("macs <= 30 (50% of 60) and bytes <= 200 of the .tflite (50% of")


@pytest.mark.parametrize("wrong", [None, 5, Budget(macs=5)], ids=str)
def test_resolved_says_what_it_takes(wrong: object) -> None:
    for budget in (Budget(macs="50%"), Budget(macs=5)):
        with pytest.raises(BudgetError, match=r"resolved needs what a network costs, .*measure"):
            budget.resolved(wrong)  # type: ignore[arg-type]


def test_a_share_is_a_value() -> None:
    assert Budget(macs="50%") == Budget(macs=" 50.0 % ")
    assert hash(Budget(macs="50%")) == hash(Budget(macs="50.0%"))
    assert Budget(macs="50%") != Budget(macs="25%")
    assert Budget(macs="50%") != Budget(macs="50% of 200") == Budget(macs=100)
    assert Budget(macs=100) == Budget(macs="50% of 200")
    assert Budget(macs=99) != Budget(macs="50% of 200")


def test_shares_say_both() -> None:
    budget = Budget(macs="50%", params=7)
    assert str(budget) == "params <= 7 and macs <= 50%"
    cost = Cost(params=10, nonzero=10, macs=60_000_000, bytes=40)
    fixed = budget.resolved(cost)
    assert str(fixed) == "params <= 7 and macs <= 30,000,000 (50% of 60,000,000)"
    assert json.loads(json.dumps(dataclasses.asdict(fixed)))["macs"] == 30_000_000


def test_a_share_of_nobody_knows_what_lets_nothing_through() -> None:
    budget, cost = Budget(macs="50%"), Cost(1, 1, 1, 1)
    with pytest.raises(BudgetError, match=r"macs <= 50%: macs is a share.*budget.resolved"):
        budget.allows(cost)
    with pytest.raises(BudgetError, match=r"macs <= 50%: macs is a share of"):
        assert budget.caps
    with pytest.raises(BudgetError, match=r"params and macs are shares of"):
        assert Budget(macs="50%", params="25%").caps
    with pytest.raises(BudgetError, match=r"ram <= 50% is asked of a cost whose RAM was not"):
        Budget(ram="50%").resolved(cost)
    with pytest.raises(BudgetError, match=r"at least 1, and 50% of 1 is 0"):
        budget.resolved(cost)
