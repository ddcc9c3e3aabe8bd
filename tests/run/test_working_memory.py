"""Working memory by the widths is the file's own, for every structure of every kind of network."""

from __future__ import annotations

from functools import cache
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from compressor.errors import BudgetError
from compressor.export.micro.arena import ram
from compressor.export.micro.thrift import frugal
from compressor.graph.graph import Graph
from compressor.graph.structure import restrict
from compressor.network import to_network
from compressor.phases.half import Half
from compressor.phases.int8 import Int8
from compressor.quantization.conversion import convert
from compressor.quantization.presets import TFLM
from compressor.run.file_size import Stored
from compressor.run.working_memory import RamCap, memory, program_of
from compressor.surgery.cutting import shrink
from compressor.tracing.tracer import trace
from tests.helpers.int8_nets import calibrated, trained
from tests.helpers.structures import any_widths
from tests.zoo.micro import MICRO

SEEDS = range(4)


@cache
def net(name: str) -> tuple[nn.Module, tuple[Tensor], Graph]:
    torch.manual_seed(3)
    model = trained(MICRO[name](), negative=0.3)
    example = (cast("Tensor", model.example_input_array),)
    return model, example, trace(model, example)


def stored(model: nn.Module, example: tuple[Tensor], graph: Graph) -> Stored:
    return Stored(model, example, graph, {}, {})


@pytest.mark.parametrize("name", MICRO)
def test_the_widths_say_what_the_file_of_what_is_left_takes(name: str) -> None:
    model, example, graph = net(name)
    whole = memory(stored(model, example, graph))
    assert whole(graph.sizes) == ram(program_of(stored(model, example, graph)))
    for seed in SEEDS:
        structure = any_widths(graph, seed)
        small = stored(shrink(model, graph, structure), example, restrict(structure))
        taken = ram(program_of(small))
        assert memory(small)(small.graph.sizes) == taken
        assert whole(structure.widths) >= taken
        # What is left with one channel to read may pad by its kernel.
        assert whole(structure.widths) == taken or min(structure.widths) == 1


@pytest.mark.parametrize("name", MICRO)
def test_scales_chosen_from_data_change_nothing(name: str) -> None:
    model, example, graph = net(name)
    structure = any_widths(graph, 5)
    small = shrink(model, graph, structure)
    integers = convert(calibrated(to_network(small, example), TFLM))
    predicted = memory(stored(model, example, graph))(structure.widths)
    assert ram(frugal(integers)) == predicted


def test_the_networks_have_widths_that_matter() -> None:
    found = [memory(stored(*net(name))) for name in ("plain", "depthwise", "joined", "bands")]
    for held in found:
        assert any(any(block.size.linear) for moment in held.moments for block in moment.blocks)


class Softened(nn.Module):
    """With an operation that is not computed in integers there."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.softmax(self.first(x), 1))


def test_a_network_without_a_file_is_refused_by_the_writer() -> None:
    model, example = Softened().eval(), (torch.zeros(1, 1, 9, 9),)
    with pytest.raises(BudgetError, match=r"ram .* Softened: export: .*softmax.* no \.tflite"):
        memory(stored(model, example, trace(model, example)))


def test_weights_of_16_bits_have_no_file() -> None:
    model, example, graph = net("plain")
    later = Stored(model, example, graph, {}, {}, later=(Half(),))
    with pytest.raises(BudgetError, match=r"ram .* 16 bits, as Half\(\) .*leave Half\(\) out"):
        memory(later)


def test_another_runtime_has_no_file() -> None:
    model, example, graph = net("plain")
    later = Stored(model, example, graph, {}, {}, later=(Int8(),))
    with pytest.raises(BudgetError, match=r"Int8\(preset=presets.TFLM\)"):
        memory(later)


def test_the_phase_to_come_says_how_the_network_is_rounded() -> None:
    model, example, graph = net("bands")
    folded, apart = (
        memory(Stored(model, example, graph, {}, {}, later=(Int8(preset=TFLM, fold_bands=fold),)))
        for fold in (True, False)
    )
    assert folded(graph.sizes) == memory(stored(model, example, graph))(graph.sizes)
    assert len(apart.moments) != len(folded.moments)


def test_what_a_plan_cannot_use_is_taken_off_the_cap() -> None:
    model, example, graph = net("plain")
    whole = stored(model, example, graph)
    program, needed = program_of(whole), memory(whole)
    peak = needed(graph.sizes)
    fits, short = RamCap(peak, needed), RamCap(peak - 40, needed)
    assert (fits.exceeded(program), fits.left) == (False, peak)
    assert (short.exceeded(program), short.left) == (True, peak - 80)
    again = RamCap(peak - 40, needed)
    again.resume({"macs": 5, "ram": short.left})
    assert again.left == short.left
    again.resume({"ram": 10 * peak})  # on the way to the cap
    assert again.left == peak - 40
