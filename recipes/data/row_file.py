"""An array on disk whose rows are either recorded and whole, or not recorded.

    audio.npy    int16 (rows, ...), its space taken before work starts
    rows.npy     int64 (rows, 2): the size in bytes and the time of change in ns of the file that a
                 row was made from, -1 for a row that was not made
    lock         held by the process that writes

Rows are brought to disk first and recorded after, a block at a time; the record of a row that will
be written over is cleared before. So a process may be killed at any moment: what is recorded is
whole. Rows are written to the file and not through a memory map, where a full disk is no error but
the end of the process (SIGBUS).
"""

from __future__ import annotations

import errno
import io
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock, Timeout
from rich.console import Console

from compressor.storage import write_bytes

NOT_MADE = np.int64(-1)
"""Record of a row that is not there: no file has this size or, since 1970, this time."""
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors of a system whose disk, quota or largest file allowed is full."""


@dataclass(frozen=True)
class RowFile:
    """The files of one array.

    Attributes:
        folder: Folder of these files alone.
        shape: (rows, ...).
    """

    folder: Path
    shape: tuple[int, ...]

    @property
    def audio(self) -> Path:
        return self.folder / "audio.npy"

    @property
    def rows(self) -> Path:
        return self.folder / "rows.npy"

    @cached_property
    def header(self) -> bytes:
        return _header("<i2", self.shape)

    @cached_property
    def rows_header(self) -> bytes:
        return _header("<i8", (self.shape[0], 2))

    @property
    def row_bytes(self) -> int:
        return 2 * math.prod(self.shape[1:])

    @property
    def size(self) -> int:
        return len(self.header) + self.shape[0] * self.row_bytes

    def map(self) -> np.ndarray:
        """All rows, int16, read-only and memory-mapped."""
        return np.load(self.audio, mmap_mode="r", allow_pickle=False)

    def recorded(self) -> np.ndarray:
        """int64 (rows, 2); `NOT_MADE` everywhere if a file is missing or damaged."""
        nothing = np.full((self.shape[0], 2), NOT_MADE)
        header = self.rows_header
        try:
            whole = self._is_whole() and self.rows.stat().st_size == len(header) + nothing.nbytes
            content = self.rows.read_bytes() if whole else b""
        except OSError:
            return nothing
        # Compared with the header that must be there: no damaged one is ever interpreted.
        if not content.startswith(header):
            return nothing
        return np.frombuffer(content, "<i8", offset=len(header)).reshape(nothing.shape).copy()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time; another waits, and finds the work done; OSError if it cannot."""
        lock = FileLock(self.folder / "lock")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            Console(stderr=True).print(f"Another process fills {self.folder}: waiting for it.")
            lock.acquire()
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror}: the cache folder {self.folder} cannot be written. Name "
                "another one with folder=, on a command line --cache",
            ) from error
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def opened(self, stale: Sequence[int]) -> Iterator[Writer]:
        """Write rows, while the lock is held; the records of those named are cleared first.

        Raises:
            OSError: If the disk is too full, before anything is written or while rows are; if a
                folder lies where a file should.
        """
        for path in (self.audio, self.rows):
            if path.is_dir():
                raise IsADirectoryError(
                    errno.EISDIR, f"{path} is a folder where the cache has a file. Remove it"
                )
        records = self.recorded()
        with self._told_when_full():
            if not self._is_whole():
                self._make()
            records[stale] = NOT_MADE
            _save(self.rows, records)
            with self.audio.open("r+b") as file:
                yield Writer(self, file, records)

    def _is_whole(self) -> bool:
        header = self.header
        try:
            with self.audio.open("rb") as file:
                same = file.read(len(header)) == header
            return same and self.audio.stat().st_size == self.size
        except OSError:
            return False

    def _make(self) -> None:
        """A file of full size that holds nothing yet: a full disk is told now, not in an hour."""
        self.rows.unlink(missing_ok=True)  # no record may outlive the rows it is about
        self.audio.unlink(missing_ok=True)
        if shutil.disk_usage(self.folder).free < self.size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part = self.audio.with_suffix(".part")
        try:
            with part.open("wb") as file:
                _take_space(file, self.size)
                file.write(self.header)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.audio)
        finally:
            part.unlink(missing_ok=True)

    @contextmanager
    def _told_when_full(self) -> Iterator[None]:
        """A full disk, in words that say how much is needed and what to do."""
        try:
            yield
        except OSError as error:
            if error.errno not in FULL:
                raise
            free = shutil.disk_usage(self.folder).free
            advice = (
                f"where {free / 1e9:.2f} GB are free. Make space or"
                if free < self.size or error.errno == errno.ENOSPC
                else f"and the {free / 1e9:.2f} GB that are free would do: the system limits the "
                "size of files (ulimit -f), or a quota does. Raise the limit or"
            )
            raise OSError(
                error.errno,
                f"{os.strerror(error.errno)}: {self.shape[0]:,} decoded clips need "
                f"{self.size / 1e9:.2f} GB in {self.folder}, {advice} name another folder for the "
                "cache; what is decoded already is kept",
            ) from error


@dataclass(frozen=True)
class Writer:
    """Rows on their way to disk."""

    target: RowFile
    file: BinaryIO
    records: np.ndarray

    def write(self, row: int, values: np.ndarray) -> None:
        """Put one row, int16, in its place."""
        self.file.seek(len(self.target.header) + row * self.target.row_bytes)
        self.file.write(np.ascontiguousarray(values, "<i2").tobytes())

    def record(self, rows: Sequence[int], states: np.ndarray) -> None:
        """From now on these rows count: they are on disk before their records (rows, 2) are."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.records[rows] = states
        _save(self.target.rows, self.records)


def _header(kind: str, shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    description = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, description)
    return buffer.getvalue()


def _save(path: Path, records: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, records, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def _take_space(file: BinaryIO, size: int) -> None:
    """Reserve the bytes where the system can do so, else only set the size."""
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except AttributeError:  # not on this system
        file.truncate(size)
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}:
            raise
        file.truncate(size)  # not on this file system
