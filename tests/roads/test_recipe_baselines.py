"""The official baselines: published sizes to the unit, and the road on real clips of 2022."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch

import compressor
from compressor import Budget
from models import DCASEBaseline
from recipes import baselines
from recipes.baselines import BASELINES, VARIANTS, Config, fast, network
from recipes.data.audio import AudioFormat
from recipes.data.cache import waveforms
from recipes.data.tau import read_tau
from recipes.judging.system import read
from recipes.running.command import run
from recipes.running.conclusion import Outcome, judged
from recipes.running.scene_data import Part, load
from recipes.running.stages import Stage, read_counts
from recipes.submission.forms import FORM2022
from recipes.submission.output import check_package

REAL = "TAU-urban-acoustic-scenes-2022-mobile-development-mini"


def config_of(year: int) -> Config:
    return VARIANTS[str(year)](Config())


def rows_without_training(year: int, folder: Path) -> tuple[compressor.Cost, dict[str, str]]:
    """What the report says of the sizes of a fresh network, stored as its year did."""
    config = fast(config_of(year))  # clips of a second: the parameters are the same
    model = network(config)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):  # as training leaves none at 0
            tensor[tensor == 0] = 1
    torch.manual_seed(0)
    data = [(torch.randn(4, 1, 40, config.frames), torch.tensor([0, 1, 2, 0]))]
    result = compressor.fit(
        model, data, budget=Budget.dcase(year),
        schedule=[Stage("dense", folder, year), *BASELINES[year].phases],
    )  # fmt: skip
    counts = {"dense": [read_counts(folder, "dense")]}
    nothing = cast("Any", None)  # sizes are no matter of accuracy
    outcome = Outcome(nothing, [result], {}, counts, nothing, nothing, nothing, [0])
    cost, rows = BASELINES[year].size(config, outcome)
    return cost, {row.what: row.ours for row in rows if row.paper != "-"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("year", "published"),
    [
        (2020, {"parameters without BatchNorm": "115,219", "size, KB of 1024": "450.07"}),
        (2021, {"parameters with running statistics": "46,246", "size, KB of 1024": "90.32"}),
        (
            2022,
            {
                "bytes of weights and biases": "46,512",
                "MACs as NeSsi counts the file": "29,234,920",
                "peak memory of an inference, bytes": "65,280",
            },
        ),
    ],
)
def test_sizes_are_those_published(year: int, published: dict[str, str], tmp_path: Path) -> None:
    cost, rows = rows_without_training(year, tmp_path)
    assert rows == published
    exact = {2020: (115_219, 460_876), 2021: (46_246, 92_492), 2022: (45_990, 46_512)}
    assert (cost.params, cost.bytes) == exact[year]
    if year == 2022:
        assert cost.macs == 29_203_560


@pytest.mark.parametrize("year", [2020, 2021, 2022])
def test_the_network_is_the_official_one_at_the_official_length(year: int) -> None:
    config = config_of(year)
    official = DCASEBaseline(year)
    ours = network(config)
    assert ours.example_input_array.shape == official.example_input_array.shape
    ours.load_state_dict(official.state_dict())
    x = torch.randn(2, 1, 40, config.frames)
    with torch.no_grad():
        assert torch.equal(ours.eval()(x), official.eval()(x))


@pytest.mark.parametrize("year", [2020, 2021, 2022])
def test_short_clips_are_pooled_as_a_whole_by_a_network_of_the_same_size(year: int) -> None:
    config = fast(config_of(year))
    assert config.frames == (51 if year == 2022 else 50)
    ours = network(config)
    with torch.no_grad():
        assert ours(torch.randn(2, 1, 40, config.frames)).shape == (2, 3 if year == 2020 else 10)
    sizes = [p.shape for p in DCASEBaseline(year).parameters()]
    assert [p.shape for p in ours.parameters()] == sizes


def test_a_year_without_a_baseline_is_refused() -> None:
    with pytest.raises(ValueError, match=r"year=2019: there are baselines of \[2020, 2021, 2022\]"):
        _ = replace(Config(), year=2019).baseline


def test_the_rate_is_constant_and_nothing_is_augmented() -> None:
    plan = config_of(2021).train
    assert (plan.rate(0.0), plan.rate(1.0), plan.batch, plan.epochs) == (1e-3, 1e-3, 16, 200)
    assert config_of(2022).train.batch == 64
    assert plan.augmentations() == ()


@pytest.mark.slow
@pytest.mark.data
def test_the_road_from_real_clips_of_2022_to_the_submission(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shared_data / REAL
    if not root.is_dir():
        pytest.skip(f"no {REAL} in {shared_data}")
    out = tmp_path / "run"
    monkeypatch.setattr(baselines, "load", partial(load, cache=tmp_path / "cache"))
    words = ["--variant", "2022", "train.epochs=1", "validation=0"]
    monkeypatch.setattr(
        "sys.argv", ["x", "--device", "cpu", "--data", str(root), "--out", str(out), *words]
    )
    run(baselines.__doc__, "baselines", Config(), fast, baselines.main, VARIANTS)

    assert {
        "config.json", "evaluation.json", "system.json", "model.safetensors", "model.onnx",
        "confusion.png", "layers.png", "report.md", "report.json", "stages", "submission",
        "checkpoint",
    } <= {path.name for path in out.iterdir()}  # fmt: skip
    report = (out / "report.md").read_text()
    assert "| bytes of weights and biases | 46,512 | 46,512 |" in report
    assert "29,203,560" in report

    test = read_tau(root, "test")
    names = [Path(name).name for name in test.table["file"]]
    assert len(names) == 80
    assert check_package(out / "submission/task1/Lastname_INST_task1_1", FORM2022, names) == ()

    said = json.loads((out / "evaluation.json").read_text())
    assert set(said["result"]["device_wise"]) == {"a", "b", "c", "s1", "s2", "s3", "s4", "s5", "s6"}
    clips = waveforms(test.paths, AudioFormat(rate=44_100, seconds=1.0), tmp_path / "cache")
    heard = torch.from_numpy(clips.audio.copy())
    part = Part(heard, torch.from_numpy(test.labels), test)
    again = judged(part, read(out).classify(heard))
    assert again.data() == said["result"]
