"""Ten generated acoustic scenes and nine devices, as wav files in the layout of TAU 2022 Mobile.

They stand in where no real recordings are at hand, so that every recipe runs on a bare machine; a
result on them says nothing about real sound. A scene is coloured noise, hum and random events, with
settings of its own at every location; test locations never occur in training, and devices s4 to s6
occur in the test alone, as in the real data set (A. Mesaros, T. Heittola, T. Virtanen, "A
Multi-device Dataset for Urban Acoustic Scene Classification", DCASE Workshop 2018).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from rich.console import Console
from rich.progress import track

from recipes.files.lock import locked
from recipes.generated.devices import Device, record, reference, simulated
from recipes.generated.sounds import Event, chime, chirp, footstep, squeal, voice

CITIES = ("barcelona", "helsinki", "lisbon", "london", "lyon", "milan", "paris", "prague", "vienna")
SEEN_DEVICES = ("b", "c", "s1", "s2", "s3")
"""Devices that training has beside a."""
DEVICES = ("a", *SEEN_DEVICES, "s4", "s5", "s6")


@dataclass(frozen=True)
class Scene:
    """Sound of a class before a location varies it.

    Attributes:
        tilt: Slope of the background noise, in dB per octave.
        centre: Frequency that the background stresses, in Hz.
        hum: Fundamental of an engine or of machinery, in Hz; its harmonics follow.
        hum_level: Root mean square of the hum relative to the background.
        swell: Depth of the slow rise and fall of the background, 0 to 1.
        events: Events in it, and their number a second on average.
    """

    tilt: float
    centre: float
    hum: float
    hum_level: float
    swell: float
    events: tuple[tuple[Event, float], ...]


SCENES = {
    "airport": Scene(-4.5, 400, 120, 0.3, 0.1, ((voice, 1.5), (footstep, 1.5), (chime, 0.8))),
    "bus": Scene(-7.5, 150, 38, 1.3, 0.2, ((voice, 0.8), (squeal, 0.2))),
    "metro": Scene(-6.0, 700, 190, 0.8, 0.4, ((squeal, 1.0), (voice, 0.5))),
    "metro_station": Scene(-5.5, 350, 90, 0.2, 0.6, ((footstep, 2.5), (voice, 1.0), (squeal, 0.8))),
    "park": Scene(-3.5, 2500, 60, 0.1, 0.3, ((chirp, 3.0), (footstep, 0.8), (voice, 0.4))),
    "public_square": Scene(-3.5, 900, 60, 0.1, 0.3, ((voice, 2.5), (footstep, 1.5), (chirp, 1.0))),
    "shopping_mall": Scene(-4.0, 1200, 140, 0.2, 0.1, ((voice, 3.5), (footstep, 1.0))),
    "street_pedestrian": Scene(-5.0, 600, 60, 0.2, 0.2, ((footstep, 5.0), (voice, 1.5))),
    "street_traffic": Scene(-5.0, 900, 50, 0.6, 0.9, ((squeal, 0.3), (footstep, 0.5))),
    "tram": Scene(-6.0, 250, 70, 0.8, 0.3, ((squeal, 0.6), (chime, 0.7), (voice, 0.8))),
}


@dataclass(frozen=True, kw_only=True)
class SceneSettings:
    """Number of clips to generate; by default 500 for training and 360 to test, of one second.

    Attributes:
        seed: Seed of everything.
        train_recordings: Training recordings of a class with device a.
        train_copies: Number of them that each further training device recorded too.
        test_recordings: Test recordings of a class, each made by all nine devices.
        clips_per_location: Recordings that share a location.
        sample_rate: In Hz; 44,100 as in the real data set.
    """

    seed: int = 0
    train_recordings: int = 30
    train_copies: int = 4
    test_recordings: int = 4
    clips_per_location: int = 2
    sample_rate: int = 44_100

    def __post_init__(self) -> None:
        """Refuse counts that make no data set."""
        if not 0 <= self.train_copies <= self.train_recordings:
            raise ValueError(f"{self}: train_copies must lie between 0 and train_recordings.")
        if min(self.train_recordings, self.test_recordings, self.clips_per_location) < 1:
            raise ValueError(
                f"{self}: at least one recording in training, test and location is needed."
            )
        if self.sample_rate < 16_000:  # the sounds reach 7 kHz
            raise ValueError(f"{self}: sample_rate must be at least 16000 Hz.")


@dataclass(frozen=True)
class _Recording:
    """One second somewhere, as several devices record it."""

    scene: str
    place: str  # "city-location", the identifier of the data set
    location: int
    segment: int
    part: str  # "train" or "test"
    devices: tuple[str, ...]

    def filename(self, device: str) -> str:
        """The data set's 2022 form: scene-city-location-segment-subsegment-device."""
        return f"audio/{self.scene}-{self.place}-{self.segment}-{self.segment % 10}-{device}.wav"


def write_scenes(root: Path, settings: SceneSettings | None = None) -> Path:
    """Generate the data set in a new folder; equal settings give equal bytes.

    The folder appears when all is written, or not at all.

    Raises:
        FileExistsError: If the folder exists.
        OSError: If another process is writing it.
    """
    root, settings = Path(root), settings or SceneSettings()
    with locked(root.with_name(f".{root.name}.lock"), f"writes {root}"):
        if root.exists():
            raise FileExistsError(f"{root} exists already. Name a new folder, or delete this one.")
        part = root.with_name(f"{root.name}.part")
        shutil.rmtree(part, ignore_errors=True)  # of a call that was killed
        _write(part, settings)
        part.replace(root)
    return root


def _write(root: Path, settings: SceneSettings) -> None:
    (root / "audio").mkdir(parents=True)
    recordings = list(_plan(settings))
    devices = _devices(settings)
    console = Console(stderr=True)
    for recording in track(
        recordings,
        description="Generating scenes",
        console=console,
        disable=not console.is_terminal,
    ):
        _write_recording(root, recording, devices, settings)
    _write_tables(root, recordings)


def _plan(settings: SceneSettings) -> Iterator[_Recording]:
    """Every recording: its place, its number and the devices that made it."""
    counts = {"train": settings.train_recordings, "test": settings.test_recordings}
    # Copies are spread over the recordings, so that every device visits several locations.
    step = settings.train_recordings // max(1, settings.train_copies)
    copied = range(0, settings.train_copies * step, step)
    location, segment = 0, 0
    for scene in SCENES:
        for part, count in counts.items():
            for index in range(count):
                location += index % settings.clips_per_location == 0
                devices = DEVICES if part == "test" else ("a",)
                if part == "train" and index in copied:
                    devices = ("a", *SEEN_DEVICES)
                place = f"{CITIES[location % len(CITIES)]}-{location}"
                yield _Recording(scene, place, location, segment, part, devices)
                segment += 1


def _devices(settings: SceneSettings) -> dict[str, Device]:
    rng = np.random.default_rng([settings.seed, 1])
    others = {name: simulated(rng, settings.sample_rate) for name in DEVICES[1:]}
    return {"a": reference(), **others}


def _write_recording(
    root: Path, recording: _Recording, devices: dict[str, Device], settings: SceneSettings
) -> None:
    """One wav file a device, 24 bits as in the real data set."""
    seed, rate = settings.seed, settings.sample_rate
    # The place fixes its own generator: clips of one location share what varies between locations.
    place = np.random.default_rng([seed, 2, recording.location])
    rng = np.random.default_rng([seed, 3, recording.segment])
    audio = render(SCENES[recording.scene], place, rng, rate)
    for device in recording.devices:
        heard = record(audio, devices[device], rate, rng)
        # A quiet recording keeps its level; only what would clip is turned down.
        heard = heard / max(1.0, float(np.abs(heard).max()) / 0.99)
        soundfile.write(root / recording.filename(device), heard, rate, subtype="PCM_24")


def render(
    scene: Scene, place: np.random.Generator, rng: np.random.Generator, rate: int
) -> np.ndarray:
    """One second (rate,) of a scene, before any device.

    `place` draws what a location shares, `rng` what differs from second to second.
    """
    tilt = scene.tilt + place.normal(0, 0.4)
    centre = scene.centre * 2 ** place.normal(0, 0.25)
    fundamental = scene.hum * 2 ** place.normal(0, 0.1)
    hum_level = scene.hum_level * 10 ** (place.normal(0, 2) / 20)
    busy = 2 ** place.normal(0, 0.3)
    event_level = 10 ** ((place.normal(0, 2) + rng.normal(0, 2)) / 20)

    time = np.arange(rate) / rate
    audio = _noise(rng, rate, tilt, centre)
    swell = np.sin(2 * np.pi * (rng.uniform(0.3, 1.0) * time + rng.uniform()))
    audio *= 1 + scene.swell * swell
    audio += hum_level * _hum(rng, time, fundamental)
    for event, often in scene.events:
        for _ in range(rng.poisson(often * busy)):
            sound = event_level * event(rng, rate)
            start = int(rng.integers(rate - len(sound) + 1))
            audio[start : start + len(sound)] += sound
    level = 10 ** (rng.uniform(-35, -20) / 20)
    return level * audio / np.sqrt(np.mean(audio**2))


def _noise(rng: np.random.Generator, rate: int, tilt: float, centre: float) -> np.ndarray:
    """Noise (rate,) of unit power: a slope in dB per octave and 6 dB more around one frequency."""
    hertz = np.fft.rfftfreq(rate, 1 / rate)
    octaves = np.log2(np.maximum(hertz, 30) / centre)
    decibels = tilt * octaves + 6 * np.exp(-(octaves**2))
    spectrum = 10 ** (decibels / 20) * np.exp(2j * np.pi * rng.random(len(hertz)))
    spectrum[hertz < 30] = 0  # nothing below hearing
    noise = np.fft.irfft(spectrum, rate)
    return noise / np.sqrt(np.mean(noise**2))


def _hum(rng: np.random.Generator, time: np.ndarray, fundamental: float) -> np.ndarray:
    """Twelve harmonics of unit power together, slowly drifting in pitch."""
    drift = 0.01 * np.sin(2 * np.pi * (rng.uniform(0.2, 0.8) * time + rng.uniform()))
    phase = 2 * np.pi * fundamental * (time + drift / 2)
    harmonics = sum(
        np.sin(k * phase + rng.uniform(0, 2 * np.pi)) / k ** rng.uniform(0.5, 1.5)
        for k in range(1, 13)
    )
    return harmonics / np.sqrt(np.mean(harmonics**2))


def _write_tables(root: Path, recordings: list[_Recording]) -> None:
    """`meta.csv` and the three lists of fold 1, separated by tabs although called csv."""
    rows = pd.DataFrame(
        [
            (made.filename(device), made.scene, made.place, device, made.part)
            for made in recordings
            for device in made.devices
        ],
        columns=["filename", "scene_label", "identifier", "source_label", "part"],
    )
    fold = root / "evaluation_setup"
    fold.mkdir()
    train, test = rows.query("part == 'train'"), rows.query("part == 'test'")
    tables = {
        root / "meta.csv": rows.drop(columns="part"),
        fold / "fold1_train.csv": train.filter(["filename", "scene_label"]),
        fold / "fold1_test.csv": test.filter(["filename"]),
        fold / "fold1_evaluate.csv": test.filter(["filename", "scene_label"]),
    }
    for path, table in tables.items():
        table.to_csv(path, sep="\t", index=False, lineterminator="\n")
