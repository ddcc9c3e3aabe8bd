"""Five folds are read only where every clip of them is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from recipes.folds.clips import crops_of, read_folds
from recipes.folds.settings import FoldSettings

HEADER = "filename,fold,target,category,esc10,src_file,take"


@pytest.fixture
def esc50(tmp_path: Path) -> Path:
    """A second of noise in each of the five folds."""
    root = tmp_path / "esc50"
    for part in ("meta", "audio"):
        (root / part).mkdir(parents=True)
    rows = [f"{fold}-1-A-0.wav,{fold},0,dog,True,1,A" for fold in range(1, 6)]
    (root / "meta" / "esc50.csv").write_text("\n".join([HEADER, *rows, ""]))
    rng = np.random.default_rng(0)
    for fold in range(1, 6):
        noise = rng.uniform(-0.5, 0.5, 80_000)
        soundfile.write(root / "audio" / f"{fold}-1-A-0.wav", noise, 16_000)
    return root


def test_a_missing_clip_of_the_last_fold_is_told_before_anything_is_trained(
    esc50: Path, tmp_path: Path
) -> None:
    (esc50 / "audio" / "5-1-A-0.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 5 clips .*\n?.*5-1-A-0\.wav"):
        read_folds(esc50, tmp_path / "cache")


def test_crops_of_every_clip_are_as_many_as_decide(esc50: Path, tmp_path: Path) -> None:
    data = read_folds(esc50, tmp_path / "cache")
    assert data.folds.tolist() == [1, 2, 3, 4, 5]
    assert crops_of(data.clips, FoldSettings(), 3).shape == (5, 3, 1, 64, 126)
