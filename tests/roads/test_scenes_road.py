"""From audio files to a submission: every part once, on real clips and on generated ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import compressor
from compressor import Budget, Distill
from compressor.inputs.losses import cross_entropy
from models import BCResNetASC, LinearMoments, SharedResNet, Tandem
from recipes.data.audio import AudioFormat
from recipes.data.cache import waveforms
from recipes.data.listing import Listing
from recipes.data.split import by_location
from recipes.data.tau import read_tau
from recipes.features.logmel import MELS_2020, MELS_2021, MelSettings, log_mels
from recipes.generated.scenes import SceneSettings, write_scenes
from recipes.judging.metrics import evaluate
from recipes.submission.forms import FORM2022
from recipes.submission.output import check_package, write_package
from recipes.training.epochs import Epochs
from recipes.training.loop import accuracy, logits, train
from recipes.training.losses import ClassBalancedFocal
from recipes.training.paper_plans import Training2020, Training2021, Training2022
from recipes.training.sparse_linear import pretrain
from tests.helpers.forms import submission

ONE_SECOND = AudioFormat(seconds=1)
STEREO = AudioFormat(rate=48_000, channels=2, seconds=10)


def features(
    listing: Listing, wanted: AudioFormat, mels: MelSettings, cache: Path
) -> tuple[Tensor, Tensor]:
    """Log-mels and labels of a list."""
    audio = torch.from_numpy(np.array(waveforms(listing.paths, wanted, cache).audio))
    return log_mels(audio, mels, torch.device("cpu")), torch.from_numpy(listing.labels)


@pytest.mark.slow
@pytest.mark.data
def test_2022_linear_then_tandem_then_smaller_then_submitted(tau2022: Path, tmp_path: Path) -> None:
    """Real clips of nine devices: l1 pre-training, the tandem, a budget, the package."""
    training, test = read_tau(tau2022, "train"), read_tau(tau2022, "test")
    x, y = features(training, ONE_SECOND, MELS_2021, tmp_path / "cache")
    assert x.shape == (120, 1, 256, 34)
    linear = LinearMoments()
    # Half of 1,280 features would need more than 120 clips.
    kept = pretrain(linear, x, y, share=0.2).kept
    assert float(kept.float().mean()) == pytest.approx(0.2, abs=0.03)
    model = Tandem(channels=8, linear=linear)
    assert accuracy(model, x, y) > 0.5, "the l1 solution, before any step"
    train(model, Epochs(x, y, 10, Training2022(), seed=0), 1)

    cost = compressor.measure(model)
    budget = Budget(params=0.9 * cost.params, macs=0.5 * cost.macs)
    result = compressor.fit(model, budget=budget)
    assert result.report.after.macs <= budget.macs
    assert result.report.after.params <= budget.params

    x, y = features(test, ONE_SECOND, MELS_2021, tmp_path / "cache")
    chance = logits(result.model, x).exp().double().numpy()
    table = test.table
    found = evaluate(
        chance, test.labels, test.classes, devices=table["device"], cities=table["city"]
    )
    assert found.overall.clips == 80
    assert len(found.device_wise) == 9
    assert set(found.city_wise) == set(table["city"])

    said = replace(submission(FORM2022), cost=result.report.after, results=(found,))
    names = [Path(name).name for name in table["file"]]
    package = write_package(tmp_path, said, FORM2022, [chance], names)
    assert not check_package(package, FORM2022, names)


@pytest.mark.slow
@pytest.mark.data
def test_2021_a_student_learns_from_a_teacher(tau2022: Path, tmp_path: Path) -> None:
    """BC-ResNet-ASC with the paper's plan and distillation, one pass over real clips."""
    x, y = features(read_tau(tau2022, "train"), ONE_SECOND, MELS_2021, tmp_path)
    torch.manual_seed(0)
    teacher, student = BCResNetASC(12).eval(), BCResNetASC(10)
    before = [p.clone() for p in student.parameters()]
    plan = Training2021(bands=40, frames=10)
    loss = Distill().of(cross_entropy, teacher)
    seen: list[float] = []
    batches = Epochs(x, y, 10, plan, seed=0)
    train(student, batches, 2, loss=loss, on_epoch=lambda _, v: seen.append(v))
    assert np.isfinite(seen).all()
    changed = [not torch.equal(a, b) for a, b in zip(before, student.parameters(), strict=True)]
    assert all(changed)


@pytest.mark.slow
@pytest.mark.data
def test_2020_stereo_and_three_classes(shared_data: Path, tmp_path: Path) -> None:
    """Nine real ten-second clips of 48 kHz stereo: the paper's layout, FreqMix, balanced loss."""
    folder = shared_data / "TAU-urban-acoustic-scenes-2020-3class-development-mini"
    listing = read_tau(folder, "all")
    assert listing.classes == ("indoor", "outdoor", "transportation")
    x, y = features(listing, STEREO, MELS_2020, tmp_path)
    assert x.shape == (9, 2, 256, 431)
    torch.manual_seed(0)
    model = SharedResNet(channels=8)
    assert model.example_input_array.shape == x[:1].shape
    loss = ClassBalancedFocal(np.bincount(listing.labels).tolist())
    plan = Training2020(lr=3e-3, last=1e-3, freqmix=0.0, mixup=0.0, batch=9)
    seen: list[float] = []
    batches = Epochs(x, y, 3, plan, seed=0)
    train(model, batches, 12, loss=loss, on_epoch=lambda _, v: seen.append(v))
    assert seen[-1] < 0.7 * seen[0], "nine clips are learnt by heart"
    train(model, Epochs(x, y, 3, Training2020(batch=9), seed=0), 1, loss=loss)


@pytest.mark.slow
def test_generated_scenes_train_on_some_places_and_are_judged_on_others(tmp_path: Path) -> None:
    """The l1 model on the training part is far above chance on the held-out places."""
    root = write_scenes(tmp_path / "scenes", SceneSettings(train_recordings=16, train_copies=8))
    training, validation = by_location(read_tau(root, "train"), 0.25)
    assert not set(training.table["location"]) & set(validation.table["location"])
    mels = replace(MELS_2021, mels=64)
    x, y = features(training, ONE_SECOND, mels, tmp_path / "cache")
    model: nn.Module = LinearMoments(mels=64)
    pretrain(model, x, y)
    x, y = features(validation, ONE_SECOND, mels, tmp_path / "cache")
    assert accuracy(model, x, y) > 0.35
