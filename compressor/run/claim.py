"""One run at a time in a checkpoint directory; a second is told at once, and kill -9 lets go.

The lock is the operating system's, on the directory itself where that is possible: it needs no
file, and it ends with the process that holds it, however that ends.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from compressor.errors import ResumeError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK = ".lock"
"""Name of the file that is locked where a directory cannot be."""

_held: dict[int, Path] = {}
"""The locks of this process and their directories."""


def _let_go() -> None:
    """A forked process (a worker of a data loader, say) has no part in its parent's locks."""
    for handle in _held:
        with suppress(OSError):
            os.close(handle)
    _held.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_let_go)


@contextmanager
def claimed(directory: str | os.PathLike[str]) -> Generator[None]:
    """Keep other runs, in other processes or threads, from a checkpoint directory.

    A session of this process that nobody refers to any more lets go of it.

    Args:
        directory: There is one.

    Raises:
        ResumeError: If a run that is going on has it.
    """
    place = Path(directory).resolve()
    if place in _held.values():
        gc.collect()  # a session is part of cycles of references, which end when Python looks
    handle = _lock(Path(directory))
    _held[handle] = place
    try:
        yield
    finally:
        if _held.pop(handle, None) is not None:  # else this process was forked since
            _unlock(handle)
            os.close(handle)


def _lock(directory: Path) -> int:
    if sys.platform != "win32":
        handle = os.open(directory, os.O_RDONLY)
        try:
            return _flock(handle, directory)
        except OSError:
            os.close(handle)  # a network's file system may lock files alone
        except ResumeError:
            os.close(handle)
            raise
    handle = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        return _flock(handle, directory)
    except BaseException:
        os.close(handle)
        raise


def _unlock(handle: int) -> None:
    """End a lock, also where a process that has just been forked still has the handle open."""
    if sys.platform != "win32":
        with suppress(OSError):  # closing ends it as well, once nobody has it open
            fcntl.flock(handle, fcntl.LOCK_UN)


def _flock(handle: int, directory: Path) -> int:
    try:
        if sys.platform == "win32":
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        own = directory.resolve() in _held.values()
        where = "this process" if own else "another process"
        how = (
            " (a session by session.close(), or at the end of `with Session(...) as session:`)"
            if own
            else ""
        )
        raise ResumeError(
            f"checkpoint={str(directory)!r} belongs to a run that is going on, in {where}: "
            f"wait until it is over or stop it{how}, and make the same call again; or pass another "
            "directory"
        ) from error
    return handle
