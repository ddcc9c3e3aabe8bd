"""torch-kirigami, a planner of structural pruning, driven as its documentation shows."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional
from torch_kirigami import DependencyGraph, TensorRef
from torch_kirigami.pruning import (
    Candidate,
    CandidateSpace,
    Greedy,
    GroupMagnitude,
    ParameterBudget,
    Pruner,
)

from compressor.errors import BudgetError

ATTEMPTS = 4
"""There is no cap on products: how often the one on parameters is tightened for them."""
SPARE = 0.97
"""Part of what is over that is asked for beyond it, so that few attempts do."""

Counts = Callable[[nn.Module], tuple[int, int]]
"""Parameters and multiply-accumulates."""


class OverError(BudgetError):
    """The parameters fit and the multiply-accumulates do not."""

    def __init__(self, cost: tuple[int, int]) -> None:
        super().__init__("the parameters fit and the multiply-accumulates do not")
        self.cost = cost


def within_caps(
    copied: Callable[[], nn.Module],
    inputs: tuple[Tensor, ...],
    params: int,
    macs: int | None,
    counts: Counts,
) -> nn.Module:
    """A smaller network within both caps, by greedy group magnitude; `copied` makes fresh copies.

    Raises:
        KirigamiError: If it does not take the network, or plans nothing (`PlanningError`).
        OverError: If the cap on products is not met after all attempts.
    """
    asked, cost = params, (0, 0)
    for _ in range(ATTEMPTS):
        smaller = within_parameters(copied(), inputs, asked)
        cost = counts(smaller)
        if cost[0] <= params and (macs is None or cost[1] <= macs):
            return smaller
        asked = int(SPARE * min(asked, cost[0]) * (macs or 1) / cost[1])
    raise OverError(cost)


def within_parameters(model: nn.Module, inputs: tuple[Tensor, ...], params: int) -> nn.Module:
    """The network with at most so many parameters, smaller in place."""
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
