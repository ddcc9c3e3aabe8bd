"""The command of the five folds, one network of one of them at a tiny size."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from recipes.folds.command import Wanted, run
from recipes.folds.settings import DENSE

HEADER = "filename,fold,target,category,esc10,src_file,take"


@pytest.mark.slow
def test_the_command_prints_what_it_made_and_makes_it_once(tmp_path: Path) -> None:
    root = tmp_path / "esc50"
    for part in ("meta", "audio"):
        (root / part).mkdir(parents=True)
    names = [f"{fold}-{take}-A-{take}.wav" for fold in range(1, 6) for take in range(2)]
    rows = [f"{name},{name[0]},{name[2]},class {name[2]},True,1,A" for name in names]
    (root / "meta" / "esc50.csv").write_text("\n".join([HEADER, *rows, ""]))
    rng = np.random.default_rng(0)
    for name in names:
        soundfile.write(root / "audio" / name, rng.uniform(-0.5, 0.5, 80_000), 16_000)
    wanted = Wanted(folds=(3,), seeds=(0,), stages=(DENSE,), out=tmp_path / "runs", quick=True)
    assert wanted.settings(4).epochs == 1
    assert wanted.settings(4).seed == 4
    for _ in range(2):
        console = Console(record=True, width=200, file=io.StringIO())
        run(root, tmp_path / "cache", wanted, console)
        said = console.export_text()
        assert "fold 3, seed 0, dense:" in said
        assert "goal" in said
        made = "training the dense network" in said
    assert not made
    assert len([*(tmp_path / "runs").rglob("record.json")]) == 1
