"""The phase Int8: what it asks for, and what it leaves."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compressor import Budget, Distill, Int8, Result, Train, Unstructured, fit, load, measure
from compressor.inputs.batches import Batch
from compressor.network import Network
from compressor.network.counting import entries, multiply_accumulates
from compressor.network.file import container
from compressor.quantization.presets import TENSORRT
from tests.helpers.tiny import Tied, TwoInputs, equal, loader, refuses, scenes, tiny

WIDE = Budget(bytes=50_000)


def accuracy(model: nn.Module) -> float:
    x, y = scenes(96, seed=3).tensors
    return float((model(x).argmax(1) == y).float().mean())


def integers(model: nn.Module) -> list[Tensor]:
    return [t for t in model.buffers() if t.dtype == torch.int8]


@cache
def after(epochs: int) -> Result:
    """Of the phase alone, for reading."""
    return fit(tiny(), loader(), budget=WIDE, schedule=[Int8(epochs=epochs)])


def test_the_result_is_made_of_integers_and_nothing_else_to_train() -> None:
    result = after(1)
    assert isinstance(result.model, Network)
    assert not list(result.model.parameters())
    assert not any(m.training for m in result.model.modules())
    shapes = sorted(tuple(p.shape) for p in tiny().parameters() if p.dim() > 1)
    assert sorted(tuple(t.shape) for t in integers(result.model)) == shapes
    assert all(int(t.abs().max()) <= 127 for t in integers(result.model))


def test_costs_are_those_of_the_network_it_was_made_from() -> None:
    result, before = after(0), measure(tiny())
    found = result.report.after
    assert (found.params, found.macs) == (before.params, before.macs)
    assert multiply_accumulates(result.model) == found.macs
    zeros = sum(int((t == 0).sum()) for t in integers(result.model))
    assert found.nonzero <= found.params - zeros
    count, alive = entries(result.model)
    assert (count, alive) == (sum(t.numel() for t in integers(result.model)), count - zeros)


@pytest.mark.slow
def test_eight_bits_change_little_of_what_was_learned() -> None:
    learned = fit(tiny(), loader(), budget=WIDE, schedule=[Train(epochs=8, lr=1e-2), Int8()])
    assert accuracy(learned.model) > 0.85
    x = scenes(64, seed=5).tensors[0]
    exact, found = tiny().eval()(x), after(0).model(x)
    assert (found - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.slow
def test_the_best_epoch_can_be_the_calibrated_start() -> None:
    """A learning rate that destroys everything cannot make the result worse on `val`."""
    schedule = [Train(epochs=6, lr=1e-2), Int8(epochs=2, lr=0.3, select=True)]
    val = loader(96, seed=3)
    result = fit(tiny(), loader(), budget=WIDE, schedule=schedule, val=val)
    start = next(e.accuracy for e in reversed(result.report.log) if e.phase == "Train")
    assert accuracy(result.model) >= max(e.accuracy for e in result.report.log[-2:]) - 1e-6
    assert accuracy(result.model) > start - 0.1


def test_zeros_of_pruning_are_zeros_of_the_integers() -> None:
    schedule = [Unstructured(amount=0.7), Int8(epochs=2)]
    result = fit(tiny(), loader(), budget=WIDE, schedule=schedule)
    convolutions = [t for t in integers(result.model) if t.dim() == 4]
    total = sum(t.numel() for t in convolutions)
    assert sum(int((t == 0).sum()) for t in convolutions) >= round(0.7 * total)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(Tied(), marks=pytest.mark.slow),
        TwoInputs(),
        pytest.param(tiny(norm=False), marks=pytest.mark.slow),
    ],
)
def test_other_kinds_of_models(model: nn.Module, tmp_path: Path) -> None:
    example = model.example_input_array
    inputs = example if isinstance(example, tuple) else (example,)
    random = torch.Generator().manual_seed(1)
    x = tuple(torch.randn(24, *t.shape[1:], generator=random) for t in inputs)
    given = x if len(x) > 1 else x[0]
    data = [(given, torch.randint(4, (24,), generator=random))]
    with pytest.warns(UserWarning, match="never trained") if _fresh(model) else _quiet():
        result = fit(model, data, budget=WIDE, schedule=[Int8(epochs=1)])
    result.write(tmp_path / "net")
    again = load(tmp_path / "net")
    assert torch.equal(again(*x), result.model(*x))
    assert torch.equal(again(*(t[:1] for t in x)), result.model(*x)[:1])


def _fresh(model: nn.Module) -> bool:
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    return any(bool((m.running_mean == 0).all()) for m in norms)


class _quiet:  # noqa: N801 - stands where a function would
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def test_a_loss_of_ones_own_calls_the_model_as_it_likes() -> None:
    def loss(model: nn.Module, batch: Batch) -> Tensor:
        x, y = batch["clip"], batch["label"]
        return nn.functional.cross_entropy(model(x + 0.5), y)

    x, y = scenes(48).tensors
    data = [{"clip": x[:24], "label": y[:24]}, {"clip": x[24:], "label": y[24:]}]
    result = fit(tiny(), data, budget=WIDE, schedule=[Int8(epochs=1)], loss=loss)
    assert torch.isfinite(result.model(x)).all()


def test_the_preset_of_another_runtime_has_other_grids() -> None:
    result = fit(tiny(), loader(), budget=WIDE, schedule=[Int8(epochs=0, preset=TENSORRT)])
    grids = {(m.grid.low, m.grid.zero) for m in result.model.modules() if hasattr(m, "grid")}
    assert grids == {(-128, 0)}


@pytest.mark.slow
def test_teachers_are_the_dense_network() -> None:
    schedule = [Train(epochs=2), Int8(epochs=2, distill=Distill())]
    result = fit(tiny(), loader(), budget=WIDE, schedule=schedule)
    assert [e.phase for e in result.report.log] == ["Train", "Train", "Int8", "Int8"]


def test_equal_calls_have_equal_files() -> None:
    again = fit(tiny(), loader(), budget=WIDE, schedule=[Int8(epochs=1)])
    files = [container.pack(result.network) for result in (after(1), again)]
    assert files[0] == files[1]
    assert equal(container.unpack(files[0]), container.unpack(files[1]))


def test_what_is_missing_is_said() -> None:
    with refuses("Int8 chooses scales on data"):
        fit(tiny(), budget=WIDE, schedule=[Int8()])
    with refuses("select=True"):
        fit(tiny(), loader(), budget=WIDE, schedule=[Int8(select=True)])
    with refuses("nothing|no convolution"):
        model = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(64), nn.AvgPool1d(16))
        fit(model, loader(), budget=WIDE, schedule=[Int8()], example=torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize(
    "settings", [{"epochs": -1}, {"batches": 0}, {"lr": -1.0}, {"distill": 3}, {"preset": "ort"}]
)
def test_settings_are_checked(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Int8"):
        Int8(**settings)
