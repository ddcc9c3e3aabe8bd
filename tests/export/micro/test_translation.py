"""Every operation in TensorFlow Lite Micro's own interpreter, equal to the reference."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

from compressor.export.micro.operations import (
    Convolution,
    Depthwise,
    Joined,
    Moved,
    Padded,
    Part,
    Product,
    Reshaped,
    Sigmoid,
    Squares,
    Times,
)
from compressor.export.micro.program import Program
from compressor.export.micro.translation import translated
from compressor.export.micro.writing import written
from compressor.network import Network, to_network
from compressor.network.file import container
from compressor.phases.int8 import Int8
from compressor.quantization.conversion import convert
from compressor.quantization.presets import TFLM
from tests.helpers.int8_nets import calibrated, examples, trained
from tests.helpers.tflm import outputs
from tests.zoo.micro import MICRO, Net, chain

SEEN = 40
"""Random inputs of each network."""


@cache
def network(name: str, negative: float = 0.3) -> Network:
    """One of the networks, trained; a part of its scales is negative."""
    torch.manual_seed(3)
    return to_network(trained(MICRO[name](), negative=negative))


@cache
def reference(name: str, *, fold_bands: bool = True) -> Network:
    return convert(calibrated(network(name), TFLM, fold_bands=fold_bands))


def kinds(program: Program) -> list[type]:
    return [type(operator.operation) for operator in program.operators]


def inputs(whole: Network) -> torch.Tensor:
    return examples(whole, SEEN, seed=5)


@pytest.mark.parametrize("name", MICRO)
def test_the_file_says_what_the_reference_does(name: str) -> None:
    whole = reference(name)
    program = translated(whole)
    x = inputs(whole)
    with torch.no_grad():
        wanted = whole(x)
    assert wanted.unique().numel() > 5  # else nothing is shown
    assert torch.equal(outputs(written(program), program, x), wanted)


@pytest.mark.parametrize("name", MICRO)
def test_nothing_is_turned_or_reshaped(name: str) -> None:
    found = kinds(translated(reference(name)))
    assert found.count(Reshaped) == found.count(Squares)  # rows, to be multiplied with themselves


@pytest.mark.parametrize("name", ["padded", "plain", "depthwise", "time"])
def test_padding_by_kernels_computes_the_same(name: str) -> None:
    whole = reference(name)
    layers = [step.module or step.name for step in whole.steps]
    usual, program = translated(whole), translated(whole, by_kernel=layers)
    assert kinds(program).count(Padded) < kinds(usual).count(Padded)
    x = inputs(whole)
    with torch.no_grad():
        assert torch.equal(outputs(written(program), program, x), whole(x))


def test_sub_bands_are_slabs_with_weights_that_lie_once() -> None:
    program = translated(convert(calibrated(network("bands", negative=0.0), TFLM)))
    assert kinds(program).count(Part) == 5
    assert kinds(program).count(Joined) == 2
    slabs = [o for o in program.operators if type(o.operation) is Depthwise]
    weights = [program.tensors[o.inputs[1]] for o in slabs]
    assert len({w.data.tobytes() for w in weights}) == 1
    assert len({w.steps.scales.tobytes() for w in weights}) == 3


def test_sub_bands_by_themselves_are_depthwise() -> None:
    whole = reference("bands", fold_bands=False)
    program = translated(whole)
    x = inputs(whole)
    with torch.no_grad():
        assert torch.equal(outputs(written(program), program, x), whole(x))


def test_a_norm_without_a_layer_is_depthwise() -> None:
    assert kinds(translated(reference("norm first"))).count(Depthwise) == 1


def test_silu_is_a_sigmoid_and_a_product() -> None:
    found = kinds(translated(reference("silu")))
    assert found.count(Sigmoid) == 2
    assert found.count(Times) == 1


def test_parts_are_moved_to_one_grid() -> None:
    program = translated(reference("joined"))
    assert Moved in kinds(program)
    (joined,) = (o for o in program.operators if isinstance(o.operation, Joined))
    grids = [program.tensors[n].steps for n in (*joined.inputs, *joined.outputs)]
    assert len({(float(g.scale), g.zero) for g in grids}) == 1


def test_groups_are_convolutions_and_flattening_costs_nothing() -> None:
    found = kinds(translated(reference("grouped")))
    assert found == [Convolution, Convolution, Depthwise, Product]


@pytest.mark.parametrize("name", MICRO)
def test_the_networks_own_file_keeps_the_rounding(name: str) -> None:
    whole = reference(name)
    again = container.unpack(container.pack(whole))
    x = inputs(whole)
    with torch.no_grad():
        assert torch.equal(again(x), whole(x))


@pytest.mark.parametrize("name", MICRO)
def test_the_length_of_that_file_is_known_before(name: str) -> None:
    planned = Int8(preset=TFLM).network_after(network(name), {})
    assert len(container.pack(reference(name))) <= container.bound(planned)


def several(net: Net, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    one, other = net.layers
    y = one(x)
    return other(y), y


def test_several_outputs() -> None:
    torch.manual_seed(0)
    model = Net((1, 6, 6), several, nn.Conv2d(1, 3, 3), nn.Conv2d(3, 2, 3))
    whole = convert(calibrated(to_network(trained(model)), TFLM))
    program = translated(whole)
    assert [port.shape for port in program.outputs] == [(1, 2, 2, 2), (1, 3, 4, 4)]
    x = examples(whole, 3)
    with torch.no_grad():
        wanted = whole(x)
    first, second = program.outputs
    for out, like in ((first, wanted[0]), (second, wanted[1])):
        alone = Program(program.tensors, program.operators, program.inputs, (out,))
        assert torch.equal(outputs(written(alone), alone, x), like)


def test_a_mean_of_much_has_one_weight_for_all_channels() -> None:
    """Else 64 x 64 bytes for numbers that are all the same; the sums are the same."""
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 1), nn.ReLU()
    model = chain((2, 8, 8), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 5))
    whole = convert(calibrated(to_network(trained(model)), TFLM))
    program = translated(whole)
    assert kinds(program) == [Convolution, Convolution, Reshaped, Convolution, Product]
    mean = program.operators[3]
    assert program.tensors[mean.inputs[1]].shape == (1, 64, 1, 1)
    x = inputs(whole)
    with torch.no_grad():
        assert torch.equal(outputs(written(program), program, x), whole(x))


def test_a_mean_of_much_is_not_copied_where_memory_is_short() -> None:
    """The convolution before has two channels: a second copy of its result would be the peak."""
    torch.manual_seed(0)
    model = chain((2, 8, 8), nn.Conv2d(2, 64, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    whole = convert(calibrated(to_network(trained(model)), TFLM))
    program = translated(whole)
    assert kinds(program) == [Convolution, Depthwise]
    mean = program.operators[1].operation
    assert isinstance(mean, Depthwise)
    assert mean.stride == (1, 1)  # of 8, vela would leave it to the CPU
