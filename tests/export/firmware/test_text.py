"""Numbers that C++ reads back as they were."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.export.firmware.text import array, camel, single


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_single_precision_is_read_back(value: float) -> None:
    text = single(np.float32(value))
    assert re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?f", text)
    assert "." in text or "e" in text  # else C++ takes it for a whole number with a wrong suffix
    assert np.float32(text[:-1]) == np.float32(value)


@given(st.lists(st.integers(-128, 127), min_size=1, max_size=300))
def test_arrays_are_read_back_on_short_lines(numbers: list[int]) -> None:
    text = array("const int8_t name[]", np.array(numbers, np.int8))
    head, _, rest = text.partition("{")
    assert head == "const int8_t name[] = "
    assert [int(word) for word in rest.replace("};", "").split(",") if word.strip()] == numbers
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("operator", "method"),
    [
        ("ADD", "Add"),
        ("BATCH_MATMUL", "BatchMatMul"),
        ("CONV_2D", "Conv2D"),
        ("DEPTHWISE_CONV_2D", "DepthwiseConv2D"),
        ("FULLY_CONNECTED", "FullyConnected"),
        ("MAX_POOL_2D", "MaxPool2D"),
        ("RELU6", "Relu6"),
    ],
)
def test_operators_are_named_as_methods(operator: str, method: str) -> None:
    assert camel(operator) == method
