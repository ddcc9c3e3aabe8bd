"""A teacher from a file: rows by name, clear refusals, and the loss against its definition."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from compressor import Distill
from recipes.training.teacher import LearnFrom, read_logits, softened

CLASSES = ("bus", "park", "tram")
CLIPS = ["audio/b.wav", "audio/a.wav"]
ROWS = np.arange(9, dtype=np.float32).reshape(3, 3)
NAMES = ["a.wav", "c.wav", "elsewhere/b.wav"]


def stored(folder: Path, rows: np.ndarray = ROWS, names: list[str] = NAMES, **more: str) -> Path:
    path = folder / "teacher.safetensors"
    save_file({"logits": torch.from_numpy(rows)}, path, {"files": "\n".join(names), **more})
    return path


def beside(folder: Path, rows: np.ndarray = ROWS, names: list[str] = NAMES) -> Path:
    path = folder / "teacher.npy"
    np.save(path, rows)
    (folder / "teacher.txt").write_text("".join(f"{name}\n" for name in names))
    return path


@pytest.mark.parametrize("write", [stored, beside])
def test_rows_are_found_by_name_and_come_in_the_clips_order(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    found = read_logits(write(tmp_path), CLIPS, CLASSES)
    assert torch.equal(found, torch.from_numpy(ROWS[[2, 0]]))


def test_half_precision_is_widened(tmp_path: Path) -> None:
    found = read_logits(stored(tmp_path, ROWS.astype(np.float16)), CLIPS, CLASSES)
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.from_numpy(ROWS[[2, 0]]))


def test_clips_without_logits_are_counted(tmp_path: Path) -> None:
    clips = [*CLIPS, "audio/x.wav", "audio/y.wav"]
    with pytest.raises(ValueError, match=r"no logits for 2 of the 4 .*: x\.wav, y\.wav\. It has 3"):
        read_logits(stored(tmp_path), clips, CLASSES)


def test_what_is_no_teacher_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no .*none\.npy"):
        read_logits(tmp_path / "none.npy", CLIPS, CLASSES)
    with pytest.raises(ValueError, match=r"3 rows for 2 different clips"):
        read_logits(stored(tmp_path, names=["a.wav", "b.wav", "b.wav"]), CLIPS, CLASSES)
    with pytest.raises(ValueError, match=r"holds float32 \(3, 3\) and 2 names"):
        read_logits(stored(tmp_path, names=["a.wav", "b.wav"]), CLIPS, CLASSES)
    with pytest.raises(ValueError, match="a teacher of 2 classes"):
        read_logits(stored(tmp_path), CLIPS, CLASSES[:2])
    with pytest.raises(ValueError, match="1 rows that are no finite numbers"):
        read_logits(stored(tmp_path, np.diag([1, 2, np.nan]).astype(np.float32)), CLIPS, CLASSES)
    with pytest.raises(ValueError, match="about the classes tram, park, bus"):
        read_logits(stored(tmp_path, classes="tram\npark\nbus"), CLIPS, CLASSES)
    assert read_logits(stored(tmp_path, classes="bus\npark\ntram"), CLIPS, CLASSES).shape == (2, 3)


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "teacher.pt"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"ends on none of \.safetensors, \.npy"):
        read_logits(path, CLIPS, CLASSES)
    damaged = tmp_path / "teacher.safetensors"
    damaged.write_bytes(b"no such file")
    with pytest.raises(ValueError, match="is no safetensors file"):
        read_logits(damaged, CLIPS, CLASSES)
    save_file({"other": torch.zeros(2)}, damaged)
    with pytest.raises(ValueError, match="has the tensor other and no metadata: it must have one"):
        read_logits(damaged, CLIPS, CLASSES)
    save_file({"logits": torch.zeros(2), "other": torch.zeros(2)}, damaged, {"names": "a"})
    match = "has the tensors logits, other and the metadata names: it must have one tensor"
    with pytest.raises(ValueError, match=match):
        read_logits(damaged, CLIPS, CLASSES)
    save_file({}, damaged, {"names": "a", "more": "b"})
    with pytest.raises(ValueError, match="has no tensor and the metadata more, names: it must"):
        read_logits(damaged, CLIPS, CLASSES)
    lonely = tmp_path / "lonely.npy"
    np.save(lonely, ROWS)
    with pytest.raises(FileNotFoundError, match=r"lonely\.txt.*each row of lonely\.npy"):
        read_logits(lonely, CLIPS, CLASSES)
    np.save(lonely, np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "lonely.txt").write_text("a.wav\n")
    with pytest.raises(ValueError, match="cannot be read"):
        read_logits(lonely, CLIPS, CLASSES)


@pytest.mark.parametrize(("temperature", "weight"), [(1.0, 0.5), (2.0, 0.98), (4.0, 0.0)])
def test_the_loss_is_its_definition(temperature: float, weight: float) -> None:
    draws = torch.Generator().manual_seed(0)
    logits, teacher = torch.randn(2, 7, 5, generator=draws, dtype=torch.float64)
    labels = functional.one_hot(torch.arange(7) % 5, 5).double()
    distill = Distill(temperature, weight)
    targets = torch.cat([labels, softened(teacher, distill)], dim=1)
    found = LearnFrom(distill)(torch.nn.Identity(), (logits, targets))
    task = -(labels * logits.log_softmax(1)).sum(1).mean()
    soft, wanted = (logits / temperature).softmax(1), (teacher / temperature).softmax(1)
    apart = (wanted * (wanted / soft).log()).sum(1).mean() * temperature**2
    torch.testing.assert_close(found, (1 - weight) * task + weight * apart)


def test_a_teacher_that_is_sure_gives_finite_gradients() -> None:
    logits = torch.zeros(2, 3, requires_grad=True)
    shares = torch.eye(3)[:2]
    loss = LearnFrom(Distill(2.0, 0.98))(torch.nn.Identity(), (logits, torch.cat([shares] * 2, 1)))
    loss.backward()
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())
