"""The sigmoid in whole numbers; that it is the kernels' own is shown where files are run."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.network.fixed_sigmoid import sigmoid_steps

STEPS = torch.arange(-255, 256)


@given(st.floats(1e-4, 2.0))
def test_it_is_the_sigmoid_to_a_step(scale: float) -> None:
    found = sigmoid_steps(STEPS, torch.tensor(scale))
    value = torch.sigmoid(STEPS.double() * torch.tensor(scale).double())
    wanted = (value * 256).round().clamp(0, 255)
    assert int((found - wanted).abs().max()) <= 1
    assert float((found == wanted).double().mean()) > 0.98


@pytest.mark.parametrize("scale", [1e-3, 0.05, 0.7])
def test_it_never_falls(scale: float) -> None:
    found = sigmoid_steps(STEPS, torch.tensor(scale))
    assert bool((found.diff() >= 0).all())
    assert int(found[255]) == 128
    assert math.isclose(
        float(found[-1]), min(255, round(256 / (1 + math.exp(-255 * scale)))), abs_tol=1
    )
