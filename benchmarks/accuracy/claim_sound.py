"""What the networks of `benchmarks.accuracy.claims` hear: two grounds, by devices.

Speech commands of twelve classes, split by speakers, recorded by the nine devices of
`benchmarks.accuracy.ingredients`: training has all clips by device a and `COPIES` of them by each
of five others, the test all clips by all nine, three of which training has not heard. ESC-50 as it
is: folds 1 to 3 train, 4 validates, 5 is the test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from benchmarks.accuracy.grounds import FOLDS
from benchmarks.accuracy.ingredients import DEVICES, SEEN, devices, log_mels
from benchmarks.common.sound import (
    CLASSES,
    KEYWORDS,
    RUNS,
    data_root,
    esc50,
    keyword_list,
    keywords,
)
from compressor.storage import write_bytes
from recipes.data.esc50 import read_esc50
from recipes.features.logmel import MelSettings
from recipes.generated.devices import Device, reference

COPIES = 200
"""Training clips that each of the five devices recorded: 7 % of 2,922, as in TAU 2020."""

Part = tuple[Tensor, Tensor]
"""Log-mels (clips, 1, mels, frames) and labels (clips,)."""


@dataclass(frozen=True)
class Heard:
    """Clips of a ground as one front end hears them.

    Attributes:
        train: To train on.
        validation: By device a, to see whether a network has converged.
        test: By every device; of ESC-50 by a alone.
    """

    train: Part
    validation: Part
    test: dict[str, Part]

    def on(self, device: torch.device) -> Heard:
        """The same on a device."""

        def moved(part: Part) -> Part:
            x, y = part
            return x.to(device), y.to(device)

        test = {name: moved(part) for name, part in self.test.items()}
        return Heard(moved(self.train), moved(self.validation), test)

    def first(self, clips: int | None) -> Heard:
        """At most so many clips of every part, evenly drawn; all for None."""

        def few(part: Part) -> Part:
            x, y = part
            step = max(1, len(x) // (clips or len(x)))
            return x[::step][:clips], y[::step][:clips]

        test = {name: few(part) for name, part in self.test.items()}
        return Heard(few(self.train), few(self.validation), test)


@dataclass(frozen=True)
class Ground:
    """A kind of sound.

    Attributes:
        name: In tables.
        classes: Number of them.
        seconds: Length of a clip.
        seeds: Of its runs.
        window: Of the front end, in seconds.
        hop: From one frame to the next, of 64 bands.
        unheard: Devices of the test that training has not heard.
        clips: Makes the clips of a part, int16 (clips, samples) and labels.
    """

    name: str
    classes: int
    seconds: float
    seeds: tuple[int, ...]
    window: float
    hop: float
    unheard: tuple[str, ...]
    clips: Callable[[str], tuple[Tensor, Tensor]]

    def mels(self, bands: int, *, scaled: bool) -> MelSettings:
        """A front end with as many numbers a clip whatever the bands: 64 have frames every hop.

        Unscaled logarithms are those of the papers of 2021 and 2022.
        """
        hop = self.hop * bands / 64
        usual = MelSettings(window=self.window, hop=hop, mels=bands)
        return usual if scaled else replace(usual, level=0.0, spread=1.0)


def _keywords(part: str) -> tuple[Tensor, Tensor]:
    return keywords((part,))


def _sounds(part: str) -> tuple[Tensor, Tensor]:
    return esc50(FOLDS[part])


UNHEARD = tuple(name for name in DEVICES if name != "a" and name not in SEEN)
GROUNDS = {
    "speech": Ground(
        "speech commands, nine devices", KEYWORDS, 1.0, (0, 1, 2, 3, 4), 0.064, 0.020, UNHEARD,
        _keywords,
    ),
    "ESC-50": Ground("ESC-50", CLASSES, 5.0, (0, 1, 2), 0.130, 0.080, (), _sounds),
}  # fmt: skip


def need(grounds: Iterable[str]) -> None:
    """Refuse grounds of which something is missing, before hours are spent.

    Raises:
        FileNotFoundError: If a clip, or all microphones, are missing.
    """
    for ground in grounds:
        if ground == "speech":
            keyword_list()
            devices()
        else:
            read_esc50(data_root() / "esc50")


@cache
def heard(ground: str, bands: int, *, scaled: bool) -> Heard:
    """A ground by one front end, computed once for all runs on this machine."""
    settings = GROUNDS[ground].mels(bands, scaled=scaled)
    kind = "scaled" if scaled else "plain"
    file = RUNS / "claims" / f"{ground}-{bands}-bands-{kind}.safetensors"
    if not file.exists():
        made = _speech(settings) if ground == "speech" else _esc50(settings)
        write_bytes(file, save(_flat(made)))
    return _whole(load_file(file))


def _flat(made: Heard) -> dict[str, Tensor]:
    parts = {"train": made.train, "validation": made.validation}
    parts |= {f"test {name}": part for name, part in made.test.items()}
    names = ("clips", "labels")
    return {
        f"{part} {n}": t.clone()
        for part, two in parts.items()
        for n, t in zip(names, two, strict=True)
    }


def _whole(tensors: dict[str, Tensor]) -> Heard:
    def part(name: str) -> Part:
        return tensors[f"{name} clips"], tensors[f"{name} labels"]

    there = [name for name in DEVICES if f"test {name} clips" in tensors]
    return Heard(part("train"), part("validation"), {n: part(f"test {n}") for n in there})


def _esc50(settings: MelSettings) -> Heard:
    parts = {name: _by(reference(), *_sounds(name), settings, 0) for name in FOLDS}
    return Heard(parts["train"], parts["validation"], {"a": parts["test"]})


def _speech(settings: MelSettings) -> Heard:
    known = devices()
    clips, labels = _keywords("train")
    train = [_by(known["a"], clips, labels, settings, 0)]
    for number, name in enumerate(SEEN):
        rows = torch.from_numpy(
            np.random.default_rng([2, number]).choice(len(clips), COPIES, replace=False)
        )
        train.append(_by(known[name], clips[rows], labels[rows], settings, number))
    test = {
        name: _by(known[name], *_keywords("test"), settings, 100 + number)
        for number, name in enumerate(DEVICES)
    }
    x, y = (torch.cat(both) for both in zip(*train, strict=True))
    return Heard((x, y), _by(known["a"], *_keywords("validation"), settings, 50), test)


def _by(device: Device, clips: Tensor, labels: Tensor, settings: MelSettings, seed: int) -> Part:
    """Clips as a device records them."""
    sound = clips.numpy().astype(np.float32) / 32_768
    return log_mels(sound, device, settings, seed), labels
