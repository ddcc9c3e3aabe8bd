"""The system of 2022 under the rules of 2023 to 2025: subsets, forms, and the road."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch

from compressor import Budget, Prune
from compressor.errors import BudgetError
from compressor.rules import of_year
from models import Tandem
from recipes import dcase_next
from recipes.data.listing import Listing
from recipes.data.official_lists import read_list
from recipes.dcase_next import VARIANTS, YEARS, Config, form_of
from recipes.running.command import run
from recipes.running.conclusion import Outcome, submit
from recipes.running.overrides import override
from recipes.running.scene_data import Part, Scenes
from recipes.running.splits import SPLITS, Trained, score, subset
from recipes.running.year_caps import caps
from recipes.submission.forms import FORM2023, FORM2024
from recipes.submission.output import check_package
from tests.helpers.forms import submission

TINY = [
    "system.channels=10", "system.kept=0.05", "system.train.epochs=2", "system.train.batch=30",
    "system.rows.fine_tune=0", "system.budget.macs=1.2e6", "system.budget.bytes=32000",
]  # fmt: skip


# ----------------------------------------------------------------------------------------- subsets


def part_of(files: list[str], scenes: list[str]) -> Part:
    classes = tuple(sorted(set(scenes)))
    labels = [classes.index(scene) for scene in scenes]
    table = pd.DataFrame({"file": files, "scene": scenes, "label": labels})
    x = torch.arange(len(files), dtype=torch.float32).reshape(-1, 1, 1, 1)
    return Part(x, torch.tensor(labels), Listing(Path(), table, classes))


def generated() -> Part:
    """Two classes, 40 recordings of two seconds each, every other one by a second device too."""
    names = [
        (f"audio/{scene}-lyon-{k // 2}-{k}-{second}-{device}.wav", scene)
        for second in range(2)
        for scene in ("park", "tram")
        for k in range(40)
        for device in ("a", "b")[: 1 + k % 2]
    ]
    return part_of([name for name, _ in names], [scene for _, scene in names])


def recording(name: str) -> str:
    stem, _, device = name.rsplit("-", 2)
    return f"{stem}-{device}"


def test_subsets_are_nested_whole_recordings_of_about_their_share() -> None:
    part, before = generated(), set[str]()
    for percent in SPLITS[2024]:
        taken = subset(part, percent)
        names = set(taken.listing.table["file"])
        assert before <= names
        whole = {recording(name) for name in names}
        assert names == {n for n in part.listing.table["file"] if recording(n) in whole}
        for label in (0, 1):
            wanted = percent / 100 * int((part.y == label).sum())
            assert wanted <= int((taken.y == label).sum()) < wanted + 2
        before = names
    assert before == set(part.listing.table["file"])


def test_a_subset_keeps_clips_and_labels_together() -> None:
    part = generated()
    taken = subset(part, 25)
    rows = taken.x.flatten().long()
    assert torch.equal(part.y[rows], taken.y)
    files = part.listing.table["file"].iloc[rows.tolist()].tolist()
    assert files == taken.listing.table["file"].tolist()


def test_the_official_subsets_have_the_same_properties(shared_data: Path) -> None:
    """Nested, whole recordings: what `subset` imitates."""
    folder = shared_data / "tau_lists" / "dcase2024_task1"
    if not folder.is_dir():
        pytest.skip(f"no lists of 2024 at {folder}")
    lists = [set(read_list(folder / f"split{p}.csv")["filename"]) for p in (5, 10, 25)]
    assert [len(one) for one in lists] == [6_980, 13_960, 34_900]
    assert lists[0] < lists[1] < lists[2]
    small = {recording(name) for name in lists[0]}
    assert lists[0] == {name for name in lists[2] if recording(name) in small}


# --------------------------------------------------------------------------------- years and forms


@pytest.mark.parametrize("year", YEARS)
def test_a_variant_is_its_years_rule_and_lists(year: int) -> None:
    paper, other = VARIANTS[str(year)](Config()), VARIANTS[f"{year}-ours"](Config())
    for config in (paper, other):
        assert config.system.year == year
        assert config.splits == SPLITS[year]
    assert paper.system.budget == Budget(params=128_000, macs=30_000_000), "8 bits each"
    assert other.system.budget == of_year(year).budget
    assert isinstance(other.system.filters, Prune)


def caps_of(config: Config, model: Tandem) -> Budget:
    return caps(config.system.year, config.system.budget, model)


def test_a_rule_about_bytes_is_one_about_parameters_of_a_byte() -> None:
    model = Tandem(32, 4)
    for year in YEARS:
        loose = caps_of(VARIANTS[str(year)](Config()), model)
        assert (loose.params, loose.bytes) == (128_000, None)
    assert caps_of(VARIANTS["2024-ours"](Config()), model).bytes == 128_000
    above = replace(Config().system, budget=Budget(params=128_001))
    with pytest.raises(BudgetError, match="above the rule of 2024"):
        caps(above.year, above.budget, model)


def test_forms_are_filled_in_where_that_is_possible() -> None:
    years = {year: VARIANTS[str(year)](Config()) for year in YEARS}
    assert form_of(years[2024]) == (FORM2024, "")
    assert "asks for energy" in form_of(years[2023])[1]
    assert form_of(override(years[2023], ["energy=0.5,0.02,0.07"])) == (FORM2023, "")
    assert form_of(replace(years[2024], splits=(5, 25)))[0] is None
    assert "was a Python package" in form_of(years[2025])[1]


@pytest.mark.parametrize(
    ("text", "match"),
    [("splits=5,7", "splits=7: there are lists of 5, 10"), ("energy=1,2", "three numbers in kWh")],
)
def test_settings_that_mean_nothing_are_refused(text: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        override(Config(), [text])


def five(test: Part) -> list[Trained]:
    filled = submission(FORM2024)
    facts = replace(filled, form=FORM2024, label="", results=())
    shares, nothing = np.full((len(test), 10), 0.1), cast("Any", None)
    scenes = Scenes("generated", generated=True, train=test, validation=None, test=test)
    return [
        Trained(p, Outcome(scenes, [], {}, {}, nothing, shares, result, []), facts)
        for p, result in zip(FORM2024.splits, filled.results, strict=True)
    ]


def test_the_score_of_2024_is_the_mean_of_the_five() -> None:
    part = generated()
    found = five(part)
    text = score(2024, found)
    mean = np.mean([100 * one.outcome.final.accuracy for one in found])
    assert f"| 50.43 | {mean:.2f} |" not in text
    assert f"| {np.mean([42.40, 45.29, 50.29, 53.19, 56.99]):.2f} | {mean:.2f} |" in text
    assert text.count("\n") == 2 + 5 + 1


def test_five_networks_are_handed_in_together(tmp_path: Path) -> None:
    part = generated()
    found = five(part)
    package = submit(tmp_path, found[0].facts, [one.outcome for one in found])
    names = [Path(name).name for name in part.listing.table["file"]]
    assert not check_package(package, FORM2024, names)
    assert len(list(package.glob("*.csv"))) == 5


# ---------------------------------------------------------------------------------------- the road


@pytest.mark.slow
@pytest.mark.data
def test_the_road_on_a_subset_of_real_clips(
    tau2022: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """25 %, by a list in a folder of its own, its whole file under a cap on bytes."""
    whole = read_list(tau2022 / "evaluation_setup" / "fold1_train.csv")
    lists, out = tmp_path / "lists", tmp_path / "run"
    lists.mkdir()
    whole.groupby("scene_label").head(6).to_csv(lists / "split25.csv", sep="\t", index=False)
    command = ["dcase_next", "--data", str(tau2022), "--fast", "--variant", "2025-ours"]
    argv = [*command, "--device", "cpu", "--out", str(out), f"lists={lists}", *TINY]
    monkeypatch.setattr(sys, "argv", argv)
    run(dcase_next.__doc__, "dcase_next", Config(), dcase_next.fast, dcase_next.main, VARIANTS)

    said = json.loads((out / "evaluation.json").read_text())
    assert 10_000 < said["cost"]["bytes"] <= 32_000
    assert said["files"] == [(out / "model.safetensors").stat().st_size]
    assert said["files"][0] <= 32_000
    assert said["cost"]["macs"] <= 1_200_000 < said["counts"]["rows"][0]["rule"]["macs"]
    report = (out / "report.md").read_text()
    assert "80 test clips, 60 trained on" in report
    assert "was a Python package" in report
    assert not (out / "submission").exists()
