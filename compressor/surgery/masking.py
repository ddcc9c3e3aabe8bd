"""The masked original: same shapes, removed channels held at zero. The reference for `shrink`.

The model's own exported operations run on its own full-size weights, and after every operation
the channels that a structure removes are set to zero. Masking *filters* alone would not do
(a BatchNorm turns a zero channel into its shift, a sigmoid into 0.5), and operations that look
across channels must see the kept ones only: the mean of a Residual Normalization, the variance
of a LayerNorm, the sum below a softmax. These are computed over the kept entries here.

This path shares nothing with `surgery` but the graph: it never slices a weight, and positions in
concatenations, shuffles and reshapes are those of the original. That both agree to rounding is
what "never silently wrong" rests on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn
from torch.fx import Node

from compressor.graph.graph import Graph
from compressor.graph.kinds import ACROSS, Kind
from compressor.graph.operations import operation_of
from compressor.graph.program import Program, argument, dims_of, in_place, shape_of
from compressor.graph.structure import Structure
from compressor.surgery.whole import looked_at


@dataclass(frozen=True)
class Run:
    """Outputs of one run.

    Attributes:
        tensors: All of them, in order.
        narrowed: Whether some operation made fewer bits of a float64, or some constant has fewer,
            so that the result is not exact to float64.
    """

    tensors: list[Tensor]
    narrowed: bool


class Masked(torch.fx.Interpreter):
    """Runs a program on given weights with the removed channels held at zero."""

    def __init__(self, graph: Graph, structure: Structure, tensors: Mapping[str, Tensor]) -> None:
        """Prepare the run on full-size parameters and buffers by name."""
        if graph.program is None:
            raise ValueError("this graph was restricted: trace the smaller model to mask it")
        super().__init__(nn.Module(), graph=graph.program.graph)
        self.program: Program = graph.program
        self.tensors = tensors
        self.narrowed = False
        self.alive: dict[str, tuple[int, Tensor]] = {
            name: (at, torch.from_numpy(dim.alive(structure.keep)))
            for name, (at, dim) in graph.activations.items()
        }
        self.dead = {
            name: (at, (~alive).nonzero().flatten())
            for name, (at, alive) in self.alive.items()
            if not bool(alive.all())
        }

    def outputs(self, inputs: Sequence[Tensor]) -> Run:
        """Run on positional inputs, batch of one, shaped like the traced example."""
        with torch.no_grad():
            tensors = flat(self.run(*(x.clone() for x in inputs)))
        return Run(tensors, self.narrowed)

    def placeholder(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Weights come from the model, constants from the export, the rest from the caller."""
        name = str(target)
        if name in self.program.weights:
            return self.tensors[self.program.weights[name]].detach()
        if name in self.program.constants:
            constant = self.program.constants[name]
            self.narrowed |= _narrows([], constant)
            return constant
        return super().placeholder(target, args, kwargs)

    def run_node(self, n: Node) -> Any:
        """Run one operation, over the kept entries only, and zero what was removed."""
        if n.op != "call_function":
            return super().run_node(n)
        kept = self._reduced(n)
        whole = looked_at(self.program.own.get(n.target), n, self.alive)
        if whole is not None:
            result = whole.run(n, *self.fetch_args_kwargs_from_env(n))
        elif kept is None:
            result = super().run_node(n)
        else:
            source, *args = self.fetch_args_kwargs_from_env(n)[0]
            result = _over_kept(n, source, args, kept)
        sources = flat([self.env[x] for x in n.all_input_nodes])
        self.narrowed |= _narrows(sources, result)
        return self._masked(n, result, sources)

    def _masked(self, node: Node, result: Any, sources: Sequence[Tensor]) -> Any:
        if node.name not in self.dead or not isinstance(result, Tensor):
            return result
        dim, dead = self.dead[node.name]
        dead = dead.to(result.device)
        # After an operation in place, what aliases the result has to see the zeros too; after any
        # other, what aliases it is left alone, and stays an alias where there is nothing to do.
        if in_place(node) or not _shares_memory(result, sources):
            return result.index_fill_(dim, dead, 0)
        if not bool(result.index_select(dim, dead).any()):
            return result
        return result.index_fill(dim, dead, 0)

    def _reduced(self, node: Node) -> tuple[int, Tensor] | None:
        """The source's mask, if this operation looks across its removed entries."""
        source = node.args[0] if node.args else None
        if not isinstance(source, Node) or source.name not in self.alive:
            return None
        dim, alive = self.alive[source.name]
        if bool(alive.all()) or operation_of(node.target).kind not in ACROSS:
            return None
        return (dim, alive) if dim in _across(node, len(shape_of(source))) else None


def flat(results: Any) -> list[Tensor]:
    """All tensors in nested lists, tuples and dictionaries, in order."""
    if isinstance(results, Tensor):
        return [results]
    if isinstance(results, Mapping):
        results = list(results.values())  # pyright: ignore[reportUnknownVariableType]
    if isinstance(results, list | tuple):
        return [tensor for part in results for tensor in flat(part)]
    return []


def _narrows(sources: Sequence[Tensor], result: Any) -> bool:
    """True if float64 or no tensor at all went in and fewer bits came out.

    A model in float64 would make its constants in float64, where the program has them as they
    were when it was exported.
    """
    if not isinstance(result, Tensor) or not result.is_floating_point():
        return False
    wide = not sources or any(x.dtype == torch.float64 for x in sources)
    return wide and result.dtype != torch.float64


def _shares_memory(result: Tensor, sources: Sequence[Tensor]) -> bool:
    place = result.untyped_storage().data_ptr()
    return any(x.untyped_storage().data_ptr() == place for x in sources)


def _across(node: Node, rank: int) -> set[int]:
    """The dimensions an operation looks across."""
    kind = operation_of(node.target).kind
    if kind is Kind.GROUP_NORM:
        return set(range(1, rank))
    if kind is Kind.LAYER_NORM:
        return set(range(rank - len(argument(node, "normalized_shape")), rank))
    return dims_of(node, rank)


def _over_kept(node: Node, source: Tensor, args: list[Any], mask: tuple[int, Tensor]) -> Any:
    """An operation across channels: gather the kept entries, run it, scatter the result."""
    dim, alive = mask
    kept = alive.nonzero().flatten().to(source.device)
    small, kind = source.index_select(dim, kept), operation_of(node.target).kind
    if kind is Kind.GROUP_NORM:
        args = [_groups(node, alive), *_cut(args[1:], 0, kept)]
    elif kind is Kind.LAYER_NORM:
        first = source.ndim - len(args[0])
        args = [small.shape[first:], *_cut(args[1:], dim - first, kept)]
    result: Any = node.target(small, *args, **node.kwargs)  # type: ignore[operator]
    if kind in (Kind.REDUCES, Kind.RANKS):
        return result
    if isinstance(result, tuple):
        return tuple(_scattered(part, source, dim, kept) for part in flat(result))
    return _scattered(result, source, dim, kept)


def _cut(args: list[Any], dim: int, kept: Tensor) -> list[Any]:
    """Weights of a normalisation among its arguments, kept entries alone."""
    return [a.index_select(dim, kept) if isinstance(a, Tensor) else a for a in args]


def _scattered(result: Tensor, source: Tensor, dim: int, kept: Tensor) -> Tensor:
    return result.new_zeros(source.shape).index_copy(dim, kept, result)


def _groups(node: Node, alive: Tensor) -> int:
    """The groups of which something is left: all groups lose the same, or some lose everything."""
    return int(alive.reshape(int(argument(node, "num_groups")), -1).any(1).sum())
