"""Functions as modules, for tests of what operations cost."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Functional(nn.Module):
    """A function as a module; `width` parameters that it does not use."""

    def __init__(self, function: Callable[..., object], width: int = 3) -> None:
        super().__init__()
        self.function = function
        self.unused = nn.Parameter(torch.ones(width))

    def forward(self, *inputs: Tensor) -> object:
        return self.function(*inputs)
