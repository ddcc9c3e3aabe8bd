"""A network takes any batch size: examples of several sizes, and what to say of a model that fails.

What a batch of one hides, a batch of two shows: an operation that was written for one size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from compressor.errors import TraceError
from compressor.inputs.copies import private_copy
from compressor.inputs.evaluation import evaluating
from compressor.inputs.tensors import leaves
from compressor.network.steps import Step
from compressor.wording import line

if TYPE_CHECKING:
    from compressor.network.core import Network

TOLERANCE = 1e-4
"""Largest difference between model and network, as a share of the largest output. Nearly all are
equal to the bit; attention runs as another kernel when it is written out."""


@dataclass(frozen=True)
class Batch:
    """Batches of any size made from one example.

    Attributes:
        one: The inputs, batch of one.
        batched: Which of them have the batch as their first dimension; others are passed whole.
        varying: For each of them the other dimensions that may have any size; empty for none.
    """

    one: tuple[Tensor, ...]
    batched: tuple[bool, ...]
    varying: tuple[tuple[int, ...], ...] = ()

    @property
    def open(self) -> tuple[tuple[int, ...], ...]:
        """The dimensions of every input that may have any size."""
        more = self.varying or ((),) * len(self.one)
        pairs = zip(self.batched, more, strict=True)
        return tuple((*((0,) if batched else ()), *dims) for batched, dims in pairs)

    def longer(self, by: int) -> Batch:
        """The same with so many more entries along every dimension that varies; 0 doubles them."""
        longer: list[Tensor] = []
        for x, dims in zip(self.one, self.varying, strict=True):
            for d in dims:
                extra = x.narrow(d, 0, min(by, x.shape[d]) or x.shape[d])
                x = torch.cat([x, extra], d)  # noqa: PLW2901 - dimension after dimension
            longer.append(x)
        return replace(self, one=tuple(longer))

    def of(self, size: int) -> tuple[Tensor, ...]:
        """Inputs for a batch of `size`; the rows after the first differ from it where they can."""
        pairs = zip(self.one, self.batched, strict=True)
        return tuple(_rows(x, size) if batched else x.clone() for x, batched in pairs)


def hold_against(model: nn.Module, network: Network, batch: Batch) -> None:
    """Run copies of both in eval mode on batches of one and three; TraceError unless they agree."""
    for size in (1, 3):
        inputs = batch.of(size)
        expected, found = (_results(m, inputs, size) for m in (model, network))
        if len(expected) != len(found) or not all(map(_alike, expected, found)):
            raise TraceError(
                f"{type(model).__name__} cannot be written as a network for any batch size: for a "
                f"batch of {size} the model gives {_shapes(expected)} and its operations, exported "
                f"for a batch of two, give {_shapes(found)}. Its forward treats some batch sizes "
                "apart (squeeze() without a dimension and `if len(x) == 1` do), or draws at random "
                "in eval mode: write that part the same way for all"
            )


def hold_longer(model: nn.Module, network: Network, batch: Batch) -> None:
    """Run copies of both on other sizes of the dimensions that vary: one more entry, and twice.

    Raises TraceError if the model takes neither, or the results differ.
    """
    tried = [longer for longer in map(batch.longer, (0, 1)) if runs(model, longer, 1)]
    if not tried:
        sizes = ", ".join(str(tuple(x.shape)) for x in batch.longer(0).one)
        raise TraceError(
            f"{type(model).__name__} takes no other size along the dimensions {batch.varying} that "
            f"are to vary: it failed for {sizes}, and for one more entry. Leave them out of varying"
        )
    for longer in tried:
        hold_against(model, network, longer)


def explain_fixed(model: nn.Module, static: Callable[[int], Network], batch: Batch) -> None:
    """Name the operation that fixes the batch size, of a model that does not export for any.

    `static` exports it for one batch size and no other. Raises TraceError if that succeeds, so that
    the size is what stops it.
    """
    size = 2 if runs(model, batch, 2) else 1
    try:
        network = static(size)
    except Exception:  # noqa: BLE001 - it does not export at all: the first error says why
        return
    with evaluating(network), torch.no_grad():
        step = _fixed(network, batch, size)
    where = "a decision of its forward"
    if step is not None:
        module = f"module {step.module!r}" if step.module else "its own forward"
        where = f"the operation {step.op} (result {step.name!r}) in {module}"
    raise TraceError(
        f"{type(model).__name__} works for one batch size only, and a network takes any: exported "
        f"for a batch of {size}, what fixes it is {where}. Write that with the input's own size, "
        "for instance x.flatten(1) or x.reshape(x.shape[0], -1)"
    )


def runs(model: nn.Module, batch: Batch, size: int) -> bool:
    """True if the model runs on a batch of this size."""
    try:
        _results(model, batch.of(size), size)
    except TraceError:
        return False
    return True


def _fixed(network: Network, batch: Batch, size: int) -> Step | None:
    """The first step that a larger batch stops, or that gives no more for it."""
    fits, more = (dict(zip(network.inputs, batch.of(n), strict=True)) for n in (size, size + 1))
    for step in network.steps:
        fits[step.name] = network.result(step, fits)
        try:
            more[step.name] = network.result(step, more)
        except Exception:  # noqa: BLE001 - whatever stops it, the size has
            return step
        # What was made of single rows (x[:1]) has one row in a batch of one too.
        reads = step.refs if size > 1 else [r for r in step.refs if _size(more[r]) == size + 1]
        if reads and _size(fits[step.name]) == size == _size(more[step.name]):
            return step
    return None


def _size(result: object) -> int | None:
    return int(result.shape[0]) if isinstance(result, Tensor) and result.dim() else None


def _rows(x: Tensor, size: int) -> Tensor:
    rows = torch.cat([x] * size)
    if not rows.is_floating_point():
        return rows
    generator = torch.Generator().manual_seed(size)
    noise = torch.rand(rows.shape, generator=generator).to(rows)
    noise[:1] = 0
    return rows + noise


def _results(model: nn.Module, inputs: tuple[Tensor, ...], size: int) -> list[Any]:
    twin = private_copy(model).eval()
    torch.manual_seed(0)
    try:
        with torch.no_grad():
            return [leaf for leaf in leaves(twin(*inputs)) if isinstance(leaf, Tensor)]
    except Exception as error:
        raise TraceError(
            f"{type(model).__name__} fails for a batch of {size} with {type(error).__name__}: "
            f"{line(error)}. A network takes any batch size"
        ) from error


def _alike(expected: Tensor, found: Tensor) -> bool:
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return False
    if not expected.is_floating_point():
        return torch.equal(expected, found)
    finite = expected[expected.isfinite()].double().abs()
    most = float(finite.max()) if finite.numel() else 0.0
    return torch.allclose(expected, found, rtol=0, atol=TOLERANCE * most, equal_nan=True)


def _shapes(tensors: list[Tensor]) -> str:
    return ", ".join(str(tuple(x.shape)) for x in tensors) + (
        f" (the first begins {tensors[0].flatten()[:3].tolist()})" if tensors else ""
    )
