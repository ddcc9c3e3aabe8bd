"""A rule for one label, applied to tensors that have several: once for each, as if it were alone.

What an operation does to the heads of a tensor it does whatever becomes of the channels inside a
head. Dimensions are counted from the last, as broadcasting does.
"""

from __future__ import annotations

from collections.abc import Callable

from torch.fx import Node

from compressor.graph.kinds import Kind
from compressor.graph.operations import operation_of
from compressor.graph.program import shape_of
from compressor.tracing import heads
from compressor.tracing.flow import Flow, Labels
from compressor.tracing.labels import Label, Labelled, parts, together


def projected(rule: Callable[[Flow, Node], Labels], flow: Flow, node: Node) -> Labels:
    """The labels of an operation's output, by a rule that looks at one label of each operand.

    Operands with one label each are looked at together, but where they broadcast: a column and a
    row make a tensor that shrinks in both.
    """
    sources = {x: flow.labels_of(x) for x in node.all_input_nodes}
    dims = {_from_last(x, label) for x, found in sources.items() for label in found}
    alone = all(len(found) < 2 for found in sources.values())
    if len(dims) < 2 or (alone and operation_of(node.target).kind is not Kind.POINTWISE):
        return rule(flow, node)
    results: list[Labels] = []
    for dim in sorted(dims):
        flow.focus = {
            x.name: next((label for label in found if _from_last(x, label) == dim), None)
            for x, found in sources.items()
        }
        results.append(rule(flow, node))
    flow.focus = {}
    found = _united(results, flow)
    if operation_of(node.target).kind in (Kind.VIEWS, Kind.MOVES) and not isinstance(found, list):
        for label in parts(found):
            if sum(label.dim == one.dim for result in results for one in _each(result)) > 1:
                heads.merged(flow, node, label)
    return found


def _each(result: Labels) -> tuple[Label, ...]:
    return () if isinstance(result, list) else parts(result)


def _from_last(node: Node, label: Label) -> int:
    return label.dim - len(shape_of(node))


def _united(results: list[Labels], flow: Flow) -> Labels:
    """What all looks found, as labels of one tensor, or of each of several."""
    several = [found for found in results if isinstance(found, list)]
    if not several:
        return _one([found for found in results if not isinstance(found, list)], flow)
    count = len(several[0])
    return [_one([found[n] for found in several], flow) for n in range(count)]


def _one(found: list[Labelled], flow: Flow) -> Labelled:
    return together([label for labels in found for label in parts(labels)], flow.couplings)
