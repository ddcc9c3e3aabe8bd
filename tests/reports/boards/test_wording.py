from __future__ import annotations

from dataclasses import replace

import pytest

from compressor.counting.memory.lifetimes import Lifetime
from compressor.export.reading.contents import unpack
from compressor.reports.boards.fit import fits, need
from compressor.reports.boards.table import Board
from compressor.reports.boards.wording import amount, lines
from tests.helpers.tflite_files import residual


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_048_575, "1024.0 KiB"),
        (7 << 20, "7.0 MiB"),
    ],
)
def test_amounts(size: int, text: str) -> None:
    assert amount(size) == text


def test_figures_and_verdicts_are_all_there() -> None:
    needed = need(unpack(residual(), "net.tflite"))
    big = Board("big", "", needed.flash + 2048, needed.ram, 1_000_000, "", ())
    small = Board("small", "", needed.flash, needed.ram - 100, 1_000_000, "", ())
    said = lines(needed, fits(needed, [big, small]))
    assert said[0] == "net.tflite"
    assert said[1].split() == ["flash", f"{needed.flash:,}", "bytes"]
    assert said[2].startswith(
        f"  RAM    {needed.ram:,} bytes: {needed.arena.head:,} of activations"
    )
    peak = needed.arena.peak
    assert f"less than {peak.bytes:,} for activations: at step {peak.step} output of" in said[3]
    assert said[4].split() == ["MACs", f"{needed.macs:,}"]
    assert said[-2].split() == [
        "big",
        "fits",
        "2.0",
        "KiB",
        "left",
        "0",
        "B",
        "left",
        "61.9",
        "ms",
    ]
    assert said[-1].split()[:9] == ["small", "does", "not", "fit", "0", "B", "left", "100", "B"]
    assert "missing" in said[-1]


def test_zeros_that_pad_kernels_are_said() -> None:
    needed = replace(need(unpack(residual())), macs=581_248, blank=124_480)
    wanted = "581,248: 456,768 of the network, 124,480 by zeros with which kernels pad their input"
    assert f"  MACs   {wanted}" in lines(needed, [])


def test_what_is_not_counted_is_said() -> None:
    needed = need(unpack(residual()))
    assert lines(needed, [])[5] == (
        "  Not counted: buffers of CMSIS-NN's kernels, the stack, and the program's own memory."
    )
    arena = replace(needed.arena, clashes=(("a", "b"), ("a", "c")), unmodelled=("LSTM", "Secret"))
    said = "\n".join(lines(replace(needed, arena=arena, uncounted=("LSTM",)), []))
    assert "puts a and b on the same bytes while both are read (2 such pairs)" in said
    assert "memory that the kernels of LSTM, Secret may ask for" in said
    assert "Not counted: products of LSTM." in said


def test_long_lists_and_names_are_cut() -> None:
    needed = need(unpack(residual()))
    tensors = tuple(Lifetime(f"{n}" + 99 * "x", 16, 0, 0) for n in range(8))
    arena = replace(needed.arena, peak=replace(needed.arena.peak, tensors=tensors))
    said = lines(replace(needed, arena=arena), [])[3]
    assert f"{'0' + 39 * 'x'} (16), " in said
    assert said.endswith("and 3 more are alive")
