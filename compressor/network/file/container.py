"""A network as one small file: what a budget of bytes is held to.

The file is in the safetensors format, with one tensor of bytes ``w`` and one line of metadata that
names the format, its version and the SHA-256 of ``w``. ``w`` is a table of lengths and then one
stream for each kind of content, over all layers: structure, masks, values, biases, floating-point
numbers. A stream is deflated as a whole wherever that makes it smaller, so bytes of one kind lie
together (see `compressor.network.file.streams`). Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save as save_tensors

from compressor.network.core import Network
from compressor.network.file.allowance import Allowance
from compressor.network.file.deflate import deflated
from compressor.network.file.guard import RESULTS
from compressor.network.file.plain import from_plain, to_plain
from compressor.network.file.streams import STREAMS, Reader, Writer, most
from compressor.network.file.values import type_of
from compressor.storage import write_bytes

FORMAT = 1
"""Version of the layout described above."""

_KEY = "compressor"
_TABLE = struct.Struct(f"<{2 * (len(STREAMS) + 1)}I")
"""Two lengths of every stream, the structure first: when read, and as stored (fewer: deflated)."""

_HEADER = 1 << 16
"""Bytes of the header; `write` makes less than 300."""

_SENTENCE = 600
"""Characters of an error that tells what a stranger wrote."""


def pack(network: Network) -> bytes:
    """The content of a container file; the same network gives the same bytes.

    Raises:
        ValueError: If the network has an operation, a module or a tensor that cannot be stored.
    """
    return _file(*_smallest(network))


def unpack(content: bytes, name: str = "the container", memory: float | None = None) -> Network:
    """The network in the content of a container file, in eval mode, on the CPU.

    The content may come from a stranger: nothing in it is run but the operations listed in
    `compressor.network.file.operations`, with arguments as these declare, and how much memory it
    takes is counted before.

    Args:
        content: Bytes of the file.
        name: What errors call it.
        memory: Bytes that reading may take, and, where that is more, the results of a forward
            pass in place of `compressor.network.file.guard.RESULTS`; None for `LEAST` and `FOLD`
            times the content (`compressor.network.file.allowance`), ``math.inf`` for no bound.

    Raises:
        ValueError: If it is no container, is damaged, was written by a newer version, or would take
            more memory.
    """
    allowance = Allowance(len(content), memory)
    try:
        streams = _opened(content, name, allowance)
        structure = json.loads(streams[0])
        reader = Reader(dict(zip(STREAMS, streams[1:], strict=True)), allowance)
        tensors = [reader.take(entry) for entry in structure["layout"]]
        reader.finish()
        for _, shape, kind, *_ in structure["network"]["inputs"]:
            allowance.take_tensor(shape, type_of(kind).itemsize)
        return from_plain(structure["network"], tensors, max(RESULTS, memory or 0))
    except _RefusedError:
        raise
    except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError) as error:
        said = f"{error}" if isinstance(error, ValueError) else f"{type(error).__name__} {error}"
        raise ValueError(f"{name} cannot be read: {said}"[:_SENTENCE]) from error


def write(network: Network, path: str | os.PathLike[str]) -> int:
    """Write what `pack` makes of a network to a file, in one step; returns its length in bytes."""
    content = pack(network)
    write_bytes(Path(path), content)
    return len(content)


def read(path: str | os.PathLike[str], memory: float | None = None) -> Network:
    """The network in a file; `memory` and errors as for `unpack`."""
    return unpack(Path(path).read_bytes(), str(path), memory)


def bound(network: Network) -> int:
    """Most bytes of the file of a network with this structure, whatever its tensors hold.

    Nothing is taken to deflate but the structure, in which no value of a tensor stands, and no
    entry to be zero, so that training cannot change it.
    """
    structure, tensors = to_plain(network)
    text = _json(structure, [Writer().put(tensor) for tensor in tensors])
    return len(_file([text, *[b""] * len(STREAMS)])) + sum(map(most, tensors))


def _smallest(network: Network) -> tuple[list[bytes], list[bytes]]:
    """The streams, the structure first, and as stored: smallest, never longer than `bound`.

    What deflates best by itself may not do so among others. So both are tried: what is smallest by
    itself when deflated, and what is smallest before; mostly they are the same.
    """
    first, differs = _written(network, deflating=True)
    stored = [deflated(stream) for stream in first]
    if not differs:
        return first, stored
    second, _ = _written(network, deflating=False)
    pairs = zip(first, second, stored, strict=True)
    other = [short if a == b else deflated(b) for a, b, short in pairs]
    shorter = sum(map(len, other)) < sum(map(len, stored))
    return (second, other) if shorter else (first, stored)


def _written(network: Network, *, deflating: bool) -> tuple[list[bytes], bool]:
    """The streams, the structure first, spread by what is smaller when deflated, or before.

    And True if the other way could give others.
    """
    structure, tensors = to_plain(network)
    writer = Writer(deflating=deflating)
    text = _json(structure, [writer.put(tensor) for tensor in tensors])
    return [text, *(bytes(writer.streams[name]) for name in STREAMS)], writer.differs


def _json(structure: Any, layout: list[Any]) -> bytes:
    return json.dumps({"network": structure, "layout": layout}, separators=(",", ":")).encode()


def _file(streams: list[bytes], stored: list[bytes] | None = None) -> bytes:
    stored = stored or [*map(deflated, streams)]
    lengths = (n for pair in zip(streams, stored, strict=True) for n in map(len, pair))
    payload = _TABLE.pack(*lengths) + b"".join(stored)
    tensor = torch.frombuffer(bytearray(payload), dtype=torch.uint8)
    # One entry: several would be written in an order that changes from run to run.
    metadata = {_KEY: f"container {FORMAT} {hashlib.sha256(payload).hexdigest()}"}
    return save_tensors({"w": tensor}, metadata)


class _RefusedError(ValueError):
    """A fault of a file, said with its name."""


def _opened(content: bytes, name: str, allowance: Allowance) -> list[bytes]:
    """The streams of a file, whole and unaltered."""
    header, start = _header(content, name)
    said = str(_dictionary(header.get("__metadata__")).get(_KEY, "")).split()
    if len(said) != 3 or said[0] != "container":
        raise _RefusedError(
            f"{name} is no container of this library: its metadata has no line {_KEY!r} with "
            "'container', a version and a checksum. write() makes one"
        )
    if said[1] != str(FORMAT):
        raise _RefusedError(
            f"{name} has format {said[1][:20]} and this version reads format {FORMAT}: read it "
            "with the version that wrote it"
        )
    payload = _payload(content, header, start, name)
    found = hashlib.sha256(payload).hexdigest()
    if found != said[2]:
        raise _RefusedError(
            f"{name} is damaged: its {len(payload):,} bytes have the checksum {found[:16]}... and "
            f"{said[2][:16]}... was expected. Restore it from a copy, or write it again"
        )
    return _inflated(payload, name, allowance)


def _header(content: bytes, name: str) -> tuple[dict[str, Any], int]:
    try:
        (length,) = struct.unpack_from("<Q", content)
        header: Any = json.loads(content[8 : 8 + min(length, _HEADER)])
    except (struct.error, ValueError, RecursionError) as error:
        raise _RefusedError(
            f"{name} is no container of this library: its {len(content):,} bytes begin with no "
            f"header of the safetensors format of at most {_HEADER:,} bytes. write() makes a "
            "container"
        ) from error
    return _dictionary(header), 8 + length


def _dictionary(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _payload(content: bytes, header: Mapping[str, Any], start: int, name: str) -> memoryview:
    """The bytes of the one tensor, which are all that follows the header."""
    rest = memoryview(content)[start:]
    wanted = {"dtype": "U8", "shape": [len(rest)], "data_offsets": [0, len(rest)]}
    if header.get("w") != wanted or set(header) != {"__metadata__", "w"}:
        raise _RefusedError(
            f"{name} is damaged: its header does not tell of one tensor of {len(rest):,} bytes, "
            "which follow it. Restore it from a copy"
        )
    return rest


def _inflated(payload: memoryview, name: str, allowance: Allowance) -> list[bytes]:
    if len(payload) < _TABLE.size:
        raise _RefusedError(f"{name} is damaged: its {len(payload)} bytes hold no table of streams")
    lengths = _TABLE.unpack_from(payload)
    end = _TABLE.size + sum(lengths[1::2])
    if end != len(payload):
        raise _RefusedError(
            f"{name} is damaged: its streams take {end:,} bytes and it has {len(payload):,}"
        )
    allowance.take(sum(lengths[::2]), "its streams, once inflated,")
    streams: list[bytes] = []
    start = _TABLE.size
    for raw, stored in zip(lengths[::2], lengths[1::2], strict=True):
        part = payload[start : start + stored]
        start += stored
        streams.append(bytes(part) if stored == raw else _inflate(part, raw, name))
        if len(streams) == 1:
            allowance.take_text(streams[0])
    return streams


def _inflate(part: memoryview, raw: int, name: str) -> bytes:
    machine = zlib.decompressobj()
    try:
        stream = machine.decompress(part, raw + 1)  # never more than was promised
    except zlib.error as error:
        raise _RefusedError(f"{name} is damaged: a stream cannot be inflated ({error})") from error
    if len(stream) != raw:
        raise _RefusedError(f"{name} is damaged: a stream has not the {raw:,} bytes it should have")
    return stream
