"""Directories of tensors and plain data: safetensors and JSON, written atomically, never unpickled.

A record named "state" is two files: ``state.json`` holds plain data and names the tensor file
``state-<digest>.safetensors``. The tensors are written first and the JSON is put in place last, in
one step, so that a reader finds the old record or the new one and never a mixture, even when the
writer is killed at any moment.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

FORMAT = 1
"""Version of the layout described above."""

Plain = Any
"""What JSON can hold."""


def write(directory: Path, name: str, tensors: Mapping[str, Tensor], data: Plain) -> None:
    """Write a record, replacing an older one of the same name.

    Args:
        directory: Created when missing.
        name: Name of the record.
        tensors: Any tensors, on any device; tied ones should be given once.
        data: Plain data for the JSON file.
    """
    directory.mkdir(parents=True, exist_ok=True)
    content = save_tensors({k: t.detach().cpu().contiguous() for k, t in tensors.items()})
    digest = hashlib.sha256(content).hexdigest()
    file = f"{name}-{digest[:16]}.safetensors"
    write_bytes(directory / file, content)
    record = {"format": FORMAT, "tensors": file, "sha256": digest, "data": data}
    write_bytes(directory / f"{name}.json", json.dumps(record, indent=1).encode())
    for old in directory.glob(f"{name}-*.safetensors"):
        if old.name != file:
            old.unlink(missing_ok=True)


def read(directory: Path, name: str) -> tuple[dict[str, Tensor], Plain]:
    """Read a record: its tensors, on the CPU, and its plain data.

    Raises:
        FileNotFoundError: If there is no such record.
        ValueError: If a file is missing, cut short, altered or of another format.
    """
    path = directory / f"{name}.json"
    if not path.is_file():
        raise FileNotFoundError(f"{directory} holds no {name}.json: nothing was saved there.")
    record = _record(path)
    file = directory / record["tensors"]
    if not file.is_file():
        raise _damaged(path, f"it names {file.name}, which is not there")
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != record["sha256"]:
        raise _damaged(file, f"its {len(content):,} bytes are not those that were written")
    try:
        return load_tensors(content), record["data"]
    except SafetensorError as error:
        raise _damaged(file, str(error)) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step: all of it or nothing.

    Raises:
        ValueError: If there is something that is no regular file.
        OSError: If it cannot be written.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no regular file and cannot be replaced: choose another path")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(
            error.errno,
            f"{path} cannot be written, {len(content):,} bytes ({error.strerror}). What was there "
            "before is still there. Make room, and make the same call again",
        ) from error
    part.replace(path)


def flatten(tree: Plain, tensors: dict[str, Tensor], path: str = "") -> Plain:
    """Plain data equal to `tree` with its tensors moved into `tensors` and its tuples marked.

    The inverse is `restore`. Keys of mappings may be strings or integers.

    Raises:
        TypeError: If the tree holds something that neither JSON nor a tensor can hold.
    """
    if isinstance(tree, Tensor):
        tensors[path] = tree
        return {"tensor": path}
    if isinstance(tree, Mapping):
        items = cast("Mapping[str | int, Plain]", tree).items()
        for key in tree:
            if not isinstance(key, (str, int)):
                raise TypeError(f"cannot store {path.lstrip('/')}: key {key!r} is no plain data")
        pairs = [[k, flatten(v, tensors, f"{path}/{k}")] for k, v in items]
        return {"mapping": pairs}
    if isinstance(tree, (tuple, list)):
        listed = enumerate(cast("list[Plain]", tree))
        content = [flatten(v, tensors, f"{path}/{i}") for i, v in listed]
        return {"tuple": content} if isinstance(tree, tuple) else content
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return tree
    raise TypeError(f"cannot store {path.lstrip('/')}: {type(tree).__name__} is no plain data")


def restore(data: Plain, tensors: Mapping[str, Tensor]) -> Plain:
    """The tree that `flatten` was given."""
    if isinstance(data, list):
        return [restore(item, tensors) for item in cast("list[Plain]", data)]
    if not isinstance(data, dict):
        return data
    (kind, content), *_ = cast("dict[str, Plain]", data).items()
    if kind == "tensor":
        return tensors[content]
    if kind == "tuple":
        return tuple(restore(item, tensors) for item in content)
    return {key: restore(value, tensors) for key, value in content}


def numbers(values: Mapping[str, Tensor]) -> str:
    """A digest of tensors' names, shapes, data types and bits."""
    digest = hashlib.sha256()
    for name, tensor in values.items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype};".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return digest.hexdigest()


def _record(path: Path) -> dict[str, Plain]:
    """The JSON file's content, with what `read` relies on checked."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"it is not JSON ({error})") from error
    if not isinstance(record, dict) or not {"format", "tensors", "sha256", "data"} <= {*record}:
        raise _damaged(path, "it is not a record of this library")
    found = cast("dict[str, Plain]", record)
    if found["format"] != FORMAT:
        raise ValueError(
            f"{path} has format {found['format']} and this version reads format {FORMAT}: "
            "read it with the version that wrote it."
        )
    if Path(str(found["tensors"])).name != found["tensors"]:
        raise _damaged(path, f"it names a file elsewhere, {found['tensors']!r}")
    return found


def _damaged(path: Path, why: str) -> ValueError:
    return ValueError(f"{path} is damaged: {why}. Restore it from a copy, or write it again.")
