"""Data of a run: clips of a data set, or generated scenes, as log-mels in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import soundfile
import torch
from rich.console import Console
from torch import Tensor

from recipes.data.audio import AudioFormat
from recipes.data.cache import taken, waveforms
from recipes.data.listing import Listing, first_of
from recipes.data.split import by_location
from recipes.data.tau import read_scenes
from recipes.features.logmel import MelSettings, log_mels
from recipes.files.resources import need_disk, need_memory
from recipes.generated.scenes import SceneSettings, write_scenes

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "runs" / "cache"
"""Folder of decoded clips."""
BLOCK = 256
"""Clips that are transformed at a time."""
MOST_HELD_OUT = 0.5
TOLERANCE = 0.02
"""As a share of a clip's length: what decoding accepts."""


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Specification of the data that a recipe takes.

    Attributes:
        audio: Rate, channels and length of a clip. Of longer recordings the beginning is taken
            where `crop` allows it.
        mels: Front end.
        frames: Frames that the network takes; what is beyond falls off.
        classes: 3 for indoor, outdoor and transportation, 10 for the scenes themselves.
        validation: Share of the training list that is held out, place by place; 0 for none.
        training_list: Another training list, such as ``split5.csv``; None for the official one.
        crop: True where clips may be longer than `audio` says.
        clips: Most clips of each part, drawn evenly from its list; None for all.
        seed: Seed of the division into training and validation.
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
        """Refuse shares and numbers that leave nothing."""
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
    """Clips in memory.

    Attributes:
        x: Log-mels (clips, channels, mels, frames).
        y: Labels (clips,), on the same device.
        listing: Names, devices and cities.
    """

    x: Tensor
    y: Tensor
    listing: Listing

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.y)


@dataclass(frozen=True)
class Scenes:
    """The data of a recipe.

    Attributes:
        name: Name of the data set.
        generated: True of generated scenes, no real sound.
        train: Clips to train on.
        validation: Clips to choose settings on; None for none.
        test: Clips of which figures are reported.
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
        """Digest of the lists: a run directory belongs to one data set."""
        parts = [part for part in (self.train, self.validation, self.test) if part is not None]
        text = "\n\n".join(part.listing.table.to_csv(index=False) for part in parts)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


Reader = Callable[..., Listing]
"""Lists the clips of a part of a data set, called as `recipes.data.tau.read_scenes`."""


def load(
    data: Path | None,
    spec: DataSpec,
    device: torch.device,
    console: Console,
    *,
    reader: Reader = read_scenes,
    cache: Path = CACHE,
    settings: SceneSettings | None = None,
) -> Scenes:
    """Log-mels of a data set, or of generated scenes.

    Args:
        data: Folder of the data set; None to generate scenes.
        spec: Specification of what the network takes.
        device: Device on which the log-mels are computed and stay.
        console: Says loudly where scenes are generated.
        reader: Reads the data set's lists.
        cache: Folder of decoded clips and generated scenes.
        settings: Number of scenes to generate.

    Raises:
        FileNotFoundError: If a list or a clip is missing.
        ValueError: If the data set is of another year, a list is wrong, a clip is damaged, or no
            validation part can be made.
        OSError: If memory or disk are too small, with the numbers.
    """
    root = _generated(cache, settings or SceneSettings(), console) if data is None else Path(data)
    train = reader(root, "train", classes=spec.classes, training_list=spec.training_list)
    test = reader(root, "test", classes=spec.classes, training_list=None)
    if test.classes != train.classes:
        raise ValueError(
            f"{root} trains on {', '.join(train.classes)} and tests on {', '.join(test.classes)}: "
            "the lists are of different data sets."
        )
    source, held_out = _recorded(train, spec), list[Listing]()
    if spec.validation:
        train, validation = by_location(train, spec.validation, seed=spec.seed)
        held_out = [validation]
    lists = [_thinned(one, spec) for one in (train, test, *held_out)]
    name = "generated scenes" if data is None else root.name
    first, last, *between = _parts(lists, source, spec, device, cache)
    return Scenes(name, data is None, first, between[0] if between else None, last)


def load_test(
    data: Path | None,
    spec: DataSpec,
    names: Sequence[str] | None,
    device: torch.device,
    console: Console,
    *,
    reader: Reader = read_scenes,
    cache: Path = CACHE,
) -> Part:
    """Log-mels of clips of the official test list, or of that of generated scenes.

    Arguments and errors are those of `load`, and `names`: clips of the list, as it names them; None
    for all of them. A list that lacks some of them is refused.
    """
    root = _generated(cache, SceneSettings(), console) if data is None else Path(data)
    test = reader(root, "test", classes=spec.classes, training_list=None)
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
    return _parts([test], _recorded(test, spec), spec, device, cache)[0]


def _generated(cache: Path, settings: SceneSettings, console: Console) -> Path:
    """The folder of generated scenes, made once."""
    digest = hashlib.sha256(repr(settings).encode()).hexdigest()[:8]
    root = cache.parent / "scenes" / digest
    console.rule("[bold red]no --data: GENERATED SCENES, the numbers say nothing about real sound")
    if not root.exists():
        with suppress(FileExistsError):  # another process was faster
            write_scenes(root, settings)
    return root


def _thinned(listing: Listing, spec: DataSpec) -> Listing:
    """A list, or as many clips of it as are wanted, in its order.

    Every device and scene keeps its share, to a clip or so: a few clips drawn blindly would lack
    the rare devices.
    """
    if spec.clips is None or spec.clips >= len(listing):
        return listing
    mixed = np.random.default_rng(spec.seed).permutation(len(listing))
    grouped = listing.table.assign(mixed=mixed).sort_values(["device", "scene", "mixed"]).index
    even = (np.arange(spec.clips) + 0.5) * len(listing) / spec.clips
    return listing.select(np.isin(np.arange(len(listing)), grouped[even.astype(int)]))


def _recorded(listing: Listing, spec: DataSpec) -> AudioFormat:
    """The format to decode to: the recipe's, or a longer one of which the beginning is taken."""
    first = listing.paths[0]
    try:
        info = soundfile.info(first)
    except (soundfile.LibsndfileError, TypeError):
        return spec.audio  # decoding says what is wrong
    seconds = info.frames / info.samplerate
    if abs(seconds - spec.audio.seconds) <= TOLERANCE * spec.audio.seconds:
        return spec.audio
    if seconds > spec.audio.seconds and spec.crop:
        return replace(spec.audio, seconds=round(seconds, 2))
    raise ValueError(
        f"{first} lasts {seconds:g} s and this recipe takes clips of {spec.audio.seconds:g} s: "
        f"{listing.root} is the data set of another year (10 s until 2021, 1 s from 2022 on). Pass "
        f"that of its year, or the setting seconds={seconds:g}."
    )


def _parts(
    lists: Sequence[Listing], source: AudioFormat, spec: DataSpec, device: torch.device, cache: Path
) -> list[Part]:
    """Lists, decoded and transformed, once memory and disk are known to do."""
    clips, each = sum(map(len, lists)), 2 * source.channels * source.samples
    more = [each * len(one) - taken(one.paths, source, cache) for one in lists]
    need_memory(spec.size(clips), device, f"log-mels of {clips:,} clips of {lists[0].root}")
    need_disk(sum(max(0, size) for size in more), cache, f"{clips:,} clips, decoded,")
    return [_part(one, source, spec, device, cache) for one in lists]


def _part(
    listing: Listing, source: AudioFormat, spec: DataSpec, device: torch.device, cache: Path
) -> Part:
    """Decode, cut, transform, some clips at a time: all waveforms at once would not fit."""
    audio = waveforms(listing.paths, source, cache).audio
    shape = (len(listing), source.channels, spec.mels.mels, spec.frames)
    x = torch.empty(shape, device=device)
    for first in range(0, len(listing), BLOCK):
        block = np.array(audio[first : first + BLOCK, :, : spec.audio.samples])
        mels = log_mels(torch.from_numpy(block), spec.mels, device)
        x[first : first + BLOCK] = mels[..., : spec.frames]
    return Part(x, torch.from_numpy(listing.labels).to(device), listing)
