"""No operation that a file may name ends the process, whatever it is called with."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections import Counter
from ctypes.util import find_library
from pathlib import Path

import pytest

from tests.hostile import case, examples, names, ran

ROUNDS = {"explore": 300}
"""Calls of every operation, by the profile that `make explore` sets."""


CHECKED = (
    {
        "LD_PRELOAD": "libc_malloc_debug.so.0",
        "GLIBC_TUNABLES": "glibc.malloc.check=3",
    }
    if find_library("c_malloc_debug") or list(Path("/usr/lib").glob("*/libc_malloc_debug.so.0"))
    else {}
)
"""Has the C library look at every block that is freed, where it can: what was written beyond one
ends the process there, and not by chance later."""


def died(seed: int, count: int) -> tuple[list[str], Counter[str]]:
    """The cases that killed a child process, and how the others ended."""
    first, found, ends = 0, list[str](), Counter[str]()
    while first < count:
        command = [sys.executable, "-m", "tests.hostile", str(seed), str(first), str(count)]
        child = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, check=False, env=os.environ | CHECKED
        )
        lines = child.stdout.splitlines()
        ends.update(line.split()[2] for line in lines if len(line.split()) == 3)
        if not child.returncode:
            break
        assert lines, child.stderr
        number = int(lines[-1].split()[0])
        name, args, kwargs = case(seed, number)
        said = child.stderr.splitlines()[-1:] or [f"signal {-child.returncode}"]
        found.append(f"seed {seed}, case {number}: {name} {args} {kwargs}: {said[0]}")
        first = number + 1
    return found, ends


def test_what_runs_is_admitted() -> None:
    """The calls that are spoiled below are good ones."""
    for name, args in examples().items():
        assert ran(name, args, {}) == "ran", name


@pytest.mark.slow
@pytest.mark.hypothesis
def test_no_call_of_an_operation_kills_the_process() -> None:
    profile = os.environ.get("HYPOTHESIS_PROFILE", "repeat")
    seed = secrets.randbelow(2**31) if profile == "explore" else 0
    count = ROUNDS.get(profile, 8) * len(names())
    found, ends = died(seed, count)
    assert not found, "\n".join(found)
    # Otherwise the calls would all be refused at the door, and show nothing.
    assert ends["ran"] > count / 5
