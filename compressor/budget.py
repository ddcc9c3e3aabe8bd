"""What a network costs (`Cost`) and what it may cost (`Budget`): four integers each."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

from compressor.errors import BudgetError
from compressor.wording import brief

if TYPE_CHECKING:
    from compressor.rules import Rule

COUNT_UNITS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}
"""Multipliers a count (parameters, MACs) may be written with."""

_DECIMAL = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_BINARY = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
BYTE_UNITS = COUNT_UNITS | _DECIMAL | _BINARY
"""Multipliers a size may be written with: KB is 1000 bytes, KiB is 1024."""

MOST = 2**63
"""Caps are below this, so that costs are counted in 64-bit integers."""

_SHARE = (
    "A cap is a count and no share. For half of what a network has, write cost = "
    "compressor.measure(model, example) and Budget(macs=cost.macs // 2)."
)

_AMOUNT = re.compile(r"\s*([+-]?[\d_]*\.?\d+(?:[eE][+-]?\d{1,2})?)\s*([A-Za-z]*)\s*")


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
        params: Parameters stored, zeros included; every distinct parameter once, buffers never.
        nonzero: Parameters that are not zero.
        macs: Multiply-accumulates of convolutions and matrix products for one input.
        bytes: Bytes of the stored parameters at their present data types.
    """

    params: int
    nonzero: int
    macs: int
    bytes: int

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"{self.params:,} parameters ({self.nonzero:,} non-zero), "
            f"{self.macs:,} MACs, {self.bytes:,} bytes"
        )


@dataclass(frozen=True, init=False)
class Budget:
    """Hard caps on a network's cost: any subset of the four, at least one.

    A cap is a number (``128e3``) or a string (``"128k"``, ``"30M"``; for bytes also ``"128KiB"``,
    ``"0.5 MB"``, ``"61.0 KB"``). k, M, G and KB, MB, GB are powers of 1000, KiB, MiB, GiB powers
    of 1024. A fractional cap is rounded down: a cost is an integer, so nothing changes.

    Attributes:
        params: Most parameters, or None for no cap; likewise the others.
        nonzero: Most non-zero parameters.
        macs: Most multiply-accumulates for one input.
        bytes: Most bytes: in `fit` and `Session` of the file that `Result.write` makes, in
            `allocate` and `allows` of the stored parameters.
        rule: The challenge's rule whose caps these are, if they are one's: a report then ends in
            its verdict. Two budgets of the same caps are equal.

    Raises:
        BudgetError: If no cap is given, or one is not a number from 1 to below 2**63.
    """

    params: int | None
    nonzero: int | None
    macs: int | None
    bytes: int | None
    rule: ClassVar[Any] = None  # a Rule, which `of` gives one budget: no cap, so no field

    def __init__(
        self,
        *,
        params: float | str | None = None,
        nonzero: float | str | None = None,
        macs: float | str | None = None,
        bytes: float | str | None = None,  # noqa: A002 - named as in Cost
    ) -> None:
        """Check and store the caps as integers."""
        given = {"params": params, "nonzero": nonzero, "macs": macs, "bytes": bytes}
        for name, amount in given.items():
            cap = None if amount is None else _cap(name, amount)
            object.__setattr__(self, name, cap)
        if not self.caps:
            message = "a budget needs at least one cap and none was given. Write for instance "
            raise BudgetError(message + 'Budget(params=128e3, macs="30M").')

    @staticmethod
    def dcase(year: int) -> Budget:
        """The caps of DCASE Task 1 in `year` (2020 to 2025), as `compressor.rules` states them.

        The caps are the organisers'; what they count differs from `measure` in most years, so
        check a result with the year's `Rule.check` before submitting it.

        Raises:
            BudgetError: If there is no rule for `year`.
        """
        from compressor.rules import of_year  # noqa: PLC0415 - rules are written in terms of Cost

        return of_year(year).budget

    @property
    def caps(self) -> dict[str, int]:
        """The caps that were given, by name."""
        values = {name: getattr(self, name) for name in ("params", "nonzero", "macs", "bytes")}
        return {name: cap for name, cap in values.items() if cap is not None}

    def of(self, rule: Rule) -> Budget:
        """The same caps, as those of a challenge's rule."""
        caps = Budget(params=self.params, nonzero=self.nonzero, macs=self.macs, bytes=self.bytes)
        object.__setattr__(caps, "rule", rule)
        return caps

    def allows(self, cost: Cost) -> bool:
        """Whether `cost` is within every cap."""
        return not self.excess(cost)

    def excess(self, cost: Cost) -> dict[str, float]:
        """How far each exceeded cap is exceeded, as cost / cap; empty when the budget is met.

        ``{"macs": 1.8}`` says that the MACs are 80 % over their cap.
        """
        ratios = {name: (getattr(cost, name), cap) for name, cap in self.caps.items()}
        return {name: spent / cap for name, (spent, cap) in ratios.items() if spent > cap}

    def __str__(self) -> str:
        """One line for people."""
        return " and ".join(f"{name} <= {cap:,}" for name, cap in self.caps.items())


def required(budget: object, caller: str) -> Budget:
    """The budget, if it is one or a rule that has one.

    Raises:
        BudgetError: If it is not; says what `caller` needs.
    """
    from compressor.rules import Rule  # noqa: PLC0415 - rules are written in terms of Cost

    if isinstance(budget, Rule):
        return budget.budget
    if not isinstance(budget, Budget):
        raise BudgetError(
            f"{caller} needs a budget and got {brief(budget)}: pass budget=Budget(params='128k', "
            "macs='30M'), or any subset of params, nonzero, macs and bytes"
        )
    return budget


def _cap(name: str, amount: object) -> int:
    """The integer cap that `amount` stands for."""
    asked = f"Budget({name}={brief(amount)})"
    value = _parse(name, amount) if isinstance(amount, str) else _number(asked, amount)
    if value < 1:
        share = 0 < value < 1
        message = f"{asked}: a cap must be at least 1, this is {value if share else brief(value)}. "
        raise BudgetError(message + (_SHARE if share else f"Leave {name} out for no cap."))
    if value >= MOST:
        raise BudgetError(
            f"{asked}: a cap must be below 2**63, about 9.2e18, which no network costs. Leave "
            f"{name} out for no cap."
        )
    return math.floor(value)


def _number(asked: str, amount: object) -> float | Decimal | Fraction:
    if isinstance(amount, bool) or not isinstance(amount, (Real, Decimal)):
        one = callable(getattr(amount, "item", None))  # of torch and numpy
        advice = ": write int(...) around it" if one else ""
        message = f"{asked}: a cap is a number or a string such as '128k', not "
        raise BudgetError(message + f"{type(amount).__name__}{advice}.")
    if isinstance(amount, Integral):
        return int(amount)
    if not (amount.is_finite() if isinstance(amount, Decimal) else math.isfinite(amount)):
        raise BudgetError(f"{asked}: a cap must be finite. Leave it out for no cap.")
    return amount if isinstance(amount, (Decimal, Fraction)) else float(amount)


def _parse(name: str, text: str) -> Decimal:
    """Read "0.5 MB" as exactly 500000; decimal arithmetic, so no rounding creeps in."""
    units = BYTE_UNITS if name == "bytes" else COUNT_UNITS
    match = _AMOUNT.fullmatch(text)
    if match is None and text.strip().endswith("%"):
        raise BudgetError(f"Budget({name}={brief(text)}): this is no count. {_SHARE}")
    if match is None:
        message = f"Budget({name}={brief(text)}): cannot read a number. Write for instance '128k' "
        raise BudgetError(message + "or '1.5M', without thousands separators.")
    number, unit = match.groups()
    if unit not in units:
        known = ", ".join(u for u in units if u)
        why = "is a unit of bytes" if unit in BYTE_UNITS else "is not a unit"
        message = (
            f"Budget({name}={brief(text)}): {unit!r} {why}; {name} may be written with {known}."
        )
        raise BudgetError(message)
    return Decimal(number.replace("_", "")) * units[unit]
