"""A teacher that is a file: logits for every training clip, and the loss that learns from them.

Two forms. A ``.safetensors`` file has one tensor, `logits` (rows, classes), and in its metadata
`files`, the clips' names, one a line, in the order of the rows. A ``.npy`` file is that array
alone, with the names in a text file beside it, ``teacher.txt`` beside ``teacher.npy``. Names are
compared without folders, so that rows are found by name and not by number, and a file may have rows
of clips that are not trained on. Logits are those before softmax; of an ensemble, the mean of them.
Classes are in alphabetical order, as everywhere here; metadata `classes`, one a line, is held to
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from compressor import Distill
from compressor.inputs.batches import Batch, call
from recipes.data.listing import first_of, need_file

LOGITS, FILES, CLASSES = "logits", "files", "classes"
ADVICE = "Name the file of the teacher's logits, .safetensors or .npy."
LEAST = 1e-30
"""Smallest share of a class that has a logarithm here."""


def read_logits(path: Path, clips: Sequence[str], classes: Sequence[str]) -> Tensor:
    """Logits of clips, float32 (clips, classes), in their order.

    Args:
        path: The file.
        clips: Names of the clips, as a listing has them.
        classes: Names of the classes, in the order of the labels.

    Raises:
        FileNotFoundError: If the file, or the names beside it, are not there.
        ValueError: If it cannot be read, has no row for some of the clips, names one twice, or is
            about other classes.
    """
    path = Path(path)
    need_file(path, ADVICE)
    read = READERS.get(path.suffix.lower())
    if read is None:
        raise ValueError(f"{path} ends on none of {', '.join(READERS)}. {ADVICE}")
    logits, names, said = read(path)
    _check(path, logits, names, classes, said)
    rows = {PurePosixPath(name).name: row for row, name in enumerate(names)}
    if len(rows) < len(names):
        raise ValueError(
            f"{path} has {len(names):,} rows for {len(rows):,} different clips: one name a row, "
            "each once."
        )
    wanted = [PurePosixPath(name).name for name in clips]
    absent = [name for name in wanted if name not in rows]
    if absent:
        raise ValueError(
            f"{path} has no logits for {len(absent):,} of the {len(wanted):,} training clips: "
            f"{first_of(absent)}. It has {len(names):,} rows: compute the teacher's logits for the "
            "whole list."
        )
    return torch.from_numpy(logits[[rows[name] for name in wanted]].astype(np.float32))


def _check(
    path: Path,
    logits: np.ndarray,
    names: Sequence[str],
    classes: Sequence[str],
    said: Sequence[str],
) -> None:
    if logits.shape != (len(names), len(classes)) or logits.dtype.kind != "f":
        raise ValueError(
            f"{path} holds {logits.dtype} {logits.shape} and {len(names):,} names: a teacher of "
            f"{len(classes)} classes has floating-point logits, {len(classes)} and a name a row."
        )
    odd = int((~np.isfinite(logits)).any(1).sum())
    if odd:
        raise ValueError(f"{path} has {odd:,} rows that are no finite numbers. Compute them again.")
    if said and tuple(said) != tuple(classes):
        raise ValueError(
            f"{path} is about the classes {', '.join(said)}, in this order; the data set's are "
            f"{', '.join(classes)}. Put its columns in that order."
        )


def _safetensors(path: Path) -> tuple[np.ndarray, list[str], list[str]]:
    """Logits, names, classes if they are said."""
    try:
        with safe_open(path, framework="pt") as file:
            said: Mapping[str, str] = file.metadata() or {}
            found = [*file.keys()]
            if found != [LOGITS] or FILES not in said:
                raise ValueError(
                    f"{path} has {_several('tensor', found, 'tensors')} and "
                    f"{_several('metadata', sorted(said), 'metadata')}: it must have one tensor, "
                    f"{LOGITS!r}, and the metadata {FILES!r}, the clips' names, one a line."
                )
            logits = file.get_tensor(LOGITS).float().numpy()
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file ({error}). {ADVICE}") from error
    return logits, said[FILES].splitlines(), said.get(CLASSES, "").splitlines()


def _several(one: str, names: list[str], many: str) -> str:
    """Things of a file by name: none, one or many."""
    return f"the {one if len(names) == 1 else many} {first_of(names)}" if names else f"no {one}"


def _npy(path: Path) -> tuple[np.ndarray, list[str], list[str]]:
    """Logits, and the names in the text beside them."""
    names = path.with_suffix(".txt")
    need_file(names, f"It must name the clip of each row of {path.name}, one a line.")
    try:
        logits = np.load(path, allow_pickle=False)
        listed = names.read_text(encoding="utf-8").splitlines()
    except (ValueError, EOFError) as error:  # UnicodeDecodeError is a ValueError
        raise ValueError(f"{path} or {names.name} cannot be read ({error}). {ADVICE}") from error
    if not isinstance(logits, np.ndarray):
        raise ValueError(f"{path} holds several arrays. {ADVICE}")
    return logits, listed, []


READERS = {".safetensors": _safetensors, ".npy": _npy}


def softened(logits: Tensor, distill: Distill) -> Tensor:
    """Distributions of logits (clips, classes) at the temperature, which mix as labels do."""
    return (logits / distill.temperature).softmax(1)


@dataclass(frozen=True)
class LearnFrom:
    """The labels' cross entropy and the divergence from a teacher's distributions, in one loss.

    Targets are (batch, 2 * classes), as `recipes.training.epochs` makes them with a teacher: label
    distributions, then the teacher's at the temperature. Where clips are mixed so are both.

    Attributes:
        distill: Temperature, and the teacher's share of the loss.
    """

    distill: Distill

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss of a model for a batch (inputs, targets)."""
        inputs, targets = batch
        labels, shares = targets.chunk(2, dim=1)
        logits = call(model, inputs)
        task = functional.cross_entropy(logits, labels)
        # Logits whose softened distribution is the teacher's.
        wanted = shares.clamp_min(LEAST).log() * self.distill.temperature
        apart = self.distill.divergence(logits, lambda: wanted)
        return (1 - self.distill.weight) * task + self.distill.weight * apart
