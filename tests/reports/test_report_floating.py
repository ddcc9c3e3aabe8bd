"""The report says what int8 leaves in floating point: recurrent layers, by name and number."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from compressor import Budget, Int8, Prune, fit, measure
from tests.zoo import RECURRENT


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:calibrate. the statistics of")
def test_recurrent_layers_stay_in_floating_point_and_are_named() -> None:
    model = RECURRENT["conv_gru"]()
    x = torch.randn(8, 1, 16, 10)
    loader = DataLoader(TensorDataset(x, torch.randint(0, 3, (8, 10))), 4)
    half = measure(model).params // 2
    budget, schedule = Budget(params=half), [Prune(), Int8(epochs=0)]
    result = fit(model, loader, budget=budget, schedule=schedule, progress=False)
    left = {n: p for n, p in result.model.named_parameters() if p.ndim > 1}
    assert {name.partition(".")[0] for name in left} == {"gru"}
    count = sum(p.numel() for p in left.values())
    assert result.report.floating == {"gru": count}
    wanted = f"Not rounded to integers, in floating point: the weights of gru ({count:,})."
    assert wanted in str(result.report)
    assert result.report.data()["floating"] == {"gru": count}
