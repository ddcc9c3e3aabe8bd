"""Pitch in cents: what CREPE learns, what is read from its outputs, and how often it is right.

J. W. Kim, J. Salamon, P. Li, J. P. Bello, "CREPE", ICASSP 2018, equations 1 to 3 and section 3.1.
"""

from __future__ import annotations

import torch
from torch import Tensor

FIRST, STEP, BINS = 1997.3794084376191, 20.0, 360
"""Cents above 10 Hz of the first bin (torchcrepe's `convert.py`), between two, and their number."""
CENTRES = FIRST + STEP * torch.arange(BINS, dtype=torch.float64)
"""Cents of every bin, (360,)."""
SPREAD = 25.0
"""Standard deviation of a target around the true pitch, in cents: equation 2."""
NEAR = 4
"""Bins on either side of the highest that the answer is a mean of."""
TOLERANCE = 50.0
"""Cents by which an answer may be wrong: a quarter tone."""


def cents(hertz: Tensor) -> Tensor:
    """``1200 log2(f / 10 Hz)``: equation 1."""
    return 1200 * torch.log2(hertz / 10)


def targets(hertz: Tensor) -> Tensor:
    """What the network is to say, float32 (frames, 360): a bell around the true pitch."""
    away = (cents(hertz)[:, None] - CENTRES) / SPREAD
    return torch.exp(-away.square() / 2).float()


def pitch(salience: Tensor) -> Tensor:
    """Cents (frames,) of outputs (frames, 360): the mean of the bins around the highest one."""
    salience = salience.double()
    highest = salience.argmax(dim=1, keepdim=True)
    near = (torch.arange(BINS) - highest).abs() <= NEAR
    weights = torch.where(near, salience, 0.0)
    return (weights @ CENTRES) / weights.sum(1)


def errors(salience: Tensor, hertz: Tensor) -> Tensor:
    """Cents (frames,) by which outputs are wrong; not a number where they say nothing at all."""
    return (pitch(salience) - cents(hertz)).abs()


def accuracy(wrong: Tensor) -> float:
    """Raw pitch accuracy: the share of frames, in percent, that are within a quarter tone."""
    return 100 * float((wrong <= TOLERANCE).double().mean())
