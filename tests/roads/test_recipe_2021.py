"""The recipe of 2021: its settings, its counts, its ablations.

Its road on real clips is run in `test_evaluate` and `test_recipes_killed`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

import compressor
from compressor import Budget, FineTune, Int8, Train, Unstructured
from compressor.network import to_network as exported
from compressor.network.file import container
from models import FixedPCEN, GlobalFreqNorm, Normalised
from recipes.dcase2021 import ABLATIONS, Config, check, compress, network, schedule, size
from recipes.running.command import RunContext
from recipes.running.run_folder import RunFolder
from recipes.running.stages import Stage, read_counts, take_stage
from tests.roads.test_recipe_2022 import few


def test_the_schedule_is_the_reports_and_every_ablation_changes_it_once(tmp_path: Path) -> None:
    folder, config = RunFolder(tmp_path), Config()
    kinds = [type(phase) for phase in schedule(config, folder)]
    assert kinds == [Train, Stage, Unstructured, FineTune, Stage, Int8]
    assert len({repr(change(config)) for change in ABLATIONS.values()} | {repr(config)}) == 10
    alone = schedule(ABLATIONS["no-teacher"](config), folder)
    assert [p.distill.weight for p in alone if isinstance(p, FineTune | Int8) and p.distill] == [
        0,
        0,
    ]
    assert [type(p) for p in schedule(replace(config, dense="x"), folder)] == kinds[1:]
    train = config.train
    assert (train.epochs, train.lr, train.warmup, train.batch) == (300, 0.06, 5, 64)
    assert (train.bands, train.frames, config.pruned, config.members) == (40, 80, 0.89, 2)
    small = ABLATIONS["asc-1"](config)
    assert (small.channels, small.train.epochs, small.train.bands) == (10, 100, 0)


def test_table_3_is_about_what_stands_where() -> None:
    x = torch.rand(3, 1, 256, 34)
    short = replace(Config(), seconds=1.0)
    fronts = {
        name: network(ABLATIONS[f"asc-1-{name}"](short), x)
        for name in ("global-freqnorm", "fixed-pcen", "baseline")
    }
    assert isinstance(fronts["global-freqnorm"], Normalised)
    assert isinstance(fronts["global-freqnorm"].norm, GlobalFreqNorm)
    assert isinstance(fronts["fixed-pcen"], Normalised)
    assert isinstance(fronts["fixed-pcen"].norm, FixedPCEN)
    assert not isinstance(fronts["baseline"], Normalised)
    assert {net(x).shape for net in fronts.values()} == {(3, 10)}


@pytest.mark.slow
def test_the_network_lands_on_the_counts_of_the_report(tmp_path: Path) -> None:
    config = Config(seconds=0.34)
    model = network(config, torch.zeros(1, 1, 256, config.frames))
    with torch.no_grad():
        for parameter in model.parameters():  # as training leaves none at 0
            parameter[parameter == 0] = 0.1
    training = (Train, FineTune, Int8)
    phases = [p for p in schedule(config, RunFolder(tmp_path)) if not isinstance(p, training)]
    compressor.fit(model, budget=Budget(nonzero=config.nonzero), schedule=phases, verify=False)
    dense, pruned = (read_counts(tmp_path / "stages", name) for name in ("dense", "pruned"))
    assert size(dense).params == 314_970
    assert (pruned.filters[1], pruned.others[1]) == (33_035, 14_650)
    assert size(pruned).bytes == 62_335
    assert f"{size(pruned).bytes / 1024:.2f}" == "60.87"
    assert 2 * size(pruned).bytes <= 128 * 1024


@pytest.mark.slow
def test_dense_networks_of_another_run_are_taken_member_by_member(tmp_path: Path) -> None:
    """The second member begins with the second network of the other run."""
    scenes, dense = few(20), str(tmp_path / "run")
    mels = replace(Config().mels, mels=32, hop=1 / 11, window=0.2)
    config = replace(
        Config(), mels=mels, seconds=1.0, channels=4, pruned=0.3, tune=1, round=1, dense=dense
    )
    config = replace(config, train=replace(config.train, bands=0, frames=0, batch=10))
    other = RunFolder(tmp_path / "run").member(1, 2)
    kept = network(config, scenes.train.x, 3)
    with torch.no_grad():
        for parameter in kept.parameters():
            parameter.add_(1)
    example = (torch.zeros(2, 1, 32, 11),)
    container.write(exported(kept, example), other.stages / "dense.safetensors")

    def call(config: Config, name: str) -> RunContext[Config]:
        folder, quiet = RunFolder(tmp_path / name), Console(quiet=True)
        return RunContext(config, None, folder, torch.device("cpu"), None, quiet, fast=True)

    compress(call(config, "again"), scenes, 1)
    fresh = network(config, scenes.train.x, 3)
    take_stage(fresh, RunFolder(tmp_path / "again").member(1, 2), "dense")
    for name, parameter in kept.named_parameters():
        assert torch.equal(fresh.get_parameter(name), parameter), name
    RunFolder(tmp_path / "run").begin(config, "data")
    with pytest.raises(FileNotFoundError, match=r"member-1 has not come to its dense network"):
        check(config, RunFolder(tmp_path / "more"))
    with pytest.raises(ValueError, match=r"otherwise: config\.members 2 -> 1"):
        check(replace(config, members=1), RunFolder(tmp_path / "more"))
    with pytest.raises(ValueError, match="members=0"):
        replace(config, members=0)
    wide = replace(config, channels=8)
    with pytest.raises(ValueError, match="has another network: "):
        compress(call(wide, "more"), scenes, 1)
