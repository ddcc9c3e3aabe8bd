"""The main job, end to end, at a size that a test can afford."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

import compressor
from compressor.errors import TrainingError
from compressor.inputs.losses import cross_entropy
from models import LinearMoments, ResidualCNN
from recipes import esc50
from recipes.training.epochs import Epochs
from recipes.training.loop import accuracy, train
from recipes.training.training_plans import Training, warmup_cosine


def small_data(clips: int = 40) -> esc50.Data:
    """Noise whose class is its level: enough to learn something."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(clips) % 5
    x = torch.randn(clips, 1, 64, 126, generator=generator) + y.reshape(-1, 1, 1, 1)
    return esc50.Data("levels", (x, y), (x[:10], y[:10]), classes=5)


@pytest.mark.slow
def test_the_main_job_writes_everything_and_goes_on_where_it_was(tmp_path: Path) -> None:
    data, console = small_data(), Console(quiet=True)
    config = esc50.Config(epochs=1, fine_tune=1)
    first = esc50.run(data, config, tmp_path, console)
    assert first["params"] <= 128_000
    assert first["macs"] <= 30_000_000
    assert first["dense params"] > 128_000
    assert first["dense macs"] > 30_000_000
    for name in ("report.md", "report.json", "layers.png", "result.json"):
        assert (tmp_path / name).stat().st_size > 100
    pair = " | ".join(f"{first[name]:.1f} %" for name in ("dense accuracy", "compressed accuracy"))
    report = (tmp_path / "report.md").read_text("utf-8")
    assert f"| accuracy on 10 clips held out | {pair} | - |" in report
    assert json.loads((tmp_path / "result.json").read_text())["data"] == "levels"
    small = compressor.load(tmp_path, ResidualCNN(5)).eval()
    assert 100 * accuracy(small, *data.held_out) == first["compressed accuracy"]
    second = esc50.run(data, config, tmp_path, console, control=True)
    for name in ("dense accuracy", "compressed accuracy"):
        assert second[name] == first[name]
    assert second["fit CPU seconds"] >= first["fit CPU seconds"], "of the call that did the work"
    assert second["dense CPU seconds"] == pytest.approx(first["dense CPU seconds"], abs=0.1)
    assert 0 <= second["dense, trained on"] <= 100


def test_the_control_trains_the_whole_network(tmp_path: Path) -> None:
    data, config = small_data(10), esc50.Config(epochs=1, fine_tune=1)
    model = ResidualCNN(5).eval()
    longer = esc50.train_on(model, data, config, tmp_path)
    pairs = list(zip(model.parameters(), longer.parameters(), strict=True))
    assert all(a.shape == b.shape for a, b in pairs)
    assert not all(torch.equal(a, b) for a, b in pairs)


def test_esc50_is_found_where_it_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert esc50.find_esc50(tmp_path / "given") == tmp_path / "given"
    monkeypatch.setenv("COMPRESSOR_DATA", str(tmp_path))
    assert esc50.find_esc50(None) is None
    (tmp_path / "esc50" / "meta").mkdir(parents=True)
    (tmp_path / "esc50" / "meta" / "esc50.csv").touch()
    assert esc50.find_esc50(None) == tmp_path / "esc50"


def test_another_label_or_sample_is_other_data(tmp_path: Path) -> None:
    """What was trained on one set is not taken for another, down to one label or one number."""
    console, config = Console(quiet=True), esc50.Config(epochs=1)
    data = small_data(10)
    (x, y), held_out = data.train, data.held_out
    esc50.train_dense(data, config, tmp_path, console)
    relabelled, changed = y.clone(), x.clone()
    relabelled[3] = 4
    changed[7, 0, 5, 5] += 1e-3
    others = [replace(data, train=part) for part in ((x, relabelled), (changed, y))]
    for other in [*others, replace(data, held_out=(held_out[0] * 2, held_out[1]))]:
        assert other.digest != data.digest
        esc50.train_dense(other, config, tmp_path, console)
    assert len(list(tmp_path.glob("dense-*.safetensors"))) == 4
    assert replace(data).digest == data.digest


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"--device (cuda:99|abacus) cannot be used here .*cpu"):
        esc50.usable("cuda:99")
    with pytest.raises(ValueError, match="--device abacus cannot be used here"):
        esc50.usable("abacus")
    assert esc50.usable("cpu").type == "cpu"


def test_a_damaged_dense_file_is_refused_by_name(tmp_path: Path) -> None:
    data, config = small_data(10), esc50.Config(epochs=1)
    file = tmp_path / f"dense-1-epochs-{data.digest}.safetensors"
    file.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="delete it"):
        esc50.train_dense(data, config, tmp_path, Console(quiet=True))


@pytest.mark.parametrize("last", [0.0, 0.01])
def test_the_learning_rate_rises_falls_and_ends_where_it_should(last: float) -> None:
    rates = [warmup_cosine(step / 100, 0.25, 1.0, last) for step in range(101)]
    assert rates[0] == 0
    assert max(rates) == rates[25] == 1
    assert rates[100] == pytest.approx(last, abs=1e-12)
    assert all(a >= b for a, b in pairwise(rates[25:]))
    assert Training(lr=2.0, warmup=0.25).rate(0.6) == pytest.approx(2 * warmup_cosine(0.6, 0.25, 1))


def test_distillation_is_a_loss_that_training_takes() -> None:
    """A student that sees the teacher alone comes to say what the teacher says."""
    data = small_data()
    torch.manual_seed(1)
    teacher = ResidualCNN(5, widths=(4, 8), blocks=(1, 1)).eval()
    student = ResidualCNN(5, widths=(4, 8), blocks=(1, 1), dropout=0.0)
    loss = compressor.Distill(temperature=2.0, weight=1.0).of(cross_entropy, teacher)
    plan = Training(batch=8, mixup=0.0, frames=0, bands=0, lr=2e-2)
    losses: list[float] = []
    batches = Epochs(*data.train, 5, plan, seed=0)
    train(student, batches, 8, loss=loss, on_epoch=lambda _, value: losses.append(value))
    assert losses[-1] < 0.3 * losses[0]


def test_batches_cover_every_clip_once_and_are_reproducible() -> None:
    x = torch.arange(10.0).reshape(10, 1, 1, 1).expand(10, 1, 4, 4).contiguous()
    settings = Training(batch=4, mixup=0.0, bands=0, frames=0)
    passes = [
        torch.cat([b[0][:, 0, 0, 0] for b in Epochs(x, torch.arange(10), 10, settings, seed=3)])
        for _ in range(2)
    ]
    assert torch.equal(*passes)
    assert torch.equal(passes[0].sort().values, torch.arange(10.0))


def test_processes_divide_every_batch_and_augment_their_part_themselves() -> None:
    """Together they take the steps of one process, but for clips that do not go round."""
    x = torch.arange(26.0).reshape(26, 1, 1, 1).expand(26, 1, 4, 16).contiguous()
    y = torch.arange(26)
    plain = Training(batch=8, mixup=0.0, bands=0, frames=0)
    whole = list(Epochs(x, y, 26, plain, seed=3))
    parts = [list(Epochs(x, y, 26, plain, seed=3).share(rank, 4)) for rank in range(4)]
    assert [[len(clips) for clips, _ in part] for part in parts] == [[2, 2, 2]] * 4
    for batch, *shares in zip(whole, *parts, strict=False):
        heard = torch.cat([clips[:, 0, 0, 0] for clips, _ in shares])
        assert torch.equal(heard.sort().values, batch[0][:, 0, 0, 0].sort().values)
    together = [Epochs(x, y, 26, plain, seed=3).share(rank, 4) for rank in range(4)]
    assert [len(part) for part in together] == [3] * 4

    blended = replace(plain, mixup=0.5)
    two = [Epochs(x, y, 26, blended, seed=3).share(rank, 2) for rank in range(2)]
    first, second = (next(iter(part))[1].max(1).values for part in two)
    assert not torch.allclose(first, second), "the same draws in both"
    assert torch.equal(two[0].generator.get_state(), two[1].generator.get_state())
    again = [next(iter(part))[1] for part in two]
    assert again[0].shape == (4, 26)


@pytest.mark.parametrize(("clips", "batch", "world"), [(26, 9, 2), (3, 8, 4)])
def test_batches_that_cannot_be_divided_are_refused(clips: int, batch: int, world: int) -> None:
    plan = Training(batch=batch, mixup=0.0)
    whole = Epochs(torch.zeros(clips, 1, 2, 2), torch.zeros(clips).long(), 1, plan, seed=0)
    with pytest.raises(ValueError, match=f"{world} processes cannot divide batches of {batch}"):
        whole.share(0, world)


FOUR = torch.zeros(3, 1, 2, 2)


@pytest.mark.parametrize(
    "labels",
    [
        torch.tensor([0, 1]),
        torch.tensor([0, 1, 5]),
        torch.tensor([0, -1, 1]),
        torch.tensor([[0], [1], [2]]),
        torch.tensor([0.0, 1.0, 2.0]),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"a label from 0 to 4 is needed for each"):
        Epochs(FOUR, labels, 5, Training(), seed=0)


def test_clips_of_another_kind_are_refused() -> None:
    y = torch.arange(3)
    with pytest.raises(ValueError, match=r"torch.int16 .* takes float log-mels"):
        Epochs(FOUR.short(), y, 5, Training(), seed=0)
    with pytest.raises(ValueError, match=r"shape \(3, 2\): it takes float log-mels"):
        Epochs(FOUR[:, 0, :, 0], y, 5, Training(), seed=0)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int32, torch.int64])
@pytest.mark.parametrize(("clips", "sizes"), [(8, [4, 4]), (9, [4, 5]), (10, [4, 4, 2]), (1, [1])])
def test_no_clip_is_alone_in_a_last_batch(kind: torch.dtype, clips: int, sizes: list[int]) -> None:
    plan = Training(batch=4, bands=0, frames=0)
    batches = Epochs(torch.randn(clips, 1, 2, 2), torch.zeros(clips, dtype=kind), 2, plan, seed=0)
    assert [len(x) for x, _ in batches] == sizes
    assert len(batches) == len(sizes)


def test_a_linear_model_trains_on_any_number_of_clips() -> None:
    plan = Training(batch=4, mixup=0.0, bands=0, frames=0)
    model = LinearMoments(mels=4, num_classes=2, frames=5)
    train(model, Epochs(torch.randn(13, 1, 4, 5), torch.arange(13) % 2, 2, plan, seed=0), 2)


def test_a_loss_that_is_no_number_stops_training() -> None:
    x = torch.randn(8, 1, 4, 5)
    x[3] = math.nan
    plan = Training(batch=4, mixup=0.0, bands=0, frames=0)
    model = LinearMoments(mels=4, num_classes=2, frames=5)
    with pytest.raises(TrainingError, match=r"The loss of epoch 1 of 2 is nan.*Lower the rate"):
        train(model, Epochs(x, torch.arange(8) % 2, 2, plan, seed=0), 2)


@pytest.mark.parametrize("y", [torch.zeros(1), torch.zeros(3, 1), torch.zeros(0)])
def test_accuracy_needs_a_label_for_each_clip(y: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"accuracy\(\) got 3 clips and labels of shape"):
        accuracy(nn.Flatten(), FOUR, y)


def test_accuracy_gives_every_module_its_mode_back() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.BatchNorm1d(2)).train()
    model[2].eval()
    accuracy(model, FOUR, torch.zeros(3))
    assert [module.training for module in model] == [True, True, False]


def test_training_learns_the_levels() -> None:
    data = small_data()
    torch.manual_seed(0)
    model = ResidualCNN(5, widths=(4, 8), blocks=(1, 1), dropout=0.0)
    settings = Training(batch=8, mixup=0.0, frames=0, bands=0, lr=2e-2)
    losses: list[float] = []
    batches = Epochs(*data.train, 5, settings, seed=0)
    train(model, batches, 12, on_epoch=lambda _, loss: losses.append(loss))
    assert len(losses) == 12
    assert losses[-1] < 0.6 * losses[0]
    assert not model.training
