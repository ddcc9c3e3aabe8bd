"""Parts in floating point: they run, are named, say what they cost, and hardly ever differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor.export.micro.operations import Floated, Mean, Moved
from compressor.export.micro.program import Program
from compressor.export.micro.translation import translated
from compressor.export.micro.writing import written
from compressor.export.tflite import tflite_bytes
from compressor.network import Network, to_network
from compressor.quantization.conversion import convert
from compressor.quantization.presets import TFLM
from models import ResidualNorm
from tests.helpers.int8_nets import calibrated, examples, trained
from tests.helpers.tflm import outputs
from tests.zoo.micro import MICRO, Net, chain

SEEN = 60

FLOAT = replace(TFLM, statistics=False)


def shifted(net: Net, x: Tensor) -> Tensor:
    first, last = net.layers
    y = first(x)
    return last(y * 0.5 - net.shift + (y - 1.0))


def with_shift() -> Net:
    net = Net((2, 6, 6), shifted, nn.Conv2d(2, 4, 3), nn.Conv2d(4, 3, 1))
    net.shift = nn.Parameter(torch.linspace(-1, 1, 4).reshape(1, 4, 1, 1))
    return net


NETS: dict[str, Callable[[], Net]] = {
    "inside": lambda: chain(
        (1, 8, 9), nn.Conv2d(1, 6, 3), nn.ReLU(), ResidualNorm(), nn.Conv2d(6, 3, 1)
    ),
    "at the input": lambda: chain((2, 8, 9), ResidualNorm(learned=True), nn.Conv2d(2, 3, 3)),
    "constants": with_shift,
}


@cache
def reference(name: str) -> Network:
    torch.manual_seed(2)
    return convert(calibrated(to_network(trained(NETS[name]())), FLOAT))


def program(name: str) -> Program:
    return translated(reference(name))


@pytest.mark.parametrize("name", NETS)
def test_hardly_a_step_differs(name: str) -> None:
    whole, given = reference(name), program(name)
    x = examples(whole, SEEN, seed=4)
    with torch.no_grad():
        wanted = whole(x)
    found = outputs(written(given), given, x)
    step = float(given.tensors[given.outputs[0].tensor].steps.scale)
    assert wanted.unique().numel() > 20
    assert float((found == wanted).double().mean()) > 0.999
    assert float((found - wanted).abs().max()) < 1.5 * step


def test_values_leave_their_grid_once_and_come_back() -> None:
    kinds = [type(o.operation) for o in program("inside").operators]
    assert kinds.count(Floated) == 1
    assert kinds.count(Mean) == 2
    assert kinds.count(Moved) == 1


def test_a_network_that_begins_with_one_takes_numbers() -> None:
    given = program("at the input")
    assert given.tensors[given.inputs[0].tensor].dtype == np.float32
    x = np.ones((1, 2, 8, 9), dtype=np.float32) / 3
    assert np.array_equal(given.encoded([x])[0], x.transpose(0, 2, 3, 1))


def test_the_layers_and_what_they_cost_are_told() -> None:
    with pytest.warns(UserWarning, match=r"'layers.2' is computed in float32.* [\d,]+ bytes of"):
        content = tflite_bytes(reference("inside"))
    assert content == written(program("inside"))
    assert program("inside").floating() == ("layers.2",)


def test_networks_of_integers_have_none() -> None:
    torch.manual_seed(2)
    whole = convert(calibrated(to_network(trained(MICRO["silu"]())), FLOAT))
    assert not translated(whole).floating()


def test_the_other_interpreter_takes_them() -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    runs = litert.Interpreter(model_content=written(program("inside")))
    runs.allocate_tensors()
    runs.invoke()
