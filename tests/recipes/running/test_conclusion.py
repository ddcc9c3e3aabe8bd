"""What a run says of itself: one page, whose figures are those of its parts."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

import compressor
from compressor import Budget, measure
from compressor.budget import Cost
from compressor.rules import DCASE2022, DCASE2024, Verdict
from recipes.judging.system import System, scores_of
from recipes.running.command import RunContext
from recipes.running.conclusion import Outcome, Row, byte_grid, judged, report, stage_grid
from recipes.running.run_folder import RunFolder
from recipes.running.scene_data import Scenes
from recipes.running.stages import count
from tests.helpers.tiny import tiny
from tests.helpers.toy_recipe import AUDIO, CLASSES, FRAMES, MELS, Config, part


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    """Of a network that was pruned without data, and its dense one as the first stage."""
    model = tiny(0).eval()
    result = compressor.fit(model, budget=Budget(params=700))
    data = Scenes("toy", generated=True, train=part(40, 1), validation=None, test=part(20, 3))
    dense, small = (
        System(CLASSES, AUDIO, MELS, FRAMES, (scores_of(one),)) for one in (model, result.model)
    )
    probabilities = small.probabilities(data.test.x)
    return Outcome(
        data, [result],
        stages={"dense": [judged(data.test, dense.probabilities(data.test.x))]},
        counts={"dense": [count(model, (model.example_input_array,), 2024)]},
        system=small, probabilities=probabilities, final=judged(data.test, probabilities),
        files=[4321],
    )  # fmt: skip


def cost_of(outcome: Outcome) -> Cost:
    return DCASE2024.count(outcome.results[0])


def context(folder: Path) -> RunContext[Config]:
    cpu = torch.device("cpu")
    return RunContext(Config(), None, RunFolder(folder), cpu, None, Console(quiet=True), fast=True)


def cells(text: str, first: str) -> list[str]:
    """The cells of the row that begins so."""
    (row,) = re.findall(rf"^\| {re.escape(first)} \|(.*)\|$", text, re.MULTILINE)
    return [cell.strip() for cell in row.split("|")]


def test_the_page_says_before_after_cap_and_verdict(outcome: Outcome, tmp_path: Path) -> None:
    cost = cost_of(outcome)
    verdict = Verdict(DCASE2024, cost)
    rows = [Row("parameters", "1", "2", "generated"), Row("accuracy", "50 %", "40 %")]
    text = report(context(tmp_path / "of-a-run"), outcome, rows, verdict, packed=True)
    after = outcome.results[0].report.after
    assert text.startswith("# of-a-run\n\n20 test clips, 40 trained on: toy. Device: cpu")
    assert f"By the year's own counting, {verdict}." in text
    assert "meets the rule" in str(verdict)
    assert cells(text, "accuracy") == ["50 %", "40 %", ""]
    before, now = (outcome.percent(stage) for stage in ("dense", "result"))
    assert cells(text, "accuracy on the test list")[:2] == [before, now]
    assert cells(text, "params")[:3] == [f"{measure(tiny(0)).params:,}", f"{after.params:,}", "700"]
    assert cells(text, "DCASE 2024")[1:] == [
        f"{cost.params:,}", "-", f"{cost.macs:,}", "meets the rule",
    ]  # fmt: skip
    assert "Widths by dual harmonic mean" in text
    assert "![Who was taken for whom](confusion.png)" in text
    assert "![What every layer kept](layers.png)" in text
    assert cells(text, "class park")[2] == str(outcome.final.class_wise["park"].clips)


def test_the_page_is_markdown_of_one_title(outcome: Outcome, tmp_path: Path) -> None:
    text = report(context(tmp_path), outcome, [], None, packed=False)
    titles = re.findall(r"^(#+) (.+)$", text, re.MULTILINE)
    assert [len(sharps) for sharps, _ in titles].count(1) == 1
    assert ("##", "Tiny") in titles
    assert ("###", "Layers") in titles
    assert "```" not in text
    assert "+---" not in text
    assert "No submission of this network alone." in text
    assert "No rule of a year was asked for." in text
    assert "DCASE" not in text


def test_every_number_of_bytes_has_a_name_and_one_a_verdict(outcome: Outcome) -> None:
    grid = byte_grid(outcome, Verdict(DCASE2024, cost_of(outcome)))
    found = {row[0]: row[1:] for row in grid.rows}
    cost, after = cost_of(outcome), outcome.results[0].report.after
    handed = found.pop("what is handed in, by the rule of 2024")
    assert handed == (f"{cost.bytes:,}", "128,000", "meets the rule")
    assert found["the file"] == ("4,321", "-", "-")
    assert found["parameters in memory"] == (f"{after.bytes:,}", "-", "-")
    above = replace(cost, bytes=128_001)
    assert byte_grid(outcome, Verdict(DCASE2024, above)).rows[0][3] == "exceeds the rule"
    (uncapped, *_) = byte_grid(outcome, DCASE2022.judged(cost)).rows
    assert uncapped[2:] == ("-", "meets the rule, which has no cap on bytes")
    two = replace(outcome, results=outcome.results * 2, files=[1, 2])
    assert [row[0] for row in byte_grid(two, None).rows][:3:2] == [
        "the file of network 1", "entries of network 1 times bits, zeros free",
    ]  # fmt: skip


def test_stages_are_counted_by_the_rule(outcome: Outcome) -> None:
    cost = cost_of(outcome)
    dense, last = stage_grid(outcome, Verdict(DCASE2024, cost)).rows
    wanted = DCASE2024.count(tiny(0).eval())
    assert dense[0] == "dense"
    assert dense[3:] == (f"{wanted.params:,}", f"{wanted.nonzero:,}", f"{wanted.macs:,}")
    assert last[3:] == (f"{cost.params:,}", f"{cost.nonzero:,}", f"{cost.macs:,}")
    assert stage_grid(outcome, None).rows[1][3:] == ("-", "-", "-")


def test_several_networks_have_a_report_each(outcome: Outcome, tmp_path: Path) -> None:
    two = replace(
        outcome,
        results=outcome.results * 2,
        files=[1, 2],
        stages={"dense": [*outcome.stages["dense"]] * 2},
        counts={"dense": [*outcome.counts["dense"]] * 2},
    )
    text = report(context(tmp_path), two, [], Verdict(DCASE2024, cost_of(two)), packed=True)
    assert "(layers-1.png)" in text
    assert "(layers-2.png)" in text
    rows = re.findall(r"^\| accuracy on the test list \|(.*)\|$", text, re.MULTILINE)
    assert len(rows) == 2
    assert all(row.split("|")[1].strip() == "-" for row in rows)


def test_why_accuracies_differ_is_said_in_words_and_not_by_a_folder_alone(outcome: Outcome) -> None:
    assert outcome.why == "generated scenes, no real sound"
    real = replace(outcome, scenes=replace(outcome.scenes, name="TAU-mini", generated=False))
    assert real.why == "40 clips trained on, 20 judged, of the data in TAU-mini"
