"""A thread that waits for another to end, by what both are in the middle of.

A thread that holds a lock and waits, in somebody's own code, for one that wants the lock never goes
on. Only stacks say who waits for whom: in `join` of a thread, or in what asks a future for its
result. Other ways to wait (an event, a queue) name no thread and are not seen.

Stacks of threads that run meanwhile are looked at as seldom as can be: CPython 3.11 was seen to
crash there once, with eight threads on a loaded machine.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import Future, thread
from functools import cache
from types import FrameType
from typing import Any, cast

_JOIN = threading.Thread.join.__code__
_ONE = (Future.result.__code__, Future.exception.__code__)
_SEVERAL = (futures.wait.__code__, futures.as_completed.__code__)
_WORK = cast("Any", thread)._WorkItem.run.__code__  # noqa: SLF001 - written nowhere else


def waits(one: int, other: int) -> bool:
    """True if thread number `one` waits for thread number `other`, or for one that waits for it."""
    stacks = sys._current_frames()  # noqa: SLF001 - the only way to see another thread's

    @cache
    def works() -> dict[int, int]:
        """The thread that is at work on each future, by the future's identity."""
        return {id(made): number for number in stacks for made in _made(stacks[number])}

    seen, open_ = set[int](), [one]
    while open_:
        here = open_.pop()
        if here == other:
            return True
        if here not in seen and here in stacks:
            seen.add(here)
            open_ += _awaited(stacks[here], works)
    return False


def _awaited(frame: FrameType, works: Callable[[], dict[int, int]]) -> list[int]:
    """Numbers of the threads that a stack waits for; `works` is asked if for futures."""
    found: list[int | None] = []
    for code, names in _stack(frame):
        if code is _JOIN:
            found.append(cast("threading.Thread", names["self"]).ident)
        elif code in _ONE:
            found.append(works().get(id(names["self"])))
        elif code in _SEVERAL:
            found += [works().get(id(future)) for future in cast("Any", names.get("fs") or ())]
    return [number for number in found if number is not None]


def _made(frame: FrameType) -> list[object]:
    """The futures that a thread of a pool is at work on."""
    return [names["self"].future for code, names in _stack(frame) if code is _WORK]


def _stack(frame: FrameType) -> Iterator[tuple[object, dict[str, Any]]]:
    """Code and local names of a stack's calls, the innermost first."""
    here: FrameType | None = frame
    while here is not None:
        if here.f_code in _OURS:
            yield here.f_code, here.f_locals
        here = here.f_back


_OURS = frozenset({_JOIN, *_ONE, *_SEVERAL, _WORK})
"""The only calls whose names are looked at."""
