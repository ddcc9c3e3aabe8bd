"""Products of tensors that sum over dimensions: matrix products, einsum, attention.

All are one thing: every dimension of the operands has a letter, and what has the same letter meets.
Units of dimensions that meet are the same units; a letter that the result lacks is summed over, to
which a removed entry adds nothing; the product costs as many multiply-accumulates as its letters
have entries together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from torch.fx import Node

from compressor.graph.kinds import Kind
from compressor.graph.operations import operation_of
from compressor.graph.program import argument, module_of, shape_of
from compressor.tracing.constants import begun
from compressor.tracing.couplings import Ids
from compressor.tracing.flow import Flow, Multiplied, Use, place, site_of
from compressor.tracing.labels import Label, Labelled, parts, together
from compressor.tracing.queries import proportional

Letters = Sequence[Hashable]


@dataclass(frozen=True)
class Operand:
    """A tensor in a product, with a letter for each of its dimensions."""

    node: Node
    letters: Letters

    @property
    def sizes(self) -> dict[Hashable, int]:
        """Entries by letter."""
        return dict(zip(self.letters, shape_of(self.node), strict=True))

    def ids(self, flow: Flow) -> dict[Hashable, Ids]:
        """Ids by letter, of the dimensions that may shrink."""
        return {self.letters[label.dim]: label.ids for label in flow.labels_of(self.node)}


def contract(flow: Flow, node: Node, operands: Sequence[Operand], out: Letters) -> Labelled:
    """A product of one or two tensors: ties, costs, and the labels of the result.

    Args:
        flow: The walk.
        node: The operation.
        operands: What it multiplies.
        out: The letters of its result.
    """
    nodes = [operand.node for operand in operands]
    twice = any(len(set(operand.letters)) < len(operand.letters) for operand in operands)
    uses = Counter(letter for operand in operands for letter in set(operand.letters))
    summed = any(letter not in out for letter in uses)
    if (len(operands) > 2 and summed) or twice:
        flow.uncounted.append(place(node))
        why = "takes a diagonal" if twice else "multiplies many tensors in an order of its own"
        return flow.hold_all(nodes, f"{place(node)} {why}: write it as products of two")
    ids = meeting(flow, node, operands)
    count(flow, node, operands, out, ids)
    return together(
        [Label(dim, ids[letter]) for dim, letter in enumerate(out) if letter in ids],
        flow.couplings,
    )


def meeting(flow: Flow, node: Node, operands: Sequence[Operand]) -> dict[Hashable, Ids]:
    """The ids of every letter that may shrink, tied between operands."""
    return _tied(flow, node, [operand.ids(flow) for operand in operands], operands)


def _tied(
    flow: Flow, node: Node, every: Sequence[dict[Hashable, Ids]], operands: Sequence[Operand]
) -> dict[Hashable, Ids]:
    """The same, of ids that are given for each operand."""
    found: dict[Hashable, Ids] = {}
    bare: set[Hashable] = set()
    for ids, operand in zip(every, operands, strict=True):
        for letter, size in operand.sizes.items():
            if letter not in ids:
                bare |= {letter} if size > 1 else set()
            elif letter in found:
                flow.couplings.tie(found[letter], ids[letter])
            else:
                found[letter] = ids[letter]
    for letter in bare & set(found):
        made = [
            begun(flow, node, operand.node, list(operand.letters).index(letter))
            for operand in operands
            if letter in operand.letters
        ]
        if any(ids is not None for ids in made):
            for ids in made:
                flow.couplings.tie(found[letter], found[letter] if ids is None else ids)
            continue
        why = f"{place(node)} multiplies it with a tensor that cannot shrink"
        flow.couplings.freeze(found[letter], why)
    return found


def count(
    flow: Flow, node: Node, operands: Sequence[Operand], out: Letters, ids: dict[Hashable, Ids]
) -> None:
    """Note the cost: a layer where one operand is made of weights alone, else a product of two."""
    uses = Counter(letter for operand in operands for letter in set(operand.letters))
    summed = {letter for letter in uses if letter not in out}
    if not any(uses[letter] > 1 for letter in summed):
        return  # entry by entry, or a sum of one tensor
    sizes = entries(operands)
    multiplied = [x for x in sizes if uses[x] > 1 or x not in summed]
    positions = prod(sizes[x] for x in multiplied if x not in ids)
    dims = tuple(ids[x] for x in multiplied if x in ids)
    weights = [operand for operand in operands if flow.weighs(operand.node)]
    if weights and not any(flow.hears(operand.node) for operand in operands):
        weights = _applied(flow, node, weights)
    own = [x for x in weights[0].letters if uses[x] == 1 and x in ids] if weights else []
    if len(weights) != 1 or not own:
        flow.products.append(Multiplied(module_of(node), positions, dims))
        return
    name = flow.source(weights[0].node)
    written = max(own, key=sizes.__getitem__)
    read = max((x for x in summed if x in ids), key=sizes.__getitem__, default=None)
    reads = ids[read] if read is not None else np.zeros(1, np.int64)
    row = weights[0].letters.index(written)
    flow.uses.append(
        Use(site_of(node, name), name, positions, "linear", reads, ids[written], row, True, dims)  # noqa: FBT003
    )


def _applied(flow: Flow, node: Node, operands: Sequence[Operand]) -> list[Operand]:
    """The weights of a layer that a table goes through; none where one is computed of another."""
    if operation_of(node.target).kind is not Kind.LINEAR:
        return []
    return [x for x in operands if flow.source(x.node) in flow.program.parameters]


def entries(operands: Sequence[Operand]) -> dict[Hashable, int]:
    """Entries by letter; of a letter that broadcasts the larger number."""
    sizes: dict[Hashable, int] = {}
    for operand in operands:
        for letter, size in operand.sizes.items():
            sizes[letter] = max(size, sizes.get(letter, 1))
    return sizes


def product(flow: Flow, node: Node) -> Labelled:
    """``matmul``, ``mm``, ``mv``, ``dot``: over columns of the first, rows of the second."""
    left, right = node.args[0], node.args[1]
    return contract(flow, node, *_matrices(left, right))


def _matrices(left: Any, right: Any) -> tuple[list[Operand], Letters]:
    a, b = len(shape_of(left)), len(shape_of(right))
    first: list[Hashable] = [*range(-a, -2), *("m" * (a > 1)), "k"]
    second: list[Hashable] = [*range(-b, -2), "k", *("n" * (b > 1))]
    batch = list(range(-max(a, b), -2))
    out: list[Hashable] = [*batch, *("m" * (a > 1)), *("n" * (b > 1))]
    return [Operand(left, first), Operand(right, second)], out


def batched(flow: Flow, node: Node) -> Labelled:
    """``bmm``, and with something added to the product ``baddbmm`` and ``addmm``."""
    if len(node.args) < 3:
        return product(flow, node)
    added, left, right = node.args[:3]
    found = contract(flow, node, *_matrices(left, right))
    return _plus(flow, node, found, added)


def _plus(flow: Flow, node: Node, found: Labelled, added: Any) -> Labelled:
    """The labels of a product to which another tensor was added, which broadcasts."""
    labels = {label.dim: label.ids for label in parts(found)}
    rank, shape = len(shape_of(node)), shape_of(added)
    theirs = {rank - len(shape) + label.dim: label.ids for label in flow.labels_of(added)}
    why = f"{place(node)} adds it to a tensor that cannot shrink"
    for dim in range(rank):
        own = dim - (rank - len(shape))
        if own < 0 or shape[own] == 1:
            continue
        if dim in labels and dim in theirs:
            flow.couplings.tie(labels[dim], theirs[dim])
        elif dim in labels or dim in theirs:
            flow.couplings.freeze(labels.get(dim, theirs.get(dim, np.zeros(0, np.int64))), why)
    return found


def outer(flow: Flow, node: Node) -> Labelled:
    """``outer``: nothing is summed over."""
    left, right = node.args[:2]
    return contract(flow, node, [Operand(left, "m"), Operand(right, "n")], "mn")  # type: ignore[arg-type]


def attention(flow: Flow, node: Node) -> Labelled:
    """``scaled_dot_product_attention``: (…, head, time, width); both its products count.

    Keys and values may serve several heads each (``enable_gqa``), which then go together.
    """
    query, key, value = node.args[:3]
    rank = len(shape_of(query))
    batch: list[Hashable] = [*range(-rank, -3), *(["h"] if rank > 2 else [])]
    mine, keys, values = (
        Operand(x, [*batch, *letters])  # type: ignore[arg-type]
        for x, letters in ((query, "id"), (key, "jd"), (value, "je"))
    )
    every = [_served(operand.ids(flow), mine.sizes) for operand in (mine, keys, values)]
    scaled(flow, node)
    ids = _tied(flow, node, every, [mine, keys, values])
    _mask(flow, node, ids)
    sizes = {**values.sizes, **keys.sizes, **mine.sizes}
    for letters in ((*batch, "i", "j", "d"), (*batch, "i", "j", "e")):
        positions = prod(sizes[x] for x in letters if x not in ids)
        dims = tuple(ids[x] for x in letters if x in ids)
        flow.products.append(Multiplied(module_of(node), positions, dims))
    out = (*batch, "i", "e")
    labels = [Label(dim, ids[letter]) for dim, letter in enumerate(out) if letter in ids]
    return together(labels, flow.couplings)


def _served(ids: dict[Hashable, Ids], sizes: dict[Hashable, int]) -> dict[Hashable, Ids]:
    """Ids of keys or values, one for every head that they serve."""
    if "h" not in ids or len(ids["h"]) == sizes["h"]:
        return ids
    return {**ids, "h": np.repeat(ids["h"], sizes["h"] // len(ids["h"]))}


def scaled(flow: Flow, node: Node) -> None:
    """Let queries follow their width where the code takes its scale from it, or keep the width."""
    query = Operand(node.args[0], range(len(shape_of(node.args[0]))))  # type: ignore[arg-type]
    ids = query.ids(flow).get(len(query.letters) - 1)
    if ids is None or argument(node, "scale") is not None or proportional(flow, node, ids):
        return
    flow.couplings.freeze(
        ids,
        f"{place(node)} divides by the root of the width that it finds, and its queries are not "
        "what one layer makes for nothing else: pass it scale=, a number that the constructor has "
        "kept, and queries and keys may get narrower",
    )


def _mask(flow: Flow, node: Node, ids: dict[Hashable, Ids]) -> None:
    """What is added to the scores has a head for each head that may go, or one for all."""
    mask = argument(node, "attn_mask")
    if not isinstance(mask, Node):
        return
    found = {label.dim - len(shape_of(mask)): label.ids for label in flow.labels_of(mask)}
    for dim, size in zip(range(-len(shape_of(mask)), 0), shape_of(mask), strict=True):
        mine = ids.get("h") if dim == -3 else None
        if size == 1:
            continue
        if mine is not None and dim in found:
            flow.couplings.tie(mine, found[dim])
        elif mine is not None or dim in found:
            both = [x for x in (mine, found.get(dim)) if x is not None]
            flow.couplings.freeze(np.concatenate(both), f"{place(node)} adds a mask to it")
