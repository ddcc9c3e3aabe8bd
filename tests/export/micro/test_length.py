"""How long a file can be is never less than it is, whatever is trained, and hardly more."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from compressor.export.micro.arena import ram
from compressor.export.micro.length import Length, longest, parts
from compressor.export.micro.thrift import frugal
from compressor.export.tflite import made
from compressor.graph.structure import restrict, top
from compressor.network import Network, to_network
from compressor.quantization.conversion import convert
from compressor.quantization.presets import TFLM
from compressor.quantization.stand_ins import stand_in
from compressor.surgery.cutting import shrink
from compressor.tracing.tracer import trace
from models import DSCNN, MobileNet, ResNet8
from tests.helpers.cases import cases
from tests.helpers.int8_nets import calibrated, trained
from tests.helpers.structures import any_widths
from tests.zoo.micro import MICRO, chain, conv

if TYPE_CHECKING:
    from compressor.graph.graph import Graph

pytest.importorskip("flatbuffers")

TINY_ML = {
    "DS-CNN": lambda: DSCNN(12),
    "ResNet-8": lambda: ResNet8(12),
    "MobileNet": lambda: MobileNet(12, size=64),
}

SLACK = 300
"""Bytes that a bound may be above the file of a small network."""

SHARE = 0.01
"""And of a larger one, this share of the file."""


@cache
def known(name: str) -> tuple[nn.Module, tuple[Tensor], Graph]:
    torch.manual_seed(3)
    model = trained((TINY_ML | MICRO)[name](), negative=0.3)
    example = (cast("Tensor", model.example_input_array),)
    return model, example, trace(model, example)


def planned(model: nn.Module, example: tuple[Tensor]) -> Network:
    """The integers with stand-ins for scales, as they are known before training."""
    return stand_in(to_network(model, example), TFLM)


def file(model: nn.Module, example: tuple[Tensor]) -> int:
    """Bytes of the file after data have chosen the scales."""
    return len(made(convert(calibrated(to_network(model, example), TFLM)))[1])


def bound(network: Network) -> int:
    return longest(frugal(network), network)


@pytest.mark.parametrize("name", MICRO)
def test_a_file_is_hardly_shorter_than_was_known(name: str) -> None:
    model, example, _ = known(name)
    most, length = bound(planned(model, example)), file(model, example)
    assert length <= most <= length + SLACK


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY_ML)
def test_files_of_real_networks_are_hardly_shorter(name: str) -> None:
    model, example, graph = known(name)
    for seed in (None, 0, 1):
        structure = None if seed is None else any_widths(graph, seed)
        small = model if structure is None else shrink(model, graph, structure)
        most, length = bound(planned(small, example)), file(small, example)
        assert length <= most <= (1 + SHARE) * length


@pytest.mark.parametrize("name", ["plain", "depthwise", "joined", "gated", "time", "silu"])
def test_the_widths_say_how_long_the_file_of_what_is_left_can_be(name: str) -> None:
    model, example, graph = known(name)
    whole = planned(model, example)
    length = Length(frugal(whole), whole, graph)
    assert length(graph.sizes) == bound(whole)
    for seed in range(4):
        structure = any_widths(graph, seed)
        small = planned(shrink(model, graph, structure), example)
        assert length(structure.widths) >= bound(small)
        # What is left with one channel to read may pad by its kernel, without an operator for it.
        alike = length(structure.widths) == bound(small)
        assert alike or min(structure.widths) == 1
        again = Length(frugal(small), small, restrict(structure))
        assert again(restrict(structure).sizes) == bound(small)


def test_a_row_of_the_program_is_never_above_and_one_that_joins_excludes() -> None:
    model, example, graph = known("depthwise")
    whole = planned(model, example)
    length = Length(frugal(whole), whole, graph)
    (least,) = length.rows(graph.sizes, 0).values()
    smallest = np.ones_like(graph.sizes)
    for seed in range(8):
        widths = any_widths(graph, seed).widths
        assert least(widths) <= length(widths)
        assert not length.exceeded(widths, smallest, length(widths))
        if length(widths) > length(smallest):
            cap = length(widths) - 1
            (row,) = length.exceeded(widths, smallest, cap).values()
            assert row(widths) > cap >= row(smallest)


@pytest.mark.slow
@settings(max_examples=cases(15, 300), deadline=None)
@given(st.sampled_from(sorted(MICRO)), st.integers(0, 10**6))
def test_no_training_changes_it(name: str, seed: int) -> None:
    """Weights all zero, all equal or random; negative gains; scales of other data."""
    model, example, _ = known(name)
    most = bound(planned(model, example))
    random = torch.Generator().manual_seed(seed)
    other = (TINY_ML | MICRO)[name]()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        for p in other.parameters():
            kind = int(torch.randint(4, (), generator=random))
            fill = torch.randn(p.shape, generator=random)
            p.copy_((torch.zeros_like(p), torch.full_like(p, 0.5), -fill.abs(), fill)[kind])
    assert bound(planned(other.eval(), example)) == most
    try:
        length = file(other, example)
    except ValueError:
        return  # a sum that 32 bits may not hold is refused
    assert length <= most


def test_equal_weights_of_two_layers_count_twice_as_they_may_differ() -> None:
    model = chain((8, 6, 6), nn.Conv2d(8, 8, 3, bias=False), nn.Conv2d(8, 8, 3, bias=False))
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    example = (model.example_input_array,)
    assert file(model, example) < bound(planned(model, example)) - 500


@pytest.mark.parametrize("widths", [(64, 24), (64, 5), (8, 24)], ids=["all", "short", "peak"])
def test_a_mean_has_its_weights_where_it_is_short_or_the_peak(widths: tuple[int, int]) -> None:
    """One for every channel, of 324 places each, or one for all of them."""
    model = trained(
        chain(
            (1, 20, 20), conv(1, 64, 3), conv(64, 24, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(24, 4),
        )
    )  # fmt: skip
    example = (model.example_input_array,)
    graph = trace(model, example)
    whole = planned(model, example)
    length = Length(frugal(whole), whole, graph)
    structure = top(graph, np.ones(graph.units), np.array(widths))
    small = planned(shrink(model, graph, structure), example)
    assert bound(small) <= length(structure.widths) <= bound(small) + SLACK


def test_what_the_bytes_are_adds_up() -> None:
    model, example, _ = known("plain")
    whole = planned(model, example)
    found = parts(frugal(whole), whole)
    assert found.weights + found.scales + found.rest == bound(whole)
    weights = sum(p.numel() for n, p in model.named_parameters() if p.dim() > 1)
    assert weights < found.weights < weights + 4 * sum(p.numel() for p in model.parameters())
    assert f"{found.rest:,} of operators, tensors and their tables" in str(found)


def test_a_mean_behind_a_layer_that_widens_has_one_weight_for_all_channels() -> None:
    model = chain(
        (1, 20, 20), conv(1, 64, 3), conv(64, 8, 1), conv(8, 24, 1), nn.AdaptiveAvgPool2d(1)
    )
    example = (model.example_input_array,)
    program = frugal(planned(trained(model), example))
    (mean,) = (o for o in program.operators[-1:])
    assert program.tensors[mean.inputs[1]].shape == (1, 18 * 18, 1, 1)
    copied = 2 * program.tensors[program.operators[-2].outputs[0]].size
    assert copied <= ram(program)  # another operator makes the peak
