"""Any audio file is cut into clips and heard; what is no audio is named."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from recipes import predict
from recipes.data import clips
from recipes.data.audio import AudioFormat, decode
from recipes.data.clips import Clip
from recipes.judging.system import System
from recipes.predict import Prediction, answer
from tests.helpers.finished_run import data_set, finished, noise, system
from tests.helpers.toy_recipe import AUDIO, CLASSES, FRAMES, MELS

CPU = torch.device("cpu")
STEREO = AudioFormat(rate=8000, channels=2, seconds=1)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("predict")
    data_set(root / "tau")
    (root / "run").mkdir()
    return finished(root / "run", root / "tau", root / "cache")


def saved(path: Path, samples: np.ndarray, rate: int = 8000, **options: str) -> Path:
    soundfile.write(path, samples, rate, **options)
    return path


def cut(path: Path, wanted: AudioFormat = AUDIO) -> list[Clip]:
    return list(clips.cut(path, wanted, shortest=0.128))


# -------------------------------------------------------------------------------- cutting a file


@given(samples=st.integers(1500, 45_000), rate=st.sampled_from([4000, 8000, 11_025]))
def test_all_of_a_file_is_heard_once(
    samples: int, rate: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"{rate}.wav"
    found = cut(saved(path, noise(samples / rate, rate=rate), rate))
    length = samples / rate
    heard = sum(clip.new for clip in found)
    assert length - 0.011 <= heard <= length + 1e-9  # what is left off is under 1 % of a clip
    assert all(clip.audio.shape == (1, 8000) for clip in found)
    ends = [clip.start + 1 for clip in found]
    assert all(end <= length + 0.011 for end in ends) or length < 1
    assert [clip.start for clip in found[:-1]] == pytest.approx(list(range(len(found) - 1)))


def test_a_clip_of_the_data_set_is_heard_as_in_training(tmp_path: Path) -> None:
    for samples, rate in ((8000, 8000), (7950, 8000), (8070, 8000), (44_100, 44_100)):
        path = saved(tmp_path / "a.wav", noise(samples / rate, 3, rate=rate), rate)
        [clip] = cut(path)
        assert (clip.audio == decode(path, AUDIO)).all()


def test_pieces_are_the_files_own_samples(tmp_path: Path) -> None:
    """At the system's own rate nothing is computed: int16 in, int16 out."""
    samples = np.random.default_rng(0).integers(-9000, 9000, (20_000, 1)).astype(np.int16)
    found = cut(saved(tmp_path / "a.wav", samples))
    expected = [samples[:8000], samples[8000:16_000], samples[12_000:]]
    assert [clip.start for clip in found] == [0, 1, 1.5]
    assert [clip.new for clip in found] == [1, 1, 0.5]
    for clip, part in zip(found, expected, strict=True):
        assert (clip.audio[0] == part[:, 0]).all()
    [short] = cut(saved(tmp_path / "b.wav", samples[:3000]))
    assert (short.audio[0] == np.tile(samples[:3000, 0], 3)[:8000]).all()
    assert short.new == 3000 / 8000


def test_channels(tmp_path: Path) -> None:
    six = np.zeros((8000, 6))
    six[:, 2] = 0.5  # the centre goes to both sides alike
    [clip] = cut(saved(tmp_path / "c.wav", six), STEREO)
    share = 0.5**0.5 / (1 + 2 * 0.5**0.5)
    assert np.abs(clip.audio / 32768 - 0.5 * share).max() < 1e-4
    left = np.zeros((8000, 6))
    left[:, [0, 3, 4]] = [0.2, 0.9, 0.1]  # low frequencies are left out
    [clip] = cut(saved(tmp_path / "l.flac", left), STEREO)
    expected = (0.2 + 0.1 * 0.5**0.5) / (1 + 2 * 0.5**0.5)
    assert clip.audio[0].mean() / 32768 == pytest.approx(expected, abs=1e-4)
    assert not clip.audio[1].any()
    mono, three = noise(1), noise(1, channels=3)
    [clip] = cut(saved(tmp_path / "m.wav", mono), STEREO)
    assert (clip.audio[0] == clip.audio[1]).all()
    [clip] = cut(saved(tmp_path / "t.wav", three), STEREO)
    assert np.abs(clip.audio / 32768 - three.mean(1)).max() < 1e-4
    two = noise(1, channels=2)
    [clip] = cut(saved(tmp_path / "s.wav", two), STEREO)
    assert np.abs(clip.audio.T / 32768 - two).max() < 1e-4


def test_formats_of_libsndfile_are_heard_alike(tmp_path: Path) -> None:
    """A file in every format that holds 16 bits exactly gives the same clips."""
    samples = np.rint(noise(2.5) * 32768).astype(np.int16)
    plain = cut(saved(tmp_path / "a.wav", samples))
    for name in ("a.flac", "a.aiff", "a.w64", "a.caf", "a.au", "a.rf64"):
        found = cut(saved(tmp_path / name, samples, subtype="PCM_16"))
        assert len(found) == len(plain)
        assert all((a.audio == b.audio).all() for a, b in zip(found, plain, strict=True)), name
    for name in ("a.mp3", "a.ogg"):
        found = cut(saved(tmp_path / name, samples))
        assert sum(clip.new for clip in found) == pytest.approx(2.5, abs=0.1)


# ------------------------------------------------------------------------------------ a prediction


def test_the_mean_weighs_every_second_alike() -> None:
    each = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    found = Prediction(Path("a"), np.array([0, 1, 1.5]), np.array([1, 1, 0.5]), each, 1.0)
    assert found.mean == pytest.approx([0.4, 0.6])
    assert found.title == "a: 2.5 s, 3 clips of 1 s"


def test_a_file_is_heard_as_the_system_hears_its_clips(kept: Path, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.wav", noise(1, 7))
    found = predict.predict_file(system(), path)
    audio = torch.from_numpy(decode(path, AUDIO))[None]
    assert (found.each == system().classify(audio)).all()
    long = saved(tmp_path / "b.wav", np.concatenate([noise(1, k) for k in range(60)]))
    many = predict.predict_file(system(), long)
    assert many.each.shape == (60, 4)
    assert many.mean == pytest.approx(many.each.mean(0))
    assert many.mean.sum() == pytest.approx(1)
    assert len({tuple(row) for row in many.each.round(6)}) > 1
    del kept


def bad_files(folder: Path) -> dict[str, Path]:
    """What is wrong, and a file of which it is."""
    (folder / "text.wav").write_text("this is a text, and no sound\n" * 40)
    (folder / "empty.wav").touch()
    whole = saved(folder / "whole.wav", noise(2)).read_bytes()
    (folder / "cut.wav").write_bytes(whole[:9000])
    coded = bytearray(saved(folder / "whole.flac", noise(3)).read_bytes())
    coded[len(coded) // 2 : len(coded) // 2 + 900] = bytes(900)
    (folder / "damaged.flac").write_bytes(coded)
    odd = noise(3)
    odd[17_000] = np.inf
    nan = noise(0.5)
    nan[5] = np.nan
    (folder / "folder.wav").mkdir()
    return {
        "cannot be decoded": folder / "text.wav",
        "0 bytes": folder / "empty.wav",
        "is cut off": folder / "cut.wav",
        "Replace the file|ends after": folder / "damaged.flac",
        r"finite numbers, the first at 2\.125 s": saved(folder / "inf.wav", odd, subtype="FLOAT"),
        "not finite": saved(folder / "nan.wav", nan, subtype="DOUBLE"),
        "another scale": saved(folder / "loud.wav", 1e4 * noise(1), subtype="FLOAT"),
        "lasts 0.000 s": saved(folder / "none.wav", noise(0)),
        "at least 0.128 s": saved(folder / "tiny.wav", noise(0.1)),
        "no file but a folder": folder / "folder.wav",
        "There is no": folder / "nothere.wav",
    }


def test_every_bad_file_has_its_sentence(tmp_path: Path) -> None:
    for match, path in bad_files(tmp_path).items():
        with pytest.raises((ValueError, FileNotFoundError), match=match):
            cut(path)


def test_good_files_are_heard_among_bad_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = list(bad_files(tmp_path).values())
    good = [saved(tmp_path / f"tab\t{k}.wav", noise(1 + k, k)) for k in range(3)]
    mixed = [*good[:1], *bad[:4], *good[1:2], *bad[4:], *good[2:]]
    assert answer(system(), mixed, Console(), CPU, every=False) == len(bad)
    out, error = capsys.readouterr()
    rows = list(csv.reader(out.splitlines(), "excel-tab"))
    assert rows[0] == ["file", "start", "end", "answer", *CLASSES]
    assert [row[0] for row in rows[1:]] == [str(path) for path in good]
    for row, path in zip(rows[1:], good, strict=True):
        mean = predict.predict_file(system(), path).mean
        assert row[3] == CLASSES[int(mean.argmax())]
        assert np.array(row[4:], np.float64) == pytest.approx(mean, abs=5e-5)
    assert len(error.splitlines()) == len(bad) + 1
    assert f"{len(bad)} of {len(mixed)} files" in error


def test_every_clip_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path / "a.wav", noise(2.5))
    assert answer(system(), [path], Console(), CPU, every=True) == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines(), "excel-tab"))[1:]
    assert [row[1:3] for row in rows] == [["0.00", "1.00"], ["1.00", "2.00"], ["1.50", "2.50"]]


@pytest.mark.parametrize(("number", "every"), [(1, False), (1, True), (6, False)])
def test_a_terminal_is_shown_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int, *, every: bool
) -> None:
    paths = [saved(tmp_path / f"[red]{k}.wav", noise(2, k)) for k in range(number)]
    console = Console(force_terminal=True, width=200)
    assert answer(system(), paths, console, CPU, every=every) == 0
    text = capsys.readouterr().out
    assert "[red]0.wav" in text  # a name is no markup
    assert "─" in text
    assert any(name in text for name in CLASSES)


def test_a_network_that_diverged_is_named(tmp_path: Path) -> None:
    def nothing(x: torch.Tensor) -> torch.Tensor:
        return torch.full((len(x), 4), float("nan"))

    broken = System(CLASSES, AUDIO, MELS, FRAMES, (nothing,))
    with pytest.raises(ValueError, match="training diverged"):
        predict.predict_file(broken, saved(tmp_path / "a.wav", noise(1)))


def run(monkeypatch: pytest.MonkeyPatch, words: Sequence[object]) -> object:
    monkeypatch.setattr(sys, "argv", ["predict", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        predict.main()
    return ended.value.code


def test_the_command(
    kept: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    good, bad = saved(tmp_path / "a.wav", noise(1)), tmp_path / "text.wav"
    bad.write_text("no sound")
    assert run(monkeypatch, [kept, good]) == 0
    assert run(monkeypatch, [kept, good, bad]) == 1
    capsys.readouterr()
    assert run(monkeypatch, [tmp_path, good]) == 2
    assert "no folder of a run" in capsys.readouterr().err
