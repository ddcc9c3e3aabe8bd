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
    """Keep a second process from the same work; a process that is killed lets go.

    Args:
        lock: A file for this alone; it stays, because to delete it would let two in.
        doing: Work of the process that holds it, for the message to another.

    Raises:
        BusyError: If another process holds it.
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
