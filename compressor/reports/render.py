"""A report as text for a terminal, as Markdown and as HTML: the same tables each time."""

from __future__ import annotations

import html
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from compressor.allocation.candidates import MARGIN
from compressor.budget import RESOURCES
from compressor.repair.least_squares import Repaired
from compressor.reports.facts import Facts
from compressor.reports.grids import Grid
from compressor.reports.grids import text as written
from compressor.reports.kept import Layer
from compressor.rules import Verdict
from compressor.run.free import Free
from compressor.run.history import Shrink
from compressor.wording import many


def text(report: Facts) -> str:
    """The report for a terminal; plain ASCII when standard output is none."""
    return written(heading(report), grids(report), notes(report))


Scores = Mapping[str, tuple[str, str]]
"""What was measured elsewhere before and after, by name, as text with its unit."""

NONE: Scores = MappingProxyType({})


def markdown(report: Facts, picture: str = "", level: int = 1, scores: Scores = NONE) -> str:
    """The report in Markdown; arguments as of `compressor.reports.report.Report.markdown`."""
    sharps = "#" * level
    parts = [f"{sharps} {report.model}", heading(report, scores)]
    parts += [f"![What every layer kept]({picture})"] if picture else []
    for grid in grids(report, scores):
        parts += [f"{sharps}# {grid.title}", grid.markdown()]
    found = notes(report)
    parts += [f"{sharps}# Notes", "\n".join(f"- {line}" for line in found)] if found else []
    return "\n\n".join(parts) + "\n"


def hypertext(report: Facts) -> str:
    """The report in HTML, for notebooks."""
    parts = [f"<p>{html.escape(heading(report))}</p>"]
    for grid in grids(report):
        parts += [f"<h4>{html.escape(grid.title)}</h4>", grid.html()]
    said = "".join(f"<li>{html.escape(line)}</li>" for line in notes(report))
    return "\n".join([*parts, f"<ul>{said}</ul>"])


def heading(report: Facts, scores: Scores = NONE) -> str:
    """One sentence with the result."""
    before, after = report.before, report.after
    found = _scored(report, scores).items()
    val = "".join(f"; {name} {one} -> {other}" for name, (one, other) in found)
    return (
        f"{report.model}: {before.params:,} -> {after.params:,} parameters "
        f"({_share(after.params, before.params)}), {before.macs:,} -> {after.macs:,} MACs "
        f"({_share(after.macs, before.macs)}) under {report.budget}{val}."
    )


def grids(report: Facts, scores: Scores = NONE) -> list[Grid]:
    """All tables of a report."""
    layers = layer_grid(report.layers, report.elsewhere)
    found = [_costs(report, scores), _counters(report), layers, _log(report)]
    return [grid for grid in found if grid.rows]


def notes(report: Facts) -> list[str]:
    """List what is said in sentences: proof, frozen layers, versions."""
    several = len(report.shrinks) > 1
    titles = (f"Widths of removal {n}" if several else "Widths" for n in itertools.count(1))
    lines = [f"{t} by {_chosen(s)}" for t, s in zip(titles, report.shrinks, strict=False)]
    lines += [] if report.verdict is None else [_judged(report.verdict)]
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


def _chosen(shrink: Shrink) -> str:
    """How good the widths of a removal are, and what limits them."""
    met = ", ".join(
        f"{shrink.reached[name]:,} of {cap:,} {name}" for name, cap in shrink.caps.items()
    )
    far = (
        "no bound on how much better others would be is known"
        if shrink.gap is None
        else "no others are better by their scores"
        if shrink.gap == 0
        else f"by their scores no others are better by more than {_percent(shrink.gap)}"
    )
    return f"{shrink.method}: {met}; {far}{_limited(shrink)}."


def _limited(shrink: Shrink) -> str:
    """What keeps a removal from keeping more, and what more of it would bring."""
    if not shrink.binding:
        return ""
    names = " and ".join(shrink.binding)
    more = ", ".join(
        f"1 % more {name} would gain {_percent(shrink.gains[name])}"
        for name in shrink.binding
        if shrink.gains.get(name)
    )
    return f"; what limits them: {names}{' (' * bool(more)}{more}{')' * bool(more)}"


def _percent(part: float) -> str:
    return f"{100 * part:.2g} %"


def _accounted(report: Facts) -> list[str]:
    """The bytes as challenges count them, beside those of the file."""
    kinds = f", its weights in {report.stored}" if report.stored else ""
    there = report.files is not None and not report.to_come
    has = f"the {_file(report)} has {report.files[1]:,}{kinds}" if report.files and there else ""
    if report.accounted is None or report.budget.rule is None:
        return [f"Bytes: {has}."] if has else []
    free, counted = report.accounted
    file = f"; {has}" if has else ""
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


WIDER = (
    "Int8 rounds convolutions and linear layers: write these layers with such, or enter a year "
    "whose rule counts bytes of any type (2024, 2025)."
)
"""What is to be done about weights that are left in floating point where a rule fixes 8 bits."""


def _judged(verdict: Verdict) -> str:
    if verdict.met:
        return f"{verdict}."
    if verdict.wider and verdict.rule.budget.allows(verdict.cost):
        return f"{verdict}. {WIDER}"
    return (
        f"{verdict}, though the budget of the same caps is met: the rule counts otherwise than "
        "`measure` does. Lower the caps by the difference, with Budget(...), and fit again."
    )


def _compared(shrink: Shrink) -> str:
    ranked = sorted(shrink.tried.items(), key=lambda pair: pair[1])
    found = "; ".join(f"{name}: {loss:.4g}" for name, loss in ranked)
    first = ranked[0][0] == shrink.method
    why = "" if first else f", as none is lower than it by more than {MARGIN:.0%}"
    return f"Compared by {shrink.judged}: {found}. Taken: {shrink.method}{why}."


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
    layers = many(len(repaired.layers), "layer")
    return (
        f"Repaired in closed form: {layers}. Squared distance of outputs to "
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


def _scored(report: Facts, scores: Scores) -> Scores:
    """Accuracy before and after, where it is known, and what was measured elsewhere."""
    if report.accuracy is None:
        return scores
    before, after = report.accuracy
    return {"val": (f"{before:.4g}", f"{after:.4g}"), **scores}


def _costs(report: Facts, scores: Scores) -> Grid:
    found = _scored(report, scores).items()
    rows: list[tuple[str, ...]] = [(name, *pair, "-", "-", "-") for name, pair in found]
    for name in RESOURCES:
        pair = (getattr(report.before, name), getattr(report.after, name))
        if None in pair:
            continue
        filed = report.files is not None and name == "bytes"
        title = "bytes of parameters" if filed else name
        rows.append(_cost(report, title, pair, "" if filed else name))
    if report.files is not None:
        rows.append(_cost(report, f"bytes of the {_file(report)}", report.files, "bytes"))
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
    for counter, (before, after) in report.counters.items():
        name = counter.partition(" (")[0]  # the second name is for those who search the data
        params, macs = (before.params, after.params), (before.macs, after.macs)
        # 0 is what they say of layers they do not know, as those of integers.
        rows.append((name, *(f"{n:,}" if n else "-" for n in (*params, *macs)), "-"))
    ours = (report.before.params, report.after.params, report.before.macs, report.after.macs)
    met = all(left >= 0 for left in report.unused.values())
    says = "meets caps" if met else "exceeds caps"
    rows.insert(0, ("this library", *(f"{n:,}" for n in ours), says))
    if report.verdict is not None:
        rows.append(_ruled(report.verdict))
    columns = ("", "params before", "after", "MACs before", "after", "verdict")
    return Grid("Who counts what", columns, tuple(rows))


def _ruled(verdict: Verdict) -> tuple[str, ...]:
    """The row of a challenge's rule, which counts the result alone."""
    cost, says = verdict.cost, "meets the rule" if verdict.met else "exceeds it"
    return (f"DCASE {verdict.rule.year}", "-", f"{cost.params:,}", "-", f"{cost.macs:,}", says)


def layer_grid(layers: Sequence[Layer], elsewhere: int) -> Grid:
    """A row a layer; `elsewhere` are multiply-accumulates of operations without a weight."""
    stored = _stored(layers)
    rows: list[tuple[str, ...]] = []
    for layer, norm in folded(layers):
        name = layer.module if norm is None else f"{layer.module} + {_beside(norm, layer)}"
        pairs = (layer.channels, layer.params, layer.macs)
        cells = ("-" if pair is None else _pair(*pair) for pair in pairs)
        rows.append((name, layer.kind, *cells, *_storage(layer, stored)))
    blank = ("-",) * (2 if stored else 0)
    if elsewhere:
        nothing = ("-", "-", f"{elsewhere:,}", *blank)
        rows.append(("(operations without a weight)", "", *nothing))
    columns = ("module", "kind", "channels", "params", "MACs", *("bits", "not zero")[: len(blank)])
    return Grid("Layers", columns, tuple(rows))


def _beside(norm: Layer, layer: Layer) -> str:
    """The name of a normalisation, without what both names begin with where they lie together."""
    parent = layer.module.rpartition(".")[0]
    return norm.module.removeprefix(f"{parent}.") if parent else norm.module


def folded(layers: Sequence[Layer]) -> list[tuple[Layer, Layer | None]]:
    """Each layer with the normalisation that follows it, whose parameters are added to its own."""
    norms = {layer.follows: layer for layer in layers if layer.follows}
    found: list[tuple[Layer, Layer | None]] = []
    for layer in layers:
        if layer.follows:
            continue
        norm = norms.get(layer.module)
        both = (0, 0) if norm is None else norm.params
        params = (layer.params[0] + both[0], layer.params[1] + both[1])
        found.append((replace(layer, params=params), norm))
    return found


def _stored(layers: Sequence[Layer]) -> bool:
    """True where weights are stored in other than one number of bits, or many of them are zero."""
    bits = {layer.bits for layer in layers if layer.bits is not None}
    sparse = any(layer.density is not None and layer.density < DENSE for layer in layers)
    return sparse or len(bits) > 1 or any(each not in USUAL for each in bits)


USUAL = (8, 16, 32, 64)
"""Bits of an entry that need no column of their own where all layers have them."""
DENSE = 0.95
"""A layer with a smaller part of its entries not zero is sparse: a few are zero by chance."""


def _storage(layer: Layer, shown: bool) -> tuple[str, ...]:  # noqa: FBT001 - a cell or none
    if not shown:
        return ()
    density = layer.density
    return (_number(layer.bits, ".3g"), "-" if density is None else f"{density:.1%}")


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
