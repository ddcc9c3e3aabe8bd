"""A limit of CPU seconds on work that may never end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Stop what is inside after so many CPU seconds of this process; in the main thread alone.

    Raises:
        TimeoutError: If it has not ended by then.
    """

    def stop(_: int, __: FrameType | None) -> None:
        raise TimeoutError(f"not done after {seconds:g} CPU seconds")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
