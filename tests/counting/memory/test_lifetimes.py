from __future__ import annotations

import pytest
from hypothesis import given

from compressor.counting.memory.lifetimes import Lifetime, Peak, live_bytes, peak, steps_of
from tests.helpers.arenas import lifetimes


def test_a_small_network_by_hand() -> None:
    """input -> a -> b, and b + input: the input lives to the end."""
    given = Lifetime("input", 100, 0, 3)
    a, b, out = Lifetime("a", 64, 1, 2), Lifetime("b", 10, 2, 3), Lifetime("out", 1, 3, 3)
    tensors = [given, a, b, out]
    assert live_bytes(tensors) == [112, 112 + 64, 112 + 64 + 16, 112 + 16 + 16]
    assert peak(tensors) == Peak(2, 192, (given, a, b))


@given(lifetimes())
def test_live_bytes_are_counted_step_by_step(tensors: list[Lifetime]) -> None:
    counted = [
        sum(-(-t.size // 16) * 16 for t in tensors if t.first <= step <= t.last)
        for step in steps_of(tensors)
    ]
    assert live_bytes(tensors) == counted
    found = peak(tensors)
    assert found.bytes == max(counted, default=0)
    assert found.bytes == sum(t.room for t in found.tensors)
    assert all(t.first <= found.step <= t.last for t in found.tensors)


@given(lifetimes())
def test_two_that_meet_share_a_step(tensors: list[Lifetime]) -> None:
    for one in tensors:
        for other in tensors:
            steps = set(range(one.first, one.last + 1)) & set(range(other.first, other.last + 1))
            assert one.meets(other) == bool(steps)


def test_nothing_takes_nothing() -> None:
    assert peak([]) == Peak(0, 0, ())
    assert live_bytes([]) == []


def test_what_no_tensor_can_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'a'.* -1 bytes"):
        Lifetime("a", -1, 0, 0)
    with pytest.raises(ValueError, match=r"'a'.* ends at step 2, before its first, 3"):
        Lifetime("a", 1, 3, 2)
