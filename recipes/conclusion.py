"""The end of a run: every stage judged on the test list, once, and everything written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compressor import Result
from compressor.budget import Cost
from compressor.storage import sealed, write_bytes
from recipes.command import Call
from recipes.metrics import Evaluation, evaluate
from recipes.run_folder import RunFolder, plain, versions
from recipes.scene_data import Part, Scenes
from recipes.stages import Counts, read_counts, read_network
from recipes.submission import write_package
from recipes.submission_forms import Form
from recipes.submission_meta import Affiliation, Author, Description, Energy, Submission
from recipes.system import System, scores_of, write

EVALUATION = "evaluation.json"
TEST_LIST = "test_list.txt"
FINAL = "result"
"""What the last stage, the system itself, is called."""
AUTHOR = Author(
    lastname="Lastname",
    firstname="Firstname",
    email="name@example.org",
    affiliation=Affiliation(abbreviation="INST", institute="Institute", location="City, Country"),
    corresponding=True,
)
"""To be replaced by those who hand in."""


@dataclass(frozen=True)
class Row:
    """A line of the report: what the paper prints, what we got, why they differ."""

    what: str
    paper: str
    ours: str
    why: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        scenes: What it was judged on.
        results: One for each network.
        stages: Evaluation on the test list, one for each network, by stage.
        counts: What the networks had at a stage, likewise.
        final: Evaluation of the system.
        files: Bytes of the containers.
    """

    scenes: Scenes
    results: Sequence[Result]
    stages: Mapping[str, Sequence[Evaluation]]
    counts: Mapping[str, Sequence[Counts]]
    final: Evaluation
    files: Sequence[int]

    def percent(self, stage: str = FINAL) -> str:
        """Accuracy on the test list, mean over the classes; of several networks each."""
        return ", ".join(f"{100 * one.accuracy:.1f} %" for one in self.of(stage))

    def loss(self, stage: str = FINAL) -> str:
        """Log loss on the test list, likewise."""
        return ", ".join(f"{one.log_loss:.3f}" for one in self.of(stage))

    @property
    def by_device(self) -> str:
        """Accuracy of the system by device, in their order, in percent."""
        found = sorted(self.final.device_wise.items())
        return " ".join(f"{100 * score.accuracy:.1f}" for _, score in found)

    def of(self, stage: str = FINAL) -> Sequence[Evaluation]:
        """Of every network at a stage; of the system at the last."""
        return [self.final] if stage == FINAL else self.stages[stage]

    def drop(self, before: str, after: str) -> str:
        """Difference in points, mean over the networks; negative is a loss."""
        points = [
            100 * (b.accuracy - a.accuracy)
            for a, b in zip(self.of(before), self.of(after), strict=True)
        ]
        return f"{np.mean(points):+.2f} points"

    @property
    def why(self) -> str:
        """Why accuracies differ from the paper's, where the data are not its."""
        return "generated scenes, no real sound" if self.scenes.generated else self.scenes.name


def sizes(cost: Cost) -> str:
    """Parameters and MACs."""
    return f"{cost.params:,}, {cost.macs:,}"


@dataclass(frozen=True)
class HandedIn:
    """What a submission says of itself.

    Attributes:
        form: Of the year; None where there is none, and so no package.
        name: Of the system.
        abbreviation: Where space is tight.
        description: In general tags.
        cost: Counted by the year's rule, or as the authors counted by it.
        memory: Peak memory of an inference, in bytes, where the form asks for it (2022, 2023).
        energy: Where the form asks for it (2023).
    """

    form: Form | None
    name: str
    abbreviation: str
    description: Description
    cost: Cost
    memory: int | None = None
    energy: Energy | None = None


def conclude(
    call: Call[Any],
    scenes: Scenes,
    results: Sequence[Result],
    system: System,
    stages: Sequence[str],
    rows: Callable[[Outcome], Sequence[Row]],
    handed_in: Callable[[Outcome], HandedIn],
) -> Outcome:
    """Write everything that a run leaves, the report last.

    Args:
        call: What was asked for.
        scenes: The data.
        results: What `fit` returned, one for each network of the system.
        system: The system.
        stages: Names of the stages kept on the way, in order.
        rows: The lines of *paper | ours | why different*.
        handed_in: What the submission says.
    """
    folder = call.folder
    files = ["model"] if len(results) == 1 else [f"model-{k + 1}" for k in range(len(results))]
    lengths = [
        _written(folder.path, name, result) for name, result in zip(files, results, strict=True)
    ]
    write(folder.path, system, files)
    call.console.print("Judging every stage on the test list ...")
    probabilities = system.probabilities(scenes.test.x)
    final = judged(scenes.test, probabilities)
    members = [folder.member(k, len(results)) for k in range(len(results))]
    outcome = Outcome(
        scenes, results,
        stages={s: [_judged_stage(m, s, system, scenes.test) for m in members] for s in stages},
        counts={s: [read_counts(m.stages, s) for m in members] for s in stages},
        final=final, files=lengths,
    )  # fmt: skip
    said = handed_in(outcome)
    write_evaluation(folder.path, outcome, system, said.cost)
    final.plot(folder.path / "confusion.png")
    handing_in = said.form is not None and len(said.form.parts) == 1
    text = report(call, outcome, rows(outcome), handing_in=handing_in)
    write_bytes(folder.path / "report.md", text.encode())
    if handing_in:
        submit(folder.path, said, [final], [probabilities], scenes.test)
    call.console.print(summary(call, outcome, said), markup=False, highlight=False, soft_wrap=True)
    return outcome


def judged(part: Part, probabilities: np.ndarray) -> Evaluation:
    """Of some clips, by class, device and city."""
    table = part.listing.table
    return evaluate(
        probabilities,
        part.y.cpu(),
        part.listing.classes,
        devices=table["device"].tolist(),
        cities=table["city"].tolist(),
    )


def summary(call: Call[Any], outcome: Outcome, said: HandedIn) -> str:
    """One line."""
    cost, first, last = said.cost, next(iter(outcome.stages)), outcome.final
    before = np.mean([one.accuracy for one in outcome.stages[first]])
    year = f" in {said.form.year}" if said.form else ""
    return (
        f"{said.name} on {outcome.scenes.name}: {first} {100 * before:.1f} % -> "
        f"{100 * last.accuracy:.1f} % (log loss {last.log_loss:.3f}), {cost.params:,} parameters, "
        f"{cost.nonzero:,} not zero, {cost.macs:,} MACs, {cost.bytes:,} bytes as handed "
        f"in{year}; files of {', '.join(f'{n:,}' for n in outcome.files)} bytes in "
        f"{call.folder.path}"
    )


def report(call: Call[Any], outcome: Outcome, rows: Sequence[Row], *, handing_in: bool) -> str:
    """The run as text."""
    scenes = outcome.scenes
    lines = [
        f"# {call.folder.path.name}",
        "",
        f"{len(scenes.test)} test clips, {len(scenes.train)} trained on"
        + (f", {len(scenes.validation)} to choose on" if scenes.validation else "")
        + f": {scenes.name}. Device: {call.how}. Versions: "
        + ", ".join(f"{name} {number}" for name, number in versions().items())
        + ".",
        "",
        "| | paper | ours | why different |",
        "|---|---|---|---|",
        *(f"| {row.what} | {row.paper} | {row.ours} | {row.why} |" for row in rows),
        "",
        "Test list, judged once, at the end:",
        "",
        "```",
        str(outcome.final),
        "```",
        "",
        "Submission, its authors placeholders: `submission/task1`."
        if handing_in
        else "No submission of this network alone.",
        "",
    ]
    for result in outcome.results:
        lines += ["```", str(result.report), "```", ""]
    return "\n".join(lines)


def _written(folder: Path, name: str, result: Result) -> int:
    """Container, ONNX and picture of a network; returns the container's length."""
    length = result.write(folder / f"{name}.safetensors")
    result.export(folder / f"{name}.onnx")
    result.report.plot(folder / f"{name.replace('model', 'layers')}.png")
    return length


def _judged_stage(member: RunFolder, name: str, system: System, test: Part) -> Evaluation:
    alone = System(
        system.classes, system.audio, system.mels, system.frames,
        (scores_of(read_network(member.stages, name).to(test.x.device)),), system.independent,
    )  # fmt: skip
    return judged(test, alone.probabilities(test.x))


def write_evaluation(folder: Path, outcome: Outcome, system: System, cost: Cost) -> None:
    """What `recipes.evaluate` compares with and `recipes.sweep` chooses by.

    Args:
        folder: Of the run: `evaluation.json`, and `test_list.txt`, the clips that were judged.
        outcome: What to write.
        system: Judged here on the validation part, where there is one.
        cost: Of the system, by the year's rule.
    """
    scenes = outcome.scenes
    validation = scenes.validation
    chosen = validation and judged(validation, system.probabilities(validation.x)).data()
    said = {
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
    write_bytes(folder / EVALUATION, sealed(said))


def submit(
    folder: Path,
    said: HandedIn,
    results: Sequence[Evaluation],
    probabilities: Sequence[np.ndarray],
    test: Part,
) -> Path:
    """The package of the year for the clips of the test list; one of an earlier call stays.

    Args:
        folder: Of the run.
        said: With a form.
        results: On the test list, one for each of the form's parts.
        probabilities: (clips, classes), likewise.
        test: The clips.
    """
    form = said.form
    assert form is not None  # noqa: S101 - for the type checker
    label = f"{AUTHOR.lastname}_{AUTHOR.affiliation.abbreviation}_{form.task}_1"
    submission = Submission(
        label=label,
        name=said.name,
        abbreviation=said.abbreviation,
        authors=(AUTHOR,),
        description=said.description,
        cost=said.cost,
        results=tuple(results),
        memory_use=said.memory,
        energy=said.energy,
    )
    place = folder / "submission"
    if (place / "task1" / label).exists():
        return place / "task1" / label
    names = [Path(name).name for name in test.listing.table["file"]]
    return write_package(place, submission, form, probabilities, names)
