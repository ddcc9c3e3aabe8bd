"""Whole networks: where values are rounded, and that integers compute what was trained."""

from __future__ import annotations

from collections import Counter
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.network import Network, Weight, to_network
from compressor.network.file import container
from compressor.network.integer import IntConv, IntLinear, IntMean, Requantise, Scale
from compressor.network.sums import IntSum
from compressor.phases.int8 import Int8
from compressor.quantization.conversion import convert
from compressor.quantization.layers import ActivationQuantiser, Mode, WeightQuantiser
from compressor.quantization.preparation import (
    calibrate,
    grids,
    prepare,
    quantisers,
    set_grids,
)
from compressor.quantization.presets import ORT, TENSORRT, Preset
from tests.helpers.int8_nets import NETS, bare, calibrated, examples, integers, rounded, trained

QUICK = ("Shared-ResNet", "baseline")
"""One with shared weights and sums, one with pools and dense layers, for unit tests."""


def quick(*names: str) -> list[object]:
    """Names for `parametrize`, all but the quick ones slow."""
    return [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in names]


def counts(whole: nn.Module) -> Counter[str]:
    kinds = (IntConv, IntLinear, IntMean, Requantise, Scale)
    return Counter(type(m).__name__ for m in whole.modules() if isinstance(m, kinds))


def last_scale(prepared: Network) -> float:
    return float(list(quantisers(prepared).values())[-1].scale)


@pytest.mark.slow
@pytest.mark.parametrize("fold_bands", [True, False])
def test_bc_resnet_is_rounded_throughout(*, fold_bands: bool) -> None:
    """44 convolutions, 13 pools; a quantiser for each of these, for the input, 20 sums and 12 SiLU,
    and in the other form one more before each of 12 normalisations."""
    made = counts(convert(calibrated(bare("BC-ResNet"), fold_bands=fold_bands)))
    apart = 0 if fold_bands else 12
    assert made == Counter(
        IntConv=44, IntMean=13, Requantise=44 + 13 + 1 + 20 + 12 + apart, Scale=apart
    )


@pytest.mark.slow
@pytest.mark.parametrize("fold_bands", [True, False])
@pytest.mark.parametrize("name", NETS)
def test_every_step_computes_what_was_trained(name: str, *, fold_bands: bool) -> None:
    """Given what the step had before it: layers to single precision, quantisers bit for bit."""
    prepared = calibrated(bare(name), fold_bands=fold_bands)
    made = convert(prepared, sixteen=False, float_bias=True)
    with torch.no_grad():
        before = prepared.results(examples(prepared, 2))
        for step in made.steps:
            got, expected = made.result(step, before), before[step.name]
            if isinstance(step.op, str) and isinstance(made.get_submodule(step.op), Requantise):
                assert torch.equal(got, expected), step.name
            elif isinstance(step.op, str) and isinstance(made.get_submodule(step.op), IntSum):
                step_size = made.tensor(cast("Weight", step.args[-1]))
                assert (got - expected).abs().max() <= 0.501 * step_size, step.name
            elif isinstance(got, Tensor):
                size = float(expected.abs().max())
                torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5 * size)


@pytest.mark.parametrize("preset", [ORT, TENSORRT])
@pytest.mark.parametrize("name", quick(*NETS))
def test_the_description_is_known_before_any_value_was_seen(name: str, preset: Preset) -> None:
    """Who is told of which grid does not depend on values; a grid itself may, by a digit or two."""
    planned = Int8(preset=preset).network_after(bare(name), {})
    made = convert(calibrated(bare(name), preset))
    assert len(container.pack(made)) <= container.bound(planned)
    assert abs(container.bound(planned) - container.bound(made)) <= 2
    assert [step.args for step in planned.steps] == [step.args for step in made.steps]


@pytest.mark.parametrize("name", quick(*NETS))
def test_whole_biases_and_short_scales_cost_a_step_or_two(name: str) -> None:
    prepared = rounded(name)
    x, step = examples(prepared, 8), last_scale(prepared)
    with torch.no_grad():
        error = (integers(name)(x) - prepared(x)).abs()
    assert error.max() <= 3.001 * step
    assert error.mean() <= 0.75 * step


@pytest.mark.parametrize("name", quick("BC-ResNet", "Shared-ResNet", "ResNet"))
def test_the_reference_depends_on_no_batch(name: str) -> None:
    made = convert(rounded(name))
    x = examples(made, 5)
    with torch.no_grad():
        whole = made(x)
        assert torch.equal(torch.cat([made(one) for one in x.split(1)]), whole)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(made(x), whole)
        assert torch.equal(made.train()(x), whole)  # nothing is left that trains


@pytest.mark.slow
def test_off_is_the_network_and_names_persist() -> None:
    model = bare("BC-ResNet")
    plain = model
    prepared = calibrated(model)
    for module in prepared.modules():
        if isinstance(module, ActivationQuantiser | WeightQuantiser):
            module.mode = Mode.OFF
    x = examples(model, 2)
    assert torch.equal(prepared(x), plain(x))
    names = {name for name, _ in plain.named_parameters()}
    assert {name for name, _ in prepared.named_parameters()} == names
    state = integers("BC-ResNet").state_dict()
    assert state["stem.0.weight"].dtype == torch.int8
    assert not any("running" in name or name.endswith("norm.weight") for name in state)


@pytest.mark.parametrize("name", quick("BC-ResNet", "Shared-ResNet"))
def test_gradients_reach_everything_and_masks_hold(name: str) -> None:
    model, labels = bare(name), torch.arange(4) % 3
    prepared = calibrated(model, learned=True).train()
    masks = {n: torch.rand(p.shape) < 0.5 for n, p in prepared.named_parameters() if p.dim() > 1}
    tensors = dict(prepared.named_parameters())
    with torch.no_grad():
        for key, mask in masks.items():
            tensors[key] *= mask
    optimizer = torch.optim.SGD(prepared.parameters(), lr=0.01)
    functional.cross_entropy(prepared(examples(model, 4)), labels).backward()
    missing = [n for n, p in tensors.items() if p.grad is None or not p.grad.isfinite().all()]
    assert missing == []
    optimizer.step()
    with torch.no_grad():
        for key, mask in masks.items():
            tensors[key] *= mask
    state = convert(prepared).state_dict()
    for key, mask in masks.items():
        assert torch.all(state[key][~mask] == 0)


def test_a_shared_weight_is_rounded_once_and_stored_once() -> None:
    made = integers("Shared-ResNet")
    stored = [name for name, b in made.named_buffers() if b.dtype == torch.int8]
    convolutions = [s for s in made.steps if isinstance(s.op, str) and s.op.startswith("int8.conv")]
    assert (len(convolutions), len(stored)) == (28, 20)


@pytest.mark.parametrize("preset", [ORT, TENSORRT])
def test_grids_are_chosen_by_value(preset: object) -> None:
    """Behind ReLU from zero on, elsewhere on both sides."""
    prepared = rounded("ResNet") if preset is ORT else calibrated(bare("ResNet"), preset)
    for name, quantiser in quantisers(prepared).items():
        unsigned = "relu" in name or "pool" in name or "mean" in name
        assert quantiser.grid == (preset.unsigned if unsigned else preset.signed), name


def test_a_resumed_run_has_the_same_grids() -> None:
    model, one = bare("ResNet"), rounded("ResNet")
    other = prepare(model)
    set_grids(other, grids(one))
    other.load_state_dict(one.state_dict())
    x = examples(model, 2)
    assert torch.equal(one(x), other(x))


class Islands(nn.Module):
    """What no integer kernel knows, between what they do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 6, 3, padding="same"), nn.Conv2d(6, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.last = nn.Linear(4, 3)
        self.example_input_array = torch.zeros(1, 2, 8, 6)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        y = y * torch.softmax(y, dim=1) + y.mean(dim=(1, 3), keepdim=True)
        y = self.norm(self.second(y).relu()) + x.sum()
        return self.last(self.up(y).mean(dim=(2, 3)))


def test_what_is_not_known_stays_as_it_is() -> None:
    model = trained(Islands())
    prepared = calibrated(to_network(model))
    made = convert(prepared)
    assert counts(made)["IntConv"] == 2
    assert counts(made)["IntLinear"] == 1
    assert counts(made)["Scale"] == 1  # a normalisation behind a ReLU
    x = examples(model, 4)
    with torch.no_grad():
        assert (made(x) - prepared(x)).abs().max() <= 2.001 * last_scale(prepared)
        assert (made(x) - model(x)).abs().max() <= 0.1 * model(x).abs().max()


def test_an_untrained_network_is_warned_of() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    x = torch.randn(2, 1, 8, 8)
    prepared = prepare(to_network(model, x[:1]))
    with pytest.warns(UserWarning, match=r"'1' are those of a network that was never trained"):
        calibrate(prepared, [(x,)])


def test_errors_say_what_to_do() -> None:
    model = bare("ResNet")
    prepared = prepare(model)
    with pytest.raises(ValueError, match=r"has quantisers already"):
        prepare(prepared)
    with pytest.raises(ValueError, match=r"quantisers have no scale yet.*calibrate"):
        convert(prepared)
    with pytest.raises(ValueError, match=r"no batches"):
        calibrate(prepared, [])
    with pytest.raises(ValueError, match=r"infinite or not a number"):
        calibrate(prepared, [(examples(model, 2) * float("nan"),)])
    with pytest.raises(ValueError, match=r"no quantisers: prepare"):
        convert(model)
    with pytest.raises(ValueError, match=r"no convolution and no matrix product"):
        prepare(to_network(nn.Sequential(nn.ReLU()), torch.zeros(1, 3)))
