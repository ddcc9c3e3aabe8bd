"""Unpack a zip archive so that every file appears whole or not at all, inside its folder."""

from __future__ import annotations

import errno
import os
import shutil
import zlib
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile, ZipInfo


def unpack(archive: Path, folder: Path, top: str) -> None:
    """Unpack an archive into a folder, over what is there.

    Every file is written under another name and moved into place when its checksum is right.

    Args:
        archive: The zip file.
        folder: Where its files go.
        top: Folder inside the archive whose content goes to `folder` itself; what lies outside it
            keeps its path.

    Raises:
        ValueError: If the archive is damaged or names a file outside the folder.
        OSError: If the disk is too full.
    """
    try:
        with ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            targets = [_target(archive, member, folder, top) for member in members]
            folder.mkdir(parents=True, exist_ok=True)
            refuse_full_disk(folder, sum(m.file_size for m in members), f"{archive.name}, unpacked")
            for member, target in zip(members, targets, strict=True):
                target.parent.mkdir(parents=True, exist_ok=True)
                part = target.with_name(f".{target.name}.part")
                with opened.open(member) as source, part.open("wb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
                part.replace(target)
    except (BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{archive} is damaged ({error}). Delete it and fetch it anew.") from error


def refuse_full_disk(folder: Path, needed: int, what: str) -> None:
    """Compare what is needed with what is free.

    Raises:
        OSError: If it does not fit.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"{os.strerror(errno.ENOSPC)}: {what}, need {needed / 1e9:.2f} GB in {folder}, where "
            f"{free / 1e9:.2f} GB are free. Make space or name another folder",
        )


def _target(archive: Path, member: ZipInfo, folder: Path, top: str) -> Path:
    """Where a member goes; inside the folder, whatever its name says."""
    path = PurePosixPath(member.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in member.filename:
        raise ValueError(
            f"{archive} holds {member.filename!r}, which would be written outside {folder}: "
            "nothing was unpacked. This is no archive of this data set."
        )
    return folder.joinpath(*(path.parts[1:] if path.parts[0] == top else path.parts))
