"""Batches from waveforms: every clip at most once a pass, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from compressor import Budget, Train, fit, measure
from models import ResidualCNN
from recipes.features.logmel import LogMel, MelSettings
from recipes.training.crops import RandomCrops, Recordings
from recipes.training.sound_batches import Hearing, SoundBatches

MELS = MelSettings(window=0.040, hop=0.020)
PLAIN = Hearing(
    crops=RandomCrops(samples=4000, scale=1.0, gain=0.0), mels=MELS, batch=3, mix=False,
    bands=0, frames=0,
)  # fmt: skip


def clips(count: int) -> Recordings:
    generator = torch.Generator().manual_seed(0)
    audio = torch.randint(-9000, 9000, (count, 4000), generator=generator, dtype=torch.int16)
    return Recordings.of(audio)


def test_a_pass_without_changes_is_the_log_mels_of_the_clips() -> None:
    """A crop as long as the clip, nothing drawn: what `LogMel` makes of it, in another order."""
    heard = clips(6)
    batches = SoundBatches(heard, torch.arange(6), 6, PLAIN, seed=0)
    expected = LogMel(MELS)(heard.audio.float() / 32768)
    seen = []
    for x, targets in batches:
        rows = targets.argmax(1)
        assert x.shape == (3, 1, 64, PLAIN.length)
        torch.testing.assert_close(x, expected[rows], rtol=1e-4, atol=1e-4)
        seen += rows.tolist()
    assert sorted(seen) == list(range(6))


def test_what_is_beyond_whole_batches_is_left_out() -> None:
    batches = SoundBatches(clips(8), torch.arange(8), 8, PLAIN, seed=0)
    assert len(batches) == 2
    assert [len(x) for x, _ in batches] == [3, 3]


def test_passes_differ_and_are_those_of_the_seed() -> None:
    hearing = Hearing(crops=RandomCrops(samples=2000), mels=MELS, batch=4)
    one, same = (SoundBatches(clips(4), torch.arange(4), 4, hearing, seed=5) for _ in range(2))
    first, again = next(iter(one))[0], next(iter(one))[0]
    assert not torch.equal(first, again)
    assert torch.equal(first, next(iter(same))[0])
    assert torch.equal(again, next(iter(same))[0])


def test_a_label_for_every_clip_is_needed() -> None:
    with pytest.raises(ValueError, match=r"4 clips and labels of shape \(3,\)"):
        SoundBatches(clips(4), torch.arange(3), 3, PLAIN, seed=0)


@pytest.mark.slow
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """Crops, levels and mixtures are drawn by the loader's generator, which a checkpoint keeps."""
    hearing = Hearing(crops=RandomCrops(samples=2000), mels=MELS, batch=4)

    def trained(folder: Path, epochs: list[object] | None = None) -> Tensor:
        torch.manual_seed(0)
        model = ResidualCNN(4, (4, 8), (1, 1), frames=hearing.length)
        cost = measure(model)
        result = fit(
            model, SoundBatches(clips(8), torch.arange(8) % 4, 4, hearing, seed=1),
            budget=Budget(params=cost.params), schedule=[Train(3)], checkpoint=folder,
            on_epoch=None if epochs is None else epochs.append,
        )  # fmt: skip
        return torch.cat([p.detach().flatten() for p in result.model.parameters()])

    class Stop(list[object]):
        def append(self, log: object) -> None:
            super().append(log)
            if len(self) == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "stopped", Stop())
    seen: list[object] = []
    again = trained(tmp_path / "stopped", seen)
    assert len(seen) < 3
    assert torch.equal(again, trained(tmp_path / "whole"))
