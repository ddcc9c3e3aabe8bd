"""The rows of a sweep on the disk: a line of JSON each, so that a killed one goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressor import storage
from compressor.errors import ResumeError

ROWS, ABOUT = "sweep.jsonl", "sweep.json"
"""Files of a sweep: its rows, and what else decides them."""

NETWORK = "network"
"""What an identity calls the network: its class and a digest of its weights."""

KEY = frozenset(("budget", "method", "seed"))
"""What every row has."""


def begin(folder: Path, identity: Mapping[str, Any]) -> None:
    """Say in a new folder which sweep it belongs to, or check that it is this one.

    Raises:
        ResumeError: If it belongs to another, or is damaged.
    """
    file = folder / ABOUT
    if not file.exists():
        storage.write_bytes(file, storage.sealed(identity))
        return
    try:
        then = storage.read_json(file)
    except ValueError as error:
        raise ResumeError(f"cannot go on: {error} Or delete {folder} to start over.") from error
    differs = [n for n in dict.fromkeys((*identity, *then)) if then.get(n) != identity.get(n)]
    if differs:
        raise ResumeError(
            f"{folder} holds a sweep with another {' and '.join(differs)}: "
            f"{_retrained(then, identity)}make the same call as then (budgets, methods and seeds "
            "may be more), or choose another folder"
        )


def _retrained(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What may have happened to a network of the same class: it was made anew, by chance."""
    ways = (str(identity.get(NETWORK)).rpartition(" ") for identity in (then, now))
    (kind, _, digest), (other, _, another) = ways
    if not kind or kind != other or digest == another:
        return ""
    return (
        f"both are a {kind}, its weights differ. If it was trained again, seed the weights that it "
        "begins with and their training (torch.manual_seed), or store them once "
        "(network.state_dict()) and load them; then "
    )


def read(folder: Path) -> list[dict[str, Any]]:
    """The rows of a folder, in the order in which they were made; none in a new one.

    A last line that a killed process left unfinished is taken away.

    Raises:
        ResumeError: If another line is damaged.
    """
    file = folder / ROWS
    content = file.read_bytes() if file.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        storage.write_bytes(file, whole)
    try:
        rows = [json.loads(line) for line in whole.splitlines()]
        if all(isinstance(row, dict) and row.keys() >= KEY for row in rows):
            return rows
    except ValueError:
        pass
    raise ResumeError(
        f"{file} is damaged, or another program's: delete the lines that are no rows of a sweep, "
        "or the folder"
    )


def add(folder: Path, row: Mapping[str, Any]) -> None:
    """Put one more row at the end, on the disk when this returns."""
    line = json.dumps(row, allow_nan=False).encode() + b"\n"
    handle = os.open(folder / ROWS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.write(handle, line)
        os.fsync(handle)
    finally:
        os.close(handle)
