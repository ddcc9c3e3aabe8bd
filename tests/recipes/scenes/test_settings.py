"""Settings by year: what each asks for, and what is refused."""

from __future__ import annotations

import pytest
import torch

from compressor import Half, Int8
from recipes.features.logmel import BASELINE_2022, BASELINE_2024, LogMel
from recipes.running.overrides import override
from recipes.scenes.network import Source
from recipes.scenes.settings import YEARS, fast, of

SOURCE = Source("net.py:Net")


@pytest.mark.parametrize(
    ("year", "mels", "splits", "devices"),
    [
        (2022, BASELINE_2022, (100,), False),
        (2023, BASELINE_2022, (100,), False),
        (2024, BASELINE_2024, (5, 10, 25, 50, 100), False),
        (2025, BASELINE_2024, (25,), True),
    ],
)
def test_a_year_has_its_front_end_lists_and_networks(
    year: int, mels: object, splits: tuple[int, ...], devices: object
) -> None:
    config = of(SOURCE, year)
    assert (config.year, config.mels, config.splits, config.devices) == (
        year, mels, splits, devices
    )  # fmt: skip
    assert isinstance(config.store, Int8)


def test_the_baselines_front_end_has_its_published_shape() -> None:
    """256 bands, 65 frames of a second; 3,072 samples of window, 500 of hop, 4,096 of transform."""
    mels = BASELINE_2024
    assert (mels.window_samples, mels.hop_samples, mels.fft_samples) == (3072, 500, 4096)
    assert LogMel(mels)(torch.zeros(1, 32_000)).shape == (1, 1, 256, 65)
    assert of(SOURCE, 2025).frames == 65
    assert of(SOURCE, 2022).frames == 51


def test_a_front_end_is_chosen_by_year_or_given() -> None:
    config = of(SOURCE, 2024, "2022", (5,))
    assert (config.mels, config.splits, config.train.bands) == (BASELINE_2022, (5,), 8)
    own = override(of(SOURCE, 2024), ["mels.sample_rate=16000", "mels.fmax=8000", "mels.hop=0.02"])
    assert own.frames == 51
    assert own.train.hop == 0.02, "a roll of 0.1 s is one of five frames then"


def test_sixteen_bits_are_half_precision_and_not_of_2022() -> None:
    assert isinstance(override(of(SOURCE, 2023), ["bits=16"]).store, Half)
    with pytest.raises(ValueError, match="8 alone in 2022"):
        override(of(SOURCE, 2022), ["bits=16"])
    with pytest.raises(ValueError, match="bits=4: 8 or 16"):
        override(of(SOURCE, 2024), ["bits=4"])


@pytest.mark.parametrize("year", YEARS)
def test_a_trial_keeps_the_rule_and_the_front_end(year: int) -> None:
    config = of(SOURCE, year)
    short = fast(config)
    assert (short.mels, short.budget, short.splits) == (config.mels, config.budget, config.splits)
    assert (short.train.epochs, short.validation) == (2, 0.0)


def test_what_no_year_has_is_refused() -> None:
    with pytest.raises(ValueError, match="--year 2021: there are 2022, 2023, 2024, 2025"):
        of(SOURCE, 2021)
    for year in (2019, 2030):
        with pytest.raises(ValueError, match=f"--year {year}: there are 2022, .*2020 and 2021 are"):
            of(SOURCE, year)
    with pytest.raises(ValueError, match="--front-end mel: there are those of 2022"):
        of(SOURCE, 2024, "mel")
    with pytest.raises(ValueError, match="--split 5 10: 2025 takes one percentage, 25"):
        of(SOURCE, 2025, splits=(5, 10))
    with pytest.raises(ValueError, match="splits=7: there are lists of 5, 10"):
        of(SOURCE, 2024, splits=(5, 7))
    with pytest.raises(ValueError, match="each to be named once"):
        of(SOURCE, 2024, splits=(5, 5))
    with pytest.raises(ValueError, match="three numbers in kWh"):
        override(of(SOURCE, 2023), ["energy=1,2"])
    with pytest.raises(ValueError, match="heard=2: a probability"):
        override(of(SOURCE, 2023), ["heard=2"])
