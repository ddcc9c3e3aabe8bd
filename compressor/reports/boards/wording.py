"""What `fits` prints: what the file needs, then a line for each board."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.counting.memory.lifetimes import Lifetime
from compressor.export.reading.contents import Contents
from compressor.export.reading.macs import operator_macs
from compressor.reports.boards.fit import Fit, Need
from compressor.reports.boards.table import Board
from compressor.reports.grids import Grid

MOST = 5
"""Tensors of the peak that are named."""

LONGEST = 40
"""Letters of their names."""


def lines(needed: Need, found: Sequence[Fit]) -> list[str]:
    """All that there is to say, plain text."""
    return [*needs(needed), "", *_table(found)]


def about(board: Board) -> list[str]:
    """What a board is, and where its figures are printed."""
    note = f" ({board.note})" if board.note else ""
    has = f"{amount(board.flash)} of flash, {amount(board.ram)} of RAM{note}"
    said = f"{board.name}: {board.chip}, {board.clock // 1_000_000} MHz, {has}"
    return [said, *(f"  {source}" for source in board.sources)]


def amount(size: int) -> str:
    """A number of bytes to read: as it is, or in KiB or MiB with a digit behind the point."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} B"


def needs(needed: Need) -> list[str]:
    """What a file needs of any microcontroller."""
    arena = needed.arena
    plan = "its own plan" if arena.planned else "TensorFlow Lite Micro's planner"
    kept = f"{arena.head:,} of activations, by {plan}, and about {arena.tail:,} that stay"
    least = f"no plan takes less than {arena.peak.bytes:,} for activations: at step"
    return [
        needed.name,
        f"  flash  {needed.flash:,} bytes",
        f"  RAM    {needed.ram:,} bytes: {kept}",
        f"         {least} {arena.peak.step} {_named(arena.peak.tensors)}",
        f"  MACs   {needed.macs:,}{_blank(needed)}",
        *([f"  takes  {needed.features}"] if needed.features else []),
        *_remarks(needed),
    ]


def operators(contents: Contents) -> Grid:
    """The operators of a file in the order of running: what they make, and what that costs."""
    rows: list[tuple[str, ...]] = []
    for place, (op, macs) in enumerate(
        zip(contents.operators, operator_macs(contents), strict=True)
    ):
        made = contents.tensors[op.outputs[0]] if op.outputs else None
        held = {n for n in op.inputs if n >= 0 and contents.tensors[n].constant}
        stored = sum(contents.tensors[n].size for n in held)
        shape = "" if made is None else " x ".join(map(str, made.shape))
        kind = "" if made is None else made.type
        rows.append((str(place), op.name, shape, kind, f"{stored:,}", f"{macs:,}"))
    return Grid(
        "Operators", ("#", "operator", "makes", "type", "constants, bytes", "MACs"), (*rows,)
    )


def _blank(needed: Need) -> str:
    """How many multiply-accumulates the network itself has, if the file has more."""
    if not needed.blank:
        return ""
    own = needed.macs - needed.blank
    return f": {own:,} of the network, {needed.blank:,} by zeros with which kernels pad their input"


def _named(tensors: Sequence[Lifetime]) -> str:
    """The largest tensors and their bytes, and how many more there are."""
    if not tensors:
        return "nothing is alive"
    shown = ", ".join(f"{tensor.name[:LONGEST]} ({tensor.room:,})" for tensor in tensors[:MOST])
    more = f" and {len(tensors) - MOST} more" if len(tensors) > MOST else ""
    return f"{shown}{more} {'are' if len(tensors) > 1 else 'is'} alive"


def _remarks(needed: Need) -> list[str]:
    """What a reader must know before trusting the figures."""
    said = [
        "  Not counted: buffers of CMSIS-NN's kernels, the stack, and the program's own memory."
    ]
    for one, other in needed.arena.clashes[:1]:
        said.append(
            f"  The file's own plan puts {one} and {other} on the same bytes while both are read "
            f"({len(needed.arena.clashes):,} such pairs): it will compute nonsense."
        )
    if needed.arena.unmodelled:
        said.append(
            f"  Not counted: memory that the kernels of {', '.join(needed.arena.unmodelled)} may "
            "ask for beside their tensors."
        )
    if needed.uncounted:
        said.append(f"  Not counted: products of {', '.join(needed.uncounted)}.")
    return said


def _table(found: Sequence[Fit]) -> list[str]:
    wide = max((len(fit.board.name) for fit in found), default=0)
    head = f"{'':{wide}}  {'':12}  {'flash':>18}  {'RAM':>18}  {'1 MAC a cycle':>14}"
    return [head, *(_row(fit, wide) for fit in found)]


def _row(fit: Fit, wide: int) -> str:
    verdict = "fits" if fit.fits else "does not fit"
    time = f"{1000 * fit.seconds:,.1f} ms"
    return (
        f"{fit.board.name:{wide}}  {verdict:12}  {_left(fit.flash):>18}  {_left(fit.ram):>18}  "
        f"{time:>14}"
    )


def _left(size: int) -> str:
    return f"{amount(size)} left" if size >= 0 else f"{amount(-size)} missing"
