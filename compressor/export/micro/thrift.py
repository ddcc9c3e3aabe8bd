"""The program of a file: the choices that save working memory, made alike wherever it is counted.

A layer whose padding is neither of the two forms that files know either reads a padded copy of its
input, at the widest place of many networks, or has a kernel with further zeros. For a layer that
reads one channel at a time (a depthwise one), or the few of the input, that is some bytes a
channel; for others it can be more than the copy, so that these keep it. No width decides, so that
what is counted before pruning holds after it.
"""

from __future__ import annotations

from typing import cast

from compressor.export.micro.program import Program
from compressor.export.micro.refusals import layer_of
from compressor.export.micro.translation import translated
from compressor.network import Network, Step, Weight
from compressor.network.fixed import FixedConv
from compressor.network.integer import Requantise


def frugal(network: Network) -> Program:
    """The program of an integer reference; errors as of `translated`."""
    return translated(network, thin(network))


def thin(network: Network) -> tuple[str, ...]:
    """Names of the layers that pad by their kernels."""
    found: dict[str, None] = {}
    for step in network.steps:
        weight = step.args[1] if isinstance(network.called(step), FixedConv) else None
        if not isinstance(weight, Weight):
            continue
        if network.tensor(weight).shape[1] == 1 or _reads_input(network, step):
            found[layer_of(step)] = None
    return tuple(found)


def _reads_input(network: Network, step: Step) -> bool:
    """True if a layer reads an input, put on its grid or not."""
    before = network.producer(step.args[0])
    if isinstance(network.called(before), Requantise):
        before = network.producer(cast("Step", before).args[0])
    return before is None
