"""The settings of ADMM and its two moves: the start, and an update of z and u."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compressor.inputs.settings import check_number, check_whole
from compressor.phases.admm.projections import Projection, Tensors
from compressor.phases.admm.pull import balanced, clipped, rescaled, tied
from compressor.phases.admm.state import State, Update, copied, difference, flips, norm, ratio


@dataclass(frozen=True)
class Admm:
    """Settings; the defaults are those of masks and filters of small networks.

    Attributes:
        pull: How far v goes to z between two updates: the distance shrinks by about exp(-pull).
        dual_step: Step on the dual. The 2022 report keeps it fixed while the learning rate falls.
        clip: Largest entry of u, in root mean squares of v; infinite for none.
        balance: By how much one relative residual must exceed the other for rho to change;
            infinite for a rho that is tied to the learning rate alone.
        factor: By how much it then changes.
        settle: Share of the phase after which rho is balanced no more: what theory there is wants
            a rho that is constant in the end.
        tolerance: Relative primal residual below which v has arrived.
        patience: Updates in a row without a flip before it stops.
    """

    pull: float = 2.0
    dual_step: float = 1.0
    clip: float = 2.0
    balance: float = 8.0
    factor: float = 2.0
    settle: float = 0.8
    tolerance: float = 0.02
    patience: int = 3

    def __post_init__(self) -> None:
        """Check the settings."""
        finite = ("pull", "dual_step", "factor", "settle", "tolerance")
        check_number("Admm", **{name: getattr(self, name) for name in finite})
        check_whole("Admm", 1, patience=self.patience)
        if self.pull == 0 or self.factor <= 1 or not self.clip > 0 or not self.balance > 1:
            raise ValueError(
                f"{self}: pull and clip must be positive, factor and balance more than 1; "
                "float('inf') switches clip or balance off"
            )

    def stops(self, primal: float, still: int) -> bool:
        """True if v has arrived and nothing has come or gone for long enough."""
        return primal < self.tolerance and still >= self.patience


def start(
    v: Tensors, project: Projection, *, rho: float, metric: Mapping[str, Tensor] | None = None
) -> State:
    """The first state: z is v projected (the one-shot answer), u is zero.

    Args:
        v: Tensors to be trained, by name.
        project: Nearest point in the set.
        rho: Penalty parameter; see `tied`.
        metric: H; made to have mean 1 over all entries, so that rho means the same for every
            network, and raised to at least a millionth of that, which makes it a metric. Ones by
            default.

    Raises:
        ValueError: If the metric is negative, not finite or zero everywhere.
    """
    weights = _metric(v, metric)
    z = copied(project(copied(v), weights, rho))
    return State(z, {n: torch.zeros_like(t) for n, t in z.items()}, weights, rho)


def update(
    settings: Admm,
    state: State,
    v: Tensors,
    project: Projection,
    *,
    lr: float | None = None,
    steps: int = 1,
    over: float = 0.0,
) -> tuple[State, Update]:
    """Project, move the dual, adapt rho.

    Args:
        settings: See `Admm`.
        state: Of the last update.
        v: Tensors in training, now.
        project: Nearest point in the set, in the metric.
        lr: Learning rate of the coming steps, which rho is tied to; None leaves rho to balancing.
        steps: Number of steps to the next update.
        over: Share of the phase that is over.

    Returns:
        The next state, and what to log.
    """
    point = {name: v[name].detach() + u for name, u in state.u.items()}
    z = copied(project(point, state.metric, state.rho))
    apart = difference(v, z)
    u = {name: state.u[name] + settings.dual_step * apart[name] for name in z}
    u = clipped(u, v, settings.clip)
    sizes = norm({name: v[name] for name in z}, state.metric), norm(z, state.metric)
    primal = ratio(norm(apart, state.metric), max(sizes))
    dual = ratio(norm(difference(z, state.z), state.metric), norm(u, state.metric))
    flipped = flips(state.z, z)
    still = 0 if flipped else state.still + 1
    scale, rho = _rho(settings, state, primal, dual, lr, steps, over)
    after = replace(
        state, z=z, u=rescaled(u, state.rho, rho), rho=rho, scale=scale,
        updates=state.updates + 1, still=still, stopped=settings.stops(primal, still),
    )  # fmt: skip
    return after, Update(primal, dual, flipped, rho)


def _rho(
    settings: Admm,
    state: State,
    primal: float,
    dual: float,
    lr: float | None,
    steps: int,
    over: float,
) -> tuple[float, float]:
    scale = state.scale
    if over < settings.settle and math.isfinite(settings.balance):
        scale = balanced(scale, primal, dual, ratio=settings.balance, factor=settings.factor)
    base = state.rho / state.scale if lr is None else tied(settings.pull, lr, steps)
    return scale, scale * base


def _metric(v: Tensors, metric: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """A positive metric with mean 1, of the shapes and types of v."""
    if metric is None:
        return {name: torch.ones_like(tensor.detach()) for name, tensor in v.items()}
    total = sum(float(metric[n].double().sum()) for n in v)
    mean = total / sum(t.numel() for t in v.values())
    least = min(float(metric[n].min()) for n in v)
    if not math.isfinite(mean) or mean <= 0 or least < 0:
        raise ValueError(
            f"a metric must be finite, at least 0 and not 0 everywhere; this one has mean {mean} "
            f"and smallest entry {least}: measure it on data that the loss depends on"
        )
    return {n: (metric[n] / mean).to(v[n].dtype).clamp(min=1e-6) for n in v}
