"""Bytes of every stream of a container: where a file's length lies."""

from __future__ import annotations

from dataclasses import dataclass

from compressor.network import Network
from compressor.network.file import container
from compressor.network.file.streams import STREAMS


@dataclass(frozen=True)
class Size:
    """Bytes of one stream.

    Attributes:
        raw: Before it was deflated.
        stored: In the file.
    """

    raw: int
    stored: int


def sizes(network: Network) -> dict[str, Size]:
    """Bytes of every stream of a network's container, and of what the format adds to them."""
    streams, stored = container._smallest(network)
    found = {
        name: Size(len(stream), len(short))
        for name, stream, short in zip(("structure", *STREAMS), streams, stored, strict=True)
    }
    whole = len(container._file(streams, stored))
    rest = whole - sum(size.stored for size in found.values())
    return {**found, "container": Size(rest, rest)}
