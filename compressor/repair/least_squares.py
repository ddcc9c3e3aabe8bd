"""Repair of a network that was cut, in closed form, on inputs alone.

Layer by layer from the input to the output, the weights that are left are chosen anew: so that on
what the smaller network itself feeds them they give what the dense layer gave on its own input, by
least squares (He et al. 2017, arXiv:1707.06168, section 3.1, for all layers in order and with the
bias), with a pull towards the weights that were cut, chosen on held-back examples. Where that pull
wins, a removed channel leaves its mean in the next bias and nothing else. The batch norms on the
way follow (`compressor.repair.norms`), which gives every channel the spread that it is to have; one
between a layer and a sum or a rectifier stays, as the layer is solved for what comes of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compressor.graph.structure import Structure
from compressor.inputs import randomness
from compressor.inputs.evaluation import evaluating
from compressor.inputs.tensors import all_tensors, fill
from compressor.repair.applied import Applied, Key
from compressor.repair.dense import Dense
from compressor.repair.layers import Layer, all_of
from compressor.repair.norms import Norms
from compressor.repair.returned import apart, outputs
from compressor.repair.ridge import Solution
from compressor.repair.solving import Wanted, answer, write
from compressor.surgery.scales import factors


@dataclass(frozen=True)
class Repaired:
    """What a repair did.

    Attributes:
        before: Distance of the outputs to the dense network's as the network was cut
            (`compressor.repair.distance`).
        normed: The same with batch norms that follow (`compressor.repair.norms`), nothing else.
        after: The same of the network that is left.
        layers: Error of every layer whose weights were chosen anew, before and after, in parts of
            what its outputs vary by.
        left: Layers that were left as they were, by why.
        few: Rows that there were for each layer with fewer of them than unknowns: there the pull
            towards the weights that were cut decides.
    """

    before: float
    normed: float
    after: float
    layers: Mapping[str, tuple[float, float]] = field(
        default_factory=dict[str, tuple[float, float]]
    )
    left: Mapping[str, str] = field(default_factory=dict[str, str])
    few: Mapping[str, int] = field(default_factory=dict[str, int])

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Repaired:
        """The repair of which `dataclasses.asdict` made plain data, lists for tuples."""
        layers = {name: (float(pair[0]), float(pair[1])) for name, pair in state["layers"].items()}
        return replace(cls(**state), layers=layers)


NO_MATCH = "its outputs do not compare with the dense network's, or are not finite"
FROZEN = "it is not trained"
TOO_FEW = "there are fewer rows than unknowns, and no other weights do better on those held back"
AS_GOOD = "no other weights do better on examples held back"
WORSE = "with it the outputs were further from the dense network's"


def repair(
    small: nn.Module,
    dense: Dense,
    structure: Structure,
    *,
    masks: Mapping[str, Tensor] = MappingProxyType({}),
    watch: Callable[[str], object] | None = None,
) -> Repaired:
    """Repair a network in place; its outputs are no further from the dense ones than before.

    Deterministic. Memory: sums of products of one layer at a time, (entries x entries) in float64,
    with as many entries as a row of its weight has; where a rectifier follows its rows as well
    (`compressor.repair.rows.rows_of` x entries); and what `dense` remembers.

    Args:
        small: The network that is left. Its parameters that require gradients, and the statistics
            of its batch norms, are changed.
        dense: The network that it was cut from, of the same modules, and the data.
        structure: What was kept of it, of the dense network's graph.
        masks: Booleans by name of parameter, True where an entry may be other than zero.
        watch: Is told the name of every layer.

    Returns:
        What was done. Where outputs came out worse, the last layers were left as they were.
    """
    found: list[tuple[Layer, Solution]] = []
    left: dict[str, str] = {}
    kept = _channels(structure)
    cut = _state(small, dense, 0)
    _follow(small, dense, kept)
    normed = _state(small, dense, 0)
    fill(small, cut.tensors)
    with evaluating(small):
        for layer, what in _solved(small, dense, structure, masks, watch):
            if isinstance(what, str):
                left[_name(layer.key)] = what
            else:
                found.append((layer, what))
    whole = _state(small, dense, len(found))
    best = min((cut, normed, whole), key=lambda state: state.distance)
    fewer = len(found) // 2
    while best.layers == 0 and fewer:
        fill(small, cut.tensors)
        for layer, solution in found[:fewer]:
            write(small, layer, solution)
        _follow(small, dense, kept, found[:fewer])
        best = min(best, _state(small, dense, fewer), key=lambda state: state.distance)
        fewer //= 2
    fill(small, best.tensors)
    left |= {_name(layer.key): WORSE for layer, _ in found[best.layers :]}
    changed = {_name(layer.key): (s.before, s.after) for layer, s in found[: best.layers]}
    few = {_name(layer.key): s.rows for layer, s in found[: best.layers] if _few(s)}
    return Repaired(cut.distance, normed.distance, best.distance, changed, left, few)


def distance(model: nn.Module, dense: Dense) -> float:
    """How far a network's outputs are from the dense ones; see `compressor.repair.returned`."""
    return apart(
        (outputs(model, batch, dense.forward), dense.outputs(number))
        for number, batch in enumerate(dense.batches)
    )


@dataclass(frozen=True)
class _State:
    """A network on the way: the distance of its outputs, the layers repaired so far, tensors."""

    distance: float
    layers: int
    tensors: Mapping[str, Tensor]


def _state(small: nn.Module, dense: Dense, layers: int) -> _State:
    tensors = {name: t.detach().clone() for name, t in all_tensors(small).items()}
    return _State(distance(small, dense), layers, tensors)


def _solved(
    small: nn.Module,
    dense: Dense,
    structure: Structure,
    masks: Mapping[str, Tensor],
    watch: Callable[[str], object] | None,
) -> Iterator[tuple[Layer, Solution | str]]:
    """Every layer in order with its answer, written, or the reason why it stays as it is."""
    run = all_of(small, dense.batches[0], dense.forward)
    trained = {name for name, p in small.named_parameters() if p.requires_grad}
    layers = [_as_in(dense, layer) for layer in run.order]
    waiting = {layer.key for layer in layers}
    held = frozenset[str]().union(*(layer.norms for layer in layers))
    norms = Norms(small, dense.moments, _channels(structure), held)
    try:
        for layer in layers:
            name = layer.key[0]
            if watch is not None:
                watch(name)
            what: Solution | str = NO_MATCH
            if name not in trained:
                what = FROZEN
            elif layer.key in dense.layers:
                what = _answered(small, dense, structure, layer, masks.get(name))
                norms.settle(lambda norm: not (run.norms.get(norm, waiting) & waiting))
            waiting.discard(layer.key)
            if not isinstance(what, str):
                write(small, layer, what)
            _hand_over(norms, layer, what)
            yield layer, what
        _run_all(small, dense)
    finally:
        norms.close()


def _as_in(dense: Dense, layer: Layer) -> Layer:
    """A layer of the smaller network with what becomes of its outputs in the dense one."""
    theirs = dense.layers.get(layer.key)
    return replace(layer, courses=theirs.courses if theirs is not None else ())


def _answered(
    small: nn.Module, dense: Dense, structure: Structure, layer: Layer, mask: Tensor | None
) -> Solution | str:
    """The answer of a layer, or the reason why it stays as it is."""
    wanted = _wanted(structure, dense.layers[layer.key].example)
    found = answer(small, dense, layer, wanted, mask=mask)
    if found is None:
        return NO_MATCH
    if math.isinf(found.pull) and found.before <= found.after:
        return TOO_FEW if _few(found) else AS_GOOD
    return found


def _hand_over(norms: Norms, layer: Layer, what: Solution | str) -> None:
    """Have the norms that were held after a layer take its bias, or follow where it stays."""
    for name in layer.norms:
        if isinstance(what, str) or math.isinf(what.pull):
            norms.release(name)
        elif what.bias is not None and layer.example.bias is None:
            norms.take(name, what.bias.flatten())


def _run_all(small: nn.Module, dense: Dense) -> None:
    """Run a model on all data, for its batch norms."""
    with torch.no_grad(), randomness.preserved():
        for batch in dense.batches:
            dense.forward(small, batch)


def _wanted(structure: Structure, applied: Applied) -> Wanted:
    """The outputs of a dense layer that a structure keeps, and their factors."""
    weight = structure.graph.weights[applied.weight]
    sites = [site for site in structure.graph.sites if site.weight == applied.weight]
    if applied.geometry is not None and sites:
        dim = sites[0].writes
    else:
        dim = weight.dims[1 if applied.flipped else 0]
    alive = dim.alive(structure.keep)
    size = applied.outputs.shape[1]
    part = alive[applied.row : applied.row + size]
    channels = None if part.all() else torch.from_numpy(np.flatnonzero(part))
    scale = factors(structure).get(applied.weight)
    if scale is None or scale.dim != 0:
        return Wanted(channels)
    full = scale.full[applied.row : applied.row + size]
    return Wanted(channels, full if channels is None else full[channels])


def _channels(structure: Structure) -> dict[str, Tensor]:
    """Numbers of the channels that norms keep, by name."""
    found = structure.graph.channels.items()
    return {n: torch.from_numpy(np.flatnonzero(dim.alive(structure.keep))) for n, dim in found}


def _follow(
    small: nn.Module,
    dense: Dense,
    kept: Mapping[str, Tensor],
    found: Sequence[tuple[Layer, Solution]] = (),
) -> None:
    """Have batch norms take back what the cut has changed, but those that answers aim beyond."""
    aimed = [(layer, solution) for layer, solution in found if not math.isinf(solution.pull)]
    with evaluating(small):
        held = frozenset[str]().union(*(layer.norms for layer, _ in aimed))
        norms = Norms(small, dense.moments, kept, held)
        try:
            for layer, solution in aimed:
                _hand_over(norms, layer, solution)
            _run_all(small, dense)
        finally:
            norms.close()


def _few(found: Solution) -> bool:
    """True if a layer has fewer rows than unknowns."""
    return found.rows < found.weight.shape[2]


def _name(key: Key) -> str:
    return key[0] if not key[1] else f"{key[0]} (part {key[1] + 1})"
