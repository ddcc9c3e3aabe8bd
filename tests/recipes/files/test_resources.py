"""What does not fit is refused before work starts, with the numbers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from recipes.data.audio import AudioFormat
from recipes.data.cache import taken, waveforms
from recipes.files import resources
from recipes.files.resources import SPARE, free_memory, need_disk, need_memory

CPU = torch.device("cpu")


def test_what_this_machine_has_free_is_between_nothing_and_all_of_it() -> None:
    free = free_memory(CPU)
    assert free is None or 0 < free < 2**50


def test_memory_is_asked_for_with_some_to_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "free_memory", lambda _: 1_000_000_000)
    need_memory(int(1e9 / SPARE), CPU, "ten clips")
    with pytest.raises(OSError, match=r"ten clips take 0.81 GB, .*1.25 times .* 1.00 GB are free"):
        need_memory(int(1e9 / SPARE) + 10_000_000, CPU, "ten clips")


def test_where_nobody_says_what_is_free_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "free_memory", lambda _: None)
    need_memory(10**18, CPU, "everything")


def test_more_than_any_machine_has_is_refused() -> None:
    if free_memory(CPU) is None:
        pytest.skip("this system does not say how much memory is free")
    with pytest.raises(OSError, match=r"1,000,000,000.00 GB"):
        need_memory(10**18, CPU, "everything")


def test_the_disk_of_a_folder_that_is_yet_to_be_made(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    need_disk(1, folder, "a byte")
    assert not folder.exists()
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(OSError, match=r"clips take up to .* GB in .*Make room"):
        need_disk(2 * free + 10**9, folder, "clips")


def test_what_a_cache_has_taken_is_not_asked_for_again(tmp_path: Path) -> None:
    """A run that was killed goes on where its own cache filled the disk."""
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(8000), 8000)
    wanted = AudioFormat(rate=8000, seconds=1.0)
    assert taken([path], wanted, tmp_path / "cache") == 0
    waveforms([path], wanted, tmp_path / "cache")
    assert taken([path], wanted, tmp_path / "cache") >= 2 * 8000
