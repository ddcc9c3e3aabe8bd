"""Pitch in cents: what the network is to say is read back as what is true."""

from __future__ import annotations

import pytest
import torch

from recipes.pitch.bins import CENTRES, accuracy, cents, errors, pitch, targets


def test_octaves_are_1200_cents() -> None:
    hertz = torch.tensor([10.0, 20.0, 440.0], dtype=torch.float64)
    assert cents(hertz).tolist() == pytest.approx([0, 1200, 6551.3179], abs=1e-3)
    first, last = 10 * 2 ** (CENTRES[[0, -1]] / 1200)
    assert (float(first), float(last)) == pytest.approx((31.70, 2005.5), abs=0.05)


def test_targets_are_read_back() -> None:
    hertz = torch.logspace(1.7, 3.29, 200, dtype=torch.float64)
    made = targets(hertz)
    assert made.shape == (200, 360)
    assert (pitch(made) - cents(hertz)).abs().max() < 1.5
    assert errors(made, hertz).max() < 1.5


def test_a_semitone_is_wrong_and_a_quarter_tone_is_right() -> None:
    hertz = torch.full((4,), 440.0, dtype=torch.float64)
    said = targets(hertz * 2 ** (torch.tensor([0.0, 45.0, 55.0, 100.0]) / 1200))
    assert accuracy(errors(said, hertz)) == 50


def test_a_network_that_says_nothing_is_wrong() -> None:
    assert accuracy(errors(torch.zeros(3, 360), torch.tensor([100.0, 200.0, 300.0]))) == 0
