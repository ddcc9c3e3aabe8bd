"""A system: from a waveform to the probabilities of classes, all that a run leaves for inference.

`system.json` names the front end, the classes and the files of one or several networks, whose
probabilities are averaged. It is read in a process that knows nothing of how they were made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import compressor
from compressor.storage import read_json, sealed, write_bytes
from recipes.data.audio import AudioFormat
from recipes.features.logmel import MelSettings, hamming, hann, log_mels
from recipes.training.loop import logits

FILE = "system.json"
ENDINGS = (".safetensors", ".onnx")
"""Endings of containers and of files for ONNX Runtime."""
TAPERS = {taper.__name__: taper for taper in (hann, hamming)}
BATCH = 50
"""Clips that a network sees at once."""

_DAMAGES = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""Errors of reading JSON that is not what was written."""

Scores = Callable[[Tensor], Tensor]
"""From log-mels (clips, channels, mels, frames) to logits (clips, classes)."""


@dataclass(frozen=True)
class System:
    """From waveforms to probabilities.

    Attributes:
        classes: Names, in the order of the probabilities.
        audio: Format of a clip.
        mels: The front end.
        frames: Frames that the networks take; what is beyond falls off.
        networks: Their probabilities are averaged.
        independent: True of networks trained with one sigmoid a class, whose values are
            then divided by their sum; else by softmax.
    """

    classes: tuple[str, ...]
    audio: AudioFormat
    mels: MelSettings
    frames: int
    networks: tuple[Scores, ...]
    independent: bool = False

    @torch.no_grad()
    def probabilities(self, x: Tensor) -> np.ndarray:
        """Probabilities, float64 (clips, classes), of log-mels (clips, channels, mels, frames).

        Raises:
            ValueError: If a network does not take such log-mels, has other classes, or says
                something that is no number.
        """
        each = [self._shares(self._scores(scores, x)) for scores in self.networks]
        return torch.stack(each).mean(0).cpu().numpy()

    def classify(self, audio: Tensor, device: torch.device | None = None) -> np.ndarray:
        """Probabilities, float64 (clips, classes), of int16 audio (clips, channels, samples)."""
        device = device or torch.device("cpu")
        parts = audio.split(BATCH)
        return np.concatenate(
            [self.probabilities(log_mels(p, self.mels, device)[..., : self.frames]) for p in parts]
        )

    def _scores(self, scores: Scores, x: Tensor) -> Tensor:
        try:
            found = scores(x)
        except (RuntimeError, ValueError) as error:  # torch's own is no narrower one
            if isinstance(error, torch.OutOfMemoryError):
                raise
            why = str(error).partition("\n")[0]
            raise ValueError(
                f"A network of the system does not take log-mels {tuple(x.shape)} (clips, "
                f"channels, mels, frames): {why}. Its file and {FILE} are not of one run: run the "
                "recipe again."
            ) from error
        if tuple(found.shape) != (len(x), len(self.classes)):
            raise ValueError(
                f"A network of the system answers {tuple(found.shape)} for {len(x)} clips and "
                f"{len(self.classes)} classes: its file and {FILE} are not of one run."
            )
        odd = int((~found.isfinite()).any(1).sum())
        if odd:
            raise ValueError(
                f"A network of the system says of {odd} of {len(x)} clips what is no finite "
                "number: its training diverged. Run the recipe again with a lower learning rate."
            )
        return found

    def _shares(self, found: Tensor) -> Tensor:
        found = found.double()
        if not self.independent:
            return found.softmax(1)
        return found.sigmoid() / found.sigmoid().sum(1, keepdim=True)


def scores_of(model: nn.Module) -> Scores:
    """A network as a function of log-mels, in batches, in evaluation mode."""
    return lambda x: logits(model, x, BATCH)


def scores_of_onnx(file: Path) -> Scores:
    """An ONNX file as a function of log-mels.

    Raises:
        ImportError: If ONNX Runtime is not installed.
        ValueError: If it cannot read the file.
    """
    try:
        import onnxruntime  # noqa: PLC0415 - optional
    except ImportError as error:
        raise ImportError(
            f"hearing clips by an ONNX file needs ONNX Runtime ({error}): pip install -e '.[onnx]' "
            "in the checkout"
        ) from error

    try:
        session = onnxruntime.InferenceSession(
            file.read_bytes(), providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its errors have no common class but this
        raise ValueError(f"{file} cannot be read by ONNX Runtime: {error}") from error
    name = session.get_inputs()[0].name

    def scores(x: Tensor) -> Tensor:
        batches = x.cpu().float().split(BATCH)
        try:
            found = [session.run(None, {name: batch.numpy()})[0] for batch in batches]
        except Exception as error:
            raise RuntimeError(f"{file.name}: {error}") from error
        return torch.from_numpy(np.concatenate(found))

    return scores


def write(folder: Path, system: System, files: Sequence[str]) -> None:
    """Write `system.json` beside the files of its networks.

    Args:
        folder: Folder of the run.
        system: The system.
        files: Names of the containers in it, without ending: `<name>.safetensors`, `<name>.onnx`.
            Those that are there are known by their digests from now on.
    """
    mels = asdict(system.mels) | {"taper": system.mels.taper.__name__}
    there = [folder / f"{name}{ending}" for name in files for ending in ENDINGS]
    said = {
        "classes": system.classes,
        "audio": asdict(system.audio),
        "mels": mels,
        "frames": system.frames,
        "independent": system.independent,
        "networks": list(files),
        "sha256": {file.name: _digest(file) for file in there if file.is_file()},
    }
    write_bytes(folder / FILE, sealed(said))


def read(folder: Path, *, onnx: bool = False, device: torch.device | None = None) -> System:
    """The system of a run.

    Args:
        folder: Folder of the run.
        onnx: Take its ONNX files instead of its containers.
        device: Device of the containers' networks; ONNX Runtime stays on the CPU.

    Raises:
        FileNotFoundError: If the run has not come to an end, or has no such file.
        ImportError: If ONNX Runtime is asked for and not installed.
        ValueError: If a file is damaged, or is not the one that the run wrote.
    """
    folder = Path(folder)
    file = folder / FILE
    if not file.is_file():
        raise FileNotFoundError(_unfinished(folder))
    try:
        said = read_json(file)
        mels = MelSettings(**said["mels"] | {"taper": TAPERS[said["mels"]["taper"]]})
        audio, frames = AudioFormat(**said["audio"]), _positive(said["frames"])
        classes, names = _texts(said["classes"]), _texts(said["networks"])
        independent, digests = bool(said["independent"]), dict(said["sha256"])
    except _DAMAGES as error:
        raise ValueError(
            f"{file} is damaged ({type(error).__name__}: {error}): run the recipe again"
        ) from error
    ending = ENDINGS[onnx]
    files = [folder / f"{Path(name).name}{ending}" for name in names]
    for one in files:
        _check_digest(one, digests.get(one.name))
    networks = tuple(
        scores_of_onnx(one) if onnx else scores_of(compressor.load(one).to(device)) for one in files
    )
    return System(classes, audio, mels, frames, networks, independent)


def _unfinished(folder: Path) -> str:
    if not folder.is_dir():
        return f"There is no folder {folder}: name that of a run, runs/<recipe>/<name>."
    parts = sorted(file.parent.name for file in folder.glob(f"*/{FILE}"))
    if parts:
        return f"{folder} has several systems: name the folder of one, {', '.join(parts)} in it."
    begun = (folder / "config.json").is_file()
    what = "the run in it has not come to its end" if begun else "it is no folder of a run"
    return f"{folder} has no {FILE}: {what}. Give the recipe's command, which goes on where it was."


def _texts(value: object) -> tuple[str, ...]:
    fits = isinstance(value, list) and value and all(isinstance(one, str) for one in value)
    if not fits or len(set(value)) != len(value):
        raise ValueError(f"{value!r} is no list of different names")
    return tuple(value)


def _positive(value: object) -> int:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{value!r} is no number of frames")
    return value


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _check_digest(file: Path, stated: object) -> None:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not there: run the recipe again to write it")
    found = _digest(file)
    if found != stated:
        raise ValueError(
            f"{file} ({file.stat().st_size:,} bytes) is damaged or of another run: its SHA-256 "
            f"begins with {found[:12]}, that of the file which the run wrote with "
            f"{str(stated)[:12]}. Copy it again, or run the recipe again."
        )
