"""What a recipe trains and is judged on: TAU's scenes, or generated ones, as log-mels in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from rich.console import Console
from torch import Tensor

from recipes.audio import AudioFormat
from recipes.cache import taken, waveforms
from recipes.features import MelSettings, log_mels
from recipes.listing import Listing, first_of
from recipes.resources import need_disk, need_memory
from recipes.scenes import SceneSettings, write_scenes
from recipes.split import by_location
from recipes.tau_data import CLASS_OF_SCENE, read_tau

ROOT = Path(__file__).resolve().parents[1]
BLOCK = 256
"""Clips that are transformed at a time."""
MOST_HELD_OUT = 0.5
TOLERANCE = 0.02
"""As a share of a clip's length: what decoding accepts."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a recipe wants of the sound.

    Attributes:
        audio: Rate, channels and length of a clip. Of longer recordings the beginning is taken
            where `crop` allows it.
        mels: The front end.
        frames: Frames that the network takes; what is beyond falls off.
        classes: 3 for indoor, outdoor and transportation, 10 for the scenes themselves.
        validation: Share of the training list that is held out, place by place; 0 for none.
        training_list: Another training list, such as ``split5.csv``; None for the official one.
        crop: Whether clips may be longer than `audio` says.
        clips: Most clips of each part, drawn evenly from its list; None for all.
        seed: Of the division into training and validation.
    """

    audio: AudioFormat
    mels: MelSettings
    frames: int
    classes: int = 10
    validation: float = 0.1
    training_list: Path | None = None
    crop: bool = False
    clips: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse shares and numbers that leave nothing.

        Raises:
            ValueError: If they do.
        """
        if not 0 <= self.validation <= MOST_HELD_OUT:
            raise ValueError(
                f"validation={self.validation:g}: the share of the training list that is held out "
                f"must lie in [0, {MOST_HELD_OUT}]; 0 holds nothing out."
            )
        if self.clips is not None and self.clips < 1:
            raise ValueError(f"clips={self.clips} leaves nothing of any list: ask for one.")

    def size(self, clips: int) -> int:
        """Bytes of the log-mels of so many clips, float32."""
        return 4 * clips * self.audio.channels * self.mels.mels * self.frames


@dataclass(frozen=True)
class Part:
    """Some clips.

    Attributes:
        x: Log-mels (clips, channels, mels, frames).
        y: Labels (clips,), on the same device.
        listing: Names, devices and cities.
    """

    x: Tensor
    y: Tensor
    listing: Listing

    def __len__(self) -> int:
        """How many clips."""
        return len(self.y)


@dataclass(frozen=True)
class Scenes:
    """The data of a recipe.

    Attributes:
        name: Where they are from.
        generated: Whether they are no real sound.
        train: What is trained on.
        validation: What is chosen on; None for nothing.
        test: What is reported.
    """

    name: str
    generated: bool
    train: Part
    validation: Part | None
    test: Part

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by label."""
        return self.train.listing.classes

    @cached_property
    def digest(self) -> str:
        """Of the lists: a run directory belongs to one data set."""
        parts = [part for part in (self.train, self.validation, self.test) if part is not None]
        text = "\n\n".join(part.listing.table.to_csv(index=False) for part in parts)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load(
    data: Path | None,
    wanted: Wanted,
    device: torch.device,
    console: Console,
    *,
    cache: Path = ROOT / "runs" / "cache",
    settings: SceneSettings | None = None,
) -> Scenes:
    """Log-mels of the official lists of a TAU data set, or of generated scenes.

    Args:
        data: The data set's folder; None to generate scenes.
        wanted: What the network takes.
        device: Where the log-mels are computed and stay.
        console: Says loudly where scenes are generated.
        cache: Folder of decoded clips and generated scenes.
        settings: How many scenes to generate.

    Raises:
        FileNotFoundError: If a list or a clip is missing.
        ValueError: If the data set is of another year, a list is wrong, a clip is damaged, or no
            validation part can be made.
        OSError: If memory or disk are too small, with the numbers.
    """
    generated = data is None
    root = _generated(cache, settings or SceneSettings(), console) if data is None else Path(data)
    train = _grouped(read_tau(root, "train", training_list=wanted.training_list), wanted.classes)
    test = _grouped(read_tau(root, "test"), wanted.classes)
    if test.classes != train.classes:
        raise ValueError(
            f"{root} trains on {', '.join(train.classes)} and tests on {', '.join(test.classes)}: "
            "the lists are of different data sets."
        )
    source = _recorded(train, wanted)
    validation = None
    if wanted.validation:
        train, validation = by_location(train, wanted.validation, seed=wanted.seed)
    lists = [None if one is None else _thinned(one, wanted) for one in (train, validation, test)]
    clips = sum(len(one) for one in lists if one is not None)
    need_memory(wanted.size(clips), device, f"log-mels of {clips:,} clips of {root}")
    need_disk(_to_decode(lists, source, cache), cache, f"{clips:,} clips, decoded,")
    name = "generated scenes" if generated else root.name
    parts = [None if one is None else _part(one, source, wanted, device, cache) for one in lists]
    assert parts[0] is not None  # noqa: S101 - for the type checker
    assert parts[2] is not None  # noqa: S101
    return Scenes(name, generated, parts[0], parts[1], parts[2])


def load_test(
    data: Path | None,
    wanted: Wanted,
    names: Sequence[str] | None,
    device: torch.device,
    console: Console,
    *,
    cache: Path = ROOT / "runs" / "cache",
) -> Part:
    """Log-mels of clips of the official test list, or of that of generated scenes.

    Args:
        data: The data set's folder; None for generated scenes.
        wanted: What the network takes.
        names: Clips of the list, as it names them; None for all of them.
        device: Where the log-mels are computed and stay.
        console: Says loudly where scenes are generated.
        cache: Folder of decoded clips and generated scenes.

    Raises:
        FileNotFoundError: If a list or a clip is missing.
        ValueError: If the list lacks some of the clips, is wrong, or a clip is damaged.
        OSError: If memory or disk are too small, with the numbers.
    """
    root = _generated(cache, SceneSettings(), console) if data is None else Path(data)
    test = _grouped(read_tau(root, "test"), wanted.classes)
    if names is not None:
        there = test.table["file"].isin(names)
        if there.sum() < len(names):
            absent = sorted(set(names) - set(test.table["file"]))
            raise ValueError(
                f"{len(absent)} of {len(names)} clips are not on the test list of {root}, which "
                f"has {len(test)}: {first_of(absent)}. Pass the data set that the run was judged "
                "on, or --all to judge every clip of this one."
            )
        test = test.select(there)
    source = _recorded(test, wanted)
    clips = len(test)
    need_memory(wanted.size(clips), device, f"log-mels of {clips:,} clips of {root}")
    need_disk(_to_decode([test], source, cache), cache, f"{clips:,} clips, decoded,")
    return _part(test, source, wanted, device, cache)


def _generated(cache: Path, settings: SceneSettings, console: Console) -> Path:
    """The folder of generated scenes, made once."""
    digest = hashlib.sha256(repr(settings).encode()).hexdigest()[:8]
    root = cache.parent / "scenes" / digest
    console.rule("[bold red]no --data: GENERATED SCENES, the numbers say nothing about real sound")
    if not root.exists():
        with suppress(FileExistsError):  # another process was faster
            write_scenes(root, settings)
    return root


def _grouped(listing: Listing, classes: int) -> Listing:
    """The list with the classes that are asked for."""
    if len(listing.classes) == classes:
        return listing
    known = set(listing.classes) <= set(CLASS_OF_SCENE)
    if classes != len(set(CLASS_OF_SCENE.values())) or not known:
        raise ValueError(
            f"{listing.root} has {len(listing.classes)} classes ({', '.join(listing.classes)}) and "
            f"this recipe is about {classes}: pass the data set of its year."
        )
    names = tuple(sorted(set(CLASS_OF_SCENE.values())))
    scenes = listing.table["scene"].map(CLASS_OF_SCENE)
    labels = scenes.map({name: i for i, name in enumerate(names)}).astype(np.int64)
    table: pd.DataFrame = listing.table.assign(scene=scenes, label=labels)
    return replace(listing, table=table, classes=names)


def _thinned(listing: Listing, wanted: Wanted) -> Listing:
    """A list, or as many clips of it as are wanted, in its order.

    Every device and scene keeps its share, to a clip or so: a few clips drawn blindly would lack
    the rare devices.
    """
    if wanted.clips is None or wanted.clips >= len(listing):
        return listing
    mixed = np.random.default_rng(wanted.seed).permutation(len(listing))
    grouped = listing.table.assign(mixed=mixed).sort_values(["device", "scene", "mixed"]).index
    even = (np.arange(wanted.clips) + 0.5) * len(listing) / wanted.clips
    return listing.select(np.isin(np.arange(len(listing)), grouped[even.astype(int)]))


def _recorded(listing: Listing, wanted: Wanted) -> AudioFormat:
    """The format to decode to: the recipe's, or a longer one of which the beginning is taken."""
    first = listing.paths[0]
    try:
        info = soundfile.info(first)
    except (soundfile.LibsndfileError, TypeError):
        return wanted.audio  # decoding says what is wrong
    seconds = info.frames / info.samplerate
    if abs(seconds - wanted.audio.seconds) <= TOLERANCE * wanted.audio.seconds:
        return wanted.audio
    if seconds > wanted.audio.seconds and wanted.crop:
        return replace(wanted.audio, seconds=round(seconds, 2))
    raise ValueError(
        f"{first} lasts {seconds:g} s and this recipe takes clips of {wanted.audio.seconds:g} s: "
        f"{listing.root} is the data set of another year (10 s until 2021, 1 s from 2022 on). Pass "
        f"that of its year, or the setting seconds={seconds:g}."
    )


def _to_decode(lists: Sequence[Listing | None], source: AudioFormat, cache: Path) -> int:
    """Bytes that decoding will take on the disk, beside what it has taken already."""
    each = 2 * source.channels * source.samples
    found = [one.paths for one in lists if one is not None]
    return sum(max(0, each * len(paths) - taken(paths, source, cache)) for paths in found)


def _part(
    listing: Listing, source: AudioFormat, wanted: Wanted, device: torch.device, cache: Path
) -> Part:
    """Decode, cut, transform, some clips at a time: all waveforms at once would not fit."""
    audio = waveforms(listing.paths, source, cache).audio
    shape = (len(listing), source.channels, wanted.mels.mels, wanted.frames)
    x = torch.empty(shape, device=device)
    for first in range(0, len(listing), BLOCK):
        block = np.array(audio[first : first + BLOCK, :, : wanted.audio.samples])
        mels = log_mels(torch.from_numpy(block), wanted.mels, device)
        x[first : first + BLOCK] = mels[..., : wanted.frames]
    return Part(x, torch.from_numpy(listing.labels).to(device), listing)
