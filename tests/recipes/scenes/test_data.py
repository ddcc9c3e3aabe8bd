"""Lists of an entry: the year's, those of a folder without lists, and what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from rich.console import Console

from recipes.running.command import RunContext
from recipes.running.run_folder import RunFolder
from recipes.scenes.data import check_lists, listed, read_any, tell_lists
from recipes.scenes.network import Source
from recipes.scenes.settings import Config, of
from tests.helpers.tau import TRAIN, small


def context(data: Path | None, *, fast: bool, splits: tuple[int, ...] = (5,)) -> RunContext[Config]:
    config = of(Source("net.py:Net"), 2024, splits=splits)
    console = Console(record=True, width=200)
    folder = RunFolder(Path("nowhere"))
    return RunContext(config, data, folder, torch.device("cpu"), None, console, fast)


def test_a_missing_list_is_refused_and_drawn_in_a_trial(tmp_path: Path) -> None:
    root = small(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"split5\.csv: not in lists=none"):
        check_lists(context(root, fast=False))
    trial = context(root, fast=True)
    check_lists(trial)
    assert not trial.console.export_text(), "an error may still come, of another cause"
    tell_lists(trial)
    assert "No split5.csv: whole recordings are drawn instead." in trial.console.export_text()
    found = listed(trial, 5)
    assert found is not None
    assert len(found) == len(TRAIN)


def test_a_list_is_read_where_it_is(tmp_path: Path) -> None:
    root = small(tmp_path)
    rows = ["filename\tscene_label", *("\t".join(row) for row in TRAIN[:2])]
    (root / "evaluation_setup" / "split5.csv").write_text("\n".join([*rows, ""]))
    quiet = context(root, fast=True)
    check_lists(quiet)
    tell_lists(quiet)
    assert not quiet.console.export_text()
    found = listed(quiet, 5)
    assert found is not None
    assert found.table["file"].tolist() == [name for name, _ in TRAIN[:2]]
    assert listed(context(None, fast=True), 5) is None


@pytest.mark.data
def test_a_folder_without_lists_is_divided_by_place(shared_data: Path) -> None:
    root = shared_data / "TAU-urban-acoustic-scenes-2020-3class-development-mini"
    if not root.is_dir():
        pytest.skip(f"no TAU clips at {root}")
    train, test = (read_any(root, part, classes=10) for part in ("train", "test"))
    assert train.classes == test.classes == ("indoor", "outdoor", "transportation")
    assert (len(train), len(test)) == (6, 3)
    assert not set(train.table["location"]) & set(test.table["location"])
    assert set(test.table["scene"]) == set(test.classes)
