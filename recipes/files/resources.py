"""Memory and disk, asked before work starts whether they will do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch

SPARE = 1.25
"""Factor of the memory that a run is known to need, for all else that it needs."""


def need_memory(size: int, device: torch.device, what: str) -> None:
    """Refuse (OSError, with the numbers) bytes that do not fit in a device's memory."""
    free = free_memory(device)
    if free is not None and SPARE * size > free:
        raise OSError(
            f"{what} take {_gigabytes(size)}, of which {SPARE:g} times are needed on {device}, "
            f"where {_gigabytes(free)} are free. Take a larger machine, fewer clips or bands, or "
            "shorter clips."
        )


def need_disk(size: int, folder: Path, what: str) -> None:
    """Refuse (OSError, with the numbers) what does not fit on a disk."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if size > free:
        raise OSError(
            f"{what} take up to {_gigabytes(size)} in {folder}, where {_gigabytes(free)} are free. "
            "Make room, or make this folder a link to a larger disk."
        )


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free; None where nobody says."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        if "MemAvailable" in lines:
            return 1024 * int(lines["MemAvailable"].split()[0])
    if "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.2f} GB"
