"""Constants of one value along the channels: as many entries as the code asks for.

``x.new_zeros(b, c, 2, w)`` joined to a tensor, ``index.expand(-1, c, -1)`` that picks from one:
where the code computes how many channels there are, the constant goes along with those that it
meets. Where it has the number written down it cannot, which the program does not show; see
`compressor.tracing.choices`.
"""

from __future__ import annotations

import torch
from torch.fx import Node

from compressor.graph.kinds import ENTRYWISE, Kind
from compressor.graph.memory import aliases, root
from compressor.graph.operations import operation_of
from compressor.graph.program import argument, in_place, packet_of, shape_of
from compressor.tracing.couplings import Ids
from compressor.tracing.flow import Flow, place
from compressor.tracing.labels import Label, together
from compressor.tracing.remembered import remember, told_of

aten = torch.ops.aten
COMPUTED, WRITTEN, REMEMBERED = range(3)
"""Where the number of a constant's channels comes from."""

_ONE_VALUE = (
    *(aten.zeros, aten.ones, aten.full, aten.empty),
    *(aten.new_zeros, aten.new_ones, aten.new_full, aten.new_empty),
)
_SPREAD = (aten.expand, aten.broadcast_to)


def meet(flow: Flow, node: Node, operand: object, dim: int, ids: Ids) -> None:
    """Tie a full-sized operand to the channels that it meets in a dimension; else they stay.

    Args:
        flow: The walk.
        node: The operation in which they meet.
        operand: A tensor with as many entries there as there are ids.
        dim: The dimension of the operand.
        ids: The channels.
    """
    label = flow.label(operand)
    if label is not None and label.dim == dim:
        flow.couplings.tie(ids, label.ids)
    elif label is not None or not goes_along(flow, node, operand, dim, ids):
        why = f"{place(node)} combines it with a tensor that cannot shrink"
        flow.hold(operand, why)
        flow.couplings.freeze(ids, why)


def goes_along(flow: Flow, node: Node, operand: object, dim: int, ids: Ids) -> bool:
    """True if an operand is a constant of one value in a dimension, and is read as computed."""
    if not isinstance(operand, Node) or not alike(operand, dim):
        return False
    others = [x for x in node.all_input_nodes if x is not operand]
    # What meets weights alone may meet them in dimensions in which nothing shrinks.
    told = not all(map(flow.weighs, others))
    return _follows(flow, node, operand, ids, choice=f"{node.name} {dim}", told_first=told)


def _follows(
    flow: Flow, node: Node, made: Node, ids: Ids, *, choice: str, told_first: bool = True
) -> bool:
    """Read where a constant that an operation takes has its size from; False if that is written.

    An attribute that is told without need is none that is (`compressor.tracing.bystanders`), so
    those come first: without, a whole walk were lost.
    """
    if not flow.couplings.units(ids[None]):
        return True  # these stay anyway
    told = told_of(flow, maker(made), node, len(ids))
    order = [*(REMEMBERED + n for n in range(len(told))), WRITTEN]
    order.insert(0 if not told_first else len(told), COMPUTED)
    option = flow.choices.take(choice, order, ids, doubt=1)
    if option >= REMEMBERED:
        remember(flow, {name: [ids] for name in told[option - REMEMBERED]})
    return option != WRITTEN


def begun(flow: Flow, node: Node, made: object, dim: int) -> Ids | None:
    """Units for a constant of one value that an operation reads before it has met any channels.

    ``h = x.new_zeros(b, self.width, *x.shape[2:])`` in front of a loop over time, whose channels
    are those of whatever it is joined to, multiplied by or added to.

    Args:
        flow: The walk.
        node: The operation.
        made: What it reads.
        dim: The dimension there.

    Returns:
        Ids, frozen if the code has their number written down; None for any other tensor.
    """
    if not isinstance(made, Node) or shape_of(made)[dim] < 2 or not alike(made, dim):
        return None
    labels = flow.labels_of(made)
    if any(label.dim == dim for label in labels):
        return None
    ids = flow.couplings.fresh(shape_of(made)[dim])
    if _follows(flow, node, made, ids, choice=f"{node.name} {made.name} {dim}"):
        flow.labels[made.name] = together([*labels, Label(dim, ids)], flow.couplings)
    else:
        flow.couplings.freeze(ids, f"{place(maker(made))} {SIZE_GIVEN}")
    return ids


SIZE_GIVEN = (
    "makes a tensor of as many channels as the code says: take their number from a tensor "
    "(x.shape[1]), or from an attribute of the module that makes it (self.width)"
)


def maker(made: Node) -> Node:
    """The operation that has the size of a constant of one value among its arguments."""
    while packet_of(made) not in _ONE_VALUE and made.all_input_nodes:
        made = made.all_input_nodes[0]
    return made


def alike(node: Node, dim: int) -> bool:
    """True if a constant has the same entries all along a dimension, whatever its size there."""
    if node.op != "call_function" or _written(node):
        return False
    row, packet, sources = operation_of(node.target), packet_of(node), node.all_input_nodes
    if packet in _ONE_VALUE:
        return True
    if packet in _SPREAD:
        own = dim - (len(shape_of(node)) - len(shape_of(sources[0])))
        return own < 0 or shape_of(sources[0])[own] == 1 or alike(sources[0], own)
    if row.kind in ENTRYWISE and sources:
        return all(_alike_in(node, source, dim) for source in sources)
    if row.kind in (Kind.VIEWS, Kind.MOVES) and sources:
        return all(alike(sources[0], d) for d in range(len(shape_of(sources[0]))))
    return False


def _alike_in(node: Node, operand: Node, dim: int) -> bool:
    """The same of an operand that is broadcast to the shape of a node."""
    own = dim - (len(shape_of(node)) - len(shape_of(operand)))
    return own < 0 or shape_of(operand)[own] == 1 or alike(operand, own)


def _written(node: Node) -> bool:
    """True if any operation writes into the memory of a node."""
    found = aliases(root(node))
    return any(in_place(alias) and packet_of(alias) is not aten.detach_ for alias in found)


def adopt(flow: Flow, node: Node, dim: int, ids: Ids) -> bool:
    """Give a constant that is written into the channels of what is written.

    ``y = x.new_zeros(x.shape); y[:, :, 1:] = x[:, :, :-1]``: `y` had no channels until then. All
    that was made of it before have to be slices along other dimensions, which nobody reads.

    Args:
        flow: The walk.
        node: An operation that writes into its first operand.
        dim: The dimension of the channels there.
        ids: The channels.
    """
    found = _chain(node.args[0], dim)
    base = next(reversed(found), None)
    if base is None or not _unread(base, node):
        return False
    if any(shape_of(link)[at] != len(ids) for link, at in found.items()):
        return False
    if not _follows(flow, node, base, ids, choice=node.name):
        return False
    flow.labels.update({link.name: Label(at, ids) for link, at in found.items()})
    return True


def _chain(target: object, dim: int) -> dict[Node, int]:
    """A tensor, what it is a slice of, and so on up to a constant; the dimension in each of them.

    Nothing where it is no slice of a constant, or one that cuts this dimension.
    """
    found: dict[Node, int] = {}
    while isinstance(target, Node):
        found[target] = dim
        if packet_of(target) in _ONE_VALUE:
            return found
        known = _before(target, dim)
        if known is None:
            break
        target, dim = target.args[0], known
    return {}


def _before(node: Node, dim: int) -> int | None:
    """The dimension of a slice's operand that its own dimension is, None if that is cut."""
    packet = packet_of(node)
    if packet not in (aten.slice, aten.narrow, aten.select):
        return None
    cut = int(argument(node, "dim", 0)) % len(shape_of(node.args[0]))
    if packet is aten.select:
        return dim + (cut <= dim)
    return None if cut == dim else dim


def _unread(base: Node, node: Node) -> bool:
    """True if before `node` the memory of `base` is looked at by slices alone."""
    order = {other: number for number, other in enumerate(node.graph.nodes)}
    known = set(aliases(base))
    readers = {user for alias in known for user in alias.users if order[user] < order[node]}
    return all(
        reader in known and packet_of(reader) in (aten.slice, aten.narrow, aten.select)
        for reader in readers
    )
