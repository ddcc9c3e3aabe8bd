"""A program that is being written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compressor.export.micro.operations import Operation
from compressor.export.micro.program import Numbers, Operator, Steps, Tensor


@dataclass
class Draft:
    """A program that is being written.

    Attributes:
        tensors: So far.
        operators: So far.
    """

    tensors: list[Tensor] = field(default_factory=list[Tensor])
    operators: list[Operator] = field(default_factory=list[Operator])
    _known: dict[Any, int] = field(default_factory=dict[Any, int])

    def add(self, tensor: Tensor) -> int:
        """The number of a new tensor; of an equal constant that is there already."""
        if tensor.data is not None:
            steps = tensor.steps
            grid = None if steps is None else (steps.scales.tobytes(), steps.zero, steps.axis)
            key = (tensor.shape, tensor.dtype.str, grid, tensor.data.tobytes())
            if key in self._known:
                return self._known[key]
            self._known[key] = len(self.tensors)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(self, data: Numbers, steps: Steps | None = None, name: str = "") -> int:
        """The number of a constant of this content."""
        return self.add(Tensor(data.shape, data.dtype, steps, data, name))

    def whole(self, numbers: Any) -> int:
        """The number of a constant of int32, as shapes and sizes are."""
        return self.constant(np.array(numbers, dtype=np.int32))

    def run(
        self, operation: Operation, inputs: Sequence[int], result: Tensor, layer: str = ""
    ) -> int:
        """Append an operator; the number of its result."""
        number = self.add(result)
        self.operators.append(Operator(operation, tuple(inputs), (number,), layer))
        return number
