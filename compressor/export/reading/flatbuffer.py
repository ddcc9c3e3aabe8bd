"""Tables of a FlatBuffers file, read without trust: every offset and length is checked first.

The layout is that of https://flatbuffers.dev/internals: a table begins with the signed distance
back to its vtable, which lists where each field (a slot) stands; vectors and texts begin with
their length.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

MOST = 1_000_000
"""Entries of one vector of tables or numbers; no file for a microcontroller comes near."""


@dataclass(frozen=True)
class Content:
    """The bytes of a file, and what errors call it."""

    data: bytes
    name: str

    def fault(self, why: str) -> ValueError:
        """The error that says why this file cannot be read."""
        return ValueError(f"{self.name} is no .tflite file that can be read: {why}")

    def number(self, code: str, at: int) -> Any:
        """The little-endian number of `struct` code `code` at byte `at`."""
        size = struct.calcsize(code)
        if at < 0 or at + size > len(self.data):
            raise self.fault(
                f"it points at byte {at:,} for a number of {size} bytes and has {len(self.data):,}"
            )
        return struct.unpack_from(f"<{code}", self.data, at)[0]

    def root(self, identifier: bytes) -> Table:
        """The table that the file begins with.

        Raises:
            ValueError: If bytes 4 to 8 are not `identifier`, or the offset leads out of the file.
        """
        if self.data[4:8] != identifier:
            raise self.fault(
                f"bytes 4 to 8 are {self.data[4:8]!r} and not {identifier!r} ({len(self.data):,} "
                "bytes in all)"
            )
        return Table(self, self.number("I", 0))


@dataclass(frozen=True)
class Table:
    """One table: its fields are asked for by slot, in the order of the schema.

    Attributes:
        content: Of the whole file.
        at: Byte at which the table begins.
    """

    content: Content
    at: int

    def number(self, slot: int, code: str, default: int = 0) -> int:
        """A scalar field, `default` where the table has none."""
        at = self._field(slot)
        return default if at is None else int(self.content.number(code, at))

    def table(self, slot: int) -> Table | None:
        """The table that a field points to."""
        at = self._target(slot)
        return None if at is None else Table(self.content, at)

    def tables(self, slot: int) -> list[Table]:
        """The tables that a vector points to."""
        start, count = self._vector(slot, 4)
        places = range(start, start + 4 * count, 4)
        return [Table(self.content, at + self.content.number("I", at)) for at in places]

    def numbers(self, slot: int, code: str, most: int = MOST) -> tuple[int, ...]:
        """A vector of at most `most` numbers; empty where the table has none."""
        start, count = self._vector(slot, struct.calcsize(code), most)
        return struct.unpack_from(f"<{count}{code}", self.content.data, start)

    def count(self, slot: int, code: str) -> int:
        """How many numbers a vector has; 0 where the table has none."""
        return self._vector(slot, struct.calcsize(code))[1]

    def span(self, slot: int) -> tuple[int, int]:
        """Where the bytes of a vector begin, and how many they are; (0, 0) where there is none."""
        return self._vector(slot, 1, len(self.content.data))

    def text(self, slot: int, longest: int = 200) -> str:
        """A text, cut after `longest` bytes; empty where there is none; no control characters."""
        start, count = self.span(slot)
        text = self.content.data[start : start + min(count, longest)].decode(errors="replace")
        return "".join(c if c.isprintable() else "?" for c in text)

    def _field(self, slot: int) -> int | None:
        """Where a field stands; None where this table has none of that slot."""
        vtable = self.at - self.content.number("i", self.at)
        place = 4 + 2 * slot
        if place + 2 > self.content.number("H", vtable):
            return None
        offset = self.content.number("H", vtable + place)
        return self.at + offset if offset else None

    def _target(self, slot: int) -> int | None:
        at = self._field(slot)
        return None if at is None else at + int(self.content.number("I", at))

    def _vector(self, slot: int, size: int, most: int = MOST) -> tuple[int, int]:
        """Where the entries of a vector begin, and how many they are; all within the file."""
        at = self._target(slot)
        if at is None:
            return 0, 0
        count = int(self.content.number("I", at))
        if count > most or at + 4 + size * count > len(self.content.data):
            raise self.content.fault(
                f"a vector at byte {at:,} should have {count:,} entries of {size} bytes, and the "
                f"file has {len(self.content.data):,} (at most {most:,} are read)"
            )
        return at + 4, count
