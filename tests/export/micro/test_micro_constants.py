"""Constants that the forward pass computes: held in the file, or refused in a sentence."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor import Budget, Tflite, fit
from compressor.export.micro.translation import translated
from compressor.export.micro.writing import written
from compressor.network import Network, to_network
from compressor.quantization.conversion import convert
from compressor.quantization.presets import TFLM
from tests.helpers.int8_nets import calibrated, examples, trained
from tests.helpers.tflm import outputs

Does = Callable[["Between", Tensor], Tensor]


class Between(nn.Module):
    """Two convolutions, with something of constants before and between them."""

    def __init__(self, before: Does | None = None, between: Does | None = None) -> None:
        super().__init__()
        self.before, self.between = before, between
        self.first, self.last = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 3, 1)
        self.register_buffer("g", torch.tensor([0.8]))
        self.register_buffer("rows", torch.linspace(0.5, 1.5, 12).reshape(2, 6))
        self.register_buffer("mask", torch.arange(6) != 2)
        self.p = nn.Parameter(torch.linspace(0.5, 1.5, 8))
        self.w = nn.Parameter(torch.linspace(-1, 1, 48).reshape(6, 8, 1, 1))
        self.example_input_array = torch.zeros(1, 2, 6, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.before is None else self.before(self, x)
        x = self.first(x).relu()
        return self.last(x if self.between is None else self.between(self, x))


def shared(net: Between, x: Tensor) -> Tensor:
    """A gain that goes into no layer, as what it is of is read twice."""
    return x + x * net.p[:, None, None]


BEFORE: dict[str, Does] = {
    "index": lambda net, x: x * net.g[:, None, None, None],
    "select": lambda net, x: x * net.rows[0],
    "slice": lambda net, x: x + net.rows[1:, :6],
    "reshape": lambda net, x: x * net.rows.reshape(1, 2, 6, 1),
    "permute": lambda net, x: x - net.rows[:1].permute(1, 0),
    "expand": lambda net, x: x * net.g.expand(x.shape[0], 1, 1, 6),
    "sums": lambda net, x: x * (net.g + 1.5) - (2 - net.rows[1]),
    "dtype": lambda net, x: x * net.mask.float() + net.mask.to(torch.float64).float(),
    "parameter": lambda net, x: x * net.p[2:4].view(1, 2, 1, 1),
    "made": lambda _, x: x * (torch.arange(6) / 6) + torch.ones(1, 2, 1, 1),
    "gate": lambda net, x: x * torch.sigmoid(net.p[:2].unsqueeze(1).unsqueeze(2)).relu(),
}
BETWEEN: dict[str, Does] = {
    "into the layer": lambda net, x: x * net.p.view(1, 8, 1, 1),
    "shared": shared,
    "along time": lambda net, x: x * net.rows[0][None, None, None],
}
NETS = {name: (does, None) for name, does in BEFORE.items()} | {
    name: (None, does) for name, does in BETWEEN.items()
}


def reference(model: nn.Module) -> Network:
    torch.manual_seed(2)
    return convert(calibrated(to_network(trained(model)), TFLM))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.filterwarnings("ignore:export. .*computed in float32")
def test_the_file_computes_what_the_reference_does(name: str) -> None:
    whole = reference(Between(*NETS[name]))
    given = translated(whole)
    x = examples(whole, 40, seed=4)
    with torch.no_grad():
        wanted = whole(x)
    found = outputs(written(given), given, x)
    step = float(given.tensors[given.outputs[0].tensor].steps.scale)
    assert wanted.unique().numel() > 20
    assert float((found == wanted).double().mean()) > 0.995
    assert float((found - wanted).abs().max()) < 1.5 * step


def test_a_cap_on_memory_or_on_the_file_takes_them() -> None:
    net, given = Between(BEFORE["index"], shared), torch.randn(1, 2, 6, 6)
    ram = fit(net, budget=Budget(ram="700"), example=given, progress=False)
    assert ram.report.after.ram <= 700 < ram.report.before.ram
    held = fit(net, budget=Budget(bytes="8KiB", file=Tflite()), example=given, progress=False)
    assert held.report.after.bytes <= 8192


REFUSED: dict[str, tuple[Does, str]] = {
    "put together": (
        lambda net, x: torch.cat([x, net.rows[0, :, None].expand(x.shape[0], 8, 6, 1)], 3),
        "own forward pass runs cat on what 'expand' makes of constants, .* add constants",
    ),
    "chosen from": (
        lambda net, x: torch.where(net.mask[None], x, net.g[:, None]),
        "own forward pass runs where, .*write it with",
    ),
    "kernel": (
        lambda net, x: functional.conv2d(x, net.w.flip(0)[:1]) + x,
        "own forward pass runs conv2d, which",
    ),
    "other dimensions": (
        lambda net, x: x * (x * net.g[None]).mean((0, 1, 2), keepdim=True).squeeze(0),
        r"puts \(1, 1, 6\) together with a result of other dimensions, .*keep the dimensions",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_written_is_said_in_a_sentence(name: str) -> None:
    does, words = REFUSED[name]
    with pytest.raises(ValueError, match=words) as caught:
        translated(reference(Between(None, does)))
    assert "\n" not in str(caught.value)


class Returned(Between):
    def __init__(self, *, whole: bool) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(x), self.p if self.whole else self.p[:, None]


@pytest.mark.parametrize(("whole", "name"), [(True, "'p'"), (False, "what 'unsqueeze' makes")])
def test_a_constant_that_is_returned_is_named(*, whole: bool, name: str) -> None:
    with pytest.raises(ValueError, match=f"returns {name}.*leave it out of what forward returns"):
        translated(reference(Returned(whole=whole)))
