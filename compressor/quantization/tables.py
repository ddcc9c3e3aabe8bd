"""Tables at the front of a network: layers that are not trained and read nothing but the input.

A Fourier transform as two convolutions, or mel filters as a linear layer, has weights like any
layer. In 8 bits its quiet bands would drown in the rounding of the loud ones, and a logarithm comes
behind it. So it stays in floating point, as `torch.stft` does. A network that is trained no more,
all its parameters frozen, is no front end: there buffers alone are tables.
"""

from __future__ import annotations

from torch import nn

from compressor.graph.kinds import Kind, Rounding
from compressor.graph.operations import operation_of
from compressor.network import Network, Step
from compressor.quantization.layers import ActivationQuantiser

_LEARNED = frozenset({Kind.BATCH_NORM, Kind.GROUP_NORM, Kind.LAYER_NORM, Kind.PRELU, Kind.WINDOWS})
"""Kinds that no transform of a waveform is made of. Behind one of them, or behind a ReLU, a layer
that is not trained is part of a network that somebody trained before."""


def table_weights(network: Network) -> frozenset[str]:
    """Names of the weights that layers at the front of a network multiply by, and nobody trains.

    Args:
        network: Prepared for int8 or not.
    """
    trained = _trained(network)
    before, found = set(network.inputs), set[str]()
    for step in network.steps:
        if not set(step.refs) <= before or trained & set(step.weights) or _learned(network, step):
            continue
        before.add(step.name)
        found.update(step.weights)
    return frozenset(found)


def _trained(network: Network) -> set[str]:
    """Names of the parameters that are trained; all of them where none is."""
    read = {name: network.tensor(name) for step in network.steps for name in step.weights}
    own = {name: tensor for name, tensor in read.items() if isinstance(tensor, nn.Parameter)}
    return {name for name, tensor in own.items() if tensor.requires_grad} or set(own)


def _learned(network: Network, step: Step) -> bool:
    """True if a step is a layer that follows others, or a call of anything but a quantiser."""
    if isinstance(step.op, str):
        return not isinstance(network.called(step), ActivationQuantiser)
    does = operation_of(step.op)
    return does.kind in _LEARNED or does.rounding is Rounding.CUT
