"""One line a phase and an epoch, through Python's own `logging`, with the time that is left.

A comparison of structures that takes long says how far it is, too.

Lines are records of the logger ``compressor``, of level INFO: they go wherever the user has set
logging up to send them. Where nobody has, and there is no terminal for a bar, `printed` sends them
to stderr for the time of a run, and takes back what it set.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from math import isnan
from typing import TYPE_CHECKING

from compressor.run.history import Epoch

if TYPE_CHECKING:
    from compressor.budget import Cost

LOGGER = logging.getLogger("compressor")

PATIENCE = 10.0
"""Seconds that a comparison may take in silence."""


class Told:
    """What is said of one run.

    Args:
        passes: Epochs of every phase of the schedule; none for a training without one.
        quiet: Say nothing, as all processes of a run but one.
    """

    def __init__(self, passes: Sequence[int] = (), *, quiet: bool = False) -> None:
        self._passes, self._number, self._quiet = passes, 0, quiet
        self._seconds: list[float] = []
        self._began = time.perf_counter()

    def begin(self, what: str) -> None:
        """Say what happens before the first phase."""
        self._say(what)

    def phase(self, number: int, name: str) -> None:
        """Say that a phase begins."""
        self._number, self._seconds = number, []
        if self._passes:
            passes = self._passes[number]
            epochs = f", {passes} epoch{'s' * (passes > 1)}" if passes else ""
            self._say(f"[{number + 1}/{len(self._passes)}] {name}{epochs}")

    def epoch(self, epoch: Epoch, total: int) -> None:
        """Say what an epoch came to."""
        self._seconds.append(epoch.seconds)
        many = len(self._passes)
        place = f"[{self._number + 1}/{many}] " if many else ""
        loss = "" if isnan(epoch.loss) else f"loss {epoch.loss:.4g}, "
        val = "" if epoch.accuracy is None else f"val {epoch.accuracy:.4g}, "
        left = self.left(epoch.epoch, total)
        rest = f", about {span(left)} left" if left else ""
        name = f"{place}{epoch.phase} {epoch.epoch}/{total}"
        self._say(f"{name}: {loss}{val}{span(epoch.seconds)}{rest}")

    def end(self, cost: Cost) -> None:
        """Say what came out."""
        self._say(f"Done in {span(time.perf_counter() - self._began)}: {cost}")

    def left(self, done: int, total: int) -> float:
        """Seconds that are left, if every epoch to come takes as long as those of this phase."""
        later = sum(self._passes[self._number + 1 :])
        mean = sum(self._seconds) / len(self._seconds)
        return mean * (total - done + later)

    def _say(self, line: str) -> None:
        if not self._quiet:
            LOGGER.info(line)


class Compared:
    """How far a comparison is, said after each of its parts where it takes long.

    Args:
        total: Parts.
        what: What each is judged by.
        quiet: Say nothing.
    """

    def __init__(self, total: int, what: str, *, quiet: bool = False) -> None:
        self._total, self._what, self._quiet = total, what, quiet
        self._done, self._began = 0, time.perf_counter()

    def one(self, value: float) -> None:
        """Another part came to a value."""
        self._done += 1
        spent = time.perf_counter() - self._began
        if self._quiet or spent < PATIENCE or self._done == self._total:
            return
        left = span(spent / self._done * (self._total - self._done))
        far = f"Compared {self._done} of {self._total} structures"
        LOGGER.info("%s: %s %.4g, about %s left", far, self._what, value, left)


def span(seconds: float) -> str:
    """A time as people say it, such as "12 s" or "5 min"."""
    if seconds < 99.5:
        return f"{seconds:.2g} s" if seconds < 9.5 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{seconds / 3600:.1f} h"


@contextmanager
def printed(*, shown: bool, logger: logging.Logger = LOGGER) -> Generator[None]:
    """Print the lines of a logger to stderr meanwhile, where nobody has set logging up.

    Nothing is set for good: a handler that stayed would print beside those that a program sets up
    later.
    """
    if not shown or logger.hasHandlers():
        yield
        return
    handler, level = logging.StreamHandler(), logger.level
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger.addHandler(handler)
    if level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
