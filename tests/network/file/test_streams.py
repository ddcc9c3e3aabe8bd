"""Streams of bytes: every tensor comes back bit for bit, in no more bits than it needs."""

from __future__ import annotations

import json
from math import prod

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import example, given
from torch import Tensor

from compressor.network.file.streams import Reader, Writer, most

TYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Any bits at all, of any type and shape; often few distinct ones, small ones or zeros."""
    dtype = draw(st.sampled_from(TYPES))
    shape = draw(st.lists(st.integers(0, 6), max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    if dtype == torch.bool:
        return torch.rand(shape, generator=generator) < 0.5
    size = torch.empty((), dtype=dtype).element_size()
    raw = torch.randint(0, 256, (prod(shape) * size,), generator=generator, dtype=torch.uint8)
    tensor = raw.view(dtype).reshape(shape) if raw.numel() else torch.zeros(shape, dtype=dtype)
    if not dtype.is_floating_point:
        tensor = tensor >> draw(st.integers(0, 8 * size - 1))
    tensor = tensor.clone()
    tensor[torch.rand(shape, generator=generator) < draw(st.sampled_from((0.0, 0.5, 0.99)))] = 0
    return tensor


def stored(*given: Tensor, deflating: bool = True) -> tuple[list[Tensor], dict[str, int]]:
    """Tensors written to streams and read again, and the length of every stream."""
    writer = Writer(deflating=deflating)
    entries = json.loads(json.dumps([writer.put(tensor) for tensor in given]))
    reader = Reader({name: bytes(stream) for name, stream in writer.streams.items()})
    found = [reader.take(entry) for entry in entries]
    reader.finish()
    lengths = {name: len(stream) for name, stream in writer.streams.items() if stream}
    assert lengths.pop("widths", 0) == len(given)
    return found, lengths


def equal(left: Tensor, right: Tensor) -> bool:
    """Bit for bit: NaN equals itself, -0.0 does not equal 0.0."""
    if (left.dtype, left.shape) != (right.dtype, right.shape):
        return False
    bits = (t.contiguous().reshape(-1).view(torch.uint8) for t in (left, right))
    return torch.equal(*bits)


@given(st.lists(tensors(), max_size=4))
@example([torch.tensor([0.0, -0.0, float("nan"), float("inf")] * 40)])
@example([torch.tensor([-128, 127, 0] * 99, dtype=torch.int8)])
@example([torch.tensor(-(2**63)), torch.tensor([2**63 - 1] * 9)])
def test_every_tensor_comes_back_bit_for_bit(given: list[Tensor]) -> None:
    found, _ = stored(*given)
    assert len(found) == len(given)
    assert all(map(equal, given, found))


@given(st.lists(tensors(), max_size=4))
def test_no_tensor_takes_more_than_was_said(given: list[Tensor]) -> None:
    found, lengths = stored(*given, deflating=False)
    assert all(map(equal, given, found))
    assert len(given) + sum(lengths.values()) <= sum(most(tensor) for tensor in given)


def test_integers_take_no_more_bits_than_they_need() -> None:
    generator = torch.Generator().manual_seed(0)

    def drawn(low: int, high: int, dtype: torch.dtype) -> Tensor:
        return torch.randint(low, high + 1, (4000,), generator=generator).to(dtype)

    assert stored(drawn(-8, 7, torch.int8))[1] == {"bits": 2000}
    assert stored(drawn(1, 3, torch.uint8))[1] == {"bits": 1000}
    assert stored(drawn(-127, 127, torch.int8))[1] == {"values": 4000}
    assert stored(drawn(0, 15, torch.uint8))[1] == {"bits": 2000}
    assert stored(drawn(-30000, 30000, torch.int32))[1] == {
        "integers_high": 4000,
        "integers_next": 4000,
    }
    assert stored(drawn(-(2**22), 2**22, torch.int32))[1] == {
        "integers_high": 4000,
        "integers_next": 4000,
        "integers_low": 4000,
    }
    assert stored(drawn(-8, 7, torch.int64))[1] == {"bits": 2000}
    assert stored(drawn(0, 1, torch.bool))[1] == {"bits": 500}


def test_a_mask_is_used_where_it_is_smaller() -> None:
    generator = torch.Generator().manual_seed(0)
    dense = torch.randint(1, 128, (8000,), generator=generator).to(torch.int8)
    sparse = dense * (torch.rand(8000, generator=generator) < 0.25)
    assert "masks" not in stored(dense)[1]
    lengths = stored(sparse)[1]
    assert lengths == {"masks": 1000, "values": int((sparse != 0).sum())}
    assert "masks" in stored(sparse.half())[1]


def test_a_stream_that_does_not_fit_is_refused() -> None:
    writer = Writer()
    entry = writer.put(torch.arange(60, dtype=torch.int32))
    streams = {name: bytes(stream) for name, stream in writer.streams.items()}
    with pytest.raises(ValueError, match="bits, which is impossible"):
        Reader(streams).take(["f4", [60]])
    with pytest.raises(ValueError, match="bits ends too early"):
        Reader(streams | {"bits": b""}).take(entry)
    reader = Reader(streams | {"bits": streams["bits"] + b"x"})
    reader.take(entry)
    with pytest.raises(ValueError, match=r"left in its streams: \{'bits': 1\}"):
        reader.finish()
