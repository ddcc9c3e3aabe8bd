"""The recipe of 2022: its settings, its caps, and its whole road on real clips."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from torch import nn

import compressor
from compressor import Budget, Prune
from compressor.errors import BudgetError
from compressor.network import to_network
from compressor.phases.frequency.masks import AdmmMask, fisher
from compressor.rules import of_year
from models import DCASEBaseline, Tandem
from recipes import dcase2022
from recipes.data.listing import Listing
from recipes.dcase2022 import STAGES, Config, fast, features_kept, linear_model, ours
from recipes.judging import system
from recipes.judging.memory import peak_entries
from recipes.judging.metrics import evaluate
from recipes.running.command import run
from recipes.running.overrides import names, override
from recipes.running.run_folder import RunFolder
from recipes.running.scene_data import DataSpec, Part, Scenes, load
from recipes.running.year_caps import caps
from recipes.submission.forms import FORM2022
from recipes.submission.output import check_package

TINY = [
    "channels=10", "kept=0.05", "budget.params=14300", "budget.macs=1.2e6", "train.epochs=2",
    "train.batch=60", "rows.fine_tune=0", "validation=0",
]  # fmt: skip
"""A road of seconds; the caps are about as far below the network as the rule's."""


# ---------------------------------------------------------------------------------------- settings


def test_rates_after_pruning_are_the_end_of_the_papers_line() -> None:
    """Seven epochs in a line from 0.001 to 0.0001 (section 3.3), of which five are over."""
    tune = Config().tune
    for epoch in (0, 1, 2):
        expected = 0.001 + (0.0001 - 0.001) * (5 + epoch) / 7
        assert tune.lr * tune.rate(epoch / 2) == pytest.approx(expected, rel=0.01)


def test_the_dense_rate_ends_where_the_paper_ends() -> None:
    phase = dcase2022.schedule(Config(), RunFolder(Path("nowhere")))[0]
    assert isinstance(phase, compressor.Train)
    rates = [phase.lr * phase.rate(step / 80) for step in range(81)]
    assert rates[0] == 0
    assert max(rates) == rates[3] == pytest.approx(0.035)
    assert rates[80] == pytest.approx(0.00035)


def test_the_papers_settings_and_ours() -> None:
    paper, other = Config(), ours(Config())
    assert isinstance(paper.rows.by, AdmmMask)
    assert (paper.rows.keep, paper.rows.epochs, paper.rows.fine_tune) == (192, 5, 2)
    assert (paper.rows.lr, paper.rows.last) == (0.001, 0.0001)
    assert other.rows.by is fisher
    assert isinstance(other.filters, Prune)
    assert other.tune.distill is not None
    assert other.round.distill is not None
    assert other.rows.keep == paper.rows.keep
    assert other.budget == paper.budget == Budget(params=128_000, macs=30_000_000)


@pytest.mark.parametrize("config", [Config(), ours(Config()), fast(Config()), fast(ours(Config()))])
def test_what_a_sweep_changes_can_be_changed(config: Config) -> None:
    assert {"rows.keep", "rows.lr", "filters.lr", "train.lr", "seed"} <= set(names(config))
    changed = override(config, ["rows.lr=0.002", "filters.lr=0.003", "budget.macs=2e7"])
    assert (changed.rows.lr, changed.filters.lr, changed.budget.macs) == (0.002, 0.003, 20_000_000)
    assert changed.budget.params == 128_000


def test_the_pull_of_admm_can_be_changed() -> None:
    changed = override(Config(), ["filters.admm.pull=0.5", "rows.by.settings.pull=0.25"])
    assert changed.filters.admm.pull == 0.5
    assert changed.rows.by.settings.pull == 0.25


# -------------------------------------------------------------------------------------------- caps


@pytest.mark.parametrize(("channels", "rows"), [(12, 192), (8, 256), (4, 32)])
def test_the_margin_is_enough_for_every_smaller_network(channels: int, rows: int) -> None:
    """NeSsi counts no more above `measure` than it does of the network that is shrunk."""
    budget = caps(2022, Config().budget, Tandem(channels=12))
    small = Tandem(rows, channels)
    more = of_year(2022).count(small).macs - compressor.measure(small).macs
    assert 0 < more <= 30_000_000 - (budget.macs or 0)
    assert budget.params == 128_000


def test_counts_of_the_dense_tandem_are_those_of_the_docstring() -> None:
    rule = of_year(2022)
    for rows in (256, 192):
        cost = rule.count(Tandem(rows))
        assert f"{cost.params:,}" in (dcase2022.__doc__ or "")
        assert f"{cost.macs:,}" in (dcase2022.__doc__ or "")


@pytest.mark.parametrize("asked", [Budget(params=128_001), Budget(macs="31M")])
def test_caps_above_the_rule_are_refused(asked: Budget) -> None:
    with pytest.raises(BudgetError, match=r"above the rule of 2022: params <= 128,000 and macs"):
        caps(2022, asked, Tandem(32, 4))


def test_a_cap_that_is_not_named_is_the_rules() -> None:
    budget = caps(2022, Budget(params=100_000), Tandem(32, 4))
    assert budget.params == 100_000
    assert 29_990_000 < (budget.macs or 0) < 30_000_000


# ------------------------------------------------------------------------------------ linear model


def few(clips: int = 200) -> Scenes:
    """Noise of 32 bands, of which one band a class is a little louder."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(clips) % 3
    x = torch.randn(clips, 1, 32, 11, generator=generator)
    x[torch.arange(clips), 0, 5 * y] += 0.1
    table = pd.DataFrame({"file": [f"{k}.wav" for k in range(clips)]})
    part = Part(x, y, Listing(Path(), table, ("a", "b", "c")))
    return Scenes("noise", generated=True, train=part, validation=None, test=part)


SMALL = Config(
    mels=replace(Config().mels, mels=32, hop=1 / 11, window=0.2), kept=0.2, channels=4, seed=3
)


def test_the_linear_model_is_solved_once_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, scenes = RunFolder(tmp_path), few()
    first = linear_model(SMALL, scenes, folder)
    assert features_kept(first) == pytest.approx(0.2, abs=0.03)
    monkeypatch.setattr(dcase2022, "pretrain", None)
    again = linear_model(SMALL, scenes, folder)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_a_run_that_goes_on_begins_with_the_same_tandem(tmp_path: Path) -> None:
    scenes = few()
    made = [
        dcase2022.tandem(SMALL, linear_model(SMALL, scenes, RunFolder(tmp_path))).state_dict()
        for _ in range(2)
    ]
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])


def test_the_tandem_begins_as_the_linear_model(tmp_path: Path) -> None:
    scenes = few()
    linear = linear_model(SMALL, scenes, RunFolder(tmp_path)).eval()
    both = dcase2022.tandem(SMALL, linear).eval()
    x = scenes.test.x
    torch.testing.assert_close(both(x), linear(x).log_softmax(1))


# ------------------------------------------------------------------------------------------ memory


def test_peak_memory_of_the_official_baseline_is_the_official_one() -> None:
    """65,280 bytes of 8-bit values: two results of 16 x 40 x 51 at once."""
    model = DCASEBaseline(2022).eval()
    assert peak_entries(to_network(model, (model.example_input_array,)).eval()) == 65_280


class Branch(nn.Module):
    """An input that is kept for a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return x + self.conv(y).flatten(1).unflatten(1, (2, 8, 8))


def test_what_is_read_later_stays_alive_and_views_take_nothing() -> None:
    net = to_network(Branch().eval(), (torch.zeros(1, 2, 8, 8),)).eval()
    assert peak_entries(net) == 3 * 2 * 8 * 8, "x, conv(x) and conv(conv(x))"


# ---------------------------------------------------------------------------------------- the road


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("variant", [[], ["--variant", "ours"]])
def test_the_road_on_real_clips(
    tau2022: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: list[str]
) -> None:
    """From the files of the data set to a submission, and what is left says what it does."""
    out = tmp_path / "run"
    command = ["dcase2022", "--data", str(tau2022), "--fast", "--device", "cpu", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*command, *variant, *TINY])
    run(dcase2022.__doc__, "dcase2022", Config(), fast, dcase2022.main, dcase2022.VARIANTS)

    for name in ("config.json", "evaluation.json", "system.json", "report.md", "metrics.jsonl"):
        assert (out / name).stat().st_size > 100, name
    for name in (
        "model.onnx",
        "model.safetensors",
        "confusion.png",
        "layers.png",
        "checkpoint/checkpoint.json",
    ):
        assert (out / name).stat().st_size > 1000, name
    said = json.loads((out / "evaluation.json").read_text())
    assert set(said["stages"]) == set(STAGES)
    rule = said["counts"]["pruned"][0]["rule"]
    assert rule["params"] <= 14_300 < said["counts"]["dense"][0]["rule"]["params"]
    assert rule["macs"] <= 1_200_000 < said["counts"]["rows"][0]["rule"]["macs"]
    assert rule["bytes"] == rule["params"], "8 bits each"

    wanted = DataSpec(audio=Config().audio, mels=Config().mels, frames=34, validation=0)
    scenes = load(tau2022, wanted, torch.device("cpu"), Console(quiet=True), cache=tmp_path)
    held, onnx = system.read(out), system.read(out, onnx=True)
    probabilities = held.probabilities(scenes.test.x)
    table = scenes.test.listing.table
    found = evaluate(
        probabilities, scenes.test.y, held.classes, devices=table["device"], cities=table["city"]
    )
    assert found.data() == said["result"]
    apart = np.abs(onnx.probabilities(scenes.test.x) - probabilities)
    assert apart.mean() < 1e-3, "a value between two integers may be rounded to the other one"
    assert apart.max() < 0.1
    package = next((out / "submission" / "task1").iterdir())
    assert not check_package(package, FORM2022, [Path(name).name for name in table["file"]])
    report = (out / "report.md").read_text()
    assert f"{rule['params']:,}, {rule['macs']:,}" in report
    assert "127.84k, 17.383M" in report
