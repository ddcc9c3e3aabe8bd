"""Tensors spread over streams of bytes, each kind of number with its like.

* Zeros: a tensor with many is a mask, one bit an entry, and its other entries.
* Integers of 8 bits: one byte each, or as many bits as the largest needs where that is less.
* Wider integers: as many whole bytes as the largest needs; booleans one bit.
* Both, and floating-point numbers: the highest bytes in one stream, the next ones in another. The
  highest holds sign and exponent, which is nearly all that can be deflated in a scale or a bias.

A zero is an entry whose bits are all zero, so that -0.0 stays what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.network.file.allowance import Allowance
from compressor.network.file.deflate import deflated

Bytes = NDArray[np.uint8]
"""Bytes of entries, (entry, byte), the lowest first."""

Entry = list[Any]
"""Type and shape of a tensor as JSON; nothing in it depends on what the tensor holds."""

STREAMS = (
    *("widths", "masks", "values", "bits"),
    *("integers_high", "integers_next", "integers_low"),
    *("floats_high", "floats_next", "floats_low"),
)
"""Names of the streams, in the order of the file."""

_MASKED = 128
"""Added to the bits of an entry where a mask comes first."""

_PART = 1 << 16
"""Entries that are unpacked from bits at a time, a multiple of 8."""

MANY_ZEROS = 0.05
"""Share of zeros below which no mask is tried."""


_TYPES: Mapping[str, torch.dtype] = (
    {"f8": torch.float64, "f4": torch.float32, "f2": torch.float16, "b2": torch.bfloat16}
    | {"i8": torch.int64, "i4": torch.int32, "i2": torch.int16, "i1": torch.int8}
    | {"u1": torch.uint8, "?": torch.bool}
)
"""Data types by their names in a file."""

_PAIRS = {"c8": (torch.complex64, "f4"), "c16": (torch.complex128, "f8")}
"""Complex data types, and the type of the two numbers that each entry is stored as."""


class Writer:
    """Collects tensors in streams.

    Attributes:
        streams: What was collected so far, by name.
        differs: True if deflating decided anything: else streams are the same without.
    """

    def __init__(self, *, deflating: bool = True) -> None:
        """All streams are empty.

        `deflating` chooses, tensor by tensor, what is smaller once it is deflated; else what is
        smaller as it is, which never takes more than `most` says.
        """
        self.streams = {name: bytearray() for name in STREAMS}
        self.differs = False
        self._cost = _deflated if deflating else _raw

    def put(self, tensor: Tensor) -> Entry:
        """Append a tensor; returns what `Reader.take` needs to find it again."""
        if tensor.is_complex():
            self.put(_pairs(tensor))
            (name,) = (name for name, (kind, _) in _PAIRS.items() if kind == tensor.dtype)
            return [name, list(tensor.shape)]
        name, kind = _type_of(tensor)
        entries = _bytes(tensor)
        alive = entries.view(f"u{entries.shape[1]}")[:, 0] != 0
        width, parts = self._dense(entries, kind)
        if len(alive) and alive.mean() <= 1 - MANY_ZEROS:
            width_of_rest, rest = self._dense(entries[alive], kind)
            rest["masks"] = np.packbits(alive, bitorder="little")
            if self._shorter(rest, parts):
                width, parts = width_of_rest + _MASKED, rest
        for stream, content in parts.items():
            self.streams[stream] += content.tobytes()
        self.streams["widths"].append(width)
        return [name, list(tensor.shape)]

    def _shorter(self, one: Mapping[str, Bytes], other: Mapping[str, Bytes]) -> bool:
        found = self._cost(one) < self._cost(other)
        self.differs |= found != (_raw(one) < _raw(other))
        return found

    def _dense(self, entries: Bytes, kind: torch.dtype) -> tuple[int, dict[str, Bytes]]:
        """Bits of an entry, and the bytes for each stream, without a mask."""
        need = _bits(kind) if kind.is_floating_point else _need(entries, kind)
        if need > 8:
            count = -(-need // 8)
            return 8 * count, _split(_family(kind), entries[:, :count])
        packed, whole = {"bits": _packed(entries[:, 0], need)}, {"values": entries[:, 0]}
        if _bits(kind) == 1 or (need < 8 and self._shorter(packed, whole)):
            return need, packed
        return 8, whole


class Reader:
    """Takes tensors out of streams, in the order in which they were put in."""

    def __init__(self, streams: Mapping[str, bytes], allowance: Allowance | None = None) -> None:
        """Start at the beginning of every stream; an allowance bounds the tensors taken out."""
        self._allowance = allowance
        self._rest = {name: memoryview(streams[name]) for name in STREAMS}

    def take(self, entry: Entry) -> Tensor:
        """The next tensor; ValueError if the entry means nothing, or a stream ends too early."""
        if entry[0] in _PAIRS:
            return torch.view_as_complex(self.take([_PAIRS[entry[0]][1], [*entry[1], 2]]))
        kind, shape = _entry(entry)
        if self._allowance is not None:
            self._allowance.take_tensor(shape, kind.itemsize)
        width, masked = self._width(kind)
        count = prod(shape)
        alive = None
        if masked:
            packed = self._take("masks", -(-count // 8))
            alive = np.unpackbits(packed, count=count, bitorder="little").view(bool)
        kept = count if alive is None else int(alive.sum())
        entries = self._entries(kept, kind, width)
        if alive is not None:
            whole = np.zeros((count, entries.shape[1]), np.uint8)
            whole[alive] = entries
            entries = whole
        if not count:
            return torch.zeros(shape, dtype=kind)
        return torch.from_numpy(entries.reshape(-1)).view(kind).reshape(shape)

    def finish(self) -> None:
        """ValueError if anything is left."""
        left = {name: len(rest) for name, rest in self._rest.items() if len(rest)}
        if left:
            raise ValueError(f"bytes that belong to no tensor are left in its streams: {left}")

    def _width(self, kind: torch.dtype) -> tuple[int, bool]:
        """Bits of an entry, and whether a mask comes first."""
        said = int(self._take("widths", 1)[0])
        width, masked = said % _MASKED, said >= _MASKED
        fixed = kind.is_floating_point or _bits(kind) == 1
        known = (_bits(kind),) if fixed else (*range(1, 9), *range(16, _bits(kind) + 1, 8))
        if width not in known:
            raise ValueError(f"it has a tensor of {kind} in {width} bits, which is impossible")
        return width, masked

    def _entries(self, count: int, kind: torch.dtype, width: int) -> Bytes:
        """Entries of full size from entries of `width` bits."""
        size, stored = kind.itemsize, max(1, width // 8)
        whole = np.empty((count, size), np.uint8)
        if width > 8:
            whole[:, stored - 1] = self._take(f"{_family(kind)}_high", count)
            whole[:, stored - 2] = self._take(f"{_family(kind)}_next", count)
            low = self._take(f"{_family(kind)}_low", count * (stored - 2))
            whole[:, : stored - 2] = low.reshape(stored - 2, count).T
        elif width == 8:
            whole[:, 0] = self._take("values", count)
        else:
            self._unpacked(whole[:, 0], width, signed=kind.is_signed)
        if stored < size:
            # The rest of a negative number is ones.
            last = whole[:, stored - 1]
            whole[:, stored:] = ((last >> 7) * 255 if kind.is_signed else last * 0)[:, None]
        return whole

    def _unpacked(self, whole: Bytes, width: int, *, signed: bool) -> None:
        """Bytes from numbers of `width` bits, a part at a time: a bit takes a byte meanwhile."""
        packed = self._take("bits", -(-len(whole) * width // 8))
        for start in range(0, len(whole), _PART):
            count = min(_PART, len(whole) - start)
            part = packed[start * width // 8 :]
            bits = np.unpackbits(part, count=count * width, bitorder="little").reshape(count, width)
            filler = bits[:, -1:] if signed else np.zeros_like(bits[:, :1])
            filled = np.concatenate([bits, filler.repeat(8 - width, axis=1)], axis=1)
            whole[start : start + count] = np.packbits(filled, axis=1, bitorder="little")[:, 0]

    def _take(self, stream: str, count: int) -> Bytes:
        rest = self._rest[stream]
        if count > len(rest):
            raise ValueError(
                f"its stream of {stream} ends too early: {count:,} more bytes were expected and "
                f"{len(rest):,} are left"
            )
        self._rest[stream] = rest[count:]
        return np.frombuffer(rest[:count], np.uint8)


def most(tensor: Tensor) -> int:
    """Most bytes that a tensor takes from a `Writer` that is not deflating, whatever it holds.

    Of integers of 8 bits those are taken that the entries need: how many they have is a matter of
    choice, not of training. Likewise of 64 bits where there are several: they are numbers of
    channels; a single one counts batches.
    """
    tensor = _pairs(tensor) if tensor.is_complex() else tensor
    _, kind = _type_of(tensor)
    width = _bits(kind)
    if width == 8 or (width == 64 and not kind.is_floating_point and tensor.numel() > 1):
        need = _need(_bytes(tensor), kind)
        width = need if need <= 8 else 8 * -(-need // 8)
    return 1 + -(-tensor.numel() * width // 8)


def _pairs(tensor: Tensor) -> Tensor:
    """A complex tensor as real ones, both parts of an entry one behind the other."""
    return torch.view_as_real(tensor.detach().resolve_conj())


def _type_of(tensor: Tensor) -> tuple[str, torch.dtype]:
    for name, kind in _TYPES.items():
        if kind == tensor.dtype:
            return name, kind
    known = (*_TYPES.values(), *(kind for kind, _ in _PAIRS.values()))
    raise ValueError(
        f"a tensor of shape {tuple(tensor.shape)} has the data type {tensor.dtype}, which cannot "
        f"be stored; known are {', '.join(map(str, known))}"
    )


def _bits(kind: torch.dtype) -> int:
    return 1 if kind is torch.bool else 8 * kind.itemsize


def _family(kind: torch.dtype) -> str:
    return "floats" if kind.is_floating_point else "integers"


def _bytes(tensor: Tensor) -> Bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    content: Bytes = flat.view(torch.uint8).numpy()
    return content.reshape(flat.numel(), flat.element_size())


def _split(stream: str, entries: Bytes) -> dict[str, Bytes]:
    """The highest byte of every entry for one stream, the next for another, the rest for a third.

    What a byte is like depends on its place: the highest is sign and exponent, or mostly sign; the
    low ones are zero in a number that came from fewer bits.
    """
    low = {f"{stream}_low": entries[:, :-2].T} if entries.shape[1] > 2 else {}
    return {f"{stream}_high": entries[:, -1], f"{stream}_next": entries[:, -2], **low}


def _raw(parts: Mapping[str, Bytes]) -> int:
    return sum(content.size for content in parts.values())


def _deflated(parts: Mapping[str, Bytes]) -> int:
    """Bytes that these take in a file, were each of them a stream of its own."""
    return sum(len(deflated(content.tobytes())) for content in parts.values())


def _need(entries: Bytes, kind: torch.dtype) -> int:
    """Bits that the largest of these integers needs, at least one (two with a sign)."""
    if _bits(kind) == 1:
        return 1
    values = np.ascontiguousarray(entries).view(f"<{'i' if kind.is_signed else 'u'}{kind.itemsize}")
    ends = (int(values.min()), int(values.max())) if values.size else (0, 0)
    # A negative v needs the bits of ~v and a sign: -8..7 are the numbers of 4 bits.
    longest = max((v if v >= 0 else ~v).bit_length() for v in ends)
    return max(1, longest) + kind.is_signed


def _packed(values: Bytes, width: int) -> Bytes:
    bits = np.unpackbits(values.reshape(-1, 1), axis=1, bitorder="little")[:, :width]
    return np.packbits(bits.reshape(-1), bitorder="little")


def _entry(entry: Entry) -> tuple[torch.dtype, list[int]]:
    name, shape = entry
    if name not in _TYPES:
        raise ValueError(f"it has a tensor of the type {name!r}; known are {', '.join(_TYPES)}")
    sizes = [int(size) for size in shape]
    if any(size < 0 for size in sizes):
        raise ValueError(f"it has a tensor of the impossible shape {sizes}")
    return _TYPES[name], sizes
