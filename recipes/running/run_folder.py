"""The folder of one run: its settings, what it logs, and where everything that it leaves lies.

config.json         settings, data, versions, the command; a folder belongs to one of these
metrics.jsonl       a line an epoch
checkpoint*/        state of a run that is not over, for `kill -9`
stages/             the network at every stage of the run
model*.safetensors  what came out: compressed containers
model*.onnx         the same for ONNX Runtime
system.json         how a waveform becomes probabilities: `recipes.judging.system`
evaluation.json     every figure; test_list.txt names the clips they are of
confusion.png, layers*.png, report.md, report*.json, submission/
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from compressor.inputs.amounts import Part
from compressor.run.history import Epoch
from compressor.storage import read_json, sealed, write_bytes

PACKAGES = ("torch", "numpy", "compressor-nn", "lightning-fabric", "onnx", "onnxruntime", "soxr")
SHOWN = 8
"""Settings that an error lists."""


@dataclass(frozen=True)
class RunFolder:
    """Folder of a run.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def stages(self) -> Path:
        return self.path / "stages"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint"

    def member(self, number: int, of: int) -> RunFolder:
        """The folder of one of several networks; of a single one, this."""
        return self if of == 1 else RunFolder(self.path / f"member-{number + 1}")

    def begin(self, config: object, data: str, **how: object) -> None:
        """Claim the folder for a run, or find that it is this run's already.

        A run is another one with other settings, other data (by digest) or where `how`, such as the
        precision, differs.

        Raises:
            ValueError: If it belongs to another, saying what differs; or cannot be read.
        """
        file = self.path / "config.json"
        wanted = {"config": plain(config), "data": data, **how}
        if file.is_file():
            different = differences(file, wanted)
            if different:
                raise ValueError(
                    f"{self.path} belongs to another run: {different}. Name another folder with "
                    "--out, or delete this one"
                )
            return
        more = {"versions": versions(), "command": " ".join(sys.argv)}
        write_bytes(file, sealed(wanted | more))

    def log(self, epochs: Sequence[Epoch]) -> None:
        """Write the log of the run so far, a line an epoch."""
        lines = [json.dumps(plain(epoch)) + "\n" for epoch in epochs]
        write_bytes(self.path / "metrics.jsonl", "".join(lines).encode())


def plain(value: object) -> Any:
    """Settings as plain data: dataclasses become mappings, functions their names."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, Part):  # a share that says of what it is
        return value.text
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return getattr(value, "__name__", str(value))


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def differences(file: Path, wanted: dict[str, Any], but: Collection[str] = ()) -> str:
    """Settings of a run's `config.json` that are not the ones wanted, as text.

    Keys of `wanted` are those of the file; its others are not looked at. Settings named in `but`,
    as `config.name`, may differ, with all below them.

    Raises:
        ValueError: If the file cannot be read.
    """
    try:
        there = read_json(file)
        before = _flat({key: there[key] for key in wanted})
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{file} cannot be read ({error}): delete this file alone, and a run with the same "
            "settings goes on from its checkpoint; or name another folder with --out"
        ) from error
    after = _flat(wanted)
    free = tuple(f"{name}." for name in but)
    different = [
        f"{name} {before.get(name)!r} -> {after.get(name)!r}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name) and not f"{name}.".startswith(free)
    ]
    more = f" and {len(different) - SHOWN} more" if len(different) > SHOWN else ""
    return "; ".join(different[:SHOWN]) + more


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {k: v for key, one in value.items() for k, v in _flat(one, f"{name}.{key}").items()}
    return {name.lstrip("."): value}
