"""Operators of one's own, by the signature that their user gives (`Operation`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from torch.fx import Node

from compressor.graph.program import module_of, shape_of
from compressor.graph.signature import NONE, Call, Operation, Words, call
from compressor.tracing.couplings import Ids
from compressor.tracing.flow import Flow, Labels, Use, fixed, place
from compressor.tracing.labels import Label, Labelled

WIDTHS = 2
"""Most widths that a cost is a product of (`compressor.graph.graph.Quadratic`)."""


@dataclass(frozen=True)
class _Operand:
    """A tensor that a call takes, and the word of each of its dimensions."""

    node: Node
    words: Words


def signed(flow: Flow, node: Node, operation: Operation) -> Labels:
    """The labels of the results; ties what shares a word, and notes the weights as layers."""
    read = call(operation, node)
    operands = [_Operand(source, words) for source, words in read.of(node)]
    ids = _taken(flow, node, operands)
    made = _made(flow, operands, read, ids)
    for operand in operands:
        _tie(flow, node, operand, ids | made)
        _bound(flow, node, operand, ids | made)
    _note(flow, node, operands, read, ids | made)
    labels: list[Labelled] = [_label(flow, node, words, ids | made) for words in read.results]
    return labels if isinstance(node.meta.get("val"), list | tuple) else labels[0]


def _taken(flow: Flow, node: Node, operands: list[_Operand]) -> dict[str, Ids]:
    """The ids of every word along which an activation shrinks."""
    found: dict[str, Ids] = {}
    for operand in operands:
        label = None if flow.weight(operand.node) else flow.label(operand.node)
        if label is None:
            continue
        word = operand.words[label.dim]
        if word == NONE:
            why = f"the signature of {place(node)} names no word for the dimension of its channels"
            flow.hold(operand.node, why)
        else:
            found.setdefault(word, label.ids)
    return found


def _made(
    flow: Flow, operands: list[_Operand], read: Call, taken: Mapping[str, Ids]
) -> dict[str, Ids]:
    """New ids for every word of a result that weights alone have."""
    results = {word for words in read.results for word in words}
    fed = {w for o in operands if flow.weight(o.node) is None for w in o.words}
    found: dict[str, Ids] = {}
    for operand in operands:
        name = flow.weight(operand.node)
        for dim, word in enumerate(operand.words):
            new = word in results and word not in fed and word not in taken and word != NONE
            if name is not None and new and flow.shapes[name][dim] > 1:
                found.setdefault(word, flow.own(name, dim))
    return found


def _tie(flow: Flow, node: Node, operand: _Operand, ids: Mapping[str, Ids]) -> None:
    """Tie the dimensions of a tensor to those of the same words; a weight's others stay whole."""
    name, label = flow.weight(operand.node), flow.label(operand.node)
    for dim, (word, size) in enumerate(zip(operand.words, shape_of(operand.node), strict=True)):
        shared = ids.get(word)
        if size == 1 and (shared is None or len(shared) > 1):
            continue
        if name is not None:
            flow.tie_weight(name, dim, fixed(size) if shared is None else shared)
        elif shared is not None and label is not None and label.dim == dim:
            flow.couplings.tie(shared, label.ids)
        elif shared is not None:
            why = f"{place(node)} combines it with a tensor that cannot shrink"
            flow.couplings.freeze(shared, why)


def _bound(flow: Flow, node: Node, operand: _Operand, ids: Mapping[str, Ids]) -> None:
    """Hold the shortest dimensions of a weight that shrinks in more than a cost can say."""
    if flow.weight(operand.node) is None:
        return
    free = sorted((word for word in operand.words if word in ids), key=lambda w: len(ids[w]))
    for word in free[: max(0, len(free) - WIDTHS)]:
        why = f"a weight of {place(node)} has {len(free)} dimensions that could shrink"
        flow.couplings.freeze(ids[word], f"{why}, and {WIDTHS} of them do")


def _label(flow: Flow, node: Node, words: Words, ids: Mapping[str, Ids]) -> Label | None:
    """The label of a result; where it could shrink in several dimensions the first one does."""
    found = [Label(dim, ids[word]) for dim, word in enumerate(words) if word in ids]
    for other in found[1:]:
        why = f"the result of {place(node)} is followed along one of its dimensions alone"
        flow.couplings.freeze(other.ids, why)
    return found[0] if found else None


def _note(
    flow: Flow, node: Node, operands: list[_Operand], read: Call, ids: Mapping[str, Ids]
) -> None:
    """Note every weight that is multiplied as a layer; a product without one cannot shrink."""
    weights = {o.node.name: o for o in operands if flow.weight(o.node) is not None}
    for product in read.products:
        mine = [o for o in weights.values() if _multiplied(o, product, read)]
        widest = max(mine, key=lambda o: prod(shape_of(o.node)), default=None)
        outside = [word for word in product if widest is None or word not in widest.words]
        for word in outside:
            if word in ids:
                why = f"the products of {place(node)} have no weight along this dimension"
                flow.couplings.freeze(ids[word], why)
        if widest is None:
            flow.uncounted.append(place(node))
            continue
        positions = prod(read.sizes[word] for word in outside)
        flow.uses.append(_use(flow, node, widest, positions, read, ids))
        weights.pop(widest.node.name)


def _multiplied(operand: _Operand, product: Words, read: Call) -> bool:
    """True if a product of sizes has all dimensions of a weight, and it is more than a factor."""
    pairs = zip(operand.words, shape_of(operand.node), strict=True)
    inside = all(word in product and read.sizes[word] == size for word, size in pairs)
    return inside and any(word in read.operation.summed for word in operand.words)


def _use(
    flow: Flow, node: Node, weight: _Operand, positions: int, read: Call, ids: Mapping[str, Ids]
) -> Use:
    """A weight as a layer: it reads what is summed over and writes what is in the result."""
    name, words = str(flow.weight(weight.node)), weight.words
    along = [dim for dim, word in enumerate(words) if word in read.results[0]]
    reads = [dim for dim in range(len(words)) if dim not in along and words[dim] in ids]
    fresh = [dim for dim in along if words[dim] in ids] or along
    out = fresh[0] if fresh else 0
    writes = ids.get(words[out], fixed(read.sizes[words[out]])) if fresh else fixed(0)
    taken = ids[words[reads[0]]] if reads else writes
    owner, _, leaf = name.rpartition(".")
    module = owner or name if leaf == "weight" else module_of(node) or name
    return Use(module, name, positions, "linear", taken, writes, out, dense=bool(reads))
