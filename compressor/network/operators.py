"""The Python functions of sizes and tuples that a step may run beside operations of PyTorch."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch

OPERATORS: Mapping[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        *(operator.getitem, operator.neg, operator.add, operator.sub, operator.mul),
        *(operator.floordiv, operator.truediv, operator.mod, math.ceil, math.floor, math.trunc),
        *(operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge),
        *(torch.sym_max, torch.sym_min, torch.sym_int, torch.sym_float, torch.sym_ite),
    )
}
"""Functions of numbers and tuples that a step may run, by the name they are stored under."""
