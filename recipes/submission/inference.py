"""What is handed in in 2025: a Python package that names scenes, with a network for each device.

The organisers' interface, as in the public packages made from CPJKU/dcase2025_task1_inference: a
package `Author_INST_task1`, in it a module `Author_INST_task1_1` with `predict`, `load_model`,
`load_inputs` and `get_model_for_device`; beside the package `pyproject.toml`, `requirements.txt`
`predictions/Author_INST_task1_1/` with `output.csv` and `complexity.json`, and the meta file. The
module is
`inference_module.py` of this folder, as it is.

A package is checked in another process, which sees neither `recipes` nor the network's own code.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

import compressor
from compressor.budget import Cost
from compressor.rules import of_year
from compressor.storage import write_bytes
from recipes.features.logmel import FLOOR, LogMel, chosen_filters
from recipes.judging.system import System
from recipes.submission import inference_module
from recipes.submission.forms import FORM2025
from recipes.submission.inference_module import FRONT_END, GENERAL, SYSTEM
from recipes.submission.metadata import Submission, write_meta
from recipes.submission.output import write_output

YEAR = 2025
DEVICES = ("a", "b", "c", *(f"s{number}" for number in range(1, 11)))
"""Devices that the organisers count the complexity of."""
REQUIREMENTS = ("torch", "numpy", "safetensors", "soundfile", "soxr", "compressor-nn")
NEAR = 1e-2
"""Largest difference of a log-mel from ours, in nats: other orders of adding up, near silence."""
CHECK = """
import importlib, json, sys
from safetensors.torch import save_file
import torch
root, label, asked, answer = sys.argv[1:5]
sys.path.insert(0, root)
api = importlib.import_module(f"{label.rpartition('_')[0]}.{label}")
files, devices = json.loads(asked)
logits, classes = api.predict(files, devices)
model = api.load_model()
inputs = api.load_inputs(files, devices, model)
alone = [api.get_model_for_device(model, d)(x)[0] for x, d in zip(inputs, devices)]
save_file(
    {"logits": torch.stack(logits), "inputs": torch.cat(inputs), "alone": torch.stack(alone)},
    answer,
    {"classes": json.dumps(classes), "modules": json.dumps(sorted(sys.modules))},
)
"""


@dataclass(frozen=True)
class Entry:
    """An entry with a network for each device.

    Attributes:
        label: Author_INST_task1_1.
        system: Front end and classes.
        files: Containers of the networks, by device; `GENERAL` is for all others.
        cost: Cost of each by the year's rule; they are of one structure.
        facts: Content of the meta file, with both results; None for no such file.
    """

    label: str
    system: System
    files: Mapping[str, Path]
    cost: Cost
    facts: Submission | None = None

    @property
    def package(self) -> str:
        return self.label.rpartition("_")[0]


@dataclass(frozen=True)
class Trial:
    """Clips of the test list that a package is tried on, and what we hear in them.

    Attributes:
        files: The clips.
        devices: Their devices.
        x: Log-mels (clips, 1, mels, frames).
    """

    files: Sequence[Path]
    devices: Sequence[str]
    x: Tensor


def write_inference(
    root: Path, entry: Entry, trial: Trial, names: Sequence[str], shares: np.ndarray
) -> Path:
    """Write the package, checked, which appears when all is written and right, or not at all.

    Args:
        root: Folder that it is written in; one of an earlier call stays.
        entry: The entry.
        trial: What it is tried on.
        names: Names of the clips of `output.csv`.
        shares: Their probabilities (clips, classes).

    Returns:
        The folder `root/<package>`.

    Raises:
        ValueError: If the package does not pass `check_inference`.
    """
    folder, part = Path(root) / entry.package, Path(root) / f".{entry.package}.part"
    if folder.exists():
        return folder
    shutil.rmtree(part, ignore_errors=True)
    try:
        inside = part / entry.package
        _write_module(inside, entry)
        _write_around(part, entry)
        predictions = part / "predictions" / entry.label
        write_output(predictions / "output.csv", names, shares, entry.system.classes)
        write_bytes(predictions / "complexity.json", _plain(complexity(entry)))
        if entry.facts is not None:
            write_meta(part / f"{entry.label}.meta.yaml", entry.facts, FORM2025)
        problems = check_inference(part, entry, trial)
        if problems:
            listed = "\n".join(f"  {problem}" for problem in problems)
            raise ValueError(f"{folder} would not do what was trained:\n{listed}")
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def complexity(entry: Entry) -> dict[str, object]:
    """Content of `complexity.json`: bytes of parameters and MACs, by device."""
    each = {"MACs": entry.cost.macs, "Params": entry.cost.bytes}
    return {
        "per_device": dict.fromkeys(DEVICES, each),
        "max_MACs": entry.cost.macs,
        "max_Params": entry.cost.bytes,
    }


def _write_module(inside: Path, entry: Entry) -> None:
    """The package itself: the module, and the files that it reads."""
    system, mels = entry.system, entry.system.mels
    code = Path(inference_module.__file__).read_bytes()
    write_bytes(inside / "__init__.py", b"")
    write_bytes(inside / f"{entry.label}.py", code)
    for name, file in entry.files.items():
        write_bytes(inside / "ckpts" / f"{name}.safetensors", file.read_bytes())
    tensors = {"window": LogMel(mels).window, "filters": chosen_filters(mels, None)}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    write_bytes(inside / "ckpts" / FRONT_END, save(tensors))
    front_end = {
        "hop": mels.hop_samples, "exponent": mels.exponent, "level": mels.level,
        "spread": mels.spread, "floor": FLOOR, "frames": system.frames,
    }  # fmt: skip
    said = {
        "classes": list(system.classes),
        "devices": sorted(set(entry.files) - {GENERAL}),
        "rate": system.audio.rate,
        "samples": system.audio.samples,
        "front_end": front_end,
    }
    write_bytes(inside / "ckpts" / SYSTEM, _plain(said))
    silence = io.BytesIO()
    soundfile.write(silence, np.zeros(44_100, np.float32), 44_100, format="WAV")
    write_bytes(inside / "resources" / "__init__.py", b"")
    write_bytes(inside / "resources" / "dummy.wav", silence.getvalue())


def _write_around(part: Path, entry: Entry) -> None:
    """What makes the package one that can be installed, and what is to be known of it."""
    needs = ", ".join(f'"{name}"' for name in REQUIREMENTS)
    project = (
        '[build-system]\nrequires = ["setuptools>=77"]\nbuild-backend = "setuptools.build_meta"\n\n'
        f'[project]\nname = "{entry.package}"\nversion = "1"\ndependencies = [{needs}]\n\n'
        f'[tool.setuptools]\npackages = ["{entry.package}", "{entry.package}.resources"]\n\n'
        f'[tool.setuptools.package-data]\n"{entry.package}" = ["ckpts/*", "resources/*.wav"]\n'
    )
    known = ", ".join(sorted(set(entry.files) - {GENERAL})) or "none"
    told = (
        f"# {entry.label}\n\nDCASE {YEAR} Task 1. `{entry.package}.{entry.label}` has `predict`, "
        "`load_model`, `load_inputs` and `get_model_for_device`.\n\n"
        f"Networks of their own: {known}; all other devices have the general one.\n\n"
        f"Each network: {entry.cost.params:,} parameters, {entry.cost.bytes:,} bytes, "
        f"{entry.cost.macs:,} MACs by the organisers' counter ({of_year(YEAR).budget}), counted "
        "before normalisation is folded and weights are rounded: in the stored networks, "
        "operations on integers without modules, torchinfo sees no layer.\n"
    )
    write_bytes(part / "pyproject.toml", project.encode())
    write_bytes(part / "requirements.txt", "".join(f"{name}\n" for name in REQUIREMENTS).encode())
    write_bytes(part / "README.md", told.encode())


def _plain(said: Mapping[str, object]) -> bytes:
    return (json.dumps(said, indent=2) + "\n").encode()


# ------------------------------------------------------------------------------------------ checked


@dataclass(frozen=True)
class Answer:
    """What a package says in another process.

    Attributes:
        inputs: Its log-mels (clips, 1, mels, frames).
        logits: Of `predict` (clips, classes).
        alone: Of the network of each clip's device, asked one by one.
        classes: Names of the classes.
        modules: What that process had imported.
    """

    inputs: Tensor
    logits: Tensor
    alone: Tensor
    classes: Sequence[str]
    modules: Sequence[str]


def check_inference(folder: Path, entry: Entry, trial: Trial) -> tuple[str, ...]:
    """Everything that is wrong with a package, tried in another process; empty if nothing is."""
    found = asked(folder, entry, trial)
    return (found,) if isinstance(found, str) else compared(found, entry, trial)


def asked(folder: Path, entry: Entry, trial: Trial) -> Answer | str:
    """A package's answer about the clips, and about the first from an unknown device; or why not.

    The last line of its error, where it fails.
    """
    file = folder / ".answer.safetensors"
    paths, devices = _clips(trial)
    wanted = json.dumps([[str(path.resolve()) for path in paths], devices])
    here = str(Path(compressor.__file__).resolve().parents[1])
    try:
        done = subprocess.run(  # noqa: S603 - our own code
            [sys.executable, "-c", CHECK, str(folder.resolve()), entry.label, wanted, str(file)],
            env=os.environ | {"PYTHONPATH": here, "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            last = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            return f"it fails in another process: {last[-1]}"
        with safe_open(file, framework="pt") as opened:
            said = {name: json.loads(text) for name, text in (opened.metadata() or {}).items()}
        return Answer(**load_file(file), **said)
    finally:
        file.unlink(missing_ok=True)


def compared(found: Answer, entry: Entry, trial: Trial) -> tuple[str, ...]:
    """What is wrong with an answer: log-mels must be ours, logits those of our networks on them."""
    problems: list[str] = []
    foreign = sorted({"recipes", "models"} & {m.partition(".")[0] for m in found.modules})
    if foreign:
        problems.append(f"it imports {', '.join(foreign)}, which nobody else has")
    if tuple(found.classes) != entry.system.classes:
        problems.append(f"its classes are {found.classes}, not {list(entry.system.classes)}")
    x = torch.cat([trial.x, trial.x[:1]]).cpu()
    if found.inputs.shape != x.shape:
        return (*problems, f"its inputs are {tuple(found.inputs.shape)}, not {tuple(x.shape)}")
    apart = float((found.inputs - x).abs().max())
    if not apart <= NEAR:
        problems.append(f"its log-mels differ by up to {apart:.3g} from those of training")
    wanted = _answers(entry, found.inputs, _clips(trial)[1])
    for name, logits in {"predict": found.logits, "get_model_for_device": found.alone}.items():
        apart = float((logits - wanted).abs().max())
        if not apart <= NEAR:
            problems.append(f"its logits by {name} differ by up to {apart:.3g} from the networks'")
    return tuple(problems)


def _clips(trial: Trial) -> tuple[list[Path], list[str]]:
    """Files and devices, and the first file once more from a device that nobody knows."""
    return [*trial.files, trial.files[0]], [*trial.devices, "unknown"]


@torch.no_grad()
def _answers(entry: Entry, x: Tensor, devices: Sequence[str]) -> Tensor:
    """Logits of our networks, each clip by that of its device."""
    networks = {name: compressor.load(file) for name, file in entry.files.items()}
    each = [
        networks.get(d, networks[GENERAL])(one[None]) for one, d in zip(x, devices, strict=True)
    ]
    return torch.cat(each)
