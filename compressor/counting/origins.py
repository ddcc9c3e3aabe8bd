"""The tensors that are weights while a model runs: parameters, and what is made of these alone.

An operation without a formula in PyTorch's counter costs no multiply-accumulates here as long as no
weight goes into it (a sort, a Fourier transform of a signal); with one it would be a layer that
nobody counts. A tensor in which anything of the input is mixed is a signal, whatever weights it was
multiplied with: those products have been counted.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch._ops import OpOverload

from compressor.inputs.tensors import leaves

PACKED = (torch.int8, torch.uint8, torch.qint8, torch.quint8, torch.qint32)
"""Types in which buffers hold weights: networks of integers have no parameters."""


class Origins:
    """Follows weights and constants through the operations of one forward pass.

    Attributes:
        weights: Tensors that are weights, by identity; held, so that no identity is used again.
        constants: Buffers, numbers, and what is made of these alone.
    """

    def __init__(self, model: nn.Module) -> None:
        """Begin with a model's parameters and buffers."""
        buffers = list(model.buffers())
        packed = [b for b in buffers if b.dtype in PACKED or b.is_quantized]
        self.weights = {id(t): t for t in (*model.parameters(), *packed)}
        self.constants = {id(t): t for t in buffers if id(t) not in self.weights}

    def weighs(self, given: object) -> bool:
        """True if there is a weight, or an object that may hold one, among some arguments."""
        return any(
            isinstance(value, torch.ScriptObject) or id(value) in self.weights
            for value in leaves(given)
        )

    def follow(self, op: OpOverload, given: object, made: object) -> None:
        """Note what an operation made, or wrote into, of what it was given."""
        name = op._opname  # noqa: SLF001 - what an operation is called is written nowhere else
        given = () if name.endswith("_like") or name.startswith("new_") else given  # shape alone
        sources = [x for x in leaves(given) if isinstance(x, Tensor)]
        if any(id(x) not in self.weights and id(x) not in self.constants for x in sources):
            place = None  # a signal, which what an operation in place wrote into is as well
        else:
            held = any(id(x) in self.weights for x in sources)
            place = self.weights if held else self.constants
        for result in leaves(made):
            self.weights.pop(id(result), None)
            self.constants.pop(id(result), None)
            if place is not None and isinstance(result, Tensor):
                place[id(result)] = result
