"""Container files changed by somebody who knows the format, each loaded and run.

``python -m tests.helpers.mutated FOLDER SEED FIRST LAST`` takes the good files of a folder and
tells every case before it begins, as `tests.helpers.hostile` does.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import signal
import struct
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

import compressor
from compressor.network.file import container
from compressor.network.file.operations import ALLOWED
from compressor.network.operators import OPERATORS

MEMORY = 3 << 30
"""Bytes of addresses; torch takes about half of them, loading a quarter of a GiB, results one."""

SECONDS = 15
"""CPU seconds after which a case counts as hanging."""

LONGEST = 1500
"""Characters of an error, at most."""

HOSTILE: tuple[Any, ...] = (
    *(0, 1, -1, 2, 2**31, 2**40, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, float("nan")),
    *(True, False, None, "", "x", "%1", "%0", "%2", "%99", "@0", "@1", "'same", "'%1000000000d"),
    *("#float64", "#int64", "#device", "#strided", "#inf", "#nope", [], {}, [[]], {"a": {}}),
    *([1, 2], ["%1"], ["%1", "%1"], [10**9], [2**33, 2**33], {"dtype": "#int64"}, "a" * 5000),
)


def sealed(payload: bytes) -> bytes:
    """A container of any payload, with the checksum that fits."""
    tensor = torch.frombuffer(bytearray(payload), dtype=torch.uint8)
    word = f"container 1 {hashlib.sha256(payload).hexdigest()}"
    return save({"w": tensor}, {"compressor": word})


def payload_of(content: bytes) -> bytes:
    return content[8 + int.from_bytes(content[:8], "little") :]


def flipped(content: bytes, source: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(source.choice((1, 1, 2, 8))):
        changed[source.randrange(len(changed))] ^= 1 << source.randrange(8)
    return bytes(changed)


def cut(content: bytes, source: random.Random) -> bytes:
    at = source.randrange(len(content))
    return content[:at] if source.random() < 0.7 else content + bytes(at)


def headed(content: bytes, source: random.Random) -> bytes:
    """Another header before the same payload."""
    length = source.choice((0, 1, 8, 10**8, 2**32, 2**63, 2**64 - 1, len(content)))
    odd = source.choice((b"{}", b"[" * 10**5, b'{"__metadata__": 3}', b'{"w": [1]}', b"\xff\xfe"))
    kept = source.random() < 0.5
    return struct.pack("<Q", length if kept else len(odd)) + odd + payload_of(content)


def relengthed(content: bytes, source: random.Random) -> bytes:
    """Another length in the table of streams, or other bytes in a stream."""
    payload = bytearray(payload_of(content))
    if source.random() < 0.5:
        at = 4 * source.randrange(container._TABLE.size // 4)
        value = source.choice((0, 1, 2**31, 2**32 - 1, source.randrange(2**16)))
        payload[at : at + 4] = struct.pack("<I", value)
    else:
        payload[source.randrange(len(payload))] ^= 1 << source.randrange(8)
    return sealed(bytes(payload))


def restructured(content: bytes, source: random.Random) -> bytes:
    """Values of the structure replaced or exchanged."""
    streams = container._opened(content, "a file", container.Allowance(len(content)))
    structure = json.loads(streams[0])
    for _ in range(source.choice((1, 1, 1, 2, 4))):
        exchange(structure, source)
    return container._file([json.dumps(structure).encode(), *streams[1:]])


def exchange(structure: Any, source: random.Random) -> None:
    """One value somewhere in JSON becomes another."""
    places = list(places_of(structure))
    if not places:
        return
    owner, key = source.choice(places)
    value = owner[key]
    draw = source.random()
    if isinstance(value, str) and draw < 0.3:
        names = (*sorted(ALLOWED), *(f"!{name}" for name in OPERATORS))
        owner[key] = source.choice(names)
    elif isinstance(value, list) and draw < 0.3:
        owner[key] = value * source.choice((0, 2, 50))
    elif draw < 0.6:
        other, there = source.choice(places)
        owner[key] = other[there]
    else:
        owner[key] = source.choice(HOSTILE)


def places_of(value: Any) -> Any:
    """Every place of JSON that a value stands at."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, below in list(pairs):
        yield value, key
        if isinstance(below, dict | list):
            yield from places_of(below)


WAYS = (flipped, cut, headed, relengthed, restructured, restructured, restructured, restructured)


def case(folder: Path, seed: int, number: int) -> bytes:
    """The content of a file by its number."""
    source = random.Random(f"{seed} {number}")  # noqa: S311 - a test draws the same every time
    good = source.choice(sorted(folder.glob("good-*.safetensors"))).read_bytes()
    try:
        return source.choice(WAYS)(good, source)
    except (RecursionError, ValueError):  # exchanged with what it lies in
        return flipped(good, source)


def ended(file: Path) -> str:
    """How a file ends: as a documented error, or as a model and how that runs."""
    try:
        made = compressor.load(file)
    except ValueError as error:
        if file.name not in str(error) or len(str(error)) > LONGEST:
            raise AssertionError(str(error)) from error
        return "refused"
    given: Any = made.example_input_array
    example = given if isinstance(given, tuple) else (given,)
    inputs = [x.repeat(2, *[1] * (x.dim() - 1)) if x.dim() else x for x in example]
    inputs = inputs if sum(x.numel() for x in inputs) < 1 << 24 else list(example)
    before = [x.clone() for x in inputs]
    try:
        with torch.no_grad():
            made(*inputs)
    except Exception as error:  # noqa: BLE001 - any exception is an ordinary end
        said = type(error).__name__
    else:
        said = "ran"
    assert all(torch.equal(a, b) for a, b in zip(before, inputs, strict=True)), "wrote"
    return said


def main(folder: Path, seed: int, first: int, last: int) -> None:
    """Load and run cases, the number of each told before it begins."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    ended(next(iter(sorted(folder.glob("good-*.safetensors")))))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for number in range(first, last):
        file = folder / f"case-{number}.safetensors"
        file.write_bytes(case(folder, seed, number))
        os.write(1, f"{number} mutated ".encode())
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        os.write(1, f"{ended(file)}\n".encode())
        file.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
