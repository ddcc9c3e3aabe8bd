"""Real sound that the benchmarks hear: ESC-50 by folds, and speech commands by speakers.

The second is the test set of Google's speech commands: 4,890 clips of at most a second, 16 kHz, ten
keywords, silence and unknown words (P. Warden 2018, arXiv:1804.03209). Its 2,922 clips to train on,
970 to validate and 998 to test on are a split of our own: no figure is an official one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from torch import Tensor

from recipes.data.cache import waveforms
from recipes.data.esc50 import FORMAT, read_esc50
from recipes.data.listing import first_of

ROOT = Path(__file__).resolve().parents[2]
RUNS = ROOT / "runs"
RATE = 16_000
CLASSES = 50
KEYWORDS = 12


def data_root() -> Path:
    """The folder of real audio: `COMPRESSOR_DATA`, else `../shared/data` beside the project."""
    given = os.environ.get("COMPRESSOR_DATA")
    return Path(given) if given else ROOT.parent / "shared" / "data"


def esc50(folds: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """int16 (clips, 80000) at 16 kHz and labels (clips,) of some folds of ESC-50."""
    listing = read_esc50(data_root() / "esc50", folds)
    clips = waveforms(listing.paths, FORMAT, RUNS / "cache").audio[:, 0]
    return torch.from_numpy(np.array(clips)), torch.from_numpy(listing.labels)


def has_esc50() -> bool:
    """True if ESC-50 is there."""
    return (data_root() / "esc50" / "meta" / "esc50.csv").is_file()


def keyword_list() -> tuple[Path, pd.DataFrame]:
    """Folder of the speech commands, and the table of its clips, all of which are there.

    Raises:
        FileNotFoundError: If the table or a clip is missing.
    """
    root = data_root() / "speech_commands_v002_test"
    if not (root / "clips.csv").is_file():
        raise FileNotFoundError(
            f"There is no {root / 'clips.csv'}: name the folder that holds it in COMPRESSOR_DATA."
        )
    listed = pd.read_csv(root / "clips.csv", keep_default_na=False)
    absent = [name for name in listed["filename"] if not (root / "audio" / name).is_file()]
    if absent:
        raise FileNotFoundError(
            f"{len(absent)} of {len(listed)} clips are not below {root / 'audio'}: "
            f"{first_of(absent)}. Bring the folder in whole: nothing is trained on a part of it."
        )
    return root, listed


@cache
def keywords(parts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Clips of some parts, "train", "validation" or "test", shorter ones with zeros behind.

    Returns:
        int16 (clips, samples) and labels (clips,), classes in the order of their names.
    """
    root, listed = keyword_list()
    classes = sorted(set(listed["keyword"]))
    chosen = listed[listed["part"].isin(parts)]
    audio = np.zeros((len(chosen), RATE), np.int16)
    for name, place in zip(chosen["filename"], audio, strict=True):
        clip, rate = soundfile.read(root / "audio" / name, dtype="int16")
        if rate != RATE or clip.ndim != 1:
            raise ValueError(f"{name}: {rate} Hz, {clip.ndim} dimensions")
        place[: len(clip)] = clip[:RATE]
    labels = torch.tensor([classes.index(word) for word in chosen["keyword"]])
    return torch.from_numpy(audio), labels
