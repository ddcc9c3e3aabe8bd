"""A report as text for a terminal and as Markdown: the same tables, written twice."""

from __future__ import annotations

import io
import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from compressor.budget import RESOURCES
from compressor.repair.least_squares import Repaired
from compressor.reports.facts import Facts
from compressor.rules import Verdict
from compressor.run.free import Free
from compressor.run.history import Shrink

WIDTH = 110
"""Columns of the text: no line is longer, unless a module's name is."""


@dataclass(frozen=True)
class Grid:
    """A table: a title, names of its columns, and rows of cells; numbers go to the right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def text(report: Facts) -> str:
    """The report for a terminal; plain ASCII when standard output is none."""
    plain = not sys.stdout.isatty()
    out = io.StringIO()
    console = Console(file=out, width=WIDTH, color_system=None, safe_box=plain)
    console.print(heading(report), highlight=False, soft_wrap=True)
    for grid in grids(report):
        style = box.ASCII2 if plain else box.ROUNDED
        table = Table(title=grid.title, box=style, title_justify="left", title_style="")
        for number, name in enumerate(grid.columns):
            table.add_column(name, justify="left" if number == 0 else "right", overflow="fold")
        for row in grid.rows:
            table.add_row(*row)
        console.print(table)
    for line in notes(report):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def markdown(report: Facts) -> str:
    """The report in Markdown."""
    parts = [f"# {report.model}", heading(report)]
    for grid in grids(report):
        parts += [f"## {grid.title}", _pipes(grid)]
    found = notes(report)
    parts += ["## Notes", "\n".join(f"- {line}" for line in found)] if found else []
    return "\n\n".join(parts) + "\n"


def heading(report: Facts) -> str:
    """One sentence with the result."""
    before, after = report.before, report.after
    return (
        f"{report.model}: {before.params:,} -> {after.params:,} parameters "
        f"({_share(after.params, before.params)}), {before.macs:,} -> {after.macs:,} MACs "
        f"({_share(after.macs, before.macs)}) under {report.budget}."
    )


def grids(report: Facts) -> list[Grid]:
    """All tables of a report."""
    found = [_costs(report), _counters(report), _shrinks(report), _layers(report), _log(report)]
    return [grid for grid in found if grid.rows]


def notes(report: Facts) -> list[str]:
    """List what is said in sentences: proof, frozen layers, versions."""
    lines = [] if report.verdict is None else [_judged(report.verdict)]
    if report.unjudged:
        lines.append(f"Not judged by the rule: {report.unjudged}")
    if report.difference is not None:
        lines.append(
            f"Checked: outputs of the smaller model and of the masked original differ by at most "
            f"{report.difference:.1e} of how much outputs vary from input to input."
        )
    lines += _accounted(report)
    if report.floating:
        each = ", ".join(f"{name} ({count:,})" for name, count in report.floating.items())
        lines.append(f"Not rounded to integers, in floating point: the weights of {each}.")
    if report.memory is not None:
        lines.append(f"Working memory of the .tflite file: {report.memory}.")
    lines += _filed(report)
    if report.fileless:
        lines.append(f"Bytes are those of the stored parameters: {report.fileless}")
    for shrink in report.shrinks:
        lines += [] if shrink.free is None else [_freed(shrink.free, shrink.caps)]
        lines += [_compared(shrink)] if shrink.tried else []
        lines += [] if shrink.repaired is None else [_repaired(shrink.repaired)]
    lines += map(_repaired, report.repairs)
    lines += [f"{rate.phase}: {rate}." for rate in report.rates]
    if report.told:
        each = ", ".join(f"{name} {_pair(*pair)}" for name, pair in report.told.items())
        lines.append(f"Attributes that were told their new size: {each}.")
    lines += [f"Kept whole: {name} ({reason})." for name, reason in report.frozen.items()]
    pairs = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return [*lines, f"Versions: {pairs}."]


def _accounted(report: Facts) -> list[str]:
    """The bytes as challenges count them, beside those of the file."""
    if report.accounted is None:
        return []
    free, counted = report.accounted
    kinds = f", its weights in {report.stored}" if report.stored else ""
    there = report.files is not None and not report.to_come
    file = f"; the {_file(report)} has {report.files[1]:,}{kinds}" if report.files and there else ""
    said = (
        f"By the challenges' accounting, entries times their bits: {free:,} bytes where zeros "
        f"are free (DCASE 2020, 2021), {counted:,} where they count (2022 on){file}."
    )
    return [said]


def _filed(report: Facts) -> list[str]:
    """What is to be known of a file for another runtime that a cap on bytes is on."""
    file = report.budget.file
    if file is None:
        return []
    only = "sparse weights, and those of fewer than 8 bits, are for the file of Result.write"
    lines = [f"A {file.name} holds {file.holds}: {only}."]
    if report.to_come and report.files is not None:
        lines.append(
            f"There is no {file.name} before {report.to_come}: {report.files[1]:,} bytes are the "
            "most that it can have then, whatever is trained."
        )
    return lines


def _judged(verdict: Verdict) -> str:
    if verdict.met:
        return f"{verdict}."
    return (
        f"{verdict}, though the budget of the same caps is met: the rule counts otherwise than "
        "`measure` does. Lower the caps by the difference, with Budget(...), and fit again."
    )


def _compared(shrink: Shrink) -> str:
    found = ", ".join(f"{name} {loss:.3g}" for name, loss in shrink.tried.items())
    return f"Compared by {shrink.judged}: {found}; taken: {shrink.method}."


def _freed(free: Free, caps: Mapping[str, int]) -> str:
    each = ", ".join(f"{name} {count:,}" for name, count in free.units.items())
    far = ", ".join(f"{name} {cost:,} of {caps[name]:,}" for name, cost in free.reached.items())
    met = "This alone met the caps" if free.enough else "This alone did not meet the caps"
    return (
        f"Removed at no cost, folded into the layers that read them: {each}; outputs differ by "
        f"{free.difference:.1e} of how they vary. {met} ({far})."
    )


def _repaired(repaired: Repaired) -> str:
    if math.isinf(repaired.before) and math.isinf(repaired.after):
        return (
            "Repair in closed form changed nothing: what the network returns for model(inputs) is "
            "the same for all inputs, not finite, or not seen, and shows nothing of what is better."
        )
    return (
        f"Repaired in closed form: {len(repaired.layers)} layers. Squared distance of outputs to "
        f"the dense network's, in parts of how they vary: {repaired.before:.3g} before, "
        f"{repaired.normed:.3g} with norms that follow, {repaired.after:.3g} repaired."
        f"{_left(repaired)}{_few(repaired)}"
    )


def _left(repaired: Repaired) -> str:
    """How many layers were left as they were, and why; empty for none."""
    if not repaired.left:
        return ""
    each = "; ".join(f"{count}: {why}" for why, count in Counter(repaired.left.values()).items())
    return f" Left as they were ({each})."


def _few(repaired: Repaired) -> str:
    """The layers for which there were too few inputs to do without a pull; empty for none."""
    if not repaired.few:
        return ""
    each = ", ".join(f"{name} ({rows:,})" for name, rows in repaired.few.items())
    return (
        f" With fewer rows than unknowns, so that the pull towards the weights as they were cut "
        f"decides: {each}; more inputs would tell more."
    )


def _costs(report: Facts) -> Grid:
    rows: list[tuple[str, ...]] = []
    for name in RESOURCES:
        pair = (getattr(report.before, name), getattr(report.after, name))
        if None in pair:
            continue
        filed = report.files is not None and name == "bytes"
        rows.append(_cost(report, name, pair, "" if filed else name))
    if report.files is not None:
        rows.append(_cost(report, _file(report), report.files, "bytes"))
    return Grid("Cost", ("", "before", "after", "cap", "unused", "binds"), tuple(rows))


def _cost(report: Facts, name: str, pair: tuple[int, int], key: str) -> tuple[str, ...]:
    """One row; `key` is the cap that counts it, if any does."""
    caps = report.budget.caps
    counts = key in caps
    cap = f"{caps[key]:,}" if counts else "-"
    unused = f"{report.unused[key]:.2%}" if counts else "-"
    binds = "yes" if key in report.binding else "no" if counts else "-"
    return (name, f"{pair[0]:,}", f"{pair[1]:,}", cap, unused, binds)


def _file(report: Facts) -> str:
    """What the file is called that a cap on bytes is on."""
    return "file" if report.budget.file is None else report.budget.file.name


def _counters(report: Facts) -> Grid:
    rows: list[tuple[str, ...]] = []
    for name, (before, after) in report.counters.items():
        params, macs = (before.params, after.params), (before.macs, after.macs)
        # 0 is what they say of layers they do not know, as those of integers.
        rows.append((name, *(f"{n:,}" if n else "-" for n in (*params, *macs))))
    columns = ("", "params before", "after", "MACs before", "after")
    return Grid("What other counters say", columns, tuple(rows))


def _shrinks(report: Facts) -> Grid:
    rows: list[tuple[str, ...]] = []
    for number, s in enumerate(report.shrinks, start=1):
        for name, cap in s.caps.items():
            costs = (name, f"{cap:,}", f"{s.reached[name]:,}", f"{s.value:.5g}")
            proof = (_number(s.bound, ".5g"), _number(s.gap, ".3%"))
            price = _number(s.prices.get(name), ".2g")
            rows.append((str(number), s.method, *costs, *proof, price))
    columns = ("shrink", "method", "cost", "cap", "reached", "value", "bound", "gap")
    columns = (*columns, "price of 1 %")
    return Grid("Shrinks: objective reached, proven bound, shadow prices", columns, tuple(rows))


def _layers(report: Facts) -> Grid:
    rows: list[tuple[str, ...]] = []
    for layer in report.layers:
        pairs = (layer.channels, layer.params, layer.macs)
        cells = ("-" if pair is None else _pair(*pair) for pair in pairs)
        rows.append((layer.module, layer.kind, *cells))
    if report.elsewhere:
        rows.append(("(operations without a weight)", "", "-", "-", f"{report.elsewhere:,}"))
    columns = ("module", "kind", "channels", "params", "MACs")
    return Grid("Layers", columns, tuple(rows))


def _log(report: Facts) -> Grid:
    names = list(dict.fromkeys(name for epoch in report.log for name in epoch.extra))
    rows = [
        (e.phase, str(e.epoch), f"{e.loss:.4f}", _number(e.accuracy, ".4f"), f"{e.seconds:.1f}",
         *(_number(e.extra.get(name), ".3g") for name in names))
        for e in report.log
    ]  # fmt: skip
    return Grid("Training", ("phase", "epoch", "loss", "val", "seconds", *names), tuple(rows))


def _pair(before: int, after: int) -> str:
    return f"{before:,}" if before == after else f"{before:,} -> {after:,}"


def _share(after: int, before: int) -> str:
    return f"{after / before:.1%}" if before else "-"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _pipes(grid: Grid) -> str:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule: Sequence[str] = ["---", *["---:"] * (len(grid.columns) - 1)]
    return "\n".join([line(grid.columns), line(rule), *map(line, grid.rows)])
