"""What a network takes where its front end is no part of the file: settings that travel with it.

TensorFlow Lite Micro has Fourier transforms as custom operators of its signal library alone, and a
logarithm in float32 alone. So a `.tflite` takes log-mel spectrograms, and says in its metadata how
they are made; who reads the file, `python -m compressor fits` for one, can say it again.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, fields
from typing import Any

from torch import nn

NOTE = "compressor.front_end"
"""Name of the metadata."""

KIND = "log-mel"

TAPERS = "hann", "hamming", "rectangular"
"""Windows, periodic."""

SCALES = "slaney", "htk"
"""Mel scales: linear below 1 kHz, and logarithmic throughout."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """Settings of a log-mel spectrogram, ``(log(mels + floor) - level) / spread``.

    Attributes:
        sample_rate: Of the waveform, which is between -1 and 1, in Hz.
        window: Samples of a frame.
        hop: Samples from one frame to the next.
        transform: Samples of the Fourier transform, zeros on both sides of the window.
        mels: Mel bands.
        fmin: Lower edge of the lowest band, in Hz.
        fmax: Upper edge of the highest band, in Hz.
        taper: One of `TAPERS`.
        scale: One of `SCALES`.
        exponent: Of the magnitude: 2 for power.
        equal_area: True for filters of area one over their hertz, else of height one.
        centred: True where the first frame is centred on the first sample, zeros before it.
        floor: Added before the logarithm.
        level: Taken off the logarithms, in nats.
        spread: Divisor of them after that.
    """

    sample_rate: int
    window: int
    hop: int
    transform: int
    mels: int
    fmin: float
    fmax: float
    taper: str = "hann"
    scale: str = "slaney"
    exponent: float = 2.0
    equal_area: bool = True
    centred: bool = True
    floor: float = 1e-6
    level: float = 0.0
    spread: float = 1.0

    def __post_init__(self) -> None:
        """Refuse settings that name no spectrogram."""
        values: dict[str, Any] = asdict(self)
        for name in ("sample_rate", "window", "hop", "transform", "mels"):
            value = values[name]
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1 << 24:
                raise ValueError(f"Features({name}={value!r}): must be a whole number from 1 on")
        for name in ("fmin", "fmax", "exponent", "floor", "level", "spread"):
            value = values[name]
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"Features({name}={value!r}): must be a finite number")
        for name in ("equal_area", "centred"):
            if not isinstance(values[name], bool):
                raise ValueError(f"Features({name}={values[name]!r}): must be True or False")
        if self.taper not in TAPERS or self.scale not in SCALES:
            raise ValueError(
                f"Features(taper={self.taper!r}, scale={self.scale!r}): one of {', '.join(TAPERS)},"
                f" and one of {', '.join(SCALES)}"
            )
        if not 0 <= self.fmin < self.fmax <= self.sample_rate / 2 or self.transform < self.window:
            raise ValueError(
                f"Features(fmin={self.fmin:g}, fmax={self.fmax:g}, transform={self.transform}): "
                f"0 <= fmin < fmax <= {self.sample_rate / 2:g} Hz, half the rate, and a transform "
                f"of the window's {self.window} samples at least are needed"
            )
        if self.spread <= 0 or self.floor < 0 or self.exponent <= 0:
            raise ValueError(
                f"Features(exponent={self.exponent:g}, floor={self.floor:g}, spread="
                f"{self.spread:g}): exponent and spread must be above 0, the floor at least 0"
            )

    def content(self) -> bytes:
        """What a file holds: JSON, with the kind beside the settings."""
        return json.dumps({"kind": KIND, **asdict(self)}, separators=(",", ":")).encode()

    def __str__(self) -> str:
        """All of it in one line."""
        area = "area" if self.equal_area else "height"
        padded = "centred" if self.centred else "from the first sample on"
        return (
            f"log-mels: {self.sample_rate:,} Hz, frames of {self.window:,} samples every "
            f"{self.hop:,}, {padded}, {self.taper} window, transform of {self.transform:,}; "
            f"{self.mels} bands from {self.fmin:g} to {self.fmax:g} Hz, {self.scale} scale, equal "
            f"{area}, magnitude to the power of {self.exponent:g}; (ln(x + {self.floor:g}) - "
            f"{self.level:g}) / {self.spread:g}"
        )


class SaysFeatures(nn.Module, ABC):
    """A front end that can say what it makes."""

    @property
    @abstractmethod
    def features(self) -> Features:
        """The settings that its output is made with."""


def features_of(content: bytes) -> Features:
    """The settings that a file holds; ValueError if they are none of ours, or damaged."""
    try:
        data: Any = json.loads(content)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ValueError("it is no JSON") from error
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise ValueError(f"it describes no {KIND}")
    names = {field.name for field in fields(Features)}
    try:
        return Features(**{name: data[name] for name in names})
    except KeyError as error:
        raise ValueError(f"it lacks {error.args[0]!r}") from error


def asked(front_end: object, waveform: object, shape: tuple[int, ...]) -> Features | None:
    """What a file without a front end in it says of the one before it.

    Args:
        front_end: `Features`, a module that says them, or None.
        waveform: None; there is no waveform in such a file.
        shape: Of the network's input.

    Raises:
        ValueError: If it is something else, or makes other bands than the network takes.
    """
    if front_end is None and waveform is None:
        return None
    found = front_end.features if isinstance(front_end, SaysFeatures) else front_end
    if not isinstance(found, Features) or waveform is not None:
        raise ValueError(
            "export: a .tflite file takes features, not a waveform: compute them on the device, and"
            " give front_end=compressor.export.features.Features(...), or a front end that says "
            "them, for the file to say how; leave waveform out"
        )
    bands = shape[-2] if len(shape) in (3, 4) else found.mels
    if bands != found.mels:
        raise ValueError(
            f"export: front_end makes {found.mels} bands and the network takes {bands}: give the "
            "settings that it was trained with"
        )
    return found
