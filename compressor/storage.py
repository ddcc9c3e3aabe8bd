"""Directories of tensors and plain data: safetensors and JSON, written atomically, never unpickled.

A record named "state" is two files: ``state.json`` holds plain data and names the tensor file
``state-<digest>.safetensors``. The tensors are written first and the JSON is put in place last, in
one step: whenever the writer is killed, a reader finds the old record or the new one. The JSON
carries a checksum of itself beside that of the tensors (`sealed`, `read_json`).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from compressor.wording import brief

FORMAT = 1
"""Version of the layout described above."""

Plain = Any
"""What JSON can hold."""

CHECKSUM = "checksum"
"""Key of a JSON object under which the checksum of all its other entries stands. Without a digit in
it, so that no change of a single digit hides it."""


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
    write_bytes(directory / f"{name}.json", sealed(record))
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
        raise damaged(path, f"it names {file.name}, which is not there")
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != record["sha256"]:
        raise damaged(file, f"its {len(content):,} bytes are not those that were written")
    try:
        return load_tensors(content), record["data"]
    except SafetensorError as error:
        raise damaged(file, str(error)) from error


def path_of(given: object) -> Path:
    """The path of a file or directory that was given; a ValueError if that is empty or none."""
    if not isinstance(given, (str, os.PathLike)) or not os.fspath(cast("str", given)):
        raise ValueError(f"{brief(given)} names no file or directory: pass a path")
    return Path(cast("str", given))


def write_bytes(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step: all of it or nothing.

    Raises:
        ValueError: If there is something that is no regular file.
        OSError: If it cannot be written; says what to do about that error.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        if path.exists() and not path.is_file():
            thing = "a directory" if path.is_dir() else "no regular file"
            raise ValueError(
                f"{path} is {thing} and cannot be replaced by a file: choose another path"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, part, content)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{path} cannot be written, {len(content):,} bytes ({error.strerror}). What was there "
            f"before is still there. {remedy(error, path)}",
        ) from error


def _replace(path: Path, part: Path, content: bytes) -> None:
    """Write a file beside `path` and put it in its place; leave nothing behind on failure."""
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def write_folder(folder: Path, files: Mapping[str, bytes], kept: Collection[str] = ()) -> None:
    """Put a folder of files in place, all of them or none.

    It is written beside its place and moved there. Where one was before, that one is first moved
    aside, and back if the new one cannot follow; a process that is killed between the two leaves
    it as ``.NAME.old``.

    Args:
        folder: Made, or replaced if it holds no other files than `files`.
        files: Content by name.
        kept: Names of files that are taken over from the folder if they are there.

    Raises:
        ValueError: If it is no folder, or holds anything else.
        OSError: If it cannot be written; says what to do about that error.
    """
    place = folder.resolve()
    _check_folder(folder, place, files)
    part, old = (place.with_name(f".{place.name}.{end}") for end in ("part", "old"))
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for name, content in files.items():
            own = place / name
            write_bytes(part / name, own.read_bytes() if name in kept and own.exists() else content)
        _exchange(place, part, old)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise OSError(
            error.errno,
            f"{folder} cannot be written ({error.strerror}). What was there before is still there. "
            f"{remedy(error, place)}",
        ) from error


def _check_folder(folder: Path, place: Path, files: Mapping[str, bytes]) -> None:
    if place.exists() and not place.is_dir():
        raise ValueError(f"{folder} is a file and cannot be replaced by a folder: choose another")
    found = sorted(path.name for path in place.iterdir()) if place.is_dir() else []
    strange = [name for name in found if name not in files or not (place / name).is_file()]
    if strange:
        more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        raise ValueError(
            f"{folder} holds {strange[0]!r}{more}, which would be lost: name a new folder, or one "
            "that was written so before"
        )


def _exchange(place: Path, part: Path, old: Path) -> None:
    """Move a finished folder to its place, and what was there away."""
    if not place.exists():
        part.rename(place)
        return
    shutil.rmtree(old, ignore_errors=True)
    place.rename(old)
    try:
        part.rename(place)
    except OSError:
        old.rename(place)
        raise
    shutil.rmtree(old, ignore_errors=True)


_REMEDIES = {
    errno.ENOSPC: "Make room, and make the same call again",
    errno.EDQUOT: "The quota is used up: make room, and make the same call again",
    errno.EACCES: "You may not write there: choose another path, or change the permissions of {0}",
    errno.EPERM: "You may not write there: choose another path, or change the permissions of {0}",
    errno.EROFS: "Nothing can be written on that disk: choose a path on another",
    errno.ENOTDIR: "A part of the path is a file and no directory: choose another path",
    errno.EEXIST: "A part of the path is a file and no directory: choose another path",
    errno.EISDIR: "It is a directory: name a file in it",
    errno.ENAMETOOLONG: "The name is too long for the disk: choose a shorter one",
    errno.ENOENT: "{0} is not there, or a link to nowhere: make it, or choose another path",
    errno.ELOOP: "Links on the path lead in a circle: choose another path",
    errno.EMFILE: "Too many files are open in this process: close some, and try again",
    errno.EIO: "The disk has failed to write: look at the system's log, or choose another disk",
    errno.EFBIG: "The file is larger than the disk or the limits of this process allow",
}
"""What to do about a failed write, by the system's number of the error; {0} is the directory."""


def remedy(error: OSError, path: Path) -> str:
    """Advise what to do about a file that cannot be written."""
    found = _REMEDIES.get(error.errno or 0, "Choose another path, or see to what the system says")
    return found.format(path.parent)


def sealed(data: Mapping[str, Plain]) -> bytes:
    """A JSON object of plain data with a checksum of its content, as text for a file."""
    content = json.loads(json.dumps(data))
    return json.dumps({CHECKSUM: _checksum(content), **content}, indent=1).encode() + b"\n"


def read_json(path: Path) -> dict[str, Plain]:
    """The JSON object in a file, without the checksum that `sealed` gave it.

    A file without one, as versions before wrote them, is taken as it is. Spaces and line breaks may
    be others than those that were written: the checksum is of the content.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no JSON object, or another one than was written.
    """
    try:
        found: object = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise damaged(path, "it is nested too deep for a file of this library") from error
    except ValueError as error:  # no JSON, no text, or a number of too many digits
        raise damaged(path, f"it is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise damaged(path, "it is not a record of this library")
    data = cast("dict[str, Plain]", found)
    stated = data.pop(CHECKSUM, None)
    if stated is not None and stated != _checksum(data):
        raise damaged(path, "its content is not what was written, by its checksum")
    return data


def _checksum(data: Mapping[str, Plain]) -> str:
    """SHA-256 of plain data, order included, however it is laid out in a file."""
    return hashlib.sha256(json.dumps(data, separators=(",", ":")).encode()).hexdigest()


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
    found = read_json(path)
    if not {"format", "tensors", "sha256", "data"} <= found.keys():
        raise damaged(path, "it is not a record of this library")
    if found["format"] != FORMAT:
        raise ValueError(
            f"{path} has format {found['format']} and this version reads format {FORMAT}: "
            "read it with the version that wrote it."
        )
    if Path(str(found["tensors"])).name != found["tensors"]:
        raise damaged(path, f"it names a file elsewhere, {found['tensors']!r}")
    return found


def damaged(path: Path, why: str) -> ValueError:
    """The error that says why a file is not the one that was written."""
    return ValueError(f"{path} is damaged: {why}. Restore it from a copy, or write it again.")
