"""Crops hold sound and are where, as fast and as loud as drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recipes.training.crops import RandomCrops, Recordings, between, even_crops


def recordings(*clips: list[int]) -> Recordings:
    return Recordings.of(torch.tensor(clips, dtype=torch.int16))


def test_silence_at_both_ends_does_not_count() -> None:
    found = recordings(
        [0, 0, 500, 0, 700, 3, 0, 0],  # 3 is below the steps that sound has at least
        [9000, 0, 0, 0, 0, 0, 8, 0],  # 8 is below a thousandth of the peak
        [0] * 8,
    )
    assert found.begins.tolist() == [2, 0, 0]
    assert found.ends.tolist() == [5, 1, 8]


def test_even_crops_begin_with_the_sound_and_end_with_it() -> None:
    ramp = [0, 0, *range(100, 1100, 100), 0, 0, 0, 0]
    found = 32768 * even_crops(recordings(ramp), samples=4, count=3)[0]
    assert found.tolist() == [
        [100, 200, 300, 400], [400, 500, 600, 700], [700, 800, 900, 1000],
    ]  # fmt: skip
    middle = 32768 * even_crops(recordings(ramp), samples=4, count=1)[0]
    assert middle.tolist() == [[400, 500, 600, 700]]


def test_a_sound_shorter_than_a_crop_is_in_all_of_them_whole() -> None:
    found = 32768 * even_crops(recordings([0, 0, 0, 700, 900]), samples=4, count=3)[0]
    assert found.tolist() == [[0, 0, 700, 900], [0, 700, 900, 0], [700, 900, 0, 0]]


def test_random_crops_stay_inside_the_sound() -> None:
    level = [0] * 50 + [10_000] * 200 + [0] * 50
    crops = RandomCrops(samples=80, gain=0.0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        found = 32768 * crops(recordings(level), generator)
        # The last sample may lie between the last sound and the silence behind it.
        assert torch.allclose(found[0, 1:-2], torch.tensor(10_000.0))


def test_a_crop_is_faster_or_slower_by_at_most_its_scale_and_louder_by_its_gain() -> None:
    """Of a ramp, the slope is the speed; of a constant, the height is the gain."""
    generator = torch.Generator().manual_seed(0)
    ramp = recordings([*range(1000, 3000)])
    crops = RandomCrops(samples=100, scale=1.25, gain=0.0)
    slopes = np.array(
        [float((32768 * crops(ramp, generator))[0].diff().mean()) for _ in range(300)]
    )
    assert 0.8 <= slopes.min() < 0.83
    assert 1.2 < slopes.max() <= 1.25
    louder = RandomCrops(samples=100, scale=1.0, gain=6.0)
    even = recordings([1000] * 2000)
    heights = [float((32.768 * louder(even, generator))[0, 50]) for _ in range(300)]
    decibels = 20 * np.log10(heights)
    assert -6 <= decibels.min() < -5.5
    assert 5.5 < decibels.max() <= 6


def test_places_between_samples_are_on_the_line_and_outside_is_silence() -> None:
    audio = torch.tensor([[10, 20, 40]], dtype=torch.int16)
    place = torch.tensor([[-1.0, -0.5, 0.25, 1.5, 2.0, 2.5, 9.0]], dtype=torch.float64)
    assert between(audio, place).tolist() == [[0.0, 5.0, 12.5, 30.0, 40.0, 20.0, 0.0]]


@pytest.mark.parametrize(
    "wrong", [{"samples": 0}, {"samples": 5, "scale": 0.5}, {"samples": 5, "gain": float("inf")}]
)
def test_what_names_no_crop_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        RandomCrops(**wrong)


def test_recordings_of_another_type_are_refused() -> None:
    with pytest.raises(ValueError, match=r"float32 of shape \(2, 5\)"):
        Recordings.of(torch.zeros(2, 5))
