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
import secrets
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

SUMS = "SHA256SUMS"
"""File of a folder of `write_folder` with checksums of the others, as ``sha256sum`` reads them."""

MARK = b"# Written by compressor; a file that differs is yours or half renewed.\n"
"""How it begins, by which such a folder is known again."""


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
    part = path.with_name(_part(path.name))
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
        _put(part, content)
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def _put(path: Path, content: bytes) -> None:
    """Write a file and see it on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_folder(folder: Path, files: Mapping[str, bytes], kept: Collection[str] = ()) -> None:
    """Put a folder of files in place, or renew the files of one that was written so before.

    A new folder is written beside its place and moved there in one step. One that is there is never
    moved: all its new files are written beside the old ones first, then each takes its place, the
    checksums (`SUMS`) before all others. So a folder that was left half renewed is told by
    ``sha256sum -c SHA256SUMS``, and the same call again mends it. A process that is killed may
    leave a ``.NAME.*.part`` behind, which nobody reads.

    Args:
        folder: Made if it is missing. One that is there must be empty or have been written so; all
            that it holds beside `files` stays as it is.
        files: Content by name.
        kept: Names of files that are written only where they are missing.

    Raises:
        ValueError: If it is no folder, or holds anything and was not written so.
        OSError: If it cannot be written; says what to do about that error.
    """
    written = {SUMS: _sums({n: files[n] for n in files if n not in kept}), **files}
    aim = folder
    try:
        aim = place = folder.resolve()
        if not place.exists():
            _begin(place, written)
            return
        aim = place / SUMS
        _check_folder(folder, place, written)
        left = {name for name in kept if os.path.lexists(place / name)}
        parts = _staged(place, {n: content for n, content in written.items() if n not in left})
    except OSError as error:
        state = "What was there before is still there"
        raise _unwritten(folder, aim, error, state) from error
    try:
        for part, path in parts.items():
            part.replace(path)
    except OSError as error:
        state = "Files of before and new ones are mixed there now"
        raise _unwritten(folder, aim, error, state) from error


def _begin(place: Path, files: Mapping[str, bytes]) -> None:
    """Write a new folder, in one step."""
    part = place.with_name(f".{place.name}.{secrets.token_hex(4)}.part")
    try:
        part.mkdir(parents=True)
        for name, content in files.items():
            _put(part / name, content)
        part.rename(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _staged(place: Path, files: Mapping[str, bytes]) -> dict[Path, Path]:
    """Write files beside those that they are to replace: where they lie, and their places."""
    parts = {place / _part(name): place / name for name in files}
    new = not _is_ours(place)
    try:
        if new:  # marked before all, so that it is taken again if the process is killed here
            _replace(place / SUMS, place / _part(SUMS), files[SUMS])
        for part, content in zip(parts, files.values(), strict=True):
            _put(part, content)
    except OSError:
        for path in (*parts, *([place / SUMS] if new else [])):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise
    return parts


def _unwritten(folder: Path, aim: Path, error: OSError, state: str) -> OSError:
    """The error of a folder of which `aim` could not be written."""
    said = f"{folder} cannot be written ({error.strerror}). {state}. {remedy(error, aim)}"
    return OSError(error.errno, said)


def _check_folder(folder: Path, place: Path, names: Collection[str]) -> None:
    """Raise a ValueError if `names` may not be written to what is there."""
    if not place.is_dir():
        raise ValueError(f"{folder} is a file and cannot be replaced by a folder: choose another")
    ours = _is_ours(place)
    begun = {_part(name) for name in names}
    strange = sorted(path.name for path in place.iterdir() if path.name not in begun)
    if strange and not ours:
        more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        raise ValueError(
            f"{folder} holds {strange[0]!r}{more} and was not written so before (it has no {SUMS} "
            "of this library): name a new folder, so that nothing in it is overwritten"
        )
    for name in names:
        if (place / name).exists() and not (place / name).is_file():
            raise ValueError(f"{folder / name} is no file and would be replaced: move it away")


def _is_ours(place: Path) -> bool:
    path = place / SUMS
    return path.is_file() and path.read_bytes().startswith(MARK)


def _sums(files: Mapping[str, bytes]) -> bytes:
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items()]
    return MARK + "".join(lines).encode()


def _part(name: str) -> str:
    """What a file is called until it is finished."""
    return f".{name}.part"


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
