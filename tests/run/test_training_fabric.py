"""`fit` through Lightning Fabric: same results in one process, mixed precision, several models."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from compressor import Budget, Distill, FineTune, Int8, Prune, Recalibrate, fit
from tests.helpers.processes import ROADS
from tests.helpers.tiny import equal, loader, scenes, tiny

CAPS = Budget(params=700, macs="30k")
GRADUAL = (
    Prune(steps=2, epochs=1, distill=Distill()),
    Recalibrate(),
    FineTune(epochs=2, select=True),
)


def on_cpu(precision: str = "32-true") -> Fabric:
    return Fabric(accelerator="cpu", devices=1, precision=precision)


def test_one_process_on_the_cpu_changes_no_bit() -> None:
    plain = fit(tiny(), loader(), budget=CAPS, schedule=GRADUAL, val=loader(32))
    through = fit(tiny(), loader(), budget=CAPS, schedule=GRADUAL, val=loader(32), fabric=on_cpu())
    assert equal(plain.model, through.model)
    assert [e.loss for e in plain.report.log] == [e.loss for e in through.report.log]
    assert type(through.model) is type(plain.model)


@pytest.mark.slow
def test_what_is_compiled_is_trained_alike_and_is_no_part_of_the_result() -> None:
    """Without code of its own the compiler changes no bit; it sees every change of shapes."""
    seen: list[int] = []

    def compiler(model: nn.Module) -> nn.Module:
        seen.append(sum(p.numel() for p in model.parameters()))
        return torch.compile(model, backend="eager")

    schedule = (*GRADUAL, Int8(epochs=1))
    plain = fit(tiny(), loader(), budget=CAPS, schedule=schedule, val=loader(32))
    traced = fit(
        tiny(), loader(), budget=CAPS, schedule=schedule, val=loader(32), compiler=compiler
    )
    assert equal(plain.model, traced.model)
    assert [e.loss for e in plain.report.log] == [e.loss for e in traced.report.log]
    assert [e.accuracy for e in plain.report.log] == [e.accuracy for e in traced.report.log]
    assert len(set(seen)) >= 3, "dense and after two steps"


def test_mixed_precision_trains_single_precision_weights() -> None:
    fabric = on_cpu("bf16-mixed")
    mixed = fit(tiny(), loader(), budget=CAPS, schedule=GRADUAL, val=loader(32), fabric=fabric)
    full = fit(tiny(), loader(), budget=CAPS, schedule=GRADUAL, val=loader(32))
    assert CAPS.allows(mixed.report.after)
    assert {p.dtype for p in mixed.model.parameters()} == {torch.float32}
    assert not equal(mixed.model, full.model)
    assert mixed.report.log[-1].loss == pytest.approx(full.report.log[-1].loss, rel=0.1)


def test_lists_of_batches_work_too() -> None:
    data = [tuple(scenes(16).tensors)]
    result = fit(tiny(), data, budget=CAPS, schedule=GRADUAL, val=data, fabric=on_cpu())
    assert CAPS.allows(result.report.after)


def test_precisions_that_convert_the_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="use a mixed precision such as 'bf16-mixed'"):
        fit(tiny(), loader(), budget=CAPS, fabric=on_cpu("bf16-true"))


@pytest.mark.slow
def test_two_processes_with_other_clips_come_to_the_same_network(tmp_path: Path) -> None:
    """Whatever is measured, chosen and rounded; the second time from the checkpoint."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "tests.helpers.processes", str(tmp_path)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for name, turn in itertools.product(ROADS, range(2)):
        first, second = (tmp_path / f"{name}-{turn}-{rank}.safetensors" for rank in range(2))
        assert first.read_bytes() == second.read_bytes(), (name, turn)
