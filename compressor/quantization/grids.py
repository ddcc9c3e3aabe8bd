"""On which grid a value of the integer reference stands, and what sums it leads to."""

from __future__ import annotations

from torch import Tensor

from compressor.network import Network, Ref, Step
from compressor.network.integer import IntConv, IntLinear, Requantise
from compressor.network.steps import Value
from compressor.quantization.folding import WHOLE, largest_sum
from compressor.quantization.place import origin


def wraps(network: Network, step: Step, module: IntConv | IntLinear, weight: Tensor) -> bool:
    """True if sums of a layer may leave what the 32 bits of an integer kernel hold.

    The step of the integer reference calls the layer, `module`, no transposed convolution, on its
    int8 weight, (outputs, ...).
    """
    grid = grid_of(network, step.args[0])
    largest = 255 if grid is None else max(abs(end) for end in grid.grid.steps)
    return largest_sum(weight, module.bias, largest) > WHOLE


def grid_of(network: Network, value: Value) -> Requantise | None:
    """The module that puts a value on its grid, if only moves lie in between."""
    step = put_on_grid(network, value)
    return None if step is None else requantise(network, step)


def put_on_grid(network: Network, value: Value) -> Step | None:
    """The step that does; None if the value stands on none."""
    step = network.producer(Ref(origin(network, value))) if isinstance(value, Ref) else None
    return None if step is None or requantise(network, step) is None else step


def requantise(network: Network, step: Step) -> Requantise | None:
    """The module that a step calls, if that moves values to a grid."""
    called = network.called(step)
    return called if isinstance(called, Requantise) else None
