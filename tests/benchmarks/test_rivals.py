"""Other pruners as methods: each meets what is capped, of a network without an example too."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from benchmarks.rivals import Kirigami, Osscar, TorchPruning
from compressor import Budget, measure, sweep
from tests.conftest import ROOT

EXAMPLE = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
RIVALS = {
    "local": TorchPruning(EXAMPLE),
    "global": TorchPruning(EXAMPLE, globally=True),
    "isomorphic": TorchPruning(EXAMPLE, globally=True, isomorphic=True),
    "kirigami": Kirigami(EXAMPLE),
    "OSSCAR": Osscar([EXAMPLE]),
}
BUDGETS = {
    "one": Budget(macs="60%"),
    "other": Budget(params="60%"),
    "both": Budget(params="50%", macs="50%"),
    "none": Budget(params=1),
}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
    ).eval()  # fmt: skip


@pytest.mark.slow
def test_each_is_a_method_of_a_sweep_and_says_where_it_makes_nothing() -> None:
    found = sweep(network(), None, BUDGETS, RIVALS, example=EXAMPLE, evaluate=lambda _: 1.0)
    dense = measure(network(), EXAMPLE)
    for row in found.rows:
        if row["budget"] == "none":
            assert row["state"] == "refused", row
            assert row["why"], row
        else:
            assert row["state"] == "done", row["why"]
            assert row["params"] <= (row["cap_params"] or dense.params)
            assert row["macs"] <= (row["cap_macs"] or dense.macs)
    assert len(found.rows) == 1 + len(BUDGETS) * len(RIVALS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["local", "kirigami"])
def test_the_example_may_be_the_networks_own(name: str) -> None:
    given, model = RIVALS[name], network()
    budget = Budget(macs="50%").resolved(measure(model, EXAMPLE))
    model.example_input_array = EXAMPLE
    own = type(given)()(model, budget)
    assert measure(own, EXAMPLE) == measure(given(network(), budget), EXAMPLE)


def test_what_is_missing_or_capped_otherwise_is_said() -> None:
    with pytest.raises(ValueError, match="need one input, batch first: pass example="):
        TorchPruning()(network(), Budget(macs=1))
    with pytest.raises(ValueError, match="caps on params and macs, not bytes <= 100"):
        Kirigami(EXAMPLE)(network(), Budget(bytes=100))


@pytest.mark.slow
def test_without_their_packages_the_command_is_named() -> None:
    code = "import sys; sys.modules['torch_kirigami'] = None; import benchmarks.rivals"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 1
    assert "pip install torch-pruning torch-kirigami" in done.stderr
