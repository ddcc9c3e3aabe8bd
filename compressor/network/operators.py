"""The Python functions of sizes and tuples that a step may run beside operations of PyTorch."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch

OPERATORS: Mapping[str, Callable[..., Any]] = {
    "getitem": operator.getitem,
    "neg": operator.neg,
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
    "truediv": operator.truediv,
    "mod": operator.mod,
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "sym_max": torch.sym_max,
    "sym_min": torch.sym_min,
    "sym_int": torch.sym_int,
    "sym_float": torch.sym_float,
    "sym_ite": torch.sym_ite,
    "ceil": math.ceil,
    "floor": math.floor,
    "trunc": math.trunc,
}
"""Functions of numbers and tuples that a step may run, by the name they are stored under."""
