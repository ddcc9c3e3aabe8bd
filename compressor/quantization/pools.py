"""Average pooling in all its spellings."""

from __future__ import annotations

from typing import cast

import torch

from compressor.graph.kinds import Kind, Rounding
from compressor.graph.operations import operation_of
from compressor.network import Network, Ref, Step, packet
from compressor.network.integer import Windows
from compressor.network.steps import Value

aten = torch.ops.aten


def windows(network: Network, step: Step) -> Windows | None:
    """The windows that a step averages, at the sizes the network was made for.

    Returns:
        None for another operation, and for averages over fewer entries at the edge than elsewhere,
        by another number, or over channels or examples.
    """
    row = operation_of(step.op)
    if row.rounding is not Rounding.AVERAGED:
        return None
    if row.kind is Kind.REDUCES:
        return _mean(network, step)
    if packet(step) in (aten.avg_pool1d, aten.avg_pool2d):
        return _average(step, row.spatial)
    return _adaptive(network, step, row.spatial)


def _average(step: Step, dims: int) -> Windows | None:
    kernel, padding = (_each(step.argument(n), dims) for n in ("kernel_size", "padding"))
    stride = _each(step.argument("stride") or kernel, dims)
    divisor = packet(step) is aten.avg_pool2d and step.argument("divisor_override") is not None
    fewer = any(padding) and not step.argument("count_include_pad")
    if fewer or divisor or step.argument("ceil_mode"):
        return None
    return Windows(kernel, stride, padding)


def _adaptive(network: Network, step: Step, dims: int) -> Windows | None:
    before, after = (network.shapes[name][-dims:] for name in (_source(step), step.name))
    each = tuple(a // b for a, b in zip(before, after, strict=True))
    whole = all(a % b == 0 for a, b in zip(before, after, strict=True))
    return Windows.beside(*each) if whole else None


def _mean(network: Network, step: Step) -> Windows | None:
    """A mean over dimensions behind the channels."""
    if not isinstance(step.args[0], Ref) or "dtype" in step.kwargs:
        return None
    shape = network.shapes[_source(step)]
    dims: Value = step.args[1] if len(step.args) > 1 else step.kwargs.get("dim")
    if not isinstance(dims, (list, tuple)) or len(shape) not in (3, 4):
        return None
    over = {d % len(shape) for d in cast("tuple[int, ...]", dims)}
    if not over or min(over) < 2:
        return None
    each = tuple(shape[d] if d in over else 1 for d in range(2, len(shape)))
    return Windows.beside(*each)


def _source(step: Step) -> str:
    return cast("Ref", step.args[0]).name


def _each(value: Value, dims: int) -> tuple[int, ...]:
    numbers = cast("tuple[int, ...]", value if isinstance(value, (list, tuple)) else (value,))
    return tuple(numbers) * (dims if len(numbers) == 1 else 1)
