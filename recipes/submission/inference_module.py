"""DCASE 2025 Task 1: the four functions that the organisers call.

    logits, classes = predict(["street.wav", "park.wav"], ["a", "s4"])

This module stands alone in the package that is handed in: beside it lie `ckpts/`, a network for
each known device and `general.safetensors` for all others, and what the front end is made of. It
needs torch, soundfile, soxr and compressor (which reads the networks).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

import compressor

CHECKPOINTS = Path(__file__).resolve().parent / "ckpts"
GENERAL = "general"
SYSTEM, FRONT_END = "system.json", "front_end.safetensors"
FULL_SCALE = 32_768


class LogMel(nn.Module):
    """Waveforms (batch, samples) in [-1, 1] to log-mels (batch, 1, mels, frames)."""

    window: Tensor
    filters: Tensor

    def __init__(self, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> None:
        """Take window (transform,) and filters (mels, bins); hop in samples, scaling, frames."""
        super().__init__()
        self.register_buffer("window", tensors["window"])
        self.register_buffer("filters", tensors["filters"])
        self.settings = dict(settings)

    def forward(self, waveform: Tensor) -> Tensor:
        size, said = len(self.window), self.settings
        padded = functional.pad(waveform, (size // 2, size // 2))
        frames = padded.unfold(1, size, said["hop"])  # (batch, frames, size)
        spectrum = torch.fft.rfft(frames * self.window).abs() ** said["exponent"]
        mels = (spectrum @ self.filters.T).transpose(1, 2)
        log = ((mels + said["floor"]).log() - said["level"]) / said["spread"]
        return log[:, None, :, : said["frames"]]


class Entry(nn.Module):
    """The networks of all devices, and the front end that they share.

    Attributes:
        networks: The general network, and those of known devices, by name.
        front_end: Log-mels of waveforms.
        classes: Names of the classes, in the order of the logits.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        front_end: LogMel,
        said: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(networks)
        self.front_end = front_end
        self.classes: list[str] = list(said["classes"])
        self.rate: int = said["rate"]
        self.samples: int = said["samples"]

    def for_device(self, device: str) -> nn.Module:
        """The network of a device; of one that is not known, the general one."""
        return self.networks[device if device in self.networks else GENERAL]

    def forward(self, x: Tensor, devices: Sequence[str]) -> Tensor:
        """Logits (batch, classes) of log-mels (batch, 1, mels, frames) and their devices."""
        return torch.cat([self.for_device(d)(one[None]) for one, d in zip(x, devices, strict=True)])


def load_model(model_file_path: str | None = None) -> Entry:
    """The entry, in evaluation mode; `model_file_path` is another folder like `ckpts`."""
    folder = CHECKPOINTS if model_file_path is None else Path(model_file_path)
    said = json.loads((folder / SYSTEM).read_text(encoding="utf-8"))
    names = [GENERAL, *said["devices"]]
    networks = {name: compressor.load(folder / f"{name}.safetensors") for name in names}
    front_end = LogMel(load_file(folder / FRONT_END), said["front_end"])
    return Entry(networks, front_end, said).eval()


def load_inputs(file_paths: Sequence[str], device_ids: Sequence[str], model: Entry) -> list[Tensor]:
    """Log-mels (1, 1, mels, frames) of every file, in order; they are alike for all devices."""
    _same_length(file_paths, device_ids)
    device = model.front_end.window.device
    with torch.no_grad():
        return [model.front_end(_heard(path, model)[None].to(device)) for path in file_paths]


def get_model_for_device(model: Entry, device_id: str) -> nn.Module:
    """The network that answers for a device, such as "a", "s1" or "unknown"."""
    return model.for_device(device_id)


def predict(
    file_paths: Sequence[str],
    device_ids: Sequence[str],
    model_file_path: str | None = None,
    use_cuda: bool = False,  # noqa: FBT001, FBT002 - the organisers' interface
    batch_size: int = 64,
) -> tuple[list[Tensor], list[str]]:
    """Logits (classes,) of every file, in order, and the names of the classes."""
    _same_length(file_paths, device_ids)
    model = load_model(model_file_path).to("cuda" if use_cuda else "cpu")
    found: dict[int, Tensor] = {}
    for device in sorted(set(device_ids)):
        network = get_model_for_device(model, device)
        places = [n for n, name in enumerate(device_ids) if name == device]
        for first in range(0, len(places), batch_size):
            chosen = places[first : first + batch_size]
            inputs = load_inputs([file_paths[n] for n in chosen], [device] * len(chosen), model)
            with torch.no_grad():
                logits = network(torch.cat(inputs)).cpu()
            found |= dict(zip(chosen, logits, strict=True))
    return [found[n] for n in range(len(file_paths))], model.classes


def _same_length(file_paths: Sequence[str], device_ids: Sequence[str]) -> None:
    if len(file_paths) != len(device_ids):
        raise ValueError(f"{len(file_paths)} files and {len(device_ids)} devices: one for each")


def _heard(path: str, model: Entry) -> Tensor:
    """A file as mono (samples,), in the 16 bits that the networks were trained on."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    samples = samples.mean(axis=1)
    if rate != model.rate:
        samples = soxr.resample(samples, rate, model.rate)
    clip = np.zeros(model.samples, np.float32)
    samples = samples[: model.samples]
    clip[: len(samples)] = samples
    whole = np.clip(np.rint(clip * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1)
    return torch.from_numpy(whole.astype(np.float32) / FULL_SCALE)
