"""Unpack a zip archive so that every file appears whole or not at all, inside its folder."""

from __future__ import annotations

import errno
import lzma
import os
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile, ZipInfo


def unpack(archive: Path, folder: Path, top: str) -> list[str]:
    """Unpack an archive into a folder, over what is there.

    Every file is written under another name and moved into place when its checksum is right.

    Args:
        archive: The zip file.
        folder: Target of its files.
        top: Folder inside the archive whose content goes to `folder` itself; what lies outside it
            keeps its path.

    Returns:
        The files, as paths below `folder` with slashes.

    Raises:
        ValueError: If the archive is damaged, empty, encrypted or packed in a way that Python does
            not know, or names a file outside the folder.
        OSError: If the disk is too full.
    """
    try:
        with ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            if not members:
                raise ValueError(f"{archive} holds no file. This is no archive of this data set.")
            targets = [_target(archive, member, folder, top) for member in members]
            folder.mkdir(parents=True, exist_ok=True)
            refuse_full_disk(folder, sum(m.file_size for m in members), f"{archive.name}, unpacked")
            for member, target in zip(members, targets, strict=True):
                _write(opened, member, target)
    except RuntimeError as error:  # zipfile's for a password and for an unknown method
        raise ValueError(
            f"{archive} cannot be unpacked here ({error}). Unpack it with another program, so that "
            f"{folder} holds what it holds in {top}."
        ) from error
    except (BadZipFile, zlib.error, lzma.LZMAError, EOFError, UnicodeDecodeError) as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # bz2's, and a place before the file's start
            raise _damaged(archive, error) from error
        raise
    return [target.relative_to(folder).as_posix() for target in targets]


def missing(folder: Path, files: Sequence[str]) -> list[str]:
    """Files that are not there; each folder is listed once, as there may be 200,000."""
    folders = {(folder / file).parent for file in files}
    there = {path for one in folders if one.is_dir() for path in one.iterdir()}
    return [file for file in files if folder / file not in there]


def _write(opened: ZipFile, member: ZipInfo, target: Path) -> None:
    """One file, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    try:
        with opened.open(member) as source, part.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _damaged(archive: Path, error: Exception) -> ValueError:
    return ValueError(f"{archive} is damaged ({error}). Delete it and fetch it anew.")


def refuse_full_disk(folder: Path, needed: int, what: str) -> None:
    """Refuse (OSError) what needs more than is free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"{os.strerror(errno.ENOSPC)}: {what}, need {needed / 1e9:.2f} GB in {folder}, where "
            f"{free / 1e9:.2f} GB are free. Make space or name another folder",
        )


def _target(archive: Path, member: ZipInfo, folder: Path, top: str) -> Path:
    """Target of a member, inside the folder whatever its name says."""
    path = PurePosixPath(member.filename.replace("\\", "/"))
    parts = path.parts[1:] if path.parts[:1] == (top,) else path.parts
    if path.is_absolute() or ".." in parts or ":" in member.filename or not parts:
        raise ValueError(
            f"{archive} holds {member.filename!r}, which is no file inside {folder}: "
            "nothing was unpacked. This is no archive of this data set."
        )
    return folder.joinpath(*parts)
