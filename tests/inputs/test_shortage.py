"""Errors for want of memory, and others."""

from __future__ import annotations

import pytest
import torch

from compressor.inputs.shortage import out_of_memory


@pytest.mark.parametrize("sizes", [(10**9, 10**6), (10**12, 10**7)])
def test_what_torch_says_of_a_tensor_that_is_too_large(sizes: tuple[int, int]) -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(sizes)
    assert out_of_memory(caught.value)


def test_other_errors_are_not_for_want_of_memory() -> None:
    assert out_of_memory(MemoryError())
    assert not out_of_memory(RuntimeError("shapes differ"))
    assert not out_of_memory(ValueError("can't allocate memory"))
