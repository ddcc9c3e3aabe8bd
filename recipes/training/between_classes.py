"""Between-class learning: two sounds are mixed by ear, and the network is asked in which ratio.

Y. Tokozume, Y. Ushiku, T. Harada, "Learning from Between-class Examples for Deep Sound
Recognition", ICLR 2018. Waveforms are mixed; as the Fourier transform is linear, this file mixes
the spectra of their frames, which is the same and needs no second transform.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

SILENCE = -80.0
"""Decibels below which a frame counts as no quieter, as in the authors' code."""


def a_weighting(hertz: Tensor) -> Tensor:
    """Weight of a frequency's level by the ear, in dB, of at least `SILENCE`.

    IEC 61672-1:2013, equation E.1: 0 dB at 1 kHz. The same shape.
    """
    square = hertz.double().square()
    high, low, first, second = 12_194.0**2, 20.6**2, 107.7**2, 737.9**2
    shape = (
        (high * square.square()) / ((square + low) * (square + high))
        / ((square + first) * (square + second)).sqrt()
    )  # fmt: skip
    return (20 * shape.clamp(min=1e-12).log10() + 2.0).clamp(min=SILENCE)


def loudness(spectrum: Tensor, rate: int) -> Tensor:
    """Sound pressure level of the loudest frame of every clip, A-weighted, in dB.

    Section 3.2 of the paper: the level of a sound is the greatest of its windows'.

    Args:
        spectrum: Complex (batch, frames, bins), bins from 0 Hz to half the rate.
        rate: Sample rate in Hz.

    Returns:
        (batch,), float64; of digital silence `SILENCE`.
    """
    hertz = torch.linspace(0, rate / 2, spectrum.shape[-1], device=spectrum.device)
    weight = (10 ** (a_weighting(hertz) / 10)).to(spectrum.real.dtype)
    power = torch.view_as_real(spectrum).square().sum(-1) @ weight  # (batch, frames)
    return 10 * power.double().clamp(min=10 ** (SILENCE / 10)).log10().amax(dim=1)


def share_of(ratio: Tensor, level: Tensor, other: Tensor) -> Tensor:
    """Factor p of the first sound, so that both are heard in a ratio of `ratio` to the rest.

        p = 1 / (1 + 10^((G1 - G2) / 20) * (1 - r) / r)

    Equation 2 of the paper: levels are taken out, so that r is what the ear hears.

    Args:
        ratio: r (batch,), above 0 and below 1.
        level: G1 (batch,), in dB.
        other: G2 (batch,), in dB.
    """
    return 1 / (1 + 10 ** ((level - other) / 20) * (1 - ratio) / ratio)


def mixed(
    spectrum: Tensor, targets: Tensor, rate: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Every clip mixed with another one of the batch, and its label distribution in the same ratio.

        x = (p x1 + (1 - p) x2) / sqrt(p^2 + (1 - p)^2),   t = r t1 + (1 - r) t2,   r ~ U(0, 1)

    Equation 3 of the paper: the root keeps the power of the mixture, not its amplitude. The paper
    draws pairs of two classes; here a partner is any other clip, now and then of the same class.
    Cross entropy of such targets differs from the paper's Kullback-Leibler divergence (equation 4)
    by the targets' own entropy: the gradients are equal.

    Args:
        spectrum: Complex (batch, frames, bins).
        targets: Label distributions (batch, classes).
        rate: Sample rate in Hz.
        generator: The only source of randomness, on the same device.
    """
    batch, device = len(spectrum), spectrum.device
    ratio = torch.rand(batch, generator=generator, device=device, dtype=torch.float64)
    ratio = ratio.clamp(1e-6, 1 - 1e-6)
    order = torch.randperm(batch, generator=generator, device=device)
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)  # one circle through all: nobody is their own partner
    level = loudness(spectrum, rate)
    share = share_of(ratio, level, level[partner])
    scale = (share.square() + (1 - share).square()).rsqrt()
    first, second = (
        factor.to(spectrum.real.dtype)[:, None, None]
        for factor in (share * scale, (1 - share) * scale)
    )
    keep = ratio.to(targets.dtype)[:, None]
    return (
        first * spectrum + second * spectrum[partner],
        keep * targets + (1 - keep) * targets[partner],
    )
