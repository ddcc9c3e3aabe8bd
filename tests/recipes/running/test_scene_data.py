"""Data of a run: any data set whose reader is handed in, and fewer clips of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console

from recipes.data.audio import AudioFormat
from recipes.data.listing import Listing
from recipes.data.tau import read_scenes
from recipes.features.logmel import BASELINE_2022
from recipes.running import scene_data
from recipes.running.scene_data import DataSpec, load, load_test
from tests.helpers.finished_run import data_set
from tests.helpers.toy_recipe import AUDIO, CLASSES, FRAMES, MELS


def test_a_data_set_is_read_by_the_reader_that_is_handed_in(tmp_path: Path) -> None:
    asked: list[tuple[str, int, Path | None]] = []

    def reader(root: Path, part: str, *, classes: int, training_list: Path | None) -> Listing:
        """Clips of device a alone, of a data set in another layout."""
        asked.append((part, classes, training_list))
        found = read_scenes(root / "official", part, classes=classes)  # type: ignore[arg-type]
        return found.select(found.table["device"] == "a")

    data_set(tmp_path / "other" / "official")
    cpu, quiet, cache = torch.device("cpu"), Console(quiet=True), tmp_path / "cache"
    spec = DataSpec(audio=AUDIO, mels=MELS, frames=FRAMES, classes=len(CLASSES), validation=0)
    scenes = load(tmp_path / "other", spec, cpu, quiet, reader=reader, cache=cache)
    test = load_test(tmp_path / "other", spec, None, cpu, quiet, reader=reader, cache=cache)
    assert asked == [("train", 4, None), ("test", 4, None), ("test", 4, None)]
    assert (scenes.name, scenes.generated, scenes.validation) == ("other", False, None)
    assert set(scenes.train.listing.table["device"]) == {"a"}
    assert 0 < len(scenes.train) < 8
    assert torch.equal(scenes.test.x, test.x)


def test_a_few_clips_of_a_list_keep_the_shares_of_devices_and_scenes() -> None:
    devices = np.repeat(["a", "b", "s1"], [740, 130, 130])
    table = pd.DataFrame({"device": devices, "scene": np.tile(["bus", "park"], 500)})
    listing = Listing(Path("tau"), table, ("bus", "park"))
    wanted = DataSpec(audio=AudioFormat(seconds=1.0), mels=BASELINE_2022, frames=51, clips=100)
    few = scene_data._thinned(listing, wanted)
    counts = few.table.groupby(["device", "scene"]).size()
    expected = {"a": 37, "b": 6.5, "s1": 6.5}
    assert len(few) == 100
    for (device, _), count in counts.items():
        assert abs(count - expected[device]) <= 1
    assert scene_data._thinned(listing, wanted).table.equals(few.table)
    assert not scene_data._thinned(listing, replace(wanted, seed=1)).table.equals(few.table)
    assert scene_data._thinned(listing, replace(wanted, clips=None)) is listing
    with pytest.raises(ValueError, match="clips=0"):
        scene_data._thinned(listing, replace(wanted, clips=0))
