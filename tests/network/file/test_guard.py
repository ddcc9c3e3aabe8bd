"""No operation that a file may name ends the process, whatever it is called with."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from ctypes.util import find_library
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressor.network.file.guard import rehearse
from tests.helpers.hostile import case, examples, names, network_of, ran

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
        command = [sys.executable, "-m", "tests.helpers.hostile", str(seed), str(first), str(count)]
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


def smaller(value: Any) -> Iterator[Any]:
    """An argument with a tensor in it shortened along one of its dimensions, in every way."""
    if isinstance(value, tuple):
        for at, one in enumerate(value):
            yield from ((*value[:at], less, *value[at + 1 :]) for less in smaller(one))
    elif isinstance(value, Tensor):
        yield value.double()
        for dim, size in enumerate(value.shape):
            yield from ([value.narrow(dim, 0, size - 1)] if size > 1 else [])


@pytest.mark.parametrize(
    "name",
    ["lstm.input", "gru.input", "rnn_tanh.input", "rnn_relu.input", "_weight_norm"],
)
def test_kernels_that_compare_no_sizes_get_none_that_differ(name: str) -> None:
    """Walked through alone: what is let pass here might be the end of this process."""
    args = examples()[name]
    for less in smaller(args[1:]):
        made, inputs = network_of(name, (args[0], *less), {})
        with pytest.raises(ValueError, match="cannot run"):
            rehearse(made, inputs)


def test_a_recurrent_layer_of_every_form_is_admitted() -> None:
    x = torch.zeros(3, 5, 4)
    for kind, more in product((nn.LSTM, nn.GRU, nn.RNN), ({}, {"proj_size": 3})):
        if more and kind is not nn.LSTM:
            continue
        for layers, both, bias, first in product((1, 2), *[(False, True)] * 3):
            layer = kind(4, 6, layers, bias=bias, batch_first=first, bidirectional=both, **more)
            count, batch = layers * (1 + both), 3 if first else 5
            states = [torch.zeros(count, batch, more.get("proj_size", 6))]
            states += [torch.zeros(count, batch, 6)] if kind is nn.LSTM else []
            state = tuple(states) if kind is nn.LSTM else states[0]
            weights = tuple(weight.detach() for weight in layer._flat_weights)
            name = f"{layer.mode.lower()}.input"
            args = (x, state, weights, bias, layers, 0.0, False, both, first)
            assert ran(name, args, {}) == "ran", (name, layers, both, bias, first, more)


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
