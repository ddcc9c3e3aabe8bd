"""Networks are tried on weights that show something, and on their own buffers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor import Budget, Structure, fit, shrink, trace
from compressor.errors import VerificationError
from compressor.surgery.proof import verify
from compressor.surgery.weightings import PERIOD, positive, randomised

POWER = torch.rand(1, 12, 10, generator=torch.Generator().manual_seed(0))
IMAGE = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class FrontEnd(nn.Module):
    """Features made by buffers and frozen parameters, in front of two convolutions."""

    def __init__(self, features: Callable[[FrontEnd, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = features
        self.register_buffer("mel", torch.rand(8, 12))
        self.register_buffer("deviation", torch.rand(8) + 0.1)
        self.register_buffer("order", torch.arange(7, -1, -1))
        self.register_buffer("places", torch.arange(8.0))
        self.register_buffer("mask", torch.where(torch.arange(8) > 3, 0.0, -torch.inf))
        self.register_buffer("open", torch.arange(8) > 3)
        self.register_buffer("zeros", torch.zeros(8))
        self.frozen = nn.Parameter(torch.rand(8, 12), requires_grad=False)
        self.bank = nn.Parameter(torch.rand(8, 12))
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3)
        )
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.features(self, x)[:, None]).relu().mean((2, 3)))


FEATURES: dict[str, Callable[[FrontEnd, Tensor], Tensor]] = {
    "log": lambda m, x: torch.log(m.mel @ x.square() + 1e-5),
    "frozen": lambda m, x: torch.log(m.frozen @ x.square() + 1e-5),
    "trainable": lambda m, x: torch.log(m.bank @ x.square() + 1e-5),
    "deviation": lambda m, x: (m.mel @ x) / m.deviation.sqrt()[:, None],
    "power": lambda m, x: (m.mel @ x.square() + 0.1) ** -m.deviation[:, None],
    "order": lambda m, x: (m.mel @ x)[:, m.order],
    "places": lambda m, x: (m.mel @ x)[:, m.places.long()],
    "root": lambda m, x: m.mel @ x + (m.places / 8).sqrt()[:, None],
    "mask": lambda m, x: (m.mel @ x + m.mask[:, None]).softmax(1),
    "open": lambda m, x: (m.mel @ x).masked_fill(~m.open[:, None], 0),
    "zeros": lambda m, x: m.mel @ x * (1 + torch.log1p(-m.zeros))[:, None],
    "arcus": lambda m, x: m.mel @ x * (1 + torch.asin(m.open.float()))[:, None],
    "raw": lambda m, x: torch.log(m.mel @ x + 1e-3),
}


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("example", [POWER, torch.zeros_like(POWER)])
def test_a_front_end_is_tried_on_its_own_buffers(name: str, example: Tensor) -> None:
    model = FrontEnd(FEATURES[name]).eval()
    params = sum(p.numel() for p in model.parameters())
    after = fit(model, example=example, budget=Budget(params=int(0.7 * params))).report.after
    assert after.params <= 0.7 * params


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_and_in_other_precisions(dtype: torch.dtype) -> None:
    model = FrontEnd(FEATURES["log"]).eval().to(dtype)
    assert fit(model, example=POWER.to(dtype), budget=Budget(params=800)).report.after.params <= 800


@pytest.mark.parametrize("make", [randomised, positive])
def test_buffers_and_frozen_parameters_stay_unless_they_are_zeros(
    make: Callable[[nn.Module], nn.Module],
) -> None:
    model = FrontEnd(FEATURES["log"])
    twin = make(model)
    for name in ("mel", "deviation", "order", "places", "mask", "open", "frozen"):
        assert torch.equal(getattr(twin, name), getattr(model, name))
    assert (twin.zeros > 0).all()
    assert (twin.bank >= 0).all()
    assert not torch.equal(twin.bank, model.bank)
    assert not torch.equal(twin.body[1].running_var, model.body[1].running_var)
    model.requires_grad_(requires_grad=False)
    assert not torch.equal(make(model).head.weight, model.head.weight), "all frozen says nothing"


class LayerNorm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def plain(norm: Callable[[int], nn.Module] = nn.BatchNorm2d, depth: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for number in range(depth):
        layers += [nn.Conv2d(8 if number else 3, 8, 3, padding=1), norm(8), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()


class RepBlock(nn.Module):
    """Three branches, as RepVGG has before training."""

    def __init__(self) -> None:
        super().__init__()
        self.three, self.one = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = self.norms
        return (a(self.three(x)) + b(self.one(x)) + c(x)).relu()


def filled(model: nn.Module, kind: type[nn.Module], value: float, name: str) -> nn.Module:
    for module in model.modules():
        if isinstance(module, kind):
            nn.init.constant_(getattr(module, name), value)
    return model


DEGENERATE: dict[str, Callable[[], nn.Module]] = {
    "all off": lambda: filled(plain(), nn.BatchNorm2d, -1e4, "bias"),
    "zero norms": lambda: filled(plain(), nn.BatchNorm2d, 0.0, "weight"),
    "zero head": lambda: filled(plain(), nn.Linear, 0.0, "weight"),
    "zero filters": lambda: filled(plain(), nn.Conv2d, 0.0, "weight"),
    "deep": lambda: plain(depth=12),
    "layer norm": lambda: plain(LayerNorm),
    "group norm": lambda: plain(lambda c: nn.GroupNorm(1, c)),
    "branches": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3), *(RepBlock() for _ in range(4)), nn.Flatten(), nn.Linear(288, 4)
    ).eval(),
}


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_network_that_says_the_same_of_every_input_is_compressed(name: str, share: float) -> None:
    model = DEGENERATE[name]()
    graph = trace(model, IMAGE)
    assert not [why for why in graph.frozen.values() if "breaks" in why]
    least = graph.params(np.array([axis.size if axis.frozen else 1 for axis in graph.axes]))
    cap = least + int(share * (graph.params(graph.sizes) - least))
    report = fit(model, example=IMAGE, budget=Budget(params=cap)).report
    assert report.after.params <= cap


class FixedSlice(nn.Module):
    """Counts on eight channels; its last layer is zero."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 3, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(torch.cat([2 * x[:, :4], x[:, 4:]], 1))


def test_what_the_given_weights_hide_the_others_show() -> None:
    model = FixedSlice().eval()
    graph = trace(model, IMAGE, check=False)
    keep = np.ones(graph.units, dtype=bool)
    keep[1] = False
    structure = Structure(graph, keep)
    small = shrink(model, graph, structure)
    assert torch.equal(model(IMAGE), small(IMAGE)), "equal, and wrong as soon as it is trained"
    with pytest.raises(VerificationError, match="differ by"):
        verify(model, graph, structure, small, IMAGE)


def test_tensors_that_the_outputs_do_not_show_are_compared_themselves() -> None:
    model = filled(plain(), nn.Linear, 0.0, "weight")
    graph = trace(model, IMAGE)
    keep = np.ones(graph.units, dtype=bool)
    keep[1] = False
    structure = Structure(graph, keep)
    small = shrink(model, graph, structure)
    assert verify(model, graph, structure, small, IMAGE) < 1e-9
    with torch.no_grad():
        small[0].weight[0] += 1
    with pytest.raises(VerificationError, match=r"its '0\.weight' is not what was kept"):
        verify(model, graph, structure, small, IMAGE)


def test_large_weights_have_no_two_equal_rows_or_columns() -> None:
    """Noise repeats itself in them, which must not hide that one channel is taken for another."""
    model = nn.Sequential(nn.Conv2d(130, 128, 3), nn.ReLU(), nn.Conv2d(128, 2, 1))
    weight = randomised(model).get_parameter("0.weight").detach()
    assert weight.numel() > 2 * PERIOD
    for rows in (weight.flatten(1), weight.transpose(0, 1).flatten(1)):
        assert len(rows.unique(dim=0)) == len(rows)
    assert abs(float(weight.std()) / (2 / (130 * 9)) ** 0.5 - 1) < 0.02
