"""The log-mel front end out of matrix products alone, for runtimes that know no Fourier transform.

`LogMel` takes PyTorch's Fourier transform. ONNX has an operation for it (DFT, from
opset 17), but few runtimes do, and ONNX Runtime's is slow and inexact for lengths that are no power
of two, as the 2,080 samples of `MELS_2021`. One product with a table of cosines is right
everywhere, but the table has 17 MB. Cooley and Tukey's step ("An Algorithm for the Machine
Calculation of Complex Fourier Series", 1965, equations 4 to 9), taken once, leaves two products
with tables of 42 kB together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from compressor.export.features import Features, SaysFeatures
from recipes.features.logmel import BAND, FLOOR, MelSettings, chosen_filters, framing_window


class PortableLogMel(SaysFeatures):
    """Log-mels of `LogMel`, to 1e-4 of the mel power, from operations that every runtime has.

    Waveforms (batch, samples) or (batch, channels, samples) in [-1, 1] become log-mels (batch,
    channels, mels, frames). It is made for `Result.export` and the like: any batch size, nothing
    that depends on values. For training take `LogMel`, which is faster there.

    Args:
        settings: Settings of the spectrogram.
        rows: The mel bands to compute, in rising order, for instance those that `FrequencyMask`
            kept; None for all.
        samples: Length of a clip, for `example_input_array`; None for one second.

    Attributes:
        example_input_array: Silence (1, samples), neither parameter nor buffer.
    """

    window: Tensor
    first: Tensor
    turns: Tensor
    second: Tensor

    def __init__(
        self,
        settings: MelSettings | None = None,
        rows: Sequence[int] | None = None,
        *,
        samples: int | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings or MelSettings()
        self.example_input_array = torch.zeros(1, samples or self.settings.sample_rate)
        lines, columns = split(self.settings.fft_samples)
        self.lines, self.columns = lines, columns
        window = framing_window(self.settings).view(lines, columns)
        self.register_buffer("window", window, persistent=False)
        for name, table in zip(("first", "turns", "second"), _tables(lines, columns), strict=True):
            self.register_buffer(name, table.float(), persistent=False)
        places = _places(lines, columns)
        filters = chosen_filters(self.settings, rows)
        self.blocks = len(filters.split(BAND))
        for number, block in enumerate(filters.split(BAND)):
            touched = block.any(dim=0).nonzero()[:, 0]
            self.register_buffer(f"bins_{number}", places[touched], persistent=False)
            self.register_buffer(
                f"filters_{number}", block[:, touched].T.contiguous(), persistent=False
            )

    @property
    def features(self) -> Features:
        """The settings, as files without a front end say them; of all rows."""
        s = self.settings
        return Features(
            sample_rate=s.sample_rate, window=s.window_samples, hop=s.hop_samples,
            transform=s.fft_samples, mels=s.mels, fmin=s.fmin, fmax=s.fmax,
            taper=s.taper.__name__, exponent=s.exponent, equal_area=s.equal_area, floor=FLOOR,
            level=s.level, spread=s.spread,
        )  # fmt: skip

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) or (batch, channels, samples) -> (batch, channels, mels, frames).

        Raises:
            ValueError: If the waveform has other dimensions, or is too short for a window.
        """
        if waveform.ndim not in (2, 3) or waveform.shape[-1] < self.settings.window_samples:
            raise ValueError(
                f"PortableLogMel got a waveform of shape {tuple(waveform.shape)}: it takes (batch, "
                "samples) or (batch, channels, samples), at least the "
                f"{self.settings.window_samples} samples of its window."
            )
        clips = waveform if waveform.ndim == 3 else waveform.unsqueeze(1)
        power = self._power(self._frames(clips))
        mels = [
            power.index_select(-1, self.get_buffer(f"bins_{n}")) @ self.get_buffer(f"filters_{n}")
            for n in range(self.blocks)
        ]
        # (batch, channels, frames, mels) -> (batch, channels, mels, frames)
        log = torch.log(torch.cat(mels, dim=-1).transpose(-1, -2) + FLOOR)
        if (self.settings.level, self.settings.spread) == (0, 1):
            return log
        return (log - self.settings.level) / self.settings.spread

    def _frames(self, clips: Tensor) -> Tensor:
        """(batch, channels, samples) -> windowed frames (batch, channels, frames, lines, columns).

        The clip is cut into hops, and a frame is some hops in a row: no operation for overlapping
        frames is needed, and no table of indices as long as all frames together.
        """
        size, hop = self.settings.fft_samples, self.settings.hop_samples
        channels, samples = clips.shape[1:]
        frames, reach = self.settings.frames(samples), math.ceil(size / hop)
        hops = frames + reach - 1
        behind = hops * hop - size // 2 - samples
        padded = functional.pad(clips, (size // 2, behind)).reshape(-1, channels, hops, hop)
        parts = [padded[:, :, n : n + frames] for n in range(reach)]
        whole = torch.cat(parts, dim=-1)[..., :size]
        return whole.reshape(-1, channels, frames, self.lines, self.columns) * self.window

    def _power(self, frames: Tensor) -> Tensor:
        """Frames to |X|^exponent (batch, channels, frames, bins), bins in the order of `_places`.

        Real and imaginary parts stand behind each other, as ONNX has no complex numbers.
        """
        real, imaginary = (self.first @ frames).chunk(2, dim=-2)
        cosine, sine = self.turns[0], self.turns[1]
        turned = (real * cosine + imaginary * sine, imaginary * cosine - real * sine)
        spectrum = torch.cat(turned, dim=-1) @ self.second
        real, imaginary = (spectrum * spectrum).chunk(2, dim=-1)
        power = (real + imaginary).flatten(-2)
        return power if self.settings.exponent == 2 else power ** (self.settings.exponent / 2)


def split(size: int) -> tuple[int, int]:
    """Lines and columns that a transform of `size` samples is made of with the least work.

    Of a real signal half of the lines suffice, each with a real and an imaginary part. So a sample
    costs about `lines` products first, and 2 * columns after.
    """
    factors = (n for n in range(1, size + 1) if size % n == 0)
    return min(((n, size // n) for n in factors), key=lambda pair: pair[0] + 2 * pair[1])


def _tables(lines: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """The three factors of a Fourier transform of lines * columns samples, in double precision.

    Sample n = columns * line + column; bin k = low + lines * high, of which low = 0 ... lines / 2
    is enough, as bins k and N - k of a real signal are equally large.

    Returns:
        The transform along the lines (2 * lows, lines), real parts first; cosines and sines
        (2, lows, columns) of what every entry is turned by; and the transform along the columns,
        (2 * columns, 2 * columns), real parts first on both sides.
    """
    lows = torch.arange(lines // 2 + 1)
    column = torch.arange(columns)
    along = _angles(lows, torch.arange(lines), lines)
    turns = _angles(lows, column, lines * columns)
    cosine, sine = (
        torch.cos(_angles(column, column, columns)),
        torch.sin(_angles(column, column, columns)),
    )
    upper, lower = torch.cat([cosine, -sine], dim=1), torch.cat([sine, cosine], dim=1)
    first = torch.cat([torch.cos(along), -torch.sin(along)])
    return first, torch.stack([torch.cos(turns), torch.sin(turns)]), torch.cat([upper, lower])


def _angles(one: Tensor, other: Tensor, whole: int) -> Tensor:
    """2 pi times the products of two ranges over `whole`; whole turns are left out, exactly."""
    return (one[:, None] * other % whole).double() * (2 * math.pi / whole)


def _places(lines: int, columns: int) -> Tensor:
    """Places of the bins 0 to size / 2 of a real signal in (lows, columns), flattened."""
    size = lines * columns
    bins = torch.arange(size // 2 + 1)
    bins = torch.where(bins % lines <= lines // 2, bins, size - bins)
    return bins % lines * columns + bins // lines
