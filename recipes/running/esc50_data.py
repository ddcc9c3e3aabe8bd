"""ESC-50 with its last fold held out, as log-mels in memory; or generated scenes in its place."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from recipes.data.audio import AudioFormat
from recipes.data.cache import OnBadFile, waveforms
from recipes.data.esc50 import FORMAT, read_esc50
from recipes.data.tau import read_tau
from recipes.features.logmel import MelSettings, log_mels
from recipes.generated.scenes import SceneSettings, write_scenes

ROOT = Path(__file__).resolve().parents[2]
FRAMES = 126
MELS = MelSettings(hop=0.040)
"""16 kHz, frames of 64 ms every 40 ms: 64 bands x 126 frames for five seconds."""
CACHE = ROOT / "runs" / "cache"


@dataclass(frozen=True)
class Data:
    """Log-mels (clips, 1, 64, 126) and labels (clips,) for training and for the held-out part."""

    name: str
    train: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]
    classes: int

    @cached_property
    def digest(self) -> str:
        """Digest of every clip and label, in the names of files that other data must not find."""
        found = hashlib.sha256(f"{self.name} {self.classes}".encode())
        for tensor in (*self.train, *self.held_out):
            found.update(str(tuple(tensor.shape)).encode())
            found.update(tensor.cpu().contiguous().numpy())
        return found.hexdigest()[:8]


def find_esc50(given: Path | None) -> Path | None:
    """The folder of ESC-50: the one given, else below `COMPRESSOR_DATA`, else `../shared/data`."""
    if given is not None:
        return given
    base = os.environ.get("COMPRESSOR_DATA")
    root = Path(base) if base else ROOT.parent / "shared" / "data"
    return next((p for p in (root / "esc50", root) if (p / "meta" / "esc50.csv").exists()), None)


def load(
    given: Path | None,
    out: Path,
    device: torch.device,
    console: Console,
    cache: Path = CACHE,
    on_bad_file: OnBadFile = "refuse",
) -> Data:
    """ESC-50 where it is, else scenes, generated once in `out` in the TAU layout; says which."""
    root = find_esc50(given)
    if root is not None:
        console.rule(f"[bold]real audio: ESC-50 from {root}")
        name, classes, wanted, mels = "ESC-50", 50, FORMAT, MELS
        lists = [read_esc50(root, folds, missing=on_bad_file) for folds in ((1, 2, 3, 4), (5,))]
    else:
        console.rule(
            "[bold red]no ESC-50 found: GENERATED SCENES, the numbers are not about real audio"
        )
        console.print(
            "Real clips: run `python -m recipes.download esc50 --to DIR` and pass --data DIR/esc50."
        )
        # One-second clips get as many frames from a shorter hop: the network costs the same.
        name, classes, wanted = "generated scenes", 10, AudioFormat(seconds=1)
        mels, root = replace(MELS, hop=0.008), out / "scenes"
        if not root.exists():
            write_scenes(root, SceneSettings(train_recordings=50))
        lists = [read_tau(root, "train"), read_tau(root, "test")]
    parts: list[tuple[Tensor, Tensor]] = []
    for listing in lists:
        clips = waveforms(listing.paths, wanted, cache, on_bad_file=on_bad_file)
        audio = clips.audio[:, 0] if clips.valid.all() else clips.audio[clips.valid, 0]
        x = log_mels(torch.from_numpy(np.array(audio)), mels, device)[..., :FRAMES].contiguous()
        parts.append((x, torch.from_numpy(listing.labels[clips.valid]).to(device)))
    return Data(name, parts[0], parts[1], classes)
