"""A sweep: every combination, a study, restarts, processes that die, its table and picture."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import recipes.sweep as command
from recipes.files.lock import locked
from recipes.sweeps.pareto import Candidate, candidate, dominators, markdown, plot
from recipes.sweeps.runner import Found, Sweep, run
from recipes.sweeps.search import Choices, Grid, Range, Study, dimensions, seeds_of
from recipes.sweeps.trial import Job, make, read_record
from recipes.sweeps.workers import OnRay, Workers, here, several
from tests.helpers.toy_recipe import Config

TOY = Job(module="tests.helpers.toy_recipe")
QUIET = Console(file=io.StringIO())


class Pretend:
    """Workers that invent the outcome of a trial, two at once, and note which they were given."""

    def __init__(self, fails: Sequence[str] = ()) -> None:
        self.fails, self.made = fails, list[Job]()

    def __call__(self, jobs: Iterator[Job]) -> Iterator[tuple[Job, str | None]]:
        running = list(islice(jobs, 2))
        while running:
            job = running.pop()  # the last first: order must not matter
            self._make(job)
            yield job, None
            running.extend(islice(jobs, 1))

    def _make(self, job: Job) -> None:
        self.made.append(job)
        said = dict(text.split("=") for text in job.settings)
        width, lr = float(said.get("width", 8)), float(said.get("lr", 0.01))
        record = {"point": job.point, "seed": job.seed, "state": "done", "attempts": 1}
        record["started"] = float(len(self.made))
        if any(text in job.settings for text in self.fails):
            record |= {"state": "failed", "error": "TrainingError: diverged"}
        else:
            accuracy = width / 100 + lr + 0.01 * int(said.get("seed", 0))
            figures = {"accuracy": accuracy, "macs": width**2, "bytes": 10 * width}
            record["values"] = figures | {"params": width, "nonzero": width, "log_loss": 1.0}
        Path(job.folder).mkdir(parents=True, exist_ok=True)
        (Path(job.folder) / "trial.json").write_text(json.dumps(record))


def sweep(folder: Path, *over: str, study: int | None = None, again: bool = False) -> Sweep:
    return Sweep(folder, TOY, dimensions(Config(), over), study, again)


def made(workers: Pretend) -> list[str]:
    return sorted(",".join(job.settings) for job in workers.made)


# ------------------------------------------------------------------------------- what is searched


def test_lists_and_ranges_are_told_apart_by_the_setting() -> None:
    found = dimensions(Config(), ["lr=0.01,3e-2", "width=8:16", "kept=0.5:0.9:log", "seed=0,1"])
    assert found == [
        Choices("lr", ("0.01", "3e-2")),
        Range("width", 8, 16, log=False, whole=True),
        Range("kept", 0.5, 0.9, log=True, whole=False),
        Choices("seed", ("0", "1")),
    ]
    assert seeds_of(found) == ("0", "1")


@pytest.mark.parametrize(
    ("texts", "match"),
    [
        (["lr"], "varies nothing"),
        (["lr="], "varies nothing"),
        (["lrr=1,2"], "no setting 'lrr'. Did you mean lr"),
        (["lr=a,b"], "lr=a"),
        (["lr=1,,2"], "missing"),
        (["lr=1,1"], "there twice"),
        (["lr=0.1,0.2", "lr=0.3"], "varies lr twice"),
        (["lr=0.2:0.1"], "low below high"),
        (["lr=0:1:log"], "above 0"),
        (["lr=0.1:nan"], "low below high"),
        (["lr=0.1:1:ln"], "low:high:log"),
        (["lr=0.1:x"], "of numbers"),
        (["width=8:9.5"], "whole number"),
        (["seed=0:9"], "seeds are not searched"),
        ([], "Name what to vary"),
    ],
)
def test_what_cannot_be_varied_is_refused(texts: list[str], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        dimensions(Config(), texts)


def test_a_grid_is_every_combination_and_has_no_ranges() -> None:
    found = dimensions(Config(), ["lr=0.1,0.2", "width=4,8", "seed=0,1"])
    assert Grid(found).points == [
        ("lr=0.1", "width=4"), ("lr=0.1", "width=8"), ("lr=0.2", "width=4"), ("lr=0.2", "width=8"),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="--study N"):
        Grid(dimensions(Config(), ["lr=0.1:0.2"]))


# ----------------------------------------------------------------------------------------- a run


def test_a_grid_runs_every_seed_and_reads_what_is_finished(tmp_path: Path) -> None:
    asked = sweep(tmp_path / "s", "width=4,8", "seed=0,1")
    first = Pretend()
    found = run(asked, first, QUIET)
    assert made(first) == ["width=4,seed=0", "width=4,seed=1", "width=8,seed=0", "width=8,seed=1"]
    assert [round(one.accuracy, 6) for one in found.candidates] == [0.055, 0.095]
    second = Pretend()
    assert run(asked, second, QUIET) == found
    assert second.made == []
    longer = sweep(tmp_path / "s", "width=4,8,16", "seed=0,1")
    run(longer, second, QUIET)
    assert made(second) == ["width=16,seed=0", "width=16,seed=1"]
    assert (tmp_path / "s" / "fronts.png").read_bytes().startswith(b"\x89PNG")


def test_a_failed_trial_stops_no_other_and_is_made_again_when_asked(tmp_path: Path) -> None:
    asked = sweep(tmp_path, "lr=0.1,0.2", "seed=0,1")
    found = run(asked, Pretend(fails=["lr=0.2"]), QUIET)
    assert len(found.candidates) == 1
    assert [text.split(":")[0] for text in found.missing] == ["lr=0.2-seed=0", "lr=0.2-seed=1"]
    assert "diverged" in (tmp_path / "sweep.md").read_text()
    idle, again = Pretend(), Pretend()
    run(asked, idle, QUIET)
    assert idle.made == []
    assert not run(replace(asked, again=True), again, QUIET).missing
    assert made(again) == ["lr=0.2,seed=0", "lr=0.2,seed=1"]


def test_a_trial_that_was_under_way_or_has_a_damaged_record_is_made_again(tmp_path: Path) -> None:
    asked = sweep(tmp_path, "lr=0.1,0.2,0.3")
    run(asked, Pretend(), QUIET)
    file = tmp_path / "lr=0.1" / "trial.json"
    said = json.loads(file.read_text()) | {"state": "running", "values": None}
    file.write_text(json.dumps(said))
    (tmp_path / "lr=0.3" / "trial.json").write_text('{"point": ["lr=')
    again = Pretend()
    assert len(run(asked, again, QUIET).candidates) == 3
    assert made(again) == ["lr=0.1", "lr=0.3"]


def test_a_folder_belongs_to_one_sweep_and_one_process(tmp_path: Path) -> None:
    run(sweep(tmp_path, "lr=0.1"), Pretend(), QUIET)
    other = replace(sweep(tmp_path, "lr=0.1"), job=replace(TOY, fixed=("width=4",)))
    with pytest.raises(ValueError, match=r"another run.*width 8 -> 4"):
        run(other, Pretend(), QUIET)
    with pytest.raises(ValueError, match="another run"):
        run(sweep(tmp_path, "width=4:8", study=2), Pretend(), QUIET)
    with locked(tmp_path / ".lock", "x"), pytest.raises(OSError, match="Another process makes"):
        run(sweep(tmp_path, "lr=0.1"), Pretend(), QUIET)


def test_a_sweep_without_validation_is_refused(tmp_path: Path) -> None:
    asked = replace(sweep(tmp_path, "lr=0.1"), job=replace(TOY, fixed=("validation=0",)))
    with pytest.raises(ValueError, match="validation is 0"):
        run(asked, Pretend(), QUIET)


# ---------------------------------------------------------------------------------------- a study


def test_a_study_stays_within_its_ranges_and_goes_on_where_it_was(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    over = ["lr=1e-3:1e-1:log", "width=4:16", "killed=true,false", "seed=0,1"]
    first, second = Pretend(), Pretend()
    run(sweep(tmp_path, *over, study=4), first, QUIET)
    points = {job.point for job in first.made}
    assert len(first.made) == 2 * len(points) == 8
    for point in points:
        said = dict(text.split("=") for text in point)
        assert 1e-3 <= float(said["lr"]) <= 1e-1
        assert int(said["width"]) in range(4, 17)
        assert said["killed"] in ("true", "false")
    found = run(sweep(tmp_path, *over, study=7), second, QUIET)
    assert len(found.candidates) == 7
    assert not points & {job.point for job in second.made}
    assert {one.point for one in found.candidates[:4]} == points


def test_a_study_over_few_choices_proposes_some_twice_and_ends(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    workers = Pretend(fails=["killed=true"])
    found = run(sweep(tmp_path, "killed=true,false", study=6), workers, QUIET)
    assert len(workers.made) <= 2
    assert len(found.candidates) + len(found.missing) == len(workers.made)


def test_a_study_learns_from_what_it_is_told(tmp_path: Path) -> None:
    """Accuracy grows with lr and costs do not: later proposals lie higher than random ones."""
    pytest.importorskip("optuna")
    del tmp_path
    study = Study(dimensions(Config(), ["lr=0.0:1.0"]), 60)
    seen = []
    while (point := study.ask()) is not None:
        lr = float(point[0].split("=")[1])
        seen.append(lr)
        study.tell(point, (lr, 1.0, 1.0))
    assert np.mean(seen[30:]) > np.mean(seen[:10]) + 0.1


# --------------------------------------------------------------------------------------- a trial


def trial(folder: Path, *settings: str) -> Job:
    return replace(TOY, folder=str(folder), point=settings)


@pytest.mark.slow
def test_a_trial_that_fails_says_why_and_one_that_ends_has_figures(tmp_path: Path) -> None:
    make(trial(tmp_path / "a", "lr=1e12"))
    record = read_record(tmp_path / "a")
    assert record is not None
    assert (record.state, record.values) == ("failed", None)
    assert "finite" in str(record.error)
    assert "Traceback" in (tmp_path / "a" / "error.txt").read_text()
    make(trial(tmp_path / "b", "epochs=1"))
    record = read_record(tmp_path / "b")
    assert record is not None
    assert record.values is not None
    said = json.loads((tmp_path / "b" / "evaluation.json").read_text())
    assert record.values["accuracy"] == said["validation"]["macro"]["accuracy"]
    assert record.values["macs"] == said["cost"]["macs"]
    assert record.values["bytes"] == (tmp_path / "b" / "model.safetensors").stat().st_size


@pytest.mark.slow
def test_a_trial_on_ray_whose_process_is_killed_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    folder = tmp_path / "sweep"
    workers = OnRay(None)
    try:
        found = run(sweep(folder, "killed=true"), workers, QUIET)
    finally:
        workers.close()
    assert found.missing == ()
    killed = read_record(folder / "killed=true")
    make(trial(tmp_path / "whole", "killed=false"))
    whole = read_record(tmp_path / "whole")
    assert killed is not None
    assert whole is not None
    assert (killed.attempts, whole.attempts) == (2, 1)
    assert killed.values == whole.values
    steps = (folder / "killed=true" / "epochs.txt").read_text().split("\n")[:-1]
    assert len({text.split()[0] for text in steps}) == 2  # two processes
    # At most the epoch whose checkpoint was not yet written is made twice.
    assert len(steps) - len({text.split()[1] for text in steps}) <= 1


@pytest.mark.slow
def test_a_sweep_in_this_process(tmp_path: Path) -> None:
    found = run(sweep(tmp_path, "epochs=1", "seed=0,1"), here, QUIET)
    assert len(found.candidates[0].accuracies) == 2


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere", "a:b"])
def test_an_address_without_a_cluster_is_refused_at_once(address: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(OSError, match=f"no Ray cluster at --address {address}"):
        OnRay(address)


def test_without_ray_this_process_makes_the_trials_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    said: list[str] = []
    assert several(None, 1, 0, said.append) is here
    (line,) = said
    assert "one after the other" in line
    assert "pip install -e '.[sweep]'" in line
    with pytest.raises(ImportError, match="Ray"):
        several("127.0.0.1:1", 1, 0, said.append)
    assert len(said) == 1


def test_the_command_goes_on_without_ray(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    asked: list[Workers] = []

    def run(_: Sweep, workers: Workers, console: object) -> Found:
        del console
        asked.append(workers)
        return Found((), ())

    monkeypatch.setattr(command, "run", run)
    words = ["sweep", "dcase2021", "--fast", "--over", "train.lr=0.01,0.02", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as left:
        command.main()
    assert left.value.code == 0
    assert asked == [here]
    assert "Ray is not installed" in " ".join(capsys.readouterr().out.split())


# ------------------------------------------------------------------------------- the Pareto front


def of(accuracy: float, macs: float, size: float, number: int = 1) -> Candidate:
    return Candidate(number, (f"lr={number}",), (accuracy,), macs, size, 1.0)


figures = st.tuples(st.integers(0, 4), st.integers(1, 5), st.integers(1, 5))


@given(st.lists(figures, min_size=1, max_size=12))
def test_dominance_is_that_of_the_definition(rows: list[tuple[int, int, int]]) -> None:
    found = [of(a / 4, m, b, k) for k, (a, m, b) in enumerate(rows)]
    for (a, m, b), better in zip(rows, dominators(found), strict=True):
        beaten = [(x, y, z) for x, y, z in rows if x >= a and y <= m and z <= b]
        beaten = [row for row in beaten if row != (a, m, b)]
        assert (better is None) == (not beaten)
        if better is not None:
            assert rows[better.number] in beaten


def test_seeds_are_averaged_with_their_standard_error() -> None:
    runs = [{"accuracy": a, "macs": 10, "bytes": 20, "params": 5} for a in (0.4, 0.5, 0.6)]
    one = candidate(1, ("lr=1",), runs)
    assert one.accuracy == pytest.approx(0.5)
    assert one.error == pytest.approx(0.1 / 3**0.5)
    assert "50.00 ± 5.77" in markdown([one])


def test_the_table_marks_the_front_and_the_picture_takes_any_number(tmp_path: Path) -> None:
    found = [of(0.5, 100, 100, 1), of(0.6, 90, 90, 2), of(0.4, 10, 100, 3)]
    lines = markdown(found).splitlines()
    assert [line.split("|")[-2].strip() for line in lines[2:]] == ["**front**", "2", "**front**"]
    for some in (found[:1], found):
        plot(some, tmp_path / "a.png", "title")
        assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert markdown([]) == "No trial is done.\n"
    assert Found((), ()).missing == ()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--over", "seed=0,1", "--set", "members=1", "--set", "seed=2"], "both say seed: leave"),
        (["--over", "train.lr=1,2", "--over", "train.lr=3,4"], "--over varies train.lr twice"),
        (["--over", "seed=0,1", "--data", "nowhere"], "There is no folder nowhere"),
        (["--over", "seed=0,1", "--device", "cpu", "--device", "cuda"], "stands there twice"),
    ],
)
def test_a_sweep_that_would_lose_a_word_is_refused(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sweep", "dcase2021", "--fast", *words])
    with pytest.raises(SystemExit) as left:
        command.main()
    assert left.value.code == 2
    assert said in capsys.readouterr().err
