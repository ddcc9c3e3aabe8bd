"""torch-kirigami: its budget of parameters, tightened until the multiply-accumulates fit too."""

from __future__ import annotations

from torch import nn
from torch.nn import functional
from torch_kirigami import DependencyGraph, TensorRef
from torch_kirigami.errors import KirigamiError, UnsupportedOperation
from torch_kirigami.pruning import (
    Candidate,
    CandidateSpace,
    Greedy,
    GroupMagnitude,
    ParameterBudget,
    PlanningError,
    Pruner,
)

from benchmarks.breadth.case import Inputs
from benchmarks.breadth.tools.common import (
    Caps,
    HeldError,
    RefusedError,
    Shrunk,
    copied,
    counted,
    within,
)

ATTEMPTS = 4
"""There is no cap on products: how often the one on parameters is tightened for them."""
SPARE = 0.97
"""Part of what is over that is asked for beyond it, so that few attempts do."""


def shrink(model: nn.Module, inputs: Inputs, caps: Caps) -> Shrunk:
    """A smaller network within the caps."""
    asked, cost = caps.params, None
    for _ in range(ATTEMPTS):
        try:
            smaller = _once(copied(model, inputs), inputs, asked)
        except PlanningError as error:
            if "target not reached" in str(error):
                raise HeldError(str(error), cost) from error
            raise RefusedError(str(error)) from error
        except (KirigamiError, UnsupportedOperation) as error:
            raise RefusedError(f"{type(error).__name__}: {error}") from error
        cost = counted(smaller, inputs)
        if within(cost, caps):
            return Shrunk(smaller)
        asked = int(SPARE * min(asked, cost[0]) * (caps.macs or 1) / cost[1])
    raise HeldError("the parameters fit and the multiply-accumulates do not", cost)


def _once(model: nn.Module, inputs: Inputs, params: int) -> nn.Module:
    graph = DependencyGraph.build(model, args=inputs)
    pruner = Pruner(model, graph=graph)
    space = _with_heads(graph, pruner.discover_candidates())
    smaller, _ = pruner.prune(
        space, budget=ParameterBudget(max_params=params), strategy=Greedy(GroupMagnitude(p=2))
    )
    return smaller


def _with_heads(graph: DependencyGraph, space: CandidateSpace) -> CandidateSpace:
    """Whole heads of fused attention as candidates too, as its example for ViT adds them."""
    candidates, axes = list(space.candidates), list(space.channel_axes)
    for operation in graph.operations():
        if operation.node.target is not functional.scaled_dot_product_attention:
            continue
        query = operation.argument("query", 0)
        if isinstance(query, TensorRef) and len(query.shape) == 4:
            axis = query.axis(1)
            candidates += [
                Candidate(f"{operation.node.name}:{head}", (axis.select([head]),), axis)
                for head in range(query.shape[1])
            ]
            axes.append(axis)
    return CandidateSpace(tuple(candidates), tuple(axes), exclusions=space.exclusions)
