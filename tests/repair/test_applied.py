"""Weights are seen wherever they are applied, and a norm only where it follows at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from compressor.repair.applied import Applied, Watch


class Run(nn.Module):
    """Layers by name, and what is done with them."""

    def __init__(self, run: Callable[[Run, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def watched(model: nn.Module, x: Tensor) -> tuple[list[Applied], list[str]]:
    """All applications, and the weights that a norm follows at once."""
    found: list[Applied] = []
    normed: list[str] = []
    watch = Watch(model, found.append, lambda: normed.append(found[-1].weight))
    with torch.no_grad(), watch:
        model.eval()(x)
    return found, normed


IMAGE, ROWS, FRAMES = torch.randn(2, 4, 5, 5), torch.randn(3, 4), torch.randn(2, 5, 4)


@pytest.mark.parametrize(
    ("model", "x", "names"),
    [
        (nn.Linear(4, 3), ROWS, ["weight"]),
        (nn.Linear(4, 3, bias=False), ROWS, ["weight"]),
        (nn.Linear(4, 3), FRAMES, ["weight"]),
        (nn.Linear(4, 3, bias=False), FRAMES, ["weight"]),
        (nn.Conv2d(4, 3, 3), IMAGE, ["weight"]),
        (nn.Conv2d(4, 4, 3, groups=4), IMAGE, ["weight"]),
        (nn.ConvTranspose2d(4, 3, 3, stride=2), IMAGE, ["weight"]),
        (nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), ROWS, ["0.weight", "1.weight"]),
        (nn.MultiheadAttention(4, 2), FRAMES, None),
    ],
)  # fmt: skip
def test_layers_are_seen_in_their_order(
    model: nn.Module, x: Tensor, names: list[str] | None
) -> None:
    if names is None:
        model, names = Run(lambda m, x: m.a(x, x, x)[0], a=model), ["a.in_proj_weight"] * 3
        names = [names[0], "a.out_proj.weight"]
    found, _ = watched(model, x)
    assert list(dict.fromkeys(one.weight for one in found)) == names


def test_products_by_hand_and_functions_are_seen_as_layers_are() -> None:
    def run(model: Run, x: Tensor) -> Tensor:
        x = functional.linear(x, model.a.weight, model.a.bias)
        return torch.addmm(model.b.bias, x, model.b.weight.t())

    model = Run(run, a=nn.Linear(4, 3), b=nn.Linear(3, 2))
    found, _ = watched(model, ROWS)
    assert [(one.weight, one.bias) for one in found] == [
        ("a.weight", "a.bias"), ("b.weight", "b.bias"),
    ]  # fmt: skip
    assert torch.equal(found[1].inputs, found[0].outputs)
    assert torch.equal(found[1].outputs, model(ROWS))


def test_a_weight_that_is_applied_twice_is_told_by_its_calls() -> None:
    shared = nn.Linear(4, 4)
    found, _ = watched(Run(lambda m, x: m.a(m.a(x).relu()), a=shared), ROWS)
    assert [(one.weight, one.call) for one in found] == [("a.weight", 0), ("a.weight", 1)]


def test_computed_weights_have_no_memory_of_a_parameter() -> None:
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3)), nn.Linear(3, 2))
    found, _ = watched(model, ROWS)
    assert [one.weight for one in found] == ["1.weight"]


def test_a_convolution_of_channels_last_is_seen() -> None:
    model = nn.Sequential(nn.Conv2d(4, 3, 3), nn.Conv2d(3, 2, 1)).to(
        memory_format=torch.channels_last
    )
    found, _ = watched(model, IMAGE.to(memory_format=torch.channels_last))
    assert [one.weight for one in found] == ["0.weight", "1.weight"]


def test_parameters_in_one_flat_memory_are_told_apart() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    start = 0
    for p in model.parameters():
        p.data = flat[start : start + p.numel()].view_as(p)
        start += p.numel()
    found, _ = watched(model, ROWS)
    assert [(one.weight, one.bias, one.offset) for one in found] == [
        ("0.weight", "0.bias", 0), ("2.weight", "2.bias", 0),
    ]  # fmt: skip


def _tail(act: nn.Module | None) -> nn.Module:
    middle = [] if act is None else [act]
    return nn.Sequential(nn.Conv2d(4, 4, 3, bias=False), *middle, nn.BatchNorm2d(4))


def test_a_norm_that_follows_at_once_is_told() -> None:
    assert watched(_tail(None), IMAGE)[1] == ["0.weight"]


@pytest.mark.parametrize("act", [nn.ReLU(), nn.ReLU(inplace=True), nn.Hardswish(inplace=True)])
def test_a_norm_behind_something_else_is_not(act: nn.Module) -> None:
    """Nor one whose input lies where the outputs of a layer lay that nobody keeps any more."""
    model = _tail(act)
    for _ in range(20):
        assert watched(model, IMAGE)[1] == []


def test_a_functional_norm_is_told_too() -> None:
    def run(model: Run, x: Tensor) -> Tensor:
        return functional.batch_norm(model.a(x), torch.zeros(3), torch.ones(3))

    assert watched(Run(run, a=nn.Linear(4, 3)), ROWS)[1] == ["a.weight"]
