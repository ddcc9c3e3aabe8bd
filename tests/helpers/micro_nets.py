"""Networks as integers with TensorFlow Lite Micro's arithmetic, without training."""

from __future__ import annotations

from torch import nn

from compressor.network import Network, to_network
from compressor.quantization.conversion import convert
from compressor.quantization.preparation import calibrate, prepare
from compressor.quantization.presets import TFLM
from tests.helpers.int8_nets import examples, trained


def integers(model: nn.Module) -> Network:
    """The integer reference of a model with plausible statistics."""
    network = prepare(to_network(trained(model), (model.example_input_array,)), TFLM)
    calibrate(network, [(examples(model, 4),)])
    return convert(network)
