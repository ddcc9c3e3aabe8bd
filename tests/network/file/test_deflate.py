"""Deflating: never longer, always the same, and no search where there is nothing to be found."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from compressor.network import Network, to_network
from compressor.network.file import container, deflate
from compressor.network.file.deflate import SHORT, deflated
from tests.helpers.stream_sizes import sizes

Count = Callable[[], int]


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> Count:
    """How many bytes were searched so far."""
    seen: list[int] = []
    plain = zlib.compress

    def compress(data: bytes, level: int) -> bytes:
        seen.append(len(data))
        return plain(data, level)

    monkeypatch.setattr(deflate.zlib, "compress", compress)
    return lambda: sum(seen)


def noise(count: int) -> bytes:
    return np.random.default_rng(0).integers(0, 256, count, np.uint8).tobytes()


def exponents(count: int) -> bytes:
    """The highest bytes of normal numbers: few different ones, in no order."""
    x = np.random.default_rng(0).normal(size=count).astype("<f4")
    return x.view(np.uint8).reshape(-1, 4)[:, 3].tobytes()


def sparse(count: int) -> bytes:
    """Whole bytes, most of them zero, in runs."""
    random = np.random.default_rng(0)
    runs = random.integers(0, 255, count // 64, np.uint8) * (random.random(count // 64) < 0.1)
    return runs.astype(np.uint8).repeat(64).tobytes()


STREAMS = {"noise": noise, "exponents": exponents, "sparse": sparse, "zeros": bytes}


@pytest.mark.parametrize("count", [0, 1, 1000, SHORT, SHORT + 1, 3 * SHORT])
@pytest.mark.parametrize("make", STREAMS.values(), ids=STREAMS)
def test_it_inflates_again_and_is_never_longer(make: Callable[[int], bytes], count: int) -> None:
    stream = make(count)
    short = deflated(stream)
    assert len(short) <= len(stream)
    assert short == deflated(stream)
    assert stream == (short if len(short) == len(stream) else zlib.decompress(short))


@pytest.mark.parametrize("make", [exponents, sparse, bytes])
def test_it_is_hardly_longer_than_a_search_of_all(make: Callable[[int], bytes]) -> None:
    """Of long streams too: what is not searched would not have been shorter for it."""
    stream = make(2 * SHORT)
    assert len(deflated(stream)) <= 1.02 * len(zlib.compress(stream, 9))


def test_what_repeats_in_a_long_stream_is_found(searched: Count) -> None:
    stream = sparse(2 * SHORT)
    assert len(deflated(stream)) < 0.2 * len(stream)
    assert searched() >= len(stream)


@pytest.mark.parametrize("make", [noise, exponents])
def test_long_noise_is_not_searched(make: Callable[[int], bytes], searched: Count) -> None:
    assert len(deflated(make(4 * SHORT))) <= 4 * SHORT
    assert searched() <= SHORT


def floats() -> Network:
    """A layer whose streams are long, with no zeros in it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(128, 512, 3), nn.BatchNorm2d(512), nn.Conv2d(512, 8, 1))
    return to_network(model.eval(), torch.zeros(1, 128, 3, 3))


def test_a_file_of_floats_is_searched_no_more_than_a_small_one(searched: Count) -> None:
    """A bound on the work, which a faster machine does not hide: all was searched three times."""
    made = floats()
    bound = container.bound(made)
    before = searched()
    content = container.pack(made)
    assert searched() - before <= 4 * SHORT
    assert len(content) <= bound
    assert content == container.pack(made)
    again = container.unpack(content)
    assert all(
        torch.equal(a, b) for a, b in zip(made.parameters(), again.parameters(), strict=True)
    )
    found = sizes(made)
    assert sum(size.stored for size in found.values()) == len(content)
    assert found["floats_high"].stored < 0.4 * found["floats_high"].raw


def test_a_long_file_of_any_tensors_is_within_its_bound() -> None:
    made = floats()
    bound = container.bound(made)
    generator = torch.Generator().manual_seed(0)
    for kept in (1.0, 0.9, 0.3):
        with torch.no_grad():
            for tensor in made.parameters():
                bits = torch.randint(-(2**31), 2**31, tensor.shape, generator=generator)
                raw = bits.to(torch.int32).view(torch.float32)
                alive = torch.rand(tensor.shape, generator=generator) < kept
                tensor.copy_(raw.where(alive, 0))
        assert len(container.pack(made)) <= bound
