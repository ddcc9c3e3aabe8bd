"""Work that does not end is stopped, and a limit does not outlive its work."""

from __future__ import annotations

import signal
from time import process_time

import pytest

from benchmarks.common.limit import limited


def spin(seconds: float) -> None:
    end = process_time() + seconds
    while process_time() < end:
        pass


def test_endless_work_is_stopped() -> None:
    with pytest.raises(TimeoutError, match=r"after 0\.05 CPU seconds"), limited(0.05):
        spin(5)


def test_a_limit_ends_with_its_work() -> None:
    before = signal.getsignal(signal.SIGPROF)
    with limited(0.05):
        pass
    spin(0.1)
    assert signal.getsignal(signal.SIGPROF) is before
