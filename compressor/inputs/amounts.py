"""Caps as people write them: ``128e3``, ``"0.29M"``, ``"64KiB"``, ``"50%"``, read exactly."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from fractions import Fraction
from numbers import Integral, Real
from typing import Self

from compressor.errors import BudgetError
from compressor.wording import brief

COUNT_UNITS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}
"""Multipliers a count (parameters, MACs) may be written with."""

_DECIMAL = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_BINARY = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
BYTE_UNITS = COUNT_UNITS | _DECIMAL | _BINARY
"""Multipliers a size may be written with: KB is 1000 bytes, KiB is 1024."""

SIZES = frozenset({"bytes", "ram"})
"""Resources that are counted in bytes."""

MOST = 2**63
"""Caps are below this, so that costs are counted in 64-bit integers."""

_NUMBER = r"\s*([+-]?[\d_]*\.?\d+(?:[eE][+-]?\d{1,2})?)\s*"
_AMOUNT = re.compile(_NUMBER + r"([A-Za-z]*)\s*")
_OF = r"(?:of\s+(\d[\d,_]*)(?:\s+of\s+(the file|the parameters))?)?"
_SHARE = re.compile(_NUMBER + r"%\s*" + _OF + r"\s*")


class Caps:
    """What a caller passes as a budget: base of `compressor.Budget`."""


class Share(str):
    """A part of what the network given has, while it is not known which: the text ``50%``.

    A text and no number: where it is taken for a cap by mistake, Python refuses (a `TypeError`),
    and in JSON it is what `Budget` reads again.
    """

    __slots__ = ()

    @property
    def percent(self) -> Decimal:
        """The part, above 0 and at most 100."""
        return Decimal(self.removesuffix("%"))

    @property
    def text(self) -> str:
        """As `Budget` reads it."""
        return str(self)

    def of(self, whole: int, what: str = "") -> Part:
        """The share of `whole`; `what` says of which bytes, where it could be several."""
        return Part(self, whole, what)


class Part(int):
    """A cap that came of a share: the whole number, rounded down, that remembers of what it is.

    Attributes:
        share: The share.
        whole: What the network has.
        what: What has so many, where that could be several: ``the file``, ``the parameters``.
    """

    share: Share
    whole: int
    what: str

    def __new__(cls, share: Share, whole: int, what: str = "") -> Self:
        """A share of `whole`."""
        made = super().__new__(cls, math.floor(Fraction(share.percent) / 100 * whole))
        made.share, made.whole, made.what = share, whole, what
        return made

    def __getnewargs__(self) -> tuple[Share, int, str]:  # type: ignore[override]
        """What a copy is made of."""
        return self.share, self.whole, self.what

    @property
    def text(self) -> str:
        """As `Budget` reads it: ``50% of 60,000,000``, ``50% of 5,571 of the file``."""
        return f"{self.share} of {self.whole:,}" + (f" of {self.what}" if self.what else "")

    def __str__(self) -> str:
        """The number."""
        return str(int(self))

    def __repr__(self) -> str:
        """The text, as Python writes it."""
        return repr(self.text)


def as_text(cap: int | Share, on: str = "") -> str:
    """A cap for people, of a share both what it is and what it comes to; `on` what it is on."""
    if isinstance(cap, Share):
        return f"{cap} of {on}" if on else cap
    if not isinstance(cap, Part):
        return f"{cap:,} of {on}" if on else f"{cap:,}"
    what = on or cap.what
    return f"{cap:,}{f' of {what}' if what else ''} ({cap.share} of {cap.whole:,})"


def cap_of(name: str, amount: object) -> int | Share:
    """A cap as a whole number, or a share, of the resource `name`.

    Raises:
        BudgetError: If it is none.
    """
    asked = f"Budget({name}={brief(amount)})"
    part = _share_of(asked, amount) if isinstance(amount, str) else amount
    if isinstance(part, Share):
        return part
    if isinstance(part, Part):
        return _checked(asked, part)
    value = _parse(name, amount) if isinstance(amount, str) else _number(asked, amount)
    if 0 < value < 1:
        share = f"Budget({name}='{float(100 * value):g}%')"
        raise BudgetError(
            f"{asked}: a cap must be at least 1, this is {value}. A part of what the network has "
            f"is a text, {share}."
        )
    if value < 1:
        raise BudgetError(
            f"{asked}: a cap must be at least 1, this is {brief(value)}. Leave {name} out for no "
            "cap."
        )
    if value >= MOST:
        raise BudgetError(
            f"{asked}: a cap must be below 2**63, about 9.2e18, which no network costs. Leave "
            f"{name} out for no cap."
        )
    return math.floor(value)


def _checked(asked: str, part: Part) -> Part:
    if not 1 <= part < MOST:
        raise BudgetError(f"{asked}: a cap must be at least 1, and {part.text} is {part:,}.")
    return part


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
    """Read "0.5 MB" as exactly 500000."""
    asked, units = f"Budget({name}={brief(text)})", BYTE_UNITS if name in SIZES else COUNT_UNITS
    found = _amount_of(text)
    if found is None:
        message = f"{asked}: cannot read a number. Write for instance '128k', '1.5M' or '50%', "
        raise BudgetError(message + "without thousands separators.")
    number, unit = found
    if unit not in units:
        known = ", ".join(u for u in units if u)
        why = "is a unit of bytes" if unit in BYTE_UNITS else "is not a unit"
        raise BudgetError(f"{asked}: {unit!r} {why}; {name} may be written with {known}.")
    return number * units[unit]


def _amount_of(text: str) -> tuple[Decimal, str] | None:
    """The number and the unit of a text such as ``0.5 MB``; None where there is no number."""
    match = _AMOUNT.fullmatch(text)
    return None if match is None else (Decimal(match[1].replace("_", "")), match[2])


def _share_of(asked: str, text: str) -> Share | Part | None:
    """The share that a text such as ``50%`` or ``50% of 60,000`` is; None if it is none."""
    match = _SHARE.fullmatch(text)
    if match is None:
        return None
    percent = Decimal(match[1].replace("_", ""))
    if not 0 < percent <= 100:
        raise BudgetError(
            f"{asked}: a share is above 0% and at most 100% of what the network has, such as '50%'."
        )
    share = Share(f"{percent.normalize():f}%")
    whole = None if match[2] is None else int(re.sub("[,_]", "", match[2]))
    return share if whole is None else share.of(whole, match[3] or "")
