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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn
from torch.fx import Node

from compressor.graph.graph import Dim, Graph
from compressor.graph.kinds import ACROSS, Kind
from compressor.graph.operations import operation_of
from compressor.graph.program import Program, argument, dims_of, in_place, shape_of
from compressor.graph.structure import Structure
from compressor.surgery.stillness import in_one_type, stilled
from compressor.surgery.whole import looked_at

Alive = tuple[tuple[int, Tensor], ...]
"""Dimensions of a tensor that shrink, each with a boolean for every entry, True where it stays."""


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
        self.tensors = stilled(graph, self.program, structure.keep, tensors)
        self.narrowed = False
        self.alive: dict[str, Alive] = {
            name: tuple((at, torch.from_numpy(dim.alive(structure.keep))) for at, dim in dims)
            for name, dims in (*graph.activations.items(), *_weights(graph))
        }
        self.dead = {
            name: tuple(
                (at, (~alive).nonzero().flatten()) for at, alive in dims if not bool(alive.all())
            )
            for name, dims in self.alive.items()
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
            weight = self.tensors[self.program.weights[name]].detach()
            for dim, dead in self.dead.get(name, ()):
                weight = weight.index_fill(dim, dead.to(weight.device), 0)
            return weight
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

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Initial states of recurrent layers come in the type of the input, as they would."""
        return super().call_function(target, in_one_type(target, args), kwargs)

    def _masked(self, node: Node, result: Any, sources: Sequence[Tensor]) -> Any:
        if not self.dead.get(node.name) or not isinstance(result, Tensor):
            return result
        # After an operation in place, what aliases the result has to see the zeros too; after any
        # other, what aliases it is left alone, and stays an alias where there is nothing to do.
        inside = in_place(node) or not _shares_memory(result, sources)
        for dim, dead in self.dead[node.name]:
            places = dead.to(result.device)
            if inside:
                result.index_fill_(dim, places, 0)
            elif bool(result.index_select(dim, places).any()):
                result = result.index_fill(dim, places, 0)
        return result

    def _reduced(self, node: Node) -> Alive | None:
        """The source's masks along the dimensions that this operation looks across."""
        source = node.args[0] if node.args else None
        if not isinstance(source, Node) or operation_of(node.target).kind not in ACROSS:
            return None
        dims = [(at, alive) for at, alive in self.alive.get(source.name, ()) if not alive.all()]
        if not dims:
            return None
        across = _across(node, len(shape_of(source)))
        found = tuple((at, alive) for at, alive in dims if at in across)
        return found or None


def _weights(graph: Graph) -> Iterator[tuple[str, tuple[tuple[int, Dim], ...]]]:
    """What may go of weights that something is computed of, by name of their placeholders.

    Layers sum over entries of which one factor is zero; an operation on weights alone sees both.
    """
    program = graph.program
    for node in program.graph.nodes if program is not None else ():
        if program is None or node.name not in program.weights:
            continue
        if any(_computes(program, user) for user in node.users):
            dims = graph.weights[program.weights[node.name]].dims
            yield node.name, tuple((at, dim) for at, dim in enumerate(dims) if not dim.fixed)


def _computes(program: Program, node: Node) -> bool:
    """True if an operation works on weights alone."""
    sources = node.all_input_nodes
    return node.op == "call_function" and all(x.name in program.weights for x in sources)


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
    if kind is Kind.BATCH_NORM:  # each channel by itself, by statistics of its own or by given ones
        given = argument(node, "running_mean") is not None
        return set() if given else set(range(rank)) - {1}
    if kind is Kind.WEIGHT_NORM:
        return set(range(rank)) - {int(argument(node, "dim", 0))}
    return dims_of(node, rank)


def _over_kept(node: Node, source: Tensor, args: list[Any], masks: Alive) -> Any:
    """An operation across channels: gather the kept entries, run it, scatter the result."""
    small, kind = source, operation_of(node.target).kind
    places: list[tuple[int, Tensor]] = []
    for dim, alive in masks:
        kept = alive.nonzero().flatten().to(source.device)
        small = small.index_select(dim, kept)
        places.append((dim, kept))
        if kind is Kind.GROUP_NORM and dim == 1:
            args = [_groups(node, alive), *_cut(args[1:], 0, kept)]
        elif kind is Kind.LAYER_NORM:
            args = [args[0], *_cut(args[1:], dim - source.ndim, kept)]
    if kind is Kind.LAYER_NORM:
        args = [small.shape[source.ndim - len(args[0]) :], *args[1:]]
    result: Any = node.target(small, *args, **node.kwargs)  # type: ignore[operator]
    if kind in (Kind.REDUCES, Kind.RANKS):
        return result
    if isinstance(result, tuple):
        return tuple(_scattered(part, source, places) for part in flat(result))
    return _scattered(result, source, places)


def _cut(args: list[Any], dim: int, kept: Tensor) -> list[Any]:
    """Weights of a normalisation among its arguments, kept entries alone."""
    return [a.index_select(dim, kept) if isinstance(a, Tensor) else a for a in args]


def _scattered(result: Tensor, source: Tensor, places: Sequence[tuple[int, Tensor]]) -> Tensor:
    for dim, kept in reversed(places):
        shape = (*result.shape[:dim], source.shape[dim], *result.shape[dim + 1 :])
        result = result.new_zeros(shape).index_copy(dim, kept, result)
    return result


def _groups(node: Node, alive: Tensor) -> int:
    """The groups of which something is left: all groups lose the same, or some lose everything."""
    return int(alive.reshape(int(argument(node, "num_groups")), -1).any(1).sum())
