"""The waveform cache: whole rows or none, whatever happens while it is made."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from recipes.data import cache, row_file
from recipes.data.audio import AudioFormat, decode
from recipes.data.cache import waveforms
from recipes.data.esc50 import FORMAT as ESC50
from recipes.data.esc50 import read_esc50

ROOT = Path(__file__).resolve().parents[3]
WANTED = AudioFormat(seconds=0.1)
CALL = """
import sys, time
from pathlib import Path
from recipes.data import cache
from recipes.data.audio import AudioFormat

folder, audio, wait, mark = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
decode = cache.decode

def slow(path, wanted):
    time.sleep(wait)
    with open(mark, "a") as file:
        file.write(path.name + "\\n")
    return decode(path, wanted)

cache.decode, cache.SMALLEST_BLOCK = slow, 4
cache.waveforms(sorted(audio.iterdir()), AudioFormat(seconds=0.1), folder, workers=1)
"""
"""Decodes slowly, and names every file it decodes in a file of its own."""


def write(path: Path, seed: int) -> Path:
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, 1_600)
    soundfile.write(path, samples, 16_000)
    return path


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    (tmp_path / "audio").mkdir()
    return [write(tmp_path / "audio" / f"{i:03}.wav", i) for i in range(40)]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are decoded, as they are."""
    names: list[str] = []

    def noting(path: Path, wanted: AudioFormat) -> np.ndarray:
        names.append(path.name)
        return decode(path, wanted)

    monkeypatch.setattr(cache, "decode", noting)
    return names


def expected(paths: Sequence[Path], wanted: AudioFormat = WANTED) -> np.ndarray:
    return np.stack([decode(path, wanted) for path in paths])


def slow_call(tmp_path: Path, mark: str, wait: float = 0.05) -> subprocess.Popen[bytes]:
    arguments = [tmp_path / "cache", tmp_path / "audio", wait, tmp_path / mark]
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", CALL, *map(str, arguments)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
    )


def touch(path: Path) -> None:
    """Another time of change, as a clock that stands still would not give."""
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1_000_000_000))


def test_rows_are_the_clips_and_are_decoded_once(
    paths: list[Path], tmp_path: Path, decoded: list[str]
) -> None:
    clips = waveforms(paths, WANTED, tmp_path / "cache", workers=3)
    np.testing.assert_array_equal(clips.audio, expected(paths))
    assert (clips.audio.dtype, clips.audio.shape) == (np.int16, (40, 1, 1_600))
    assert isinstance(clips.audio, np.memmap)
    assert not clips.audio.flags.writeable
    assert clips.valid.all()
    assert sorted(decoded) == [path.name for path in paths]
    decoded.clear()
    again = waveforms(paths, WANTED, tmp_path / "cache")
    np.testing.assert_array_equal(again.audio, clips.audio)
    assert not decoded


def test_another_list_or_format_has_its_own_cache(paths: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    for listed, wanted in (
        (paths, WANTED),
        (paths[::-1], WANTED),
        (paths[:7], WANTED),
        (paths, AudioFormat(rate=8_000, seconds=0.1)),
        (paths, AudioFormat(channels=2, seconds=0.1)),
    ):
        clips = waveforms(listed, wanted, folder)
        np.testing.assert_array_equal(clips.audio, expected(listed, wanted))
    assert len(list(folder.iterdir())) == 5


def test_equal_names_elsewhere_are_other_files(paths: list[Path], tmp_path: Path) -> None:
    """Copies of equal size and time, as archives unpack them, with other sound."""
    (tmp_path / "other").mkdir()
    others = [write(tmp_path / "other" / path.name, 100 + i) for i, path in enumerate(paths)]
    for path, other in zip(paths, others, strict=True):
        os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    waveforms(paths, WANTED, tmp_path / "cache")
    clips = waveforms(others, WANTED, tmp_path / "cache")
    np.testing.assert_array_equal(clips.audio, expected(others))


def test_a_changed_file_alone_is_decoded_again(
    paths: list[Path], tmp_path: Path, decoded: list[str]
) -> None:
    waveforms(paths, WANTED, tmp_path / "cache")
    decoded.clear()
    write(paths[5], 77)
    touch(paths[5])
    clips = waveforms(paths, WANTED, tmp_path / "cache")
    assert decoded == [paths[5].name]
    np.testing.assert_array_equal(clips.audio, expected(paths))


def test_a_row_written_over_counts_no_more(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between writing a changed file's row and recording it; then the old file is back."""
    waveforms(paths, WANTED, tmp_path / "cache")
    old, before = paths[5].read_bytes(), paths[5].stat()
    write(paths[5], 77)
    touch(paths[5])

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(row_file.Writer, "record", stop)
    with pytest.raises(KeyboardInterrupt):
        waveforms(paths, WANTED, tmp_path / "cache")
    monkeypatch.undo()
    paths[5].write_bytes(old)
    os.utime(paths[5], ns=(before.st_atime_ns, before.st_mtime_ns))
    clips = waveforms(paths, WANTED, tmp_path / "cache")
    np.testing.assert_array_equal(clips.audio, expected(paths))


def test_an_empty_file_of_1970_is_no_decoded_one(paths: list[Path], tmp_path: Path) -> None:
    """Archives made to be reproducible set such times; size and time are both zero."""
    paths[5].write_bytes(b"")
    os.utime(paths[5], ns=(0, 0))
    with pytest.raises(ValueError, match=r"005\.wav \(0 bytes\)"):
        waveforms(paths, WANTED, tmp_path / "cache")


def test_a_file_that_changes_while_it_is_read(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disturbed(path: Path, wanted: AudioFormat) -> np.ndarray:
        if path.name == "003.wav":
            touch(path)
        return decode(path, wanted)

    monkeypatch.setattr(cache, "decode", disturbed)
    with pytest.raises(ValueError, match=r"003\.wav was changed"):
        waveforms(paths, WANTED, tmp_path / "cache")
    monkeypatch.undo()
    clips = waveforms(paths, WANTED, tmp_path / "cache")
    np.testing.assert_array_equal(clips.audio, expected(paths))


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(paths: list[Path], tmp_path: Path) -> None:
    first = slow_call(tmp_path, "first")
    deadline = time.monotonic() + 60
    while not (tmp_path / "first").exists() or len(lines(tmp_path / "first")) < 14:
        assert time.monotonic() < deadline, "the first call decodes nothing"
        assert first.poll() is None, first.communicate()[1]
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert len(lines(tmp_path / "first")) < 40
    second = slow_call(tmp_path, "second", wait=0)
    assert second.wait(60) == 0, second.communicate()
    second.communicate()
    done = lines(tmp_path / "first")
    kept = {path.name for path in paths} - set(lines(tmp_path / "second"))
    assert kept >= set(done[:8]), "whole blocks of four are kept"
    assert kept <= set(done)
    clips = waveforms(paths, WANTED, tmp_path / "cache")
    np.testing.assert_array_equal(clips.audio, expected(paths))


@pytest.mark.slow
def test_two_processes_at_once_decode_every_file_once(paths: list[Path], tmp_path: Path) -> None:
    calls = [slow_call(tmp_path, "both", wait=0.02) for _ in range(2)]
    for call in calls:
        message = call.communicate(timeout=60)[1]
        assert call.returncode == 0, message
    assert sorted(lines(tmp_path / "both")) == [path.name for path in paths]
    clips = waveforms(paths, WANTED, tmp_path / "cache")
    np.testing.assert_array_equal(clips.audio, expected(paths))


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def spoil(paths: list[Path]) -> None:
    """One file that its header gives away, one that is not there, one that only decoding finds."""
    paths[3].write_bytes(b"nothing")
    paths[8].unlink()
    samples = np.full(1_600, np.nan)
    soundfile.write(paths[21], samples, 16_000, subtype="FLOAT")


def test_bad_files_are_all_named_before_decoding(
    paths: list[Path], tmp_path: Path, decoded: list[str]
) -> None:
    spoil(paths)
    message = r"2 of 40 files cannot be used:\n.*003\.wav .*\n.*008\.wav.*\n.*on-bad-file skip"
    with pytest.raises(ValueError, match=message):
        waveforms(paths, WANTED, tmp_path / "cache")
    assert not decoded


def test_a_file_that_only_decoding_finds_loses_nothing(
    paths: list[Path], tmp_path: Path, decoded: list[str]
) -> None:
    good = paths[21].read_bytes()
    soundfile.write(paths[21], np.full(1_600, np.nan), 16_000, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"1 of 40 files cannot be used:\n.*021\.wav has 1600"):
        waveforms(paths, WANTED, tmp_path / "cache")
    assert len(decoded) == 40
    decoded.clear()
    paths[21].write_bytes(good)
    touch(paths[21])
    clips = waveforms(paths, WANTED, tmp_path / "cache")
    assert decoded == ["021.wav"]
    np.testing.assert_array_equal(clips.audio, expected(paths))


def test_bad_files_are_skipped_as_asked(paths: list[Path], tmp_path: Path) -> None:
    spoil(paths)
    for _ in range(2):  # the first call decodes, the second finds the others done
        with pytest.warns(UserWarning, match=r"3 of 40 files cannot be used(.|\n)*left out"):
            clips = waveforms(paths, WANTED, tmp_path / "cache", on_bad_file="skip")
        assert np.flatnonzero(~clips.valid).tolist() == [3, 8, 21]
        good = [path for path, valid in zip(paths, clips.valid, strict=True) if valid]
        np.testing.assert_array_equal(clips.audio[clips.valid], expected(good))


def test_a_file_that_went_bad_counts_no_more(paths: list[Path], tmp_path: Path) -> None:
    waveforms(paths, WANTED, tmp_path / "cache")
    spoil(paths)
    with pytest.warns(UserWarning, match="3 of 40"):
        clips = waveforms(paths, WANTED, tmp_path / "cache", on_bad_file="skip")
    assert np.flatnonzero(~clips.valid).tolist() == [3, 8, 21]


@pytest.mark.parametrize("on_bad_file", ["skip", "refuse"])
def test_nothing_but_bad_files(tmp_path: Path, on_bad_file: cache.OnBadFile) -> None:
    paths = [tmp_path / f"{i}.wav" for i in range(7)]
    with pytest.raises(ValueError, match=r"7 of 7 files cannot (.|\n)*2 more\nThere are no others"):
        waveforms(paths, WANTED, tmp_path / "cache", on_bad_file=on_bad_file)


def test_an_empty_list(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the list given is empty"):
        waveforms([], WANTED, tmp_path / "cache")


@pytest.mark.parametrize("name", ["audio.npy", "rows.npy"])
@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "other"])
def test_damaged_files_of_the_cache_are_made_anew(
    paths: list[Path], tmp_path: Path, name: str, damage: str
) -> None:
    waveforms(paths, WANTED, tmp_path / "cache")
    path = next((tmp_path / "cache").glob(f"*/{name}"))
    if damage == "gone":
        path.unlink()
    elif damage == "other":
        np.save(path, np.zeros((3, 3)))
    else:
        path.write_bytes(path.read_bytes()[:-64] if damage == "cut" else b"")
    clips = waveforms(paths, WANTED, tmp_path / "cache")
    np.testing.assert_array_equal(clips.audio, expected(paths))


def test_a_full_disk_is_told_before_work(
    paths: list[Path], tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 100_000})()
    monkeypatch.setattr(row_file.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"0\.00 GB are free") as caught:
        waveforms(paths, WANTED, tmp_path / "cache")
    assert caught.value.errno == errno.ENOSPC
    assert not decoded
    monkeypatch.undo()
    assert waveforms(paths, WANTED, tmp_path / "cache").valid.all()


@pytest.mark.parametrize("fallocate", [True, False])
def test_a_limit_on_the_size_of_files(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fallocate: bool
) -> None:
    """What `disk_usage` does not know of, such as a quota: the system refuses the space itself."""
    if not fallocate:
        monkeypatch.delattr(os, "posix_fallocate")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"40 decoded clips need .* limits the size of") as caught:
            waveforms(paths, WANTED, tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    assert not list((tmp_path / "cache").glob("*/audio*")), "no half file is left"
    assert waveforms(paths, WANTED, tmp_path / "cache").valid.all()


def test_a_disk_that_fills_up_on_the_way_keeps_what_is_recorded(
    paths: list[Path], tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """File systems that copy on write may refuse a row although its space was taken."""
    write_row = row_file.Writer.write

    def full(self: row_file.Writer, row: int, values: np.ndarray) -> None:
        if row == 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_row(self, row, values)

    monkeypatch.setattr(cache, "SMALLEST_BLOCK", 4)
    monkeypatch.setattr(row_file.Writer, "write", full)
    with pytest.raises(OSError, match="decoded already is kept"):
        waveforms(paths, WANTED, tmp_path / "cache")
    monkeypatch.setattr(row_file.Writer, "write", write_row)
    decoded.clear()
    clips = waveforms(paths, WANTED, tmp_path / "cache")
    assert sorted(decoded) == [path.name for path in paths[8:]]
    np.testing.assert_array_equal(clips.audio, expected(paths))


def test_few_clips_wait_in_memory(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many files: no more are decoded ahead of writing than four for each thread."""
    ahead: list[int] = []
    started, written = [0], [0]
    write_row = row_file.Writer.write

    def noting(path: Path, wanted: AudioFormat) -> np.ndarray:
        started[0] += 1
        return decode(path, wanted)

    def slow(self: row_file.Writer, row: int, values: np.ndarray) -> None:
        time.sleep(0.01)
        ahead.append(started[0] - written[0])
        written[0] += 1
        write_row(self, row, values)

    monkeypatch.setattr(cache, "decode", noting)
    monkeypatch.setattr(row_file.Writer, "write", slow)
    waveforms(paths, WANTED, tmp_path / "cache", workers=2)
    assert 1 < max(ahead) <= 8


@pytest.mark.data
@pytest.mark.slow
def test_esc50_is_what_the_decoder_gives_to_the_bit(esc50_root: Path, tmp_path: Path) -> None:
    """16 kHz mono files: nothing but rounding and clipping, so that published results stay."""
    listing = read_esc50(esc50_root, folds=(5,))
    clips = waveforms(listing.paths, ESC50, tmp_path / "cache")
    assert clips.audio.shape == (400, 1, 80_000)
    for clip, path in zip(clips.audio, listing.paths, strict=True):
        samples, rate = soundfile.read(path, dtype="float32")
        assert (rate, samples.shape) == (16_000, (80_000,))
        whole = np.rint(samples * 32_768).clip(-32_768, 32_767)
        np.testing.assert_array_equal(clip[0], whole)
