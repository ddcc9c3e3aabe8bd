"""All solvers in one schedule, under all four caps, on the 2022 tandem: to a file and back."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from compressor import (
    Budget,
    Distill,
    FineTune,
    FrequencyMask,
    Int8,
    Prune,
    Recalibrate,
    Result,
    Train,
    Unstructured,
    fit,
    load,
    measure,
)
from models import Tandem

CLASSES = 4


def sounds(count: int, seed: int) -> TensorDataset:
    """Spectrograms (count, 1, 64, 34) of classes that differ in a few of their bands."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=random)
    x = torch.randn(count, 1, 64, 34, generator=random)
    for number, label in enumerate(labels.tolist()):
        x[number, 0, 5 * label : 5 * label + 4, ::3] += 1.5
    return TensorDataset(x, labels)


def loader(count: int, seed: int) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(sounds(count, seed), batch_size=32, shuffle=True)


CAPS = Budget(params=9_000, nonzero=6_500, macs=340_000, bytes="24KiB")
SCHEDULE = [
    Train(epochs=2, lr=3e-3),
    FrequencyMask(epochs=0, fine_tune=1),
    Prune(),
    Recalibrate(),
    FineTune(epochs=1),
    Unstructured(),
    FineTune(epochs=1, distill=Distill()),
    Int8(epochs=1, distill=Distill()),
]


@cache
def road() -> Result:
    torch.manual_seed(0)
    model = Tandem(64, 16, CLASSES)
    return fit(model, loader(96, 1), budget=CAPS, schedule=SCHEDULE, val=loader(64, 2))


@pytest.mark.slow
def test_four_caps_at_once_down_to_the_file(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    result = road()
    report, model = result.report, result.model
    after = report.after
    assert after.params <= 9_000
    assert after.nonzero <= 6_500 < after.params
    assert after.macs <= 340_000
    assert result.write(tmp_path / "tandem") <= 24 * 1024
    assert report.files is not None
    assert (tmp_path / "tandem").stat().st_size == report.files[1]
    # Read back by a loader that knows no Tandem: the same bits, the same count, any batch size.
    again = load(tmp_path / "tandem")
    x = sounds(48, 3).tensors[0]
    assert torch.equal(again(x), model(x))
    assert torch.equal(again(x[:1]), model(x)[:1])
    assert measure(again, x[:1]).macs == after.macs
    # Zeros of the pruning lasted through training for int8 and the conversion.
    integers = [t for t in again.buffers() if t.dtype == torch.int8]
    zeros = sum(int((t == 0).sum()) for t in integers)
    assert zeros >= after.params - 6_500
    # Half of the rows are gone, and the network says which.
    rows = [t for t in again.buffers() if t.dtype == torch.int64]
    assert [len(t) for t in rows] == [32]
    assert {e.phase for e in report.log} == {"Train", "FrequencyMask", "FineTune", "Int8"}
    assert str(report)


@pytest.mark.slow
def test_onnx_runtime_computes_the_same(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    torch.set_num_threads(1)
    result = road()
    result.export(tmp_path / "tandem.onnx")
    session = runtime.InferenceSession(str(tmp_path / "tandem.onnx"))
    x = sounds(64, 3).tensors[0]
    name = session.get_inputs()[0].name
    found = torch.from_numpy(session.run(None, {name: x.numpy()})[0])
    wanted = result.model(x)
    assert (found.argmax(1) == wanted.argmax(1)).float().mean() >= 0.98
    assert (found - wanted).abs().max() < 0.1 * wanted.abs().max()
