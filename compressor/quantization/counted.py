"""Convolutions whose groups are counted from the batch, as sums of matrix products.

A batch that is folded into the channels, (1, batch x channels, ...), with weights of its own for
every example, is a convolution of as many groups as there are examples. ONNX's Conv has a fixed
number of groups; a product of matrices has a batch of any size.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.network import Network, Ref, Step, packet
from compressor.network.integer import Geometry
from compressor.network.steps import Value, Weight
from compressor.quantization.rounded import moves

aten = torch.ops.aten

_CONVOLUTIONS = (aten.conv1d, aten.conv2d, aten.conv3d)


class CountedGroups(nn.Module):
    """A convolution that is told its groups when it runs, in one product for each kernel entry.

    Args:
        geometry: How it moves; its groups do not count.
        kernel: Size of the kernel.
    """

    def __init__(self, geometry: Geometry, kernel: tuple[int, ...]) -> None:
        super().__init__()
        self.geometry, self.kernel = geometry, kernel

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        """Convolve (batch, groups x channels, ...) to (batch, groups x outputs, ...).

        The weight is (groups x outputs, channels, kernel...), the bias (groups x outputs,) or none.
        """
        g, dims = self.geometry, len(self.kernel)
        size = g.size(tuple(x.shape[2:]), self.kernel)
        pads = [p for padding in reversed(g.padding) for p in (padding, padding)]
        inputs = functional.pad(x, pads)
        inputs = inputs.reshape(x.shape[0], groups, weight.shape[1], *inputs.shape[2:])
        kernels = weight.reshape(groups, -1, *weight.shape[1:])
        sums = torch.zeros((), dtype=x.dtype, device=x.device)
        for entry in product(*map(range, self.kernel)):
            part, matrix = inputs, kernels
            for dim, at in enumerate(entry):
                first, step = at * g.dilation[dim], g.stride[dim]
                behind = first + step * (size[dim] - 1) + 1
                part = aten.slice(part, 3 + dim, first, behind, step)
                matrix = matrix.select(3, at)
            sums = sums + matrix @ part.flatten(3)
        result = sums.reshape(x.shape[0], -1, *size)
        return result if bias is None else result + bias.reshape(-1, *[1] * dims)


def counted_groups(network: Network, step: Step) -> CountedGroups | None:
    """The stand-in of a convolution whose groups are a result; None for any other step."""
    if packet(step) not in _CONVOLUTIONS or not isinstance(step.argument("groups"), Ref):
        return None
    weight: Value = step.argument("weight")
    stored = isinstance(weight, Weight)
    kernel = tuple(network.tensor(weight).shape if stored else network.shapes[weight.name])[2:]
    geometry = moves(step, kernel)
    if geometry is None or len(network.shapes[step.name]) != len(kernel) + 2:
        return None
    return CountedGroups(geometry, kernel)
