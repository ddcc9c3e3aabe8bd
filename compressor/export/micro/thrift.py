"""The program of a file: the choices that save working memory, made alike wherever it is counted.

A layer whose padding is neither of the two forms that files know either reads a padded copy of its
input, at the widest place of many networks, or has a kernel with further zeros. For a layer that
reads one channel at a time (a depthwise one, or the first one of sound) that is a few bytes a
channel; for others it can be more than the copy, so that these keep it. No width decides, so that
what is counted before pruning holds after it.
"""

from __future__ import annotations

from compressor.export.micro.program import Program
from compressor.export.micro.refusals import layer_of
from compressor.export.micro.translation import translated
from compressor.network import Network, Weight
from compressor.network.fixed import FixedConv


def frugal(network: Network) -> Program:
    """The program of an integer reference; errors as of `translated`."""
    return translated(network, thin(network))


def thin(network: Network) -> tuple[str, ...]:
    """Names of the layers that pad by their kernels."""
    found: dict[str, None] = {}
    for step in network.steps:
        weight = step.args[1] if isinstance(network.called(step), FixedConv) else None
        if isinstance(weight, Weight) and network.tensor(weight).shape[1] == 1:
            found[layer_of(step)] = None
    return tuple(found)
