"""The rows that the model of a session sees, and removing some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from compressor.counting.measuring import measure
from compressor.inputs.batches import Batch
from compressor.inputs.copies import private_copy
from compressor.inputs.losses import Loss
from compressor.inputs.tensors import named_tensors
from compressor.phases.frequency.select import Rows, allowed, cut_rows, inside, nested, select_rows
from compressor.phases.frequency.trace import RowGraph, trace_rows
from compressor.run.calibration import calibration_loss
from compressor.surgery.cutting import take

if TYPE_CHECKING:
    from compressor.run.compression import Compression


@dataclass(frozen=True)
class SessionRows:
    """The rows of a session's model.

    Attributes:
        model: The model.
        network: Part of it that sees rows: itself, or the network inside of a `Rows`.
        example: Its input, of full length.
        seen: Rows of the full input that it sees.
        graph: What belongs to which.
    """

    model: nn.Module
    network: nn.Module
    example: tuple[Tensor, ...]
    seen: list[int]
    graph: RowGraph

    @staticmethod
    def of(session: Compression, dim: int) -> SessionRows:
        """Trace the model's rows, once while its tensors keep their shapes."""
        network, short, seen = inside(session.model, session.example, dim)
        shapes = _shapes(network)
        traced, graph = _TRACED.get(network, (None, None))
        if graph is None or traced != shapes or graph.dim != dim:
            graph = trace_rows(network, short, dim=dim)
            _TRACED[network] = (shapes, graph)
        return SessionRows(session.model, network, session.example, seen, graph)

    @property
    def count(self) -> int:
        """Number of rows it sees."""
        return len(self.seen)

    def named(self, mask: Tensor) -> list[int]:
        """The rows of the full input that a mask over those seen keeps."""
        return [row for row, alive in zip(self.seen, mask.tolist(), strict=True) if alive]

    def select(self, keep: Sequence[int]) -> Rows:
        """A copy of the model that sees these rows of the full input only."""
        return select_rows(self.model, self.example, keep, dim=self.graph.dim, graph=self.graph)

    def macs(self, count: int) -> int:
        """MACs with so many rows."""
        smaller = self.model if count == self.count else self.select(self.seen[:count])
        return measure(smaller, self.example).macs

    def within(self, cap: int, least: int) -> int:
        """The most rows, but at least so many, with which a cap on MACs is met, if any is."""
        if self.macs(self.count) <= cap:
            return self.count
        counts = allowed(
            self.model, self.example, dim=self.graph.dim,
            counts=range(least, self.count + 1), graph=self.graph,
        )  # fmt: skip
        low, high = 0, len(counts) - 1
        while low < high:  # MACs rise with the rows: the last that fits, or the first of all
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.macs(counts[middle]) <= cap else (low, middle - 1)
        return counts[low]

    def loss(self, mask: Tensor, batches: Sequence[Batch], loss: Loss) -> float:
        """Calibration loss of the removed form."""
        smaller = private_copy(self.network)
        cut_rows(smaller, self.graph, mask.nonzero()[:, 0].tolist())
        rows = torch.tensor(self.named(mask), device=self.example[0].device)
        return calibration_loss(Rows(smaller, rows, dim=self.graph.dim), batches, loss)


def remove(session: Compression, keep: Sequence[int], dim: int = 2) -> None:
    """Make a session's model a `Rows` of some rows of the full input; masks of weights follow."""
    rows = SessionRows.of(session, dim)
    places = torch.tensor([rows.seen.index(row) for row in keep])
    alive = torch.zeros(rows.count, dtype=torch.bool)
    alive[places] = True
    (below,) = (name for name, module in session.model.named_modules() if module is rows.network)
    for weight in rows.graph.graph.weights.values():
        name = f"{below}.{weight.name}" if below else weight.name
        if name in session.masks and not all(d.fixed for d in weight.dims):
            index = [torch.from_numpy(d.alive(alive.numpy())).nonzero()[:, 0] for d in weight.dims]
            live = take(session.masks[name], tuple(index))
            del session.masks[name]
            session.masks[name] = live

    def smaller(model: nn.Module) -> nn.Module:
        same = _shapes(model) == _shapes(session.model)
        graph = rows.graph if same else None
        return nested(model, session.example, keep, dim=dim, graph=graph)

    session.transform(smaller, within="network")


_TRACED: WeakKeyDictionary[nn.Module, tuple[dict[str, torch.Size], RowGraph]] = WeakKeyDictionary()
"""What was found in models of sessions, which change in no other way than by losing entries."""


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in named_tensors(model)}
