"""The end of a run: every stage judged on the test list, once, and everything written down."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from compressor import Result
from compressor.budget import Cost
from compressor.reports.grids import Grid
from compressor.rules import Verdict, of_year
from compressor.storage import sealed, write_bytes
from recipes.judging.metrics import Evaluation, evaluate
from recipes.judging.system import System, scores_of, write
from recipes.running.command import RunContext
from recipes.running.run_folder import RunFolder, plain, versions
from recipes.running.scene_data import Part, Scenes
from recipes.running.stages import Counts, read_counts, read_network
from recipes.submission.metadata import Submission
from recipes.submission.output import write_package

EVALUATION = "evaluation.json"
TEST_LIST = "test_list.txt"
FINAL = "result"
"""Name of the last stage, the system itself."""


@dataclass(frozen=True)
class Row:
    """A line of the report: what the paper prints, what we got, why they differ."""

    what: str
    paper: str
    ours: str
    why: str = ""


@dataclass(frozen=True)
class Outcome:
    """Judgement of a run.

    Attributes:
        scenes: Data of the run.
        results: One for each network.
        stages: Evaluation on the test list, one for each network, by stage.
        counts: Counts of the networks, likewise.
        system: System of the networks.
        probabilities: Probabilities of the system on the test list, float64 (clips, classes).
        final: Evaluation of the system.
        files: Bytes of the containers.
    """

    scenes: Scenes
    results: Sequence[Result]
    stages: Mapping[str, Sequence[Evaluation]]
    counts: Mapping[str, Sequence[Counts]]
    system: System
    probabilities: np.ndarray
    final: Evaluation
    files: Sequence[int]

    def percent(self, stage: str = FINAL) -> str:
        """Accuracy on the test list, mean over the classes, of each network."""
        return ", ".join(f"{100 * one.accuracy:.1f} %" for one in self.evaluations(stage))

    def loss(self, stage: str = FINAL) -> str:
        """Log loss on the test list, likewise."""
        return ", ".join(f"{one.log_loss:.3f}" for one in self.evaluations(stage))

    @property
    def by_device(self) -> str:
        """Accuracy of the system by device, in their order, in percent."""
        found = sorted(self.final.device_wise.items())
        return " ".join(f"{100 * score.accuracy:.1f}" for _, score in found)

    def evaluations(self, stage: str) -> Sequence[Evaluation]:
        """Evaluations of every network at a stage; at the last, that of the system."""
        return [self.final] if stage == FINAL else self.stages[stage]

    def drop(self, before: str, after: str) -> str:
        """Difference in points, mean over the networks; negative is a loss."""
        points = [
            100 * (b.accuracy - a.accuracy)
            for a, b in zip(self.evaluations(before), self.evaluations(after), strict=True)
        ]
        return f"{np.mean(points):+.2f} points"

    @property
    def why(self) -> str:
        """Reason for which accuracies differ from the paper's: the data."""
        if self.scenes.generated:
            return "generated scenes, no real sound"
        train, test = len(self.scenes.train), len(self.scenes.test)
        return f"{train:,} clips trained on, {test:,} judged, of the data in {self.scenes.name}"


def sizes(cost: Cost | None) -> str:
    """Parameters and MACs."""
    return "cannot be counted" if cost is None else f"{cost.params:,}, {cost.macs:,}"


def judge(
    context: RunContext[Any],
    scenes: Scenes,
    results: Sequence[Result],
    stages: Sequence[str],
    *,
    independent: bool = False,
) -> Outcome:
    """Write the system, then judge it and every stage on the test list.

    Args:
        context: The run.
        scenes: The data.
        results: Results of `fit`, one for each network of the system.
        stages: Names of the stages kept on the way, in order.
        independent: True of networks with one sigmoid a class.
    """
    folder, test, config = context.folder, scenes.test, context.config
    networks = tuple(scores_of(result.model) for result in results)
    system = System(scenes.classes, config.audio, config.mels, config.frames, networks, independent)
    files = ["model"] if len(results) == 1 else [f"model-{k + 1}" for k in range(len(results))]
    lengths = [
        _write_network(folder.path, name, result)
        for name, result in zip(files, results, strict=True)
    ]
    write(folder.path, system, files)
    context.console.print("Judging every stage on the test list ...")
    probabilities = system.probabilities(test.x)
    members = [folder.member(k, len(results)) for k in range(len(results))]
    return Outcome(
        scenes, results,
        stages={s: [_judged_stage(m, s, system, test) for m in members] for s in stages},
        counts={s: [read_counts(m.stages, s) for m in members] for s in stages},
        system=system, probabilities=probabilities, final=judged(test, probabilities),
        files=lengths,
    )  # fmt: skip


def finish(
    context: RunContext[Any],
    outcome: Outcome,
    table: Sequence[Row],
    facts: Submission,
    year: int | None = None,
) -> None:
    """Write everything else that a run leaves, the report before the submission.

    `year` is that of the rule which counted the cost, where there is no form that says it.
    """
    folder = context.folder.path
    write_evaluation(folder, outcome, facts.cost)
    outcome.final.plot(folder / "confusion.png")
    packed = facts.form is not None and len(facts.form.parts) == 1
    year = year if facts.form is None else facts.form.year
    networks = [result.model for result in outcome.results]
    verdict = None if year is None else of_year(year).judged(facts.cost, *networks)
    text = report(context, outcome, table, verdict, packed=packed)
    write_bytes(folder / "report.md", text.encode())
    if packed:
        submit(folder, facts, [outcome])
    line = summary(context, outcome, facts)
    context.console.print(line, markup=False, highlight=False, soft_wrap=True)


def judged(part: Part, probabilities: np.ndarray) -> Evaluation:
    """Evaluation of some clips, by class, device and city."""
    table = part.listing.table
    return evaluate(
        probabilities,
        part.y.cpu(),
        part.listing.classes,
        devices=table["device"].tolist(),
        cities=table["city"].tolist(),
    )


def summary(context: RunContext[Any], outcome: Outcome, facts: Submission) -> str:
    """The run in one line."""
    cost, first, last = facts.cost, next(iter(outcome.stages)), outcome.final
    before = np.mean([one.accuracy for one in outcome.stages[first]])
    year = f" in {facts.form.year}" if facts.form else ""
    return (
        f"{facts.name} on {outcome.scenes.name}: {first} {100 * before:.1f} % -> "
        f"{100 * last.accuracy:.1f} % (log loss {last.log_loss:.3f}), {cost.params:,} parameters, "
        f"{cost.nonzero:,} not zero, {cost.macs:,} MACs, {cost.bytes:,} bytes as handed "
        f"in{year}; files of {', '.join(f'{n:,}' for n in outcome.files)} bytes in "
        f"{context.folder.path}"
    )


def report(
    context: RunContext[Any],
    outcome: Outcome,
    table: Sequence[Row],
    verdict: Verdict | None,
    *,
    packed: bool,
) -> str:
    """The run in Markdown: how it ended, beside the paper, then what the library says."""
    scenes = outcome.scenes
    parts = [
        f"# {context.folder.path.name}",
        f"{len(scenes.test)} test clips, {len(scenes.train)} trained on"
        + (f", {len(scenes.validation)} to choose on" if scenes.validation else "")
        + f": {scenes.name}. Device: {context.how}. Versions: "
        + ", ".join(f"{name} {number}" for name, number in versions().items())
        + ".",
        f"By the year's own counting, {verdict}."
        if verdict
        else "No rule of a year was asked for.",
        "## Beside the paper",
        "\n".join(
            [
                "| | paper | ours | why different |",
                "|---|---|---|---|",
                *(f"| {row.what} | {row.paper} | {row.ours} | {row.why} |" for row in table),
            ]
        ),
        *_grids(outcome, verdict),
        "Submission, its authors placeholders: `submission/task1`."
        if packed
        else "No submission of this network alone.",
    ]
    text = "\n\n".join(parts) + "\n"
    return "\n".join([text, *_of_networks(outcome, verdict)])


def _grids(outcome: Outcome, verdict: Verdict | None) -> Iterator[str]:
    """Tables of the run: stages, bytes, and the test list."""
    found = [stage_grid(outcome, verdict), byte_grid(outcome, verdict)]
    for grid in found:
        yield from (f"## {grid.title}", grid.markdown())
    yield from ("## On the test list", "![Who was taken for whom](confusion.png)")
    yield (
        "Judged once, at the end. The accuracy of a system is the mean over the classes; ± is half "
        "of a 95 % interval that takes clips for independent."
    )
    yield outcome.final.grid().markdown()


def stage_grid(outcome: Outcome, verdict: Verdict | None) -> Grid:
    """Accuracy and cost at every stage that was judged, several networks side by side."""
    rows = [
        (
            name,
            outcome.percent(name),
            outcome.loss(name),
            *(
                ", ".join(f"{getattr(counts.rule, cost):,}" for counts in outcome.counts[name])
                for cost in ("params", "nonzero", "macs")
            ),
        )
        for name in outcome.stages
    ]
    costs = ("-",) * 3
    if verdict is not None:
        costs = tuple(f"{getattr(verdict.cost, cost):,}" for cost in ("params", "nonzero", "macs"))
    rows.append(("the system", outcome.percent(), outcome.loss(), *costs))
    columns = ("stage", "accuracy", "log loss", "parameters", "not zero", "MACs")
    return Grid("Stage by stage, by the year's counting", columns, tuple(rows))


def byte_grid(outcome: Outcome, verdict: Verdict | None) -> Grid:
    """Every number of bytes that somebody may mean, with the verdict on the one that counts."""
    rows: list[tuple[str, ...]] = []
    if verdict is not None:
        cap = verdict.rule.bytes
        says = "meets the rule" if verdict.met else "exceeds the rule"
        says = says if cap else f"{says}, which has no cap on bytes"
        what = f"what is handed in, by the rule of {verdict.rule.year}"
        rows.append((what, f"{verdict.cost.bytes:,}", f"{cap:,}" if cap else "-", says))
    for number, (result, length) in enumerate(
        zip(outcome.results, outcome.files, strict=True), start=1
    ):
        of = f" of network {number}" if len(outcome.files) > 1 else ""
        told, cap = result.report, result.report.budget.bytes
        rows.append((f"the file{of}", f"{length:,}", f"{cap:,}" if cap else "-", "-"))
        rows.append((f"parameters{of} in memory", f"{told.after.bytes:,}", "-", "-"))
        if told.accounted is not None:
            free, counted = told.accounted
            rows.append((f"entries{of} times bits, zeros free", f"{free:,}", "-", "-"))
            rows.append((f"entries{of} times bits, zeros counted", f"{counted:,}", "-", "-"))
    return Grid("Who counts which bytes", ("", "bytes", "cap", "verdict"), tuple(rows))


def _of_networks(outcome: Outcome, verdict: Verdict | None) -> Iterator[str]:
    """The library's report of each network, in which the test list stands beside the costs."""
    first = next(iter(outcome.stages), "")
    alone = len(outcome.results) == 1
    for number, result in enumerate(outcome.results):
        told = result.report
        if alone and verdict is not None:
            told = replace(told, verdict=verdict, budget=told.budget.of(verdict.rule))
        before = outcome.stages[first][number].accuracy if first else math.nan
        after = outcome.final.accuracy if alone else math.nan
        scores = {"accuracy on the test list": (_percent(before), _percent(after))}
        yield told.markdown(_picture(number, len(outcome.results)), level=2, scores=scores)


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f} %"


def _picture(number: int, of: int) -> str:
    """Name of the picture of what every layer of a network kept."""
    return "layers.png" if of == 1 else f"layers-{number + 1}.png"


def _write_network(folder: Path, name: str, result: Result) -> int:
    """Write container, ONNX file, report and picture; return the container's bytes."""
    length = result.write(folder / f"{name}.safetensors")
    result.export(folder / f"{name}.onnx")
    report_file = folder / f"{name.replace('model', 'report')}.json"
    write_bytes(report_file, result.report.json().encode())
    result.report.plot(folder / f"{name.replace('model', 'layers')}.png")
    return length


def _judged_stage(member: RunFolder, name: str, system: System, test: Part) -> Evaluation:
    network = read_network(member.stages, name).to(test.x.device)
    at_stage = replace(system, networks=(scores_of(network),))
    return judged(test, at_stage.probabilities(test.x))


def write_evaluation(folder: Path, outcome: Outcome, cost: Cost) -> None:
    """Write `test_list.txt`, the clips judged, and the figures that others compare with.

    `recipes.evaluate` compares with them and `recipes.sweep` chooses by them: the system is judged
    here on the validation part, if there is one. `cost` is the system's, by the year's rule.
    """
    scenes, validation = outcome.scenes, outcome.scenes.validation
    chosen = validation and judged(validation, outcome.system.probabilities(validation.x)).data()
    figures = {
        "data": scenes.name,
        "generated": scenes.generated,
        "files": list(outcome.files),
        "cost": asdict(cost),
        "counts": {name: plain(list(found)) for name, found in outcome.counts.items()},
        "stages": {name: [one.data() for one in found] for name, found in outcome.stages.items()},
        "validation": chosen,
        FINAL: outcome.final.data(),
    }
    names = "".join(f"{name}\n" for name in scenes.test.listing.table["file"])
    write_bytes(folder / TEST_LIST, names.encode())
    write_bytes(folder / EVALUATION, sealed(figures))


def label_of(facts: Submission, task: str) -> str:
    """Label of the first submission of its first author."""
    first = facts.authors[0]
    return f"{first.lastname}_{first.affiliation.abbreviation}_{task}_1"


def submit(folder: Path, facts: Submission, outcomes: Sequence[Outcome]) -> Path:
    """The package of the year for the clips of the test list; one of an earlier call stays.

    There is an outcome for each of the form's parts.
    """
    form = facts.form
    assert form is not None  # noqa: S101 - for the type checker
    label = label_of(facts, form.task)
    place = folder / "submission"
    if (place / "task1" / label).exists():
        return place / "task1" / label
    submission = replace(facts, label=label, results=tuple(one.final for one in outcomes))
    names = [Path(name).name for name in outcomes[0].scenes.test.listing.table["file"]]
    return write_package(place, submission, form, [one.probabilities for one in outcomes], names)
