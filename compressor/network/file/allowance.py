"""The memory that reading a file may take, counted before any of it is taken."""

from __future__ import annotations

import math
from collections.abc import Sequence

LEAST = 1 << 28
"""Bytes that reading a file may take, however short it is."""

FOLD = 16
"""Times the length of a file that reading it may take beside that."""

_DIMENSIONS = 16
"""Dimensions that a tensor may have."""

_TEXT, _LIST, _BRANCH = 64, 512, 8192
"""Bytes of objects for a byte of JSON, for a list in it, and for a branch of the tree of names."""


class Allowance:
    """Bytes that are left to reading one file of `length` bytes.

    `memory` is what it may take; None for `LEAST` and `FOLD` times the file.
    """

    def __init__(self, length: int, memory: float | None = None) -> None:
        self.most = LEAST + FOLD * length if memory is None else memory
        self.left = self.most
        self._length = length

    def take(self, size: int, what: str) -> None:
        """Count what is about to be taken; ValueError if it is more than is left."""
        if size > self.left:
            raise ValueError(
                f"{what} would take {size:,} bytes, and of the {int(self.most):,} that a file of "
                f"{self._length:,} bytes may take {int(self.left):,} are left: if you trust the "
                "file, load it with a larger `memory`"
            )
        self.left -= size

    def take_text(self, text: bytes) -> None:
        """Count what JSON becomes: its objects, and branches of a tree where it names some."""
        # A branch is opened by a brace, by a dot in a name, or by an escape that stands for a dot.
        branches = sum(text.count(mark) for mark in (b"{", b".", b"\\"))
        size = _TEXT * len(text) + _LIST * text.count(b"[") + _BRANCH * branches
        self.take(size, f"its structure of {len(text):,} bytes")

    def take_tensor(self, shape: Sequence[int], itemsize: int) -> None:
        """Count a tensor, and what reading it takes beside; ValueError if the shape is none."""
        sizes = list(shape)
        if len(sizes) > _DIMENSIONS or not all(type(n) is int and n >= 0 for n in sizes):
            raise ValueError(f"it has a tensor of the impossible shape {str(sizes)[:80]}")
        self.take((2 * itemsize + 1) * math.prod(sizes), f"a tensor of shape {sizes}"[:120])
