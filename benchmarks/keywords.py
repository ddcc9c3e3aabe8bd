"""The second ground of the benchmarks: the test set of Google's speech commands, by speaker.

4,890 clips of at most a second, 16 kHz: ten keywords, silence and unknown words (P. Warden 2018,
arXiv:1804.03209), divided into 2,922 to train on, 970 to validate on and 998 to test on: a split of
our own, so that no figure on it is one on the official benchmark.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import cache

import numpy as np
import soundfile
import torch
from torch import Tensor

from benchmarks.dense import data_root

RATE = 16_000
CLASSES = 12


@cache
def keywords(parts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Clips of some parts, "train", "validation" or "test", shorter ones with zeros behind.

    Returns:
        int16 (clips, samples) and labels (clips,), classes in the order of their names.
    """
    root = data_root() / "speech_commands_v002_test"
    with (root / "clips.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    classes = sorted({row["keyword"] for row in rows})
    chosen = [row for row in rows if row["part"] in parts]
    audio = np.zeros((len(chosen), RATE), np.int16)
    for row, place in zip(chosen, audio, strict=True):
        clip, rate = soundfile.read(root / "audio" / row["filename"], dtype="int16")
        if rate != RATE or clip.ndim != 1:
            raise ValueError(f"{row['filename']}: {rate} Hz, {clip.ndim} dimensions")
        place[: len(clip)] = clip[:RATE]
    labels = torch.tensor([classes.index(row["keyword"]) for row in chosen])
    return torch.from_numpy(audio), labels
