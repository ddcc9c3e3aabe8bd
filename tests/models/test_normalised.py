"""The 2021 report's rivals of Residual Normalization, against librosa and numpy."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch

from compressor import Budget, FineTune, Int8, fit
from models import BCResNetASC, FixedPCEN, GlobalFreqNorm, Normalised
from tests.helpers.tiny import equal


def energies(*shape: int) -> torch.Tensor:
    """Mel power over six decades."""
    random = torch.Generator().manual_seed(0)
    return torch.exp(4 * torch.randn(shape, generator=random) - 6)


@pytest.mark.parametrize(
    ("frames", "hop", "seconds"), [(34, 0.03, 0.4), (1, 0.02, 0.1), (90, 0.01, 2)]
)
def test_pcen_is_librosas(frames: int, hop: float, seconds: float) -> None:
    power = energies(2, 1, 5, frames)
    found = FixedPCEN(frames, hop, seconds=seconds)(power.log())
    rate = 16_000
    span = seconds / hop
    share = (np.sqrt(1 + 4 * span**2) - 1) / (2 * span**2)
    scaled = power.double().numpy() * 2.0**31
    expected = librosa.pcen(
        scaled, sr=rate, hop_length=round(hop * rate), time_constant=seconds,
        zi=(1 - share) * scaled[..., :1],
    )  # fmt: skip
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-3, atol=1e-3)


def test_global_norm_leaves_every_band_with_mean_0_and_deviation_1() -> None:
    x = 3 * energies(40, 2, 6, 9).log() + torch.arange(6.0)[:, None]
    y = GlobalFreqNorm.of(x)(x).transpose(0, 2).flatten(1)
    assert torch.allclose(y.mean(1), torch.zeros(6), atol=1e-4)
    assert torch.allclose(y.std(1, correction=0), torch.ones(6), atol=1e-4)


def test_an_even_band_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0 is needed"):
        GlobalFreqNorm.of(torch.zeros(3, 1, 4, 5))


def test_a_wrong_constant_is_refused() -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        FixedPCEN(10, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "norm", [FixedPCEN(8, 0.03), GlobalFreqNorm(torch.zeros(32), torch.ones(32))]
)
def test_a_normalised_network_goes_the_whole_road(norm: torch.nn.Module) -> None:
    model = Normalised(norm, BCResNetASC(4, 3, mels=32, frames=8))
    data = [(energies(6, 1, 32, 8).log(), torch.tensor([0, 1, 2, 0, 1, 2]))]
    schedule = [FineTune(epochs=1), Int8(epochs=0)]
    result = fit(model, data, budget=Budget(params="1M"), schedule=schedule)
    assert equal(result.network, result.model)
    assert result.network(data[0][0]).isfinite().all()
