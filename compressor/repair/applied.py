"""Applications of weights, seen while a network runs: what came in, and what went out.

Modules are not asked: a weight is found by its memory among the operands of PyTorch's own
operations, so that layers, functional calls and products by hand are seen alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode  # the documented name has no other home

_aten = torch.ops.aten

Key = tuple[str, int]
"""Name of a weight, and number of a part of it, of those that are applied for themselves."""


@dataclass(frozen=True)
class Geometry:
    """The way a convolution walks over its input.

    Attributes:
        stride: Steps, one a dimension of space.
        padding: Zeros on either side.
        dilation: Distances of the taps.
        transposed: It is a transposed convolution.
        output_padding: Of a transposed one, further places at the far end.
        groups: Parts that the channels are divided in.
    """

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int


@dataclass(frozen=True)
class Applied:
    """One application of a weight.

    Attributes:
        weight: Name of the parameter.
        call: Number of the application among those of this weight in the run.
        inputs: (batch, channel, space...) of a convolution, (rows, channel) of a product.
        outputs: The same with the channels that the weight writes, the bias in it.
        geometry: Of a convolution; None of a product.
        flipped: A product with a weight (in, out) in the place of (out, in).
        row: First row of the weight that is applied, where it is a part of them.
        bias: Name of the parameter that is added; None where nothing is.
        offset: First of its entries that is.
    """

    weight: str
    call: int
    inputs: Tensor
    outputs: Tensor
    geometry: Geometry | None = None
    flipped: bool = False
    row: int = 0
    bias: str | None = None
    offset: int = 0


class Watch(TorchDispatchMode):
    """Tells of every application of a parameter, and of every batch norm that follows one.

    Attributes:
        looked_up: Names of the parameters so far that rows were taken of by number, as of words.
    """

    def __init__(
        self,
        model: nn.Module,
        on_applied: Callable[[Applied], None],
        on_normed: Callable[[], None] | None = None,
    ) -> None:
        """Watch the parameters of a model.

        Args:
            model: Whose parameters.
            on_applied: Called after every application of one.
            on_normed: Called where a batch norm takes what the last application gave.
        """
        super().__init__()
        self._found: dict[int, list[tuple[str, Tensor]]] = {}
        for name, parameter in model.named_parameters():
            key = parameter.untyped_storage().data_ptr()
            self._found.setdefault(key, []).append((name, parameter))
        self._calls: Counter[str] = Counter()
        self._on_applied, self._on_normed = on_applied, on_normed
        self.looked_up: set[str] = set()
        self._last: Tensor | None = None  # held, so that nothing else comes to lie in its place

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation and look at it."""
        out = func(*args, **(kwargs or {}))
        if func in (_aten.convolution.default, _aten.convolution_overrideable.default):
            self._convolved(args, out)
        elif func is _aten.addmm.default and not kwargs:
            self._multiplied(args[1], args[2], args[0], out)
        elif func is _aten.mm.default:
            self._multiplied(args[0], args[1], None, out)
        elif func in NORMS:
            self._normed(args[0])
        elif func in _TABLES and (owner := self._owner(args[0])) is not None:
            self.looked_up.add(owner[0])
        elif func._schema.is_mutable:  # noqa: SLF001 - has no other name
            self._last = None  # it may have changed what the application gave
        return out

    def _normed(self, inputs: Tensor) -> None:
        last, self._last = self._last, None
        if self._on_normed is not None and last is not None and _same_memory(inputs, last):
            self._on_normed()

    def _owner(self, tensor: Tensor | None) -> tuple[str, Tensor, int] | None:
        """The parameter that a tensor is or is a part of, and the entry of it that it begins at."""
        if tensor is None:
            return None
        for name, parameter in self._found.get(tensor.untyped_storage().data_ptr(), ()):
            start = int(tensor.storage_offset() - parameter.storage_offset())
            whole = tensor.shape == parameter.shape and tensor.stride() == parameter.stride()
            if 0 <= start < parameter.numel() and (parameter.is_contiguous() or whole):
                return name, parameter, start
        return None

    def _convolved(self, args: Sequence[Any], out: Tensor) -> None:
        inputs, weight, bias, stride, padding, dilation, transposed, more, groups = args
        owner = self._owner(weight)
        if owner is None or owner[1].shape != weight.shape or owner[2]:
            return
        space = inputs.ndim - 2
        geometry = Geometry(
            _spread(stride, space), _spread(padding, space), _spread(dilation, space),
            transposed, _spread(more, space), groups,
        )  # fmt: skip
        self._tell(owner[0], inputs, out, bias, geometry=geometry)

    def _multiplied(self, inputs: Tensor, matrix: Tensor, bias: Tensor | None, out: Tensor) -> None:
        owner = self._owner(matrix)
        if owner is None or not owner[1].is_contiguous():
            return
        name, parameter, start = owner
        width = parameter[0].numel()  # entries a row of (out, in)
        if matrix.stride() == (1, width) and matrix.shape[0] == width and start % width == 0:
            self._tell(name, inputs, out, bias, row=start // width)
        elif matrix.shape == parameter.shape and matrix.stride() == parameter.stride():
            self._tell(name, inputs, out, bias, flipped=True)

    def _tell(
        self, name: str, inputs: Tensor, out: Tensor, bias: Tensor | None, **how: Any
    ) -> None:
        added = self._owner(bias)
        how |= {} if added is None else {"bias": added[0], "offset": added[2]}
        call = self._calls[name]
        self._calls[name] += 1
        self._last = out
        self._on_applied(Applied(name, call, inputs, out, **how))


_TABLES = {
    _aten.embedding.default,
    _aten._embedding_bag.default,  # noqa: SLF001 - names of PyTorch's operations
    _aten._embedding_bag_forward_only.default,  # noqa: SLF001
}

NORMS = {
    _aten.native_batch_norm.default,
    _aten.cudnn_batch_norm.default,
    _aten._native_batch_norm_legit.default,  # noqa: SLF001 - names of PyTorch's operations
    _aten._native_batch_norm_legit_no_training.default,  # noqa: SLF001
    _aten._batch_norm_with_update.default,  # noqa: SLF001
}
"""Batch norms, as operations (input, scale, shift, mean, variance, ..., epsilon)."""


def _same_memory(one: Tensor, other: Tensor) -> bool:
    return one.data_ptr() == other.data_ptr() and one.numel() == other.numel()


def _spread(values: Sequence[int], space: int) -> tuple[int, ...]:
    """One number a dimension: a single one is meant for all."""
    return tuple(values) * space if len(values) == 1 else tuple(values)
