"""Residual Normalization in whole numbers: the file is the reference, and takes two tensors."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from compressor.export.micro.arena import lifetimes, ram
from compressor.export.micro.translation import translated
from compressor.export.micro.writing import written
from compressor.network import Network, to_network
from compressor.network.file import container
from compressor.quantization.conversion import convert
from compressor.quantization.presets import TFLM
from models import ResidualNorm
from tests.helpers.int8_nets import calibrated, examples, trained
from tests.helpers.tflm import outputs
from tests.zoo.micro import Net, chain

CLIPS = 60

NETS: dict[str, Callable[[], Net]] = {
    "behind a ReLU": lambda: chain(
        (1, 8, 9), nn.Conv2d(1, 6, 3), nn.ReLU(), ResidualNorm(), nn.Conv2d(6, 3, 1)
    ),
    "behind a convolution, before a ReLU": lambda: chain(
        (1, 8, 9), nn.Conv2d(1, 6, 3), ResidualNorm(), nn.ReLU(), nn.Conv2d(6, 3, 1)
    ),
    "learned": lambda: chain((2, 8, 9), ResidualNorm(0.3, learned=True), nn.Conv2d(2, 3, 3)),
    "nothing passed on": lambda: chain(
        (1, 8, 9), nn.Conv2d(1, 6, 3), ResidualNorm(0), nn.Conv2d(6, 3, 1)
    ),
    "large epsilon": lambda: chain((1, 8, 9), ResidualNorm(eps=0.5), nn.Conv2d(1, 3, 3)),
    "twice": lambda: chain((1, 8, 9), ResidualNorm(), nn.Conv2d(1, 3, 3), ResidualNorm()),
}


@cache
def reference(name: str) -> Network:
    torch.manual_seed(2)
    return convert(calibrated(to_network(trained(NETS[name]())), TFLM))


@pytest.mark.parametrize("name", NETS)
def test_every_output_is_the_references(name: str) -> None:
    whole = reference(name)
    program = translated(whole)
    x = examples(whole, CLIPS, seed=4)
    x[:10] *= torch.logspace(-2, 1, 10).reshape(-1, 1, 1, 1)  # rows of no variance, and beyond
    with torch.no_grad():
        wanted = whole(x)
    assert wanted.unique().numel() > 20
    assert torch.equal(outputs(written(program), program, x), wanted)


@pytest.mark.parametrize("name", NETS)
def test_nothing_is_in_floating_point(name: str) -> None:
    program = translated(reference(name))
    assert not program.floating()
    assert {t.dtype.name for t in program.tensors} <= {"int8", "int32"}


def test_two_tensors_of_its_input_are_alive_at_most() -> None:
    program = translated(reference("behind a ReLU"))
    size = 6 * 6 * 7
    large = [t for t in lifetimes(program).values() if t.size >= size]
    for at in range(len(program.operators)):
        assert sum(life.first <= at <= life.last for life in large) <= 2
    assert ram(program) <= 2 * (size + 16) + 2 * 16


def test_it_is_near_the_network_in_floating_point() -> None:
    torch.manual_seed(2)
    model = trained(NETS["behind a ReLU"]())
    x = examples(model, CLIPS, seed=3)  # that scales were chosen from
    with torch.no_grad():
        wanted, found = model(x), reference("behind a ReLU")(x)
    assert float((found - wanted).abs().mean() / wanted.abs().mean()) < 0.04


@pytest.mark.parametrize("name", ["learned", "nothing passed on"])
def test_a_stored_one_is_the_same(name: str) -> None:
    whole = reference(name)
    again = container.unpack(container.pack(whole))
    x = examples(whole, 8, seed=5)
    with torch.no_grad():
        assert torch.equal(again(x), whole(x))
    one, other = (written(translated(each)) for each in (whole, again))
    assert np.array_equal(np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8))
