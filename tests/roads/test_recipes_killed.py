"""Recipes that are killed in the middle of their road, and end in the same bits.

On the 200 real clips of TAU 2022: they train on 120 of them.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from importlib import import_module
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch

from recipes.running.command import run

TINY = {
    "dcase2020": [
        "channels=4", "train.epochs=3", "tune.epochs=2", "train.batch=30", "validation=0",
    ],
    "dcase2021": [
        "channels=4", "members=2", "train.epochs=2", "tune=2", "round=1", "validation=0",
        "pruned=0.3",
    ],
    "dcase2022": [
        "channels=10", "kept=0.05", "budget.params=14300", "budget.macs=1.2e6", "train.epochs=2",
        "train.batch=60", "rows.fine_tune=0", "validation=0",
    ],
    "scenes": [
        "budget.params=800", "train.batch=16", "--year", "2025", "--split", "100",
        "--model", "tests.helpers.scene_net:SceneNet",
    ],
}  # fmt: skip
"""Roads of seconds."""
MOMENTS = {
    "dcase2020": ("stages/dense.json",),
    "dcase2021": ("member-2/checkpoint/checkpoint.json",),
    "dcase2022": ("stages/linear.json", "stages/rows.json", "model.onnx"),
    "scenes": ("stages/pruned.json", "device-b/checkpoint/checkpoint.json"),
}
"""Files after whose appearance the process is killed, one after the other."""


def road(recipe: str, data: Path, out: Path) -> None:
    """The recipe's command, in a process of its own."""
    torch.set_num_threads(1)
    module = import_module("recipes.scenes.__main__" if recipe == "scenes" else f"recipes.{recipe}")
    words = ["--data", str(data), "--fast", "--device", "cpu", "--out", str(out), *TINY[recipe]]
    sys.argv = [recipe, *words]
    own = module.OWN if recipe == "scenes" else None
    run(module.__doc__, recipe, module.Config(), module.fast, module.main, own=own)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("recipe", list(TINY))
def test_killed_on_its_way_a_recipe_ends_in_the_same_bits(
    recipe: str, shared_data: Path, tmp_path: Path
) -> None:
    data = shared_data / "TAU-urban-acoustic-scenes-2022-mobile-development-mini"
    if not data.is_dir():
        pytest.skip(f"no TAU clips at {data}")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.helpers.warm"])

    def start(name: str) -> ForkServerProcess:
        process = context.Process(target=road, args=(recipe, data, tmp_path / name))
        process.start()
        return process

    whole = start("whole")
    whole.join()
    assert whole.exitcode == 0
    for moment in MOMENTS[recipe]:
        process = start("killed")
        while not (tmp_path / "killed" / moment).exists() and process.is_alive():
            time.sleep(0.005)
        process.kill()
        process.join()
        assert process.exitcode == -9, f"it ended before {moment}"
    last = start("killed")
    last.join()
    assert last.exitcode == 0

    left = {path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("model*")}
    assert left
    for name in [*left, Path("evaluation.json"), Path("system.json")]:
        found, wanted = (tmp_path / run / name for run in ("killed", "whole"))
        assert found.read_bytes() == wanted.read_bytes(), name
    logs = [
        [_but_seconds(line) for line in path.read_text().splitlines()]
        for name in ("killed", "whole")
        for path in sorted((tmp_path / name).rglob("metrics.jsonl"))
    ]
    assert logs
    assert all(logs)
    assert logs[: len(logs) // 2] == logs[len(logs) // 2 :]


def _but_seconds(line: str) -> dict[str, object]:
    entry = json.loads(line)
    entry.pop("seconds", None)
    return entry
