"""One process at a time; a second is told at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


class BusyError(OSError):
    """Another process is at the same work."""


@contextmanager
def locked(lock: Path, doing: str) -> Iterator[None]:
    """Keep a second process from the same work (BusyError); one that is killed lets go.

    The lock is a file for this alone; it stays, because to delete it would let two in. `doing` says
    in the message to another process what the first does.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout as error:
        raise BusyError(f"Another process {doing}: wait for it or stop it.") from error
    try:
        yield
    finally:
        held.release()
