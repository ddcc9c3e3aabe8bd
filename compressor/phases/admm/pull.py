"""The penalty that pulls v to z, its parameter rho, and the dual u that goes with them."""

from __future__ import annotations

import math

from torch import Tensor

from compressor.phases.admm.projections import Tensors
from compressor.phases.admm.state import State


def implicit(state: State, name: str, v: Tensor, gradient: Tensor, lr: float) -> Tensor:
    """One step on v, explicit in the loss and implicit in the penalty.

    Solves ``v' = v - lr * (gradient + rho * H * (v' - z + u))``: a step on the sum of both that is
    stable however large ``lr * rho * H`` is, as it must be with a Fisher diagonal, whose entries
    differ by orders of magnitude. `v` is what the tensor `name` of the last update's state has
    become by training, `gradient` that of the loss alone.
    """
    pull = lr * state.rho * state.metric[name]
    return (v - lr * gradient + pull * (state.z[name] - state.u[name])) / (1 + pull)


def tied(pull: float, lr: float, steps: int) -> float:
    """The rho that is felt: ``pull / (lr * steps)``.

    `steps` gradient steps of size `lr` on the penalty alone shorten ``v - z + u`` by
    ``(1 - lr * rho)^steps``, about ``exp(-pull)``, whatever the schedule. A rho that is not tied to
    it is either invisible or all that v sees.

    Raises:
        ValueError: If lr or steps are not positive: no rho could be felt.
    """
    if lr <= 0 or steps < 1:
        raise ValueError(
            f"rho is tied to lr * steps, which are {lr} and {steps}: both must be positive"
        )
    return pull / (lr * steps)


def rescaled(u: Tensors, before: float, after: float) -> dict[str, Tensor]:
    """The scaled dual when rho changes: ``rho * u``, the dual variable, stays (Boyd, 3.4.1)."""
    return {name: tensor * (before / after) for name, tensor in u.items()}


def clipped(u: Tensors, v: Tensors, most: float) -> dict[str, Tensor]:
    """The dual with no entry larger than `most` root mean squares of its tensor's v.

    While v cannot move, u adds up the same difference at every update, until entries that were
    left out swap in one after the other. The bound is the tensor's and not the entry's, as entries
    on their way to zero still need their dual.
    """
    if math.isinf(most):
        return dict(u)
    bounds = {n: most * float(v[n].detach().double().square().mean().sqrt()) for n in u}
    return {name: tensor.clamp(-bounds[name], bounds[name]) for name, tensor in u.items()}


def balanced(scale: float, primal: float, dual: float, *, ratio: float, factor: float) -> float:
    """Residual balancing: more penalty where v is far from z, less where z still moves.

    Relative residuals, as those of Boyd et al. (equation 3.13) compare numbers of different units
    and depend on the scale of the problem (B. Wohlberg, arXiv:1704.06209).

    `scale` is what rho is multiplied with so far. It changes by `factor` where one relative
    residual exceeds the other by more than `ratio` times.
    """
    if primal > ratio * dual:
        return scale * factor
    return scale / factor if dual > ratio * primal else scale
