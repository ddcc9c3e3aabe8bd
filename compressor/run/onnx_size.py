"""The `.onnx` file that a cap on bytes is on: how long it will be is known before training."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch

from compressor.allocation.memory import total
from compressor.export.onnx import onnx_bytes
from compressor.export.qdq import SAFE
from compressor.graph.graph import Polynomial, Weight
from compressor.inputs.tensors import all_tensors, named_tensors
from compressor.network import Network
from compressor.network.integer import Requantise
from compressor.quantization.rounded import rounded_weights
from compressor.run.file_size import Artefact, Stored

EACH_CHANNEL = 13
"""Bytes of an integer layer for a channel that it makes: scale, zero point, bias, its scale."""

SPARE = 64
"""Bytes that lengths, which a file writes in front of its parts, may take more."""


@dataclass(frozen=True)
class Onnx(Artefact):
    """The `.onnx` that `Result.export` writes, for ``Budget(bytes="64KiB", file=Onnx())``.

    After `Int8` a weight takes a byte, a channel that a layer makes 13 (scale, zero point, bias and
    its scale), and the description of an operator some 50; without `Int8` all parameters take the
    bytes of their kind. Zeros take as much as other weights, and so do weights of fewer bits. How
    long the file can be is found by writing it with numbers no two of which are equal, some seconds
    at a time. Front ends of `export` do not count.

    Needs the extra ``onnx``.
    """

    name = ".onnx"
    holds = "as many bytes for every weight, whatever its value"

    def form(self, stored: Stored) -> Polynomial:
        """By the widths; exact for the network as it is, and some bytes off for others."""
        made, graph = _end(stored), stored.graph
        integers = any(isinstance(module, Requantise) for module in made.modules())
        before = stored.captured.of(stored.model, stored.example)
        rounded = frozenset(rounded_weights(before) if integers else ())
        costs = [graph.combined(0, ())]
        for weight in graph.weights.values():
            costs.append(graph.combined(_price(weight, rounded, integers=integers), weight.dims))
            if weight.name in rounded:
                channels = weight.dims[weight.out_dim or 0]
                costs.append(graph.combined(EACH_CHANNEL, (channels,)))
        varying = total(costs)
        const = self.bound(stored) - varying(graph.sizes)
        return replace(varying, const=varying.const + max(const, 0))

    def bound(self, stored: Stored) -> int:
        """With no two equal numbers."""
        made = _end(stored)
        key = tuple((name, t.shape, t.dtype) for name, t in named_tensors(made)), len(made.steps)
        known = stored.captured.lengths
        if key not in known:
            known[key] = len(onnx_bytes(_apart(made))) + SPARE
        return known[key]

    def told(self, stored: Stored) -> str:
        """Numbers, and everything else."""
        numbers = sum(tensor.nbytes for tensor in all_tensors(_end(stored)).values())
        rest = self.bound(stored) - numbers
        return f"{numbers:,} of numbers, {rest:,} of operators and their names"

    def content(self, network: Network) -> bytes:
        """What `export` writes."""
        return onnx_bytes(network)


def _end(stored: Stored) -> Network:
    """The network that the later phases make."""
    made = stored.captured.of(stored.model, stored.example)
    for phase in stored.later:
        made = phase.network_after(made, stored.bits)
    return made.eval()


def _price(weight: Weight, rounded: frozenset[str], *, integers: bool) -> int:
    """Bytes of an entry; vectors go into the biases and scales of integer layers."""
    if weight.name in rounded:
        return 1
    return 0 if integers and len(weight.dims) < 2 else weight.itemsize


def _apart(network: Network) -> Network:
    """The same with other numbers, so that nothing is stored once for several.

    Weights are small, as those are signed, whose zero points are never shared.
    """
    made = copy.deepcopy(network)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in all_tensors(made).values():
            if tensor.is_floating_point():
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=random) / 2)
            elif tensor.dtype == torch.int8:
                tensor.copy_(torch.randint(1, SAFE, tensor.shape, generator=random))
            elif tensor.dtype == torch.int32:
                tensor.copy_(torch.randint(1, 1 << 20, tensor.shape, generator=random))
    return made
