"""The recipe of 2020: its rates and counts are the report's, its road runs on real clips."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

import compressor
from compressor import Budget, FineTune
from compressor.network import to_network as exported
from compressor.network.file import container
from compressor.rules import DCASE2020
from recipes import dcase2020
from recipes.data.audio import AudioFormat
from recipes.data.cache import waveforms
from recipes.data.tau import read_tau
from recipes.dcase2020 import (
    AFTER,
    VARIANTS,
    Config,
    check,
    fast,
    network,
    relative,
    schedule,
    size,
)
from recipes.judging.system import read
from recipes.running.command import run
from recipes.running.conclusion import judged
from recipes.running.run_folder import RunFolder
from recipes.running.scene_data import Part, load
from recipes.running.stages import need_stage, read_counts
from recipes.submission.forms import FORM2020
from recipes.submission.output import check_package

REAL = "TAU-urban-acoustic-scenes-2020-3class-development-mini"


def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *words: str) -> None:
    """The recipe's command in this process, its cache in the test's folder."""
    monkeypatch.setattr(dcase2020, "load", partial(load, cache=tmp_path / "cache"))
    monkeypatch.setattr("sys.argv", ["dcase2020", "--device", "cpu", *words])
    run(dcase2020.__doc__, "dcase2020", Config(), fast, dcase2020.main, VARIANTS)


@pytest.fixture
def real_2020(shared_data: Path, tmp_path: Path) -> Path:
    """The nine real clips with lists of fold 1: of each class two to train on, one to test."""
    source = shared_data / REAL
    if not (source / "meta.csv").is_file():
        pytest.skip(f"no {REAL} in {shared_data}")
    root = tmp_path / "tau"
    (root / "evaluation_setup").mkdir(parents=True)
    (root / "audio").symlink_to(source / "audio", target_is_directory=True)
    (root / "meta.csv").write_text((source / "meta.csv").read_text())
    rows = [line.split("\t")[:2] for line in (source / "meta.csv").read_text().split("\n")[1:10]]
    test = rows[2::3]
    train = [row for row in rows if row not in test]
    for name, header, part in [
        ("train", "filename\tscene_label", train),
        ("evaluate", "filename\tscene_label", test),
        ("test", "filename", [row[:1] for row in test]),
    ]:
        text = "\n".join([header, *map("\t".join, part), ""])
        (root / "evaluation_setup" / f"fold1_{name}.csv").write_text(text)
    return root


# 50 epochs at 1e-4, 200 down to 1e-6 exponentially, 100 at 1e-6 (section 6.1).
@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 1e-4), (50, 1e-4), (150, 1e-5), (250, 1e-6), (300, 1e-6), (350, 1e-6)]
)
def test_the_dense_network_is_trained_at_the_rates_of_the_report(epoch: int, rate: float) -> None:
    learned = schedule(Config(), RunFolder(Path("run")))[0]
    assert isinstance(learned, FineTune)
    assert learned.epochs == 350
    assert learned.lr * learned.rate(epoch / 350) == pytest.approx(rate)


@pytest.mark.parametrize(("epoch", "rate"), [(0, 1e-4), (100, 5.05e-5), (200, 1e-6)])
def test_the_fine_tune_falls_linearly_as_in_the_report(epoch: int, rate: float) -> None:
    tuned = [p for p in schedule(Config(), RunFolder(Path("run"))) if isinstance(p, FineTune)][-1]
    assert tuned.epochs == 200
    assert tuned.lr * tuned.rate(epoch / 200) == pytest.approx(rate)


def test_a_relative_rate_begins_at_one_whatever_the_plan() -> None:
    for plan in (Config().train, Config().tune, fast(Config()).train, fast(Config()).tune):
        assert relative(plan, 0.0) == 1.0
        assert relative(plan, 1.0) == pytest.approx(plan.last / plan.lr)


def test_the_four_submissions_differ_and_prune_the_same_share_of_one_dense_network() -> None:
    four = [VARIANTS[name](Config()) for name in "ABCD"]
    assert len(set(map(repr, four))) == 4
    assert four[0] == Config()
    dense = {repr((c.train, c.beta, c.gamma, c.channels, c.seed, c.validation)) for c in four}
    assert len(dense) == 1
    assert {c.pruned for c in four} == {0.6}


@pytest.mark.slow
def test_the_submission_lands_on_the_counts_of_the_report(tmp_path: Path) -> None:
    config = Config(seconds=0.34)  # the shortest clip: 15 frames
    model = network(config)
    with torch.no_grad():
        for parameter in model.parameters():  # as training leaves none at 0
            parameter[parameter == 0] = 0.1
    phases = [p for p in schedule(config, RunFolder(tmp_path)) if not isinstance(p, FineTune)]
    assert [type(p).__name__ for p in phases] == ["Stage", "Unstructured", "Stage", "Half"]
    result = compressor.fit(
        model, budget=Budget(nonzero=config.nonzero), schedule=phases, verify=False
    )

    dense, pruned = (read_counts(tmp_path / "stages", name) for name in ("dense", "pruned"))
    assert (dense.filters, dense.others) == ((593_792, 593_792), (8_070, 8_070))
    assert (pruned.filters, pruned.others) == ((593_792, 237_517), (8_070, 8_070))
    assert dense.cost.bytes == 2_407_448  # the report's 2,404 KB are 4 bytes each of 601,000
    assert (size(pruned).params, size(pruned).nonzero) == (601_862, 245_587)
    assert size(pruned).bytes == 491_174
    assert result.report.after.nonzero == 245_587
    assert result.report.accounted is not None
    assert result.report.accounted[0] == 491_174
    # The official calculator leaves BatchNorm out; SubSpectralNorm is none, with 1,280 scales and
    # shifts: 4 blocks of 64 channels, one of 128, one of 256, two numbers each.
    assert pruned.rule.nonzero == 237_517 + 2 * (4 * 64 + 128 + 256)
    assert DCASE2020.bytes is not None
    assert 2 * pruned.rule.nonzero == 477_594 < DCASE2020.bytes


@pytest.mark.slow
def test_a_dense_network_of_another_run_is_taken_as_it_was(tmp_path: Path) -> None:
    config = Config(channels=2, seconds=1.0)
    made = network(config)
    with torch.no_grad():
        for tensor in (*made.parameters(), *made.buffers()):
            tensor.add_(1)
    kept = exported(made, (made.example_input_array,))
    container.write(kept, tmp_path / "stages" / "dense.safetensors")
    taken = network(replace(config, dense=str(tmp_path)))
    for name, tensor in made.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(taken.state_dict()[name], tensor), name
    phases = schedule(replace(config, dense=str(tmp_path)), RunFolder(tmp_path))
    assert not any(isinstance(phase, compressor.Train) for phase in phases)

    with pytest.raises(ValueError, match=r"has another network: .* tensors"):
        network(replace(config, channels=3, dense=str(tmp_path)))


def test_a_dense_network_that_this_run_would_not_have_come_to_is_refused(tmp_path: Path) -> None:
    """Other clips, length or loss: its accuracy would be of a network that nobody trained so."""
    run = RunFolder(tmp_path)
    config = Config(dense=str(tmp_path), pruned=0.5)
    with pytest.raises(FileNotFoundError, match=r"is no folder of a run, it has no config\.json"):
        check(config, run)
    run.begin(Config(), "data")
    with pytest.raises(FileNotFoundError, match="has not come to its dense network"):
        check(config, run)
    run.stages.mkdir()
    (run.stages / "dense.json").touch()
    need_stage(run, config, AFTER, data="data")
    with pytest.raises(ValueError, match="otherwise: data 'data' -> 'other'"):
        need_stage(run, config, AFTER, data="other")
    with pytest.raises(ValueError, match=r"otherwise: config\.gamma 2\.0 -> 0\.0"):
        check(replace(config, gamma=0.0), run)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"pruned": 2.0}, "amount=2.0"),
        ({"steps": 0}, "steps=0"),
        ({"channels": 0}, "SharedResNet"),
        ({"beta": 1.0}, "beta"),
        ({"nonzero": -1}, "nonzero"),
    ],
)
def test_what_can_be_refused_without_data_is(
    changed: dict[str, float], match: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=match):
        check(replace(Config(), **changed), RunFolder(tmp_path))


def test_seeds() -> None:
    with pytest.raises(ValueError, match="seed=-1"):
        Config(seed=-1)


@pytest.mark.slow
@pytest.mark.data
def test_the_road_from_nine_real_clips_to_the_submission(
    real_2020: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    command(
        monkeypatch, tmp_path, "--data", str(real_2020), "--out", str(out), "--variant", "D",
        "channels=4", "train.epochs=1", "tune.epochs=1", "between=0", "validation=0",
    )  # fmt: skip

    left = {path.name for path in out.iterdir()}
    assert {
        "config.json", "evaluation.json", "system.json", "model.safetensors", "model.onnx",
        "confusion.png", "layers.png", "report.md", "report.json", "stages", "submission",
        "checkpoint",
    } <= left  # fmt: skip
    settings = json.loads((out / "config.json").read_text())
    assert settings["config"]["channels"] == 4
    assert settings["versions"]["torch"] == torch.__version__
    report = (out / "report.md").read_text()
    assert "| paper | ours | why different |" in report
    assert "98.0 %" in report

    test = read_tau(real_2020, "test")
    names = [Path(name).name for name in test.table["file"]]
    assert len(names) == 3
    assert check_package(out / "submission/task1/Lastname_INST_task1b_1", FORM2020, names) == ()

    said = json.loads((out / "evaluation.json").read_text())
    audio = waveforms(
        test.paths, AudioFormat(rate=48_000, channels=2, seconds=10.0), tmp_path / "again"
    ).audio
    heard = torch.from_numpy(audio.copy())
    part = Part(heard, torch.from_numpy(test.labels), test)
    again = judged(part, read(out).classify(heard))
    assert again.data() == said["result"]
    by_onnx = judged(part, read(out, onnx=True).classify(heard))
    assert by_onnx.log_loss == pytest.approx(again.log_loss, rel=1e-3)


@pytest.mark.data
def test_clips_of_another_year_are_refused(
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = shared_data / "TAU-urban-acoustic-scenes-2022-mobile-development-mini"
    if not other.is_dir():
        pytest.skip(f"no {other}")
    with pytest.raises(SystemExit, match="2"):
        command(monkeypatch, tmp_path, "--data", str(other), "--out", str(tmp_path / "run"))
    assert "lasts 1 s and this recipe takes clips of 10 s" in capsys.readouterr().err
