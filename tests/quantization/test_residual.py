"""Residual Normalization in training: found, equal while nothing is rounded, and it learns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compressor.network import to_network
from compressor.network.fixed_norm import GRIDS, FixedNorm
from compressor.quantization.conversion import convert
from compressor.quantization.preparation import prepare
from compressor.quantization.presets import ORT, TFLM, Preset
from compressor.quantization.residual import NormQuantiser, norms
from compressor.quantization.stand_ins import stand_in
from models import BCResNetASC, ResidualNorm
from tests.helpers.int8_nets import calibrated, examples, trained
from tests.zoo.micro import Net, chain


def net(weight: float = 0.1, *, learned: bool = False) -> Net:
    return chain(
        (1, 8, 9), nn.Conv2d(1, 6, 3), ResidualNorm(weight, learned=learned), nn.Conv2d(6, 3, 1)
    )


def centred_is_read_twice(model: Net, x: Tensor) -> Tensor:
    first, _, last = model.layers
    x = first(x)
    mean = x.mean((1, 3), keepdim=True)
    centred = x - mean
    root = torch.rsqrt((centred * centred).mean((1, 3), keepdim=True) + 1e-5)
    return last(0.1 * x + centred * root) + last(centred)


def over_rows(model: Net, x: Tensor) -> Tensor:
    first, _, last = model.layers
    x = first(x)
    mean = x.mean((1, 2), keepdim=True)
    centred = x - mean
    root = torch.rsqrt((centred * centred).mean((1, 2), keepdim=True) + 1e-5)
    return last(0.1 * x + centred * root)


def test_all_of_a_network_are_found() -> None:
    model = BCResNetASC(4, mels=32, frames=20, learned=True).eval()
    found = norms(to_network(model))
    assert len(found) == 5
    assert all(norm.eps == 1e-5 and len(norm.steps) == 9 for norm in found)


@pytest.mark.parametrize("does", [centred_is_read_twice, over_rows])
def test_what_is_another_thing_is_left_alone(does) -> None:  # noqa: ANN001 - functions above
    model = net()
    model.does = does
    assert norms(to_network(model.eval())) == ()


def test_a_front_of_another_runtime_has_none() -> None:
    made = prepare(to_network(trained(net())), ORT)
    assert not any(isinstance(m, NormQuantiser) for m in made.modules())
    with pytest.raises(ValueError, match="fixed_point"):
        Preset(ORT.signed, ORT.unsigned, statistics=True)


@pytest.mark.parametrize("weight", [0.0, 0.1, 2.0])
def test_nothing_changes_before_scales_are_chosen(weight: float) -> None:
    model = trained(net(weight))
    norm = NormQuantiser(TFLM, 1e-5, positive=False, growing=True, learned=False)
    x = torch.randn(4, 3, 5, 7)
    torch.testing.assert_close(norm(x, weight=weight), ResidualNorm(weight)(x))
    whole = to_network(model)
    x = examples(whole, 4)
    with torch.no_grad():
        torch.testing.assert_close(prepare(whole, TFLM)(x), model(x), atol=0.05, rtol=0.1)


def test_rows_without_variance_have_gradients() -> None:
    made = calibrated(to_network(trained(net(learned=True))), TFLM, learned=True).train()
    x = examples(made, 4)
    x[0] = 0
    x.requires_grad_()
    made(x).square().mean().backward()
    given = [x.grad, *(p.grad for p in made.parameters() if p.grad is not None)]
    assert len(given) > 12
    assert all(bool(torch.isfinite(g).all()) for g in given if g is not None)
    assert float(x.grad[1:].abs().max()) > 0  # type: ignore[union-attr]


def test_the_reference_is_what_was_trained() -> None:
    made = calibrated(to_network(trained(net())), TFLM).eval()
    whole = convert(made)
    x = examples(whole, 60, seed=4)
    with torch.no_grad():
        one, other = made(x), whole(x)
    assert float((one == other).double().mean()) > 0.9
    assert float((one - other).abs().mean() / other.abs().mean()) < 0.01


def test_grids_are_known_before_any_data() -> None:
    whole = to_network(trained(net()))
    found = [
        next(m for m in made.modules() if isinstance(m, FixedNorm))
        for made in (stand_in(whole, TFLM), convert(calibrated(whole, TFLM)))
    ]
    assert found[0].zeros == found[1].zeros
    assert found[0].zero("mean") == 0  # of both signs
    assert found[0].zero("gain") == found[0].zero("power") == -128
    assert len(set(found[0].scales.tolist())) == len(GRIDS)


def test_silence_does_not_choose_the_grid_of_the_root() -> None:
    """One over the root of no variance is the largest number there is, and multiplies nothing."""
    norm = NormQuantiser(TFLM, 1e-5, positive=False, growing=True, learned=False)
    x = torch.randn(16, 3, 8, 50) * torch.linspace(0.5, 3, 8)[:, None]
    x[:4] = 0  # clips of silence
    for name in GRIDS[1:]:
        norm.part(name).observe()
    norm(x, weight=0.1)
    norm.settle()
    for name in ("mean", "centred", "shift", "product"):
        norm.part(name).settle()
    found, wanted = norm(x, weight=0.1), ResidualNorm(0.1)(x)
    assert float((found - wanted).square().mean() / wanted.square().mean()) < 3e-3
    assert float(norm.part("root").scale) * 255 < 10
