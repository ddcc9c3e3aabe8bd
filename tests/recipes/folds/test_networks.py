"""A fold's networks keep to their caps, go on where they were and leave records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from recipes.folds import networks
from recipes.folds.clips import Folds, decided
from recipes.folds.networks import Fold, folder_of
from recipes.folds.settings import CONTROL, DENSE, GOALS, STAGES, FoldSettings, short
from recipes.training.crops import Recordings


def sound(a_fold: int) -> Folds:
    """Noise, of which every fold has so many clips."""
    generator = torch.Generator().manual_seed(0)
    count = 5 * a_fold
    audio = torch.randint(-9000, 9000, (count, 80_000), generator=generator, dtype=torch.int16)
    folds = torch.arange(count) % 5 + 1
    return Folds(Recordings.of(audio), torch.arange(count) % 7, folds)


def fold(out: Path, settings: FoldSettings, data: Folds) -> Fold:
    return Fold(2, settings, data, folder_of(out, 2, settings.seed), Console(quiet=True))


TINY = short(FoldSettings())
TINY = replace(TINY, hearing=replace(TINY.hearing, batch=4))


@pytest.mark.slow
def test_every_network_of_a_fold_keeps_to_its_caps(tmp_path: Path) -> None:
    """The whole road at an epoch each; a second call reads what the first one has made."""
    one = fold(tmp_path, TINY, sound(2))
    found = {stage: one.kept(stage) for stage in (DENSE, "128k, 30M", "128k, 30M, 64 KiB")}
    dense, small, integers = found.values()
    assert dense["params"] > 128_000 >= small["params"]
    assert dense["macs"] > 30e6 >= small["macs"] > 20e6
    assert integers["bytes"] <= GOALS["128k, 30M, 64 KiB"].bytes
    assert integers["macs"] <= 30e6
    assert all(record["dense"] == dense["accuracy"] for record in found.values())
    assert all(record["clips"] == 2 for record in found.values())
    assert one.kept("128k, 30M") == small


def test_a_test_fold_is_never_trained_on() -> None:
    data = sound(3)
    (clips, labels), (held, held_labels) = data.split(4)
    assert len(clips) == len(labels) == 12
    assert len(held) == len(held_labels) == 3
    heard = {tuple(clip[:50].tolist()) for clip in clips.audio}
    assert not heard & {tuple(clip[:50].tolist()) for clip in held.audio}


def test_a_fold_that_is_not_there_is_refused() -> None:
    data = sound(1)
    with pytest.raises(ValueError, match=r"Fold 6 was asked for, of \[1, 2, 3, 4, 5\]"):
        data.split(6)


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    data = sound(1)
    folder_of(tmp_path, 2, 0).begin(TINY, "5 clips, fold 2")
    with pytest.raises(ValueError, match=r"belongs to another run: config.lr 0.003 -> 0.1"):
        fold(tmp_path, replace(TINY, lr=0.1), data).kept(DENSE)


def test_crops_decide_by_the_mean_of_their_probabilities() -> None:
    """One crop is sure of class 1, two are half sure of class 0: the mean is for class 1."""
    logits = torch.tensor([[0.0, 9.0], [0.5, 0.0], [0.5, 0.0]])
    crops = torch.arange(3.0).reshape(1, 3, 1, 1, 1)

    class Table(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return logits[x.flatten().long()]

    assert decided(Table(), crops).tolist() == [1]


def test_what_takes_longest_comes_first() -> None:
    assert [*networks.pieces((3, 4))][:3] == [(DENSE, 3), (DENSE, 4), (CONTROL, 3)]
    assert len({networks.named(stage) for stage in STAGES}) == len(STAGES)


def test_macs_are_those_of_all_crops() -> None:
    settings = FoldSettings()
    for stage, goal in GOALS.items():
        assert settings.deciding(stage) * settings.budget(stage).macs <= goal.macs
    assert settings.budget("128k, 30M").macs == 15_000_000
    assert settings.deciding(DENSE) == settings.crops == 3
