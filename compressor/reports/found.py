"""Kind of a path given to `load` that is none of ours, told by first bytes and names alone."""

from __future__ import annotations

from pathlib import Path

from compressor.storage import remedy

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a zip archive, as torch.save and numpy.savez write"),
    (b"\x80", "a pickle, as torch.save and pickle write"),
    (b"\x93NUMPY", "an array of numpy"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x89PNG", "a picture"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"RIFF", "a sound file"),
    (b"version https://git-lfs", "a pointer of Git LFS, in the place of a file not fetched yet"),
)
"""First bytes of files that people confuse with a container, and what they are."""


def check_content(path: Path) -> None:
    """Check that a file could be a container.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is empty, or a file of a known other kind.
        OSError: If it cannot be opened.
    """
    try:
        with path.open("rb") as file:
            start = file.read(32)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path} is not there: pass the path of a file of Result.write, or of a directory of "
            "Result.save"
        ) from error
    except OSError as error:
        said = "You may not read it" if isinstance(error, PermissionError) else remedy(error, path)
        raise OSError(error.errno, f"{path} cannot be read ({error.strerror}). {said}") from error
    kind = kind_of(path, start)
    if kind:
        raise ValueError(
            f"{path} is {kind}, and no container of this library: load reads a file of "
            "Result.write, or a directory of Result.save. Nothing is unpickled"
        )


_TABLES = (
    (b"ET1", "a program for ExecuTorch, which its runtime reads"),
    (b"TFL3", "a network for TensorFlow Lite, which its interpreters read"),
)
"""Kinds of files of flatbuffers, by the name behind their first offset."""


def kind_of(path: Path, start: bytes) -> str:
    """Kind of a file that is not in the safetensors format, else empty; by its first bytes."""
    if not start:
        return "empty"
    if start[8:9] == b"{":  # behind the length of a header, as in every safetensors file
        return ""
    tables = next((kind for name, kind in _TABLES if start[4:].startswith(name)), "")
    if tables:
        return tables
    if path.suffix == ".onnx":
        return "an ONNX file, which onnxruntime reads"
    if start.lstrip()[:1] in (b"{", b"[", b"#", b"<") and b"\0" not in start:
        return "a text"
    return next((kind for first, kind in _STARTS if start.startswith(first)), "")


CHECKPOINT = "checkpoint"
"""Folder of checkpoints in that of what `compressor fit` writes."""


def unfinished(folder: Path) -> str:
    """A sentence on the folder of a `compressor fit` that is not over; empty for any other.

    Called where what such a run writes at its end is missing.
    """
    if not (folder / CHECKPOINT).is_dir():
        return ""
    return (
        f"{folder} is that of a run which is not over: its network and its report are written at "
        f"the end. Give the same `compressor fit` with --out {folder} again, and it goes on"
    )


def check_directory(directory: Path) -> None:
    """Raise a FileNotFoundError that says what is there, unless `Result.save` wrote a directory."""
    if (directory / "model.json").is_file():
        return
    if going := unfinished(directory):
        raise FileNotFoundError(going)
    nothing = f"{directory} holds no model.json: nothing was saved there"
    wanted = "load reads a directory of Result.save or a file of Result.write"
    if (directory / "checkpoint.json").is_file():
        raise FileNotFoundError(
            f"{directory} is a checkpoint of fit, of a run that may not be over: nothing was saved "
            f"there. Make the same call of fit again, and save what it returns; {wanted}"
        )
    parts = ("model-", "checkpoint-")  # tensors of a record, which is not there
    files = sorted(p for p in directory.rglob("*.safetensors") if not p.name.startswith(parts))
    if files:
        shown = ", ".join(str(p.relative_to(directory)) for p in files[:4])
        nothing += f". Files in it that may be meant: {shown}"
    raise FileNotFoundError(f"{nothing}; {wanted}")
