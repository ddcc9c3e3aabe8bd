"""Padding where it costs least: by the kernels of layers that read one channel at a time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compressor.export.micro.arena import ram
from compressor.export.micro.operations import Padded
from compressor.export.micro.program import Program
from compressor.export.micro.thrift import frugal, thin
from compressor.export.micro.translation import translated
from compressor.network import Network, to_network
from compressor.quantization.presets import TFLM
from compressor.quantization.stand_ins import stand_in
from tests.zoo.micro import MICRO, chain, conv


def rounded(model: nn.Module) -> Network:
    torch.manual_seed(0)
    return stand_in(to_network(model.eval(), (model.example_input_array,)), TFLM)


def copies(program: Program) -> int:
    return sum(isinstance(operator.operation, Padded) for operator in program.operators)


def test_a_depthwise_layer_pads_by_its_kernel() -> None:
    whole = rounded(
        chain((3, 8, 8), conv(3, 8, 1), conv(8, 8, 3, 2, 1, groups=8), conv(8, 4, 3, 2, 1))
    )
    assert thin(whole) == ("layers.0.0", "layers.1.0")  # the first pads nothing
    assert copies(translated(whole)) == 2
    assert copies(frugal(whole)) == 1
    assert ram(frugal(whole)) < ram(translated(whole))


def test_a_layer_that_reads_the_input_pads_by_its_kernel() -> None:
    whole = rounded(chain((3, 8, 8), conv(3, 8, 3, 2, 1), conv(8, 4, 3, 2, 1)))
    assert thin(whole) == ("layers.0.0",)
    assert copies(frugal(whole)) == 1


@pytest.mark.parametrize("name", MICRO)
def test_it_never_takes_more_memory(name: str) -> None:
    whole = rounded(MICRO[name]())
    assert ram(frugal(whole)) <= ram(translated(whole))
