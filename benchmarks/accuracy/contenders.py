"""Ways to cut a dense network of `benchmarks.accuracy.grounds` down to joint caps.

Ours, by scores and by the way to choose widths; and other pruners, driven as their pages show, with
our counter to say when the caps are met, so that all get the same.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from time import process_time

from torch import nn
from torch_kirigami.errors import KirigamiError, UnsupportedOperation

from benchmarks.accuracy.grounds import NETS, load
from benchmarks.common.limit import limited
from benchmarks.rivals import Kirigami, TorchPruning
from compressor import Budget, BudgetError, Prune, measure
from compressor.allocation.candidates import WAYS, Candidate
from compressor.allocation.objective import Additive
from compressor.importance import Importance, fisher, frobenius, residual, taylor

BUDGETS = {"mild": (0.40, 0.40), "deep": (0.15, 0.20)}
"""Caps as shares of the dense network's (parameters, MACs)."""
SCORES: dict[str, Importance] = {
    "Fisher": fisher, "Frobenius": frobenius, "Taylor": taylor, "residual": residual,
}  # fmt: skip
WIDTHS = ("one factor", "harmonic mean", "log retention", "half and half")
"""Names of `compressor.allocation.candidates.WAYS`."""
STRUCTURES = {
    **{
        f"{scores}, {widths}": replace(way, importance=importance)
        for scores, importance in SCORES.items()
        for widths, way in zip(WIDTHS, WAYS, strict=True)
    },
    "residual, sum": Candidate(objective=Additive(), importance=residual),
}
"""Ways of ours to choose what stays: the candidates of `fit`, and others."""
LIMIT = 600
"""CPU seconds that another pruner may take for one network."""

Cutter = Callable[[nn.Module, Budget], nn.Module]
"""Makes a smaller network within caps; the one given may be changed."""


class RefusedError(Exception):
    """Another pruner does not take the network, does not reach the caps, or does not end."""


def sizes() -> str:
    """The budgets in words."""
    return "; ".join(f"{b} {p:.0%} of parameters, {m:.0%} of MACs" for b, (p, m) in BUDGETS.items())


def caps(net: str, budget: str) -> Budget:
    """The joint budget in absolute numbers."""
    cost = measure(NETS[net].build())
    params, macs = BUDGETS[budget]
    return Budget(params=int(cost.params * params), macs=int(cost.macs * macs))


def pruning(structure: str, *, repair: bool = True) -> Prune:
    """Our pruning in one of these ways."""
    way = STRUCTURES[structure]
    return Prune(way.method, way.objective, way.importance, repair=repair)


RIVALS: dict[str, Cutter] = {
    "Torch-Pruning local": TorchPruning(),
    "Torch-Pruning global": TorchPruning(globally=True),
    "Torch-Pruning isomorphic": TorchPruning(globally=True, isomorphic=True),
    "torch-kirigami": Kirigami(),
}


def cut(by: Cutter, model: nn.Module, budget: Budget) -> nn.Module:
    """What a pruner makes of a network, checked against the caps.

    Raises:
        RefusedError: If it makes nothing.
    """
    refusals = (KirigamiError, UnsupportedOperation, BudgetError, TimeoutError)
    try:
        with limited(LIMIT):
            smaller = by(model, budget)
    except refusals as error:
        raise RefusedError(f"{type(error).__name__}: {error}"[:200]) from error
    if not budget.allows(cost := measure(smaller)):
        raise RuntimeError(f"{by} exceeds {budget}: {cost}")
    return smaller


@cache
def _rival(way: str, net: str, budget: str, seed: int) -> tuple[nn.Module | RefusedError, float]:
    start = process_time()
    try:
        made: nn.Module | RefusedError = cut(RIVALS[way], load(net, seed), caps(net, budget))
    except RefusedError as error:
        made = error
    return made, process_time() - start


def rival(way: str, net: str, budget: str, seed: int) -> tuple[nn.Module, float]:
    """Another pruner's network, cut once for all that is done with it, and the CPU seconds of that.

    Raises:
        RefusedError: If it makes nothing; asked again it says so at once.
    """
    made, seconds = _rival(way, net, budget, seed)
    if isinstance(made, RefusedError):
        raise made
    return copy.deepcopy(made), seconds
