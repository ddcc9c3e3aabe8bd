"""Decode the clips of a list once, into one memory-mapped file that later runs open at once.

Each list of files and format has a folder of its own, named by a digest of both. A row of it counts
while the size and the time of change of its file are those that it was decoded from (`row_file.py`
keeps them): a killed run goes on where it was, and a changed file alone is decoded again. A file
replaced by one of equal size and equal time is not noticed.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar, get_args

import numpy as np
from rich.console import Console
from rich.progress import MofNCompleteColumn, ProgressColumn, Task, TaskProgressColumn
from rich.text import Text

from compressor.storage import write_bytes
from recipes.data.audio import AudioFormat, decode, inspect
from recipes.data.listing import one_of
from recipes.data.row_file import RowFile
from recipes.files.progress import progress_bar

LAYOUT = 1
"""Version of the files; part of the digest."""
BLOCKS = 100
"""Times that a long build records its rows: a kill costs about a hundredth of the work."""
SMALLEST_BLOCK = 256
"""Rows that are recorded together, at least."""
SHOWN = 5
"""Bad files that a message describes."""

OnBadFile = Literal["refuse", "skip"]
"""Treatment of files that cannot be decoded: an error once the others are done, or a warning
and rows that are not valid."""
T = TypeVar("T")


@dataclass(frozen=True)
class Waveforms:
    """Decoded clips; row i belongs to path i.

    Attributes:
        audio: int16 (clips, channels, samples), read-only and memory-mapped; divide by 32768 for
            [-1, 1).
        valid: bool (clips,), false where a bad file was skipped: such a row means nothing.
    """

    audio: np.ndarray
    valid: np.ndarray


def waveforms(
    paths: Sequence[Path],
    wanted: AudioFormat,
    folder: Path,
    *,
    on_bad_file: OnBadFile = "refuse",
    workers: int | None = None,
) -> Waveforms:
    """The clips of some files: from the cache what is there, decoded now what is not.

    All headers are read before decoding starts, so that most bad files are known at once. Those
    that only decoding finds stop nothing: the others are decoded and kept, and when the file is
    mended the next call decodes it alone.

    Args:
        paths: The files, in the order of the rows.
        wanted: Format to decode to.
        folder: Folder of caches.
        on_bad_file: "refuse", or "skip".
        workers: Threads that decode, one for each processor when not given. Threads are enough:
            the decoder and the resampler release Python's lock.

    Raises:
        ValueError: If there are no paths, or bad files while `on_bad_file` is "refuse", or no
            others.
        OSError: If the disk is too full for the cache, or the folder cannot be written.
    """
    one_of("on_bad_file", on_bad_file, get_args(OnBadFile))
    if not paths:
        raise ValueError("There are no files to decode: the list given is empty.")
    paths = [path.absolute() for path in paths]
    store = RowFile(
        Path(folder) / _digest(paths, wanted), (len(paths), wanted.channels, wanted.samples)
    )
    bad: dict[int, Exception] = {}
    if (store.recorded() != _states(paths)).any():
        with store.locked():
            bad = _fill(store, paths, wanted, on_bad_file, workers or os.cpu_count() or 1)
    if bad:
        _report(bad, len(paths), on_bad_file)
    valid = np.ones(len(paths), np.bool_)
    valid[[*bad]] = False
    return Waveforms(store.map(), valid)


def taken(paths: Sequence[Path], wanted: AudioFormat, folder: Path) -> int:
    """Bytes on the disk that the cache of these files has taken, all before it is filled."""
    absolute = [path.absolute() for path in paths]
    file = Path(folder) / _digest(absolute, wanted) / "audio.npy"
    return file.stat().st_size if file.is_file() else 0


def _digest(paths: Sequence[Path], wanted: AudioFormat) -> str:
    """Name of the cache of these files in this format."""
    parts = [json.dumps([LAYOUT, asdict(wanted)]), *map(str, paths)]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _states(paths: Iterable[Path]) -> np.ndarray:
    """int64 (files, 2): size in bytes and time of change in ns; -2 for a file that is not there."""
    return np.array([_state(path) for path in paths], np.int64)


def _state(path: Path) -> tuple[int, int]:
    """The two numbers that a row's record holds."""
    try:
        found = path.stat()
    except OSError:
        return -2, -2  # unlike the record of any row
    return found.st_size, found.st_mtime_ns


def _fill(
    store: RowFile, paths: Sequence[Path], wanted: AudioFormat, on_bad_file: OnBadFile, workers: int
) -> dict[int, Exception]:
    """Decode every row that does not count; gives the errors of bad files by row."""
    states = _states(paths)
    stale = np.flatnonzero((store.recorded() != states).any(axis=1)).tolist()
    looked = _outcomes("Checking files", lambda row: inspect(paths[row], wanted), stale, workers)
    bad = {row: found for row, found in looked if isinstance(found, Exception)}
    if len(bad) == len(paths) or (bad and on_bad_file == "refuse"):
        return bad
    todo = [row for row in stale if row not in bad]

    def decoded(row: int) -> np.ndarray:
        clip = decode(paths[row], wanted)
        if _state(paths[row]) != tuple(states[row].tolist()):
            raise ValueError(
                f"{paths[row]} was changed while it was read. Wait until it is written."
            )
        return clip

    size = max(SMALLEST_BLOCK, len(paths) // BLOCKS)
    block: list[int] = []
    about = json.dumps({"layout": LAYOUT, "clips": len(paths), **asdict(wanted)}, indent=1)
    with store.opened(stale) as writer:
        write_bytes(store.folder / "format.json", about.encode())  # for a person who looks
        for row, clip in _outcomes("Decoding audio", decoded, todo, workers):
            if isinstance(clip, Exception):
                bad[row] = clip
                continue
            writer.write(row, clip)
            block.append(row)
            if len(block) == size:
                writer.record(block, states[block])
                block.clear()
        writer.record(block, states[block])
    return bad


def _outcomes(
    description: str, task: Callable[[int], T], rows: Sequence[int], workers: int
) -> Iterator[tuple[int, T | Exception]]:
    """Each row with what the task gave or how its file failed, in order, with a bar on a terminal.

    Only some tasks wait at a time, so that memory does not grow with the number of files.
    """
    console = Console(stderr=True)
    with (
        ThreadPoolExecutor(workers) as pool,
        progress_bar(console, MofNCompleteColumn(), _Rate()) as bar,
    ):
        shown = bar.add_task(description, total=len(rows))
        tasks = ((row, pool.submit(task, row)) for row in rows)
        waiting: deque[tuple[int, Future[T]]] = deque(islice(tasks, 4 * workers))
        while waiting:
            row, future = waiting.popleft()
            yield row, _outcome(future)
            bar.advance(shown)
            waiting.extend(islice(tasks, 1))


def _outcome(future: Future[T]) -> T | Exception:
    try:
        return future.result()
    except (ValueError, OSError) as error:
        return error


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return TaskProgressColumn.render_speed(task.finished_speed or task.speed)


def _report(bad: dict[int, Exception], count: int, on_bad_file: OnBadFile) -> None:
    lines = [f"  {error}" for error in list(bad.values())[:SHOWN]]
    if len(bad) > SHOWN:
        lines.append(f"  and {len(bad) - SHOWN} more")
    text = "\n".join([f"{len(bad)} of {count} files cannot be used:", *lines])
    if on_bad_file == "skip" and len(bad) < count:
        warnings.warn(f"{text}\nThey are left out.", stacklevel=3)
        return
    if len(bad) == count:
        raise ValueError(f"{text}\nThere are no others: are they the files of this data set?")
    raise ValueError(
        f"{text}\nReplace them and call again: what is decoded is kept. Or go on without them: "
        'on_bad_file="skip" (recipes.esc50: --on-bad-file skip).'
    )
