"""Width, density and bits under one cap: codes against plain arithmetic, and whole runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor import Budget, BudgetError, FineTune, Int8, Joint, Prune, fit, load
from compressor.allocation.coding import CODES, Code, coded, fisher_diagonal, tables
from compressor.network.file import container
from tests.helpers.tiny import equal, loader, tiny

SEEDS = st.integers(0, 2**16)


@given(SEEDS, st.sampled_from(CODES))
def test_a_code_keeps_the_largest_and_rounds_them(seed: int, code: Code) -> None:
    weight = torch.randn(5, 3, 3, generator=torch.Generator().manual_seed(seed))
    found, kept = coded(weight, code).numpy(), code.kept(45)
    order = np.argsort(-np.abs(weight.numpy().ravel()), kind="stable")
    sparse = np.zeros(45, dtype=np.float32)
    sparse[order[:kept]] = weight.numpy().ravel()[order[:kept]]
    for row, wanted in zip(found, sparse.reshape(5, 3, 3), strict=True):
        most, largest = 2 ** (code.bits - 1) - 1, np.abs(wanted).max()
        scale = largest / most if largest else 1.0
        assert np.abs(row - wanted).max() <= scale / 2 * 1.001
        steps = row / scale
        assert np.abs(steps - steps.round()).max() < 1e-3
        assert np.abs(steps).max() <= most + 1e-3


@given(SEEDS)
def test_tables_are_the_sums_they_say(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    weights = {"a": torch.randn(4, 3, generator=random), "b": torch.randn(7, 2, generator=random)}
    sensitivity = {n: torch.rand(w.shape, generator=random) for n, w in weights.items()}
    costs, losses = tables(weights, sensitivity, {})
    for (name, w), cost, loss in zip(weights.items(), costs, losses, strict=True):
        for code, bits, lost in zip(CODES, cost, loss, strict=True):
            error = (w.double() - coded(w.double(), code)).numpy()
            assert lost == pytest.approx(0.5 * (sensitivity[name].numpy() * error**2).sum())
            values = -(-(w.numel() if code.density == 1 else code.kept(w.numel())) * code.bits // 8)
            masks = 0 if code.density == 1 else -(-w.numel() // 8)
            assert bits == 8 * (values + masks)


def test_the_diagonal_is_the_mean_of_squares() -> None:
    found = [{"a": torch.tensor([1.0, -3.0])}, {"a": torch.tensor([2.0, 1.0])}]
    assert fisher_diagonal(["a", "b"], found)["a"].tolist() == [2.5, 5.0]


@pytest.mark.slow
@pytest.mark.parametrize("cap", [20_000, 8_000, 5_000])
def test_the_file_is_within_the_cap_and_says_why(cap: int) -> None:
    """Where the cap is tight, fewer bits and zeros leave room for width."""
    schedule = [FineTune(epochs=3), Joint(), FineTune(epochs=1), Int8(epochs=1)]
    result = fit(tiny(width=48), loader(), budget=Budget(bytes=cap), schedule=schedule)
    assert result.report.files[1] == len(container.pack(result.network)) <= cap
    tried = result.report.shrinks[-1].tried
    assert len(tried) == 10
    assert result.report.shrinks[-1].method in tried
    assert result.report.shrinks[-1].reached["bytes"] <= cap
    for code in result.network.buffers():
        if code.dtype == torch.int8:
            assert code.abs().max() <= 127
    assert "bits, " in str(result.report)


@pytest.mark.slow
def test_bytes_and_data_are_enough(tmp_path: Path) -> None:
    """The default under a cap on bytes; again in the same bits; loaded without the class."""
    budget = Budget(bytes="8KiB", macs=200e3)
    call = lambda: fit(tiny(width=48), loader(24, batch=8), budget=budget, seed=3)  # noqa: E731
    result = call()
    assert result.write(tmp_path / "small") <= 8 * 1024
    assert result.report.after.macs <= 200e3
    assert equal(result.model, call().model)
    x = torch.randn(5, 1, 8, 8)
    assert torch.equal(load(tmp_path / "small")(x), result.model(x))


@pytest.mark.parametrize(
    ("schedule", "budget", "message"),
    [
        ([Joint(), Int8()], Budget(params=500), "leaves it none"),
        ([Joint(), FineTune()], Budget(bytes=9_000), "end the schedule with Int8"),
        ([Joint(), Int8()], Budget(bytes=900), "cannot be reached"),
        ([Int8(), Prune()], Budget(bytes=9_000), "at the end"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(
    schedule: list, budget: Budget, message: str
) -> None:
    with pytest.raises((BudgetError, ValueError), match=message):
        fit(tiny(), loader(), budget=budget, schedule=schedule)


@pytest.mark.parametrize("settings", [{"averages": ()}, {"averages": (9,)}, {"codes": ()}])
def test_settings_are_checked(settings: dict) -> None:
    with pytest.raises(ValueError, match="Joint"):
        Joint(**settings)
