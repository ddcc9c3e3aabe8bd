"""Small networks that hear a waveform: what comes before the first convolution is in `forward`.

Tables (windows, mel filters, cosines) are buffers or frozen parameters and stay as they are. What
is written from the papers: PCEN (Wang et al. 2017, arXiv:1607.05666), the Fourier transform as two
frozen convolutions and the mel filters as a frozen parameter, as PANNs have them (Kong et al. 2020,
arXiv:1912.10211).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from .layers import example

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLES, TRANSFORM, HOP, MELS, WIDTH, CLASSES = 640, 64, 32, 16, 12, 5
BINS = TRANSFORM // 2 + 1


def mel_filters(bins: int = BINS, mels: int = MELS) -> Tensor:
    """Triangles (mels, bins), wider the higher they are."""
    ends = torch.linspace(0, 1, mels + 2) ** 1.5 * (bins - 1)
    places = torch.arange(bins)
    rise = (places - ends[:-2, None]) / (ends[1:-1] - ends[:-2])[:, None]
    fall = (ends[2:, None] - places) / (ends[2:] - ends[1:-1])[:, None]
    return torch.minimum(rise, fall).clamp(min=0) + 1e-3


def cosines(rows: int, columns: int = MELS) -> Tensor:
    """A discrete cosine transform (rows, columns)."""
    places = (torch.arange(columns) + 0.5) * math.pi / columns
    return torch.cos(torch.arange(rows)[:, None] * places) * math.sqrt(2 / columns)


def body(channels: int = 1, width: int = WIDTH) -> nn.Sequential:
    """Two convolutions, a mean, a linear layer."""
    return nn.Sequential(
        *(nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
        *(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES)),
    )


class Heard(nn.Module):
    """A front end (batch, samples) -> (batch, channels, rows, frames), and a small network."""

    def __init__(self, front: nn.Module, channels: int = 1, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.front = front
        self.body = body(channels)
        self.example_input_array = example(*(shape or (1, SAMPLES)))

    def forward(self, waveform: Tensor) -> Tensor:
        return self.body(self.front(waveform))


class Stft(nn.Module):
    """A short-time Fourier transform, of which `read` makes (batch, rows, frames) or more."""

    def __init__(self, read: Callable[[Tensor], Tensor], *, center: bool = True) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(TRANSFORM))
        self.read, self.center = read, center

    def forward(self, waveform: Tensor) -> Tensor:
        found = torch.stft(
            waveform,
            TRANSFORM,
            HOP,
            window=self.window,
            center=self.center,
            pad_mode="reflect",
            return_complex=True,
        )
        read = self.read(found)
        return read if read.dim() == 4 else read.unsqueeze(1)


def power(found: Tensor) -> Tensor:
    """The squares of a complex spectrogram."""
    return found.abs().pow(2)


def parts(found: Tensor) -> Tensor:
    """The squares by parts, which have a gradient where they are zero."""
    return torch.view_as_real(found).square().sum(-1)


def two_channels(found: Tensor) -> Tensor:
    """Real and imaginary part as two channels."""
    return torch.view_as_real(found).permute(0, 3, 1, 2)


def level_and_phase(found: Tensor) -> Tensor:
    """Logarithm of the magnitude, and cosine and sine of the phase."""
    return torch.stack([(found.abs() + 1e-6).log(), found.angle().cos(), found.angle().sin()], 1)


class Frames(nn.Module):
    """Frames by `unfold`, windowed, transformed one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hamming_window(TRANSFORM))

    def forward(self, waveform: Tensor) -> Tensor:
        padded = functional.pad(waveform[:, None], (TRANSFORM // 2, TRANSFORM // 2), "reflect")
        frames = padded.squeeze(1).unfold(-1, TRANSFORM, HOP) * self.window
        found = torch.fft.rfft(frames, n=TRANSFORM, dim=-1)
        return (found.real.square() + found.imag.square()).sqrt().transpose(1, 2).unsqueeze(1)


class Mel(nn.Module):
    """Mel filters on powers (batch, 1, bins, frames), then what makes levels of them."""

    def __init__(self, level: Callable[[Tensor], Tensor], how: str = "left") -> None:
        super().__init__()
        self.power = Stft(power)
        self.register_buffer("filters", mel_filters())
        self.level, self.how = level, how

    def forward(self, waveform: Tensor) -> Tensor:
        powers = self.power(waveform)
        if self.how == "left":
            return self.level(self.filters @ powers)
        if self.how == "right":
            return self.level((powers.transpose(2, 3) @ self.filters.T).transpose(2, 3))
        if self.how == "linear":
            return self.level(functional.linear(powers.mT, self.filters).mT)
        if self.how == "einsum":
            return self.level(torch.einsum("mf,bcft->bcmt", self.filters, powers))
        return self.level(functional.conv1d(powers.squeeze(1), self.filters[..., None])[:, None])


def guarded(powers: Tensor) -> Tensor:
    """A logarithm of what is never zero."""
    return torch.log(powers + 1e-6)


def clamped(powers: Tensor) -> Tensor:
    """Decibels with a floor."""
    return 10 * torch.log10(powers.clamp(min=1e-10))


def decibels(powers: Tensor, top: float = 80.0) -> Tensor:
    """Decibels below the loudest of each clip, cut off so many below it."""
    levels = 10 * torch.log10(torch.maximum(powers, torch.tensor(1e-10)))
    levels = levels - 10 * torch.log10(torch.clamp(powers.amax((1, 2, 3), keepdim=True), min=1e-10))
    return torch.maximum(levels, levels.amax((1, 2, 3), keepdim=True) - top)


class Pcen(nn.Module):
    """Per-channel energy normalisation with trained parameters for every band.

    The mean over time is a loop over frames, a convolution with a table, or a running sum of
    weighted frames.
    """

    def __init__(self, how: str, rate: float = 0.2) -> None:
        super().__init__()
        self.energy = Mel(torch.clone)
        self.alpha = nn.Parameter(torch.full((MELS, 1), math.log(0.9)))
        self.delta = nn.Parameter(torch.full((MELS, 1), math.log(2.0)))
        self.root = nn.Parameter(torch.full((MELS, 1), math.log(0.5)))
        taps = rate * (1 - rate) ** torch.arange(15, -1, -1.0)
        self.register_buffer("taps", taps.expand(MELS, 1, 16).clone())
        self.rate, self.how = rate, how

    def forward(self, waveform: Tensor) -> Tensor:
        energy = self.energy(waveform).squeeze(1)
        mean, root = self.smoothed(energy) + 1e-6, self.root.exp()
        gained = energy / mean.pow(self.alpha.exp()) + self.delta.exp()
        return (gained.pow(root) - self.delta.exp().pow(root)).unsqueeze(1)

    def smoothed(self, energy: Tensor) -> Tensor:
        if self.how == "convolution":
            return functional.conv1d(functional.pad(energy, (15, 0)), self.taps, groups=MELS)
        if self.how == "sum":
            falling = (1 - self.rate) ** torch.arange(energy.shape[-1], device=energy.device)
            return (energy / falling).cumsum(-1) * falling * self.rate
        frames = [energy[..., 0]]
        for frame in energy.unbind(-1)[1:]:
            frames.append((1 - self.rate) * frames[-1] + self.rate * frame)
        return torch.stack(frames, -1)


class Convolved(nn.Module):
    """The transform as two frozen convolutions, the mel filters as a frozen parameter."""

    def __init__(self) -> None:
        super().__init__()
        angles = torch.outer(torch.arange(BINS), torch.arange(TRANSFORM)) * 2 * math.pi / TRANSFORM
        window = torch.hann_window(TRANSFORM)
        self.real = nn.Conv1d(1, BINS, TRANSFORM, HOP, bias=False)
        self.imag = nn.Conv1d(1, BINS, TRANSFORM, HOP, bias=False)
        self.melW = nn.Parameter(mel_filters().T.contiguous(), requires_grad=False)
        with torch.no_grad():
            self.real.weight.copy_((angles.cos() * window)[:, None])
            self.imag.weight.copy_((-angles.sin() * window)[:, None])
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad=False)

    def forward(self, waveform: Tensor) -> Tensor:
        half = TRANSFORM // 2
        padded = functional.pad(waveform[:, None, :], (half, half), mode="reflect")
        real, imag = (f(padded)[:, None].transpose(2, 3) for f in (self.real, self.imag))
        levels = 10.0 * torch.log10(torch.clamp((real**2 + imag**2) @ self.melW, min=1e-10, max=99))
        return levels - 10.0 * math.log10(max(1e-10, 1.0))


class Tagger(nn.Module):
    """A network of the PANNs' kind: frozen front end, bn0 over mel bins, stripes in training."""

    def __init__(self) -> None:
        super().__init__()
        self.spectrogram = Convolved()
        self.bn0 = nn.BatchNorm2d(MELS)
        self.conv1 = nn.Conv2d(1, WIDTH, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        self.conv2 = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(WIDTH)
        self.fc1 = nn.Linear(WIDTH, 14)
        self.fc = nn.Linear(14, CLASSES)
        self.example_input_array = example(1, SAMPLES)

    def forward(self, waveform: Tensor) -> Tensor:
        x = self.bn0(self.spectrogram(waveform).transpose(1, 3)).transpose(1, 3)
        if self.training:
            x = x * (torch.rand(len(x), 1, 1, MELS, device=x.device) > 0.1)
        x = functional.avg_pool2d(torch.relu(self.bn1(self.conv1(x))), 2)
        x = functional.dropout(x, 0.2, training=self.training)
        x = torch.relu(self.bn2(self.conv2(x))).mean(3)
        x = x.amax(2) + x.mean(2)
        return torch.sigmoid(self.fc(torch.relu(self.fc1(x))))


class Cepstra(nn.Module):
    """Cepstral coefficients with their first and second differences over time."""

    def __init__(self) -> None:
        super().__init__()
        self.mel = Mel(guarded)
        self.register_buffer("table", cosines(10))
        self.register_buffer("slope", torch.tensor([-2.0, -1, 0, 1, 2]) / 10)

    def forward(self, waveform: Tensor) -> Tensor:
        found = [torch.matmul(self.table, self.mel(waveform))]
        for _ in range(2):
            x = found[-1].flatten(1, 2)
            kernel = self.slope.expand(x.shape[1], 1, -1)
            x = functional.conv1d(functional.pad(x, (2, 2), "replicate"), kernel, groups=x.shape[1])
            found.append(x.view_as(found[0]))
        return torch.cat(found, 1)


def normalised(levels: Tensor) -> Tensor:
    """Every band by its mean and deviation over time."""
    mean, deviation = levels.mean(-1, keepdim=True), levels.std(-1, keepdim=True)
    return (levels - mean) / (deviation + 1e-5)


class Normed(nn.Module):
    """A spectrogram through a normalisation layer of its own."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.mel, self.norm = Mel(guarded), norm

    def forward(self, waveform: Tensor) -> Tensor:
        x = self.mel(waveform)
        along = isinstance(self.norm, nn.BatchNorm1d | nn.InstanceNorm1d)
        return self.norm(x.squeeze(1)).unsqueeze(1) if along else self.norm(x)


class Augmented(nn.Module):
    """In training the waveform is shifted, scaled and made noisy."""

    def __init__(self) -> None:
        super().__init__()
        self.mel = Mel(guarded)

    def forward(self, waveform: Tensor) -> Tensor:
        if self.training:
            gain = torch.rand(len(waveform), 1, device=waveform.device) + 0.5
            waveform = waveform.roll(7, -1) * gain + 0.01 * torch.randn_like(waveform)
        return self.mel(waveform)


class Stereo(nn.Module):
    """Two microphones as a batch of clips, then as middle and side."""

    def __init__(self) -> None:
        super().__init__()
        self.mel = Mel(guarded)

    def forward(self, waveform: Tensor) -> Tensor:
        batch, channels, samples = waveform.shape
        x = self.mel(waveform.reshape(batch * channels, samples))
        x = x.reshape(batch, channels, *x.shape[2:])
        return torch.stack([x.mean(1), x[:, 0] - x[:, 1]], 1)


class Complex(nn.Module):
    """A Fourier transform as a product with complex numbers."""

    def __init__(self) -> None:
        super().__init__()
        turns = torch.outer(torch.arange(TRANSFORM), torch.arange(BINS)) * 2 * math.pi / TRANSFORM
        self.register_buffer("waves", torch.polar(torch.hann_window(TRANSFORM)[:, None], -turns))

    def forward(self, waveform: Tensor) -> Tensor:
        frames = waveform.unfold(-1, TRANSFORM, HOP)
        found = torch.complex(frames, torch.zeros_like(frames)) @ self.waves
        return (found * found.conj()).real.transpose(1, 2).unsqueeze(1)


FIXED: dict[str, Callable[[], nn.Module]] = {
    "stft_power": lambda: Heard(Stft(power)),
    "stft_without_center": lambda: Heard(Stft(parts, center=False)),
    "stft_two_channels": lambda: Heard(Stft(two_channels), 2),
    "stft_level_and_phase": lambda: Heard(Stft(level_and_phase), 3),
    "frames_and_rfft": lambda: Heard(Frames()),
    "complex_product": lambda: Heard(Complex()),
    **{
        f"mel_{how}": lambda how=how: Heard(Mel(guarded, how))
        for how in ("left", "right", "linear", "einsum", "convolution")
    },
    "mel_clamped": lambda: Heard(Mel(clamped)),
    "mel_decibels": lambda: Heard(Mel(decibels)),
    **{f"pcen_{how}": lambda how=how: Heard(Pcen(how)) for how in ("loop", "convolution", "sum")},
    "panns": Tagger,
    "cepstra": lambda: Heard(Cepstra(), 3),
    "normalised_over_time": lambda: Heard(Mel(lambda x: normalised(guarded(x)))),
    "instance_norm_2d": lambda: Heard(Normed(nn.InstanceNorm2d(1, affine=True))),
    "instance_norm_1d": lambda: Heard(Normed(nn.InstanceNorm1d(MELS, affine=True))),
    "batch_norm_of_bands": lambda: Heard(Normed(nn.BatchNorm1d(MELS))),
    "layer_norm_of_bands": lambda: Heard(Normed(nn.LayerNorm((MELS, SAMPLES // HOP + 1)))),
    "augmented": lambda: Heard(Augmented()),
    "stereo": lambda: Heard(Stereo(), 2, (1, 2, 320)),
}
"""Front ends of which nothing is trained but scales: their bins and bands are no axes."""
