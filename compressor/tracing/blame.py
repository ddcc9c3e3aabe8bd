"""Axes that a model's own code does not survive, found in all of its parts at once.

A smaller model is run with the input and the result of every module replaced by those of the masked
original as soon as they are wrong, or missing because it raised. So a mistake does no harm beyond
its part, and one run shows them all. The axes that such a part works on are frozen one after
another, in all parts at once, until nothing is wrong any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from compressor.graph.graph import Graph
from compressor.graph.structure import Structure, full
from compressor.inputs.evaluation import evaluating
from compressor.inputs.example import Inputs
from compressor.inputs.lines import raised_at, told
from compressor.inputs.tensors import named_tensors
from compressor.surgery.comparison import batch
from compressor.surgery.cutting import shrink
from compressor.surgery.draws import steady
from compressor.tracing.boundaries import Boundaries, Call
from compressor.tracing.narrowed import Narrowed

ROUNDS = 60
"""Most runs. One shows all that is wrong in modules, but only the first error of a forward that
raises itself and has no single result."""

TOLERANCE = 1e-3
"""Largest difference between two tensors, as a share of the largest entry."""

Thin = Callable[[Graph, list[int]], Structure]
Where = tuple[str, int, str]
"""A part of the network: a module, which of its calls, and what of it."""


@dataclass(frozen=True)
class Suspect:
    """A part of the network where something is wrong.

    Attributes:
        where: Which part, the same in every run.
        nodes: The last operations of the part.
        leaf: Whether it is a module without others inside.
    """

    where: Where
    what: str
    nodes: tuple[Node, ...]
    leaf: bool = False


def blamed(
    model: nn.Module,
    graph: Graph,
    items: Sequence[Inputs],
    axes: list[int],
    thin: Thin,
    *,
    odd: frozenset[Where] | None = None,
) -> tuple[dict[int, str], list[int]]:
    """Axes to freeze, by what went wrong, and those of them that may be innocent.

    Args:
        model: The original, on weights that show something.
        graph: Its graph.
        items: Single inputs, run as one batch if there are several.
        axes: Numbers of those that are tried.
        thin: Removes something of some axes.
        odd: Parts that say nothing, if they are known (`odd_parts`).
    """
    if graph.program is None:
        return {}, []
    parts = Boundaries(graph, graph.program)
    odd = odd_parts(model, graph, items) if odd is None else odd
    reasons, innocent = dict[int, str](), list[int]()
    last: dict[Where, int] = {}
    plain = False
    for _ in range(ROUNDS):
        left = [axis for axis in axes if axis not in reasons]
        run = _suspects(model, parts, thin(graph, left), items, plain=plain)
        if plain and not run.stopped:  # it gets through, or the values may say more
            plain = False
            continue
        found = [s for s in run.suspects if s.where not in odd]
        before = len(reasons)
        for suspect in found:
            axis = next((a for a in parts.axes(suspect.nodes) if a in left), None)
            if suspect.where in last:
                innocent.append(last[suspect.where])
            if axis is not None:
                last[suspect.where] = axis
                reasons[axis] = f"removing channels breaks the forward pass: {suspect.what}"
        if len(reasons) == before:
            break
        plain = run.stopped and len(found) == 1
    return reasons, innocent


def suspected(
    model: nn.Module,
    graph: Graph,
    items: Sequence[Inputs],
    axes: list[int],
    thin: Thin,
    odd: frozenset[Where],
) -> list[tuple[int, ...]]:
    """The axes that every part that goes wrong works on, the nearest first, from a single run."""
    if graph.program is None:
        return []
    parts = Boundaries(graph, graph.program)
    run = _suspects(model, parts, thin(graph, axes), items)
    found = (parts.axes(s.nodes) for s in run.suspects if s.where not in odd)
    return [tuple(axis for axis in near if axis in axes) for near in found]


def odd_parts(model: nn.Module, graph: Graph, items: Sequence[Inputs]) -> frozenset[Where]:
    """Parts that are not what their operations say although nothing is missing."""
    if graph.program is None:
        return frozenset()
    parts = Boundaries(graph, graph.program)
    return frozenset(s.where for s in _suspects(model, parts, full(graph), items).suspects)


def _suspects(
    model: nn.Module,
    parts: Boundaries,
    structure: Structure,
    items: Sequence[Inputs],
    *,
    plain: bool = False,
) -> _Run:
    """Find what is wrong with a structure, part by part; `plain` only looks for what stops it."""
    tensors = {name: tensor.detach().clone() for name, tensor in named_tensors(model)}
    run = _Run(parts, {})
    try:
        if not plain:
            runs = [_Values(parts, structure, tensors).of(item) for item in items]
            run.values = {n: _together([values[n] for values in runs]) for n in runs[0]}
        smaller = shrink(model, parts.graph, structure)
    except (RuntimeError, TypeError, AttributeError, KeyError):
        return run  # the comparison says what is the matter
    run.watch(smaller)
    with evaluating(smaller), torch.no_grad(), steady(parts.graph):
        try:
            smaller(*(x.clone() for x in batch(items)))
        except Exception:  # noqa: BLE001 - noted where it was raised
            # In a layer of PyTorch what came in is wrong, which only values tell from what went on.
            run.stopped = not plain or not run.suspects[-1].leaf
    return run


def _together(tensors: list[Tensor]) -> Tensor:
    return torch.cat(tensors) if tensors[0].shape[:1] == (1,) else tensors[0]


class _Values(Narrowed):
    """A masked run that remembers what crosses the borders, cut to what a structure keeps."""

    def __init__(self, parts: Boundaries, structure: Structure, tensors: dict[str, Tensor]) -> None:
        super().__init__(parts.graph, structure, tensors)
        self.borders, self.whole = parts.borders, parts.graph
        self.values: dict[Node, Tensor] = {}

    def of(self, item: Inputs) -> dict[Node, Tensor]:
        with steady(self.whole):
            self.outputs(item)
        return self.values

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        if n in self.borders and isinstance(result, Tensor):
            kept = result.clone()
            for at, alive in self.alive.get(n.name, ()):
                kept = kept.index_select(at, alive.nonzero().flatten().to(result.device))
            self.values[n] = kept
        return result


@dataclass
class _Run:
    """A run of a smaller model whose borders are put right.

    Attributes:
        values: What is right.
        counts: Calls of every module so far.
        ended: Number of the last operation of the call that ended last.
        noted: Errors that were raised.
        stopped: Whether one of them stopped the run, in code that is to blame.
    """

    parts: Boundaries
    values: dict[Node, Tensor]
    suspects: list[Suspect] = field(default_factory=list[Suspect])
    counts: dict[str, int] = field(default_factory=dict[str, int])
    ended: int = -1
    noted: list[Exception] = field(default_factory=list[Exception])
    stopped: bool = False

    def watch(self, model: nn.Module) -> None:
        """Let every module of a model that the program knows tell of its calls."""
        for path, module in list(model.named_modules()):
            if path in self.parts.calls:
                module.forward = self._watched(path, module.forward)

    def _watched(self, path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            number = self.counts.get(path, 0)
            self.counts[path] = number + 1
            calls = self.parts.calls[path]
            if number >= len(calls):
                return forward(*args, **kwargs)
            call = calls[number]
            if path and args and call.entry is not None:
                args = (self._right(args[0], call.entry, (path, number, "in")), *args[1:])
            try:
                result = forward(*args, **kwargs)
            except Exception as error:
                self._raised(error, call, (path, number, "run"))
                if call.result not in self.values:
                    raise
                result = self.values[call.result].clone()
            else:
                if call.result is not None:
                    result = self._right(result, call.result, (path, number, "out"))
            self.ended = self.parts.place[call.nodes[-1]]
            return result

        return called

    def _right(self, tensor: Any, node: Node, where: Where) -> Any:
        wanted = self.values.get(node)
        if wanted is None or not isinstance(tensor, Tensor):
            return tensor
        wrong = _difference(tensor, wanted)
        if wrong:
            self.suspects.append(Suspect(where, f"{wrong} in {where[0] or 'forward'!r}", (node,)))
        return wanted.clone()

    def _raised(self, error: Exception, call: Call, where: Where) -> None:
        """Note where an error was raised first: in the call's own code, behind what has ended."""
        if any(error is other for other in self.noted):
            return
        self.noted.append(error)
        place = self.parts.place
        inner = [place[n] for n in call.nodes if n not in call.own and place[n] > self.ended]
        own = tuple(n for n in call.own if self.ended < place[n] < min(inner, default=len(place)))
        what = f"it does not run in {where[0] or 'forward'!r} ({told(error)})"
        if raised_at(error):
            what += ", where sizes that are numbers have to come from a tensor, as x.shape[1]"
        spot = (where[0], where[1], f"run {self.ended}")
        leaf = len(call.own) == len(call.nodes) and bool(where[0])
        self.suspects.append(Suspect(spot, what, own or call.nodes[-1:], leaf))


def _difference(tensor: Tensor, wanted: Tensor) -> str:
    """Describe how a tensor is not what it should be; empty where it is."""
    if tensor.shape != wanted.shape:
        return f"a tensor has shape {tuple(tensor.shape)} instead of {tuple(wanted.shape)}"
    if not wanted.is_floating_point() or not wanted.numel():
        return ""
    error = (tensor.double() - wanted.double()).nan_to_num(0.0, 0.0, 0.0).abs().max()
    size = wanted.double().nan_to_num(0.0, 0.0, 0.0).abs().max()
    return "" if float(error) <= TOLERANCE * float(size) + 1e-6 else "values differ"
