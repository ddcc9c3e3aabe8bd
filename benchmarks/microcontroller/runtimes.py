"""Runtimes of `.tflite` files: TensorFlow Lite Micro's interpreter, LiteRT's, and Arm's vela."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.export import interpreters
from compressor.export.interpreters import ARENA, LITERT, MICRO
from compressor.export.micro.program import Program

Numbers = NDArray[Any]

NPU = "ethos-u55-128"


def micro(content: bytes, given: Sequence[Numbers]) -> list[Numbers]:
    """What TensorFlow Lite Micro answers to inputs, one after the other."""
    return [output for (output,) in MICRO.run(content, [[x] for x in given])]


def device(
    program: Program, content: bytes, clips: Tensor, answers: Tensor
) -> tuple[list[Numbers], list[Numbers]]:
    """What TensorFlow Lite Micro says of clips (clips, ...), and the reference's answers."""
    given = [program.encoded([clip[None].numpy()])[0] for clip in clips]
    wanted = [program.expected([answer[None].numpy()])[0] for answer in answers]
    return micro(content, given), wanted


def classes_of(said: Sequence[Numbers]) -> Tensor:
    """The largest of each answer."""
    return torch.tensor([int(answer.reshape(-1).argmax()) for answer in said])


def recorded(content: bytes) -> tuple[int, int]:
    """Bytes of the arena's head and tail, as TensorFlow Lite Micro recorded them on this machine.

    It prints them on the process's standard error, beside Python's.
    """
    with tempfile.TemporaryFile() as log:
        error = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            runs = _micro().Interpreter.from_bytes(content, arena_size=ARENA)
            runs.print_allocations()
        finally:
            os.dup2(error, 2)
            os.close(error)
        log.seek(0)
        text = log.read().decode()
    sizes = dict(re.findall(r"Arena allocation (head|tail) (\d+) bytes", text))
    return int(sizes["head"]), int(sizes["tail"])


def litert(content: bytes, given: Sequence[Numbers]) -> list[Numbers] | None:
    """What LiteRT answers, at its defaults (XNNPACK) on a thread; None if it is absent."""
    if not LITERT.installed:
        return None
    return [output for (output,) in LITERT.run(content, [[x] for x in given])]


@dataclass(frozen=True)
class Estimate:
    """Cycles of one run that vela estimates for an Ethos-U55, and its version."""

    cycles: int
    version: str


def estimate(content: bytes, command: str | None = None) -> Estimate | None:
    """What vela says of a file; None where it is not installed."""
    command = command or shutil.which("vela")
    if command is None:
        return None
    told = subprocess.run(  # noqa: S603 - a program of the user's choice
        [command, "--version"], check=True, capture_output=True, text=True
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "model.tflite").write_bytes(content)
        subprocess.run(  # noqa: S603 - a program of the user's choice, on our own file
            [command, "--accelerator-config", NPU, "--output-dir", place, folder / "model.tflite"],
            check=True, capture_output=True,
        )  # fmt: skip
        (summary,) = folder.glob("*summary*.csv")
        with summary.open(encoding="utf-8", newline="") as lines:
            cycles = round(float(next(csv.DictReader(lines))["cycles_total"]))
    return Estimate(cycles, told.stdout.strip())


def _micro() -> Any:
    return import_module(MICRO.module)


def agreement(found: Sequence[Numbers], wanted: Sequence[Numbers]) -> dict[str, float]:
    """How int8 outputs agree: the share that is equal, the most steps, the share of classes."""
    made = interpreters.agreement([[x] for x in found], [[x] for x in wanted])
    return {"equal": made.equal, "steps": int(made.steps), "classes": made.classes}
