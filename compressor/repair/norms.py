"""Batch norms that follow what repair makes of their inputs.

After a cut and repair a channel has another mean and another variance than it had in the dense
network; its norm has to take that back, no more: what it gives is to have the mean and the variance
that it has in the dense network, on the same data. So with m and v of both networks' inputs of it

    variance' = variance * r        mean' = m_small + sqrt(r) * (mean - m_dense)

with r = v_small / v_dense. Where the dense network's statistics are those of the data this is the
usual estimate anew, of less noise; where they are not (few data, another ground, a network that was
never trained) the network still does what the dense one does.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)

Moments = tuple[Tensor, Tensor]
"""Mean and variance by channel, in float64."""

LEAST = 1e-12
"""The part of a channel's own running variance below which a variance is taken for zero."""


def norms_of(model: nn.Module) -> dict[str, nn.Module]:
    """The batch norms of a model that go by statistics, by name."""
    found = {name: m for name, m in model.named_modules() if isinstance(m, NORMS)}
    return {name: m for name, m in found.items() if m.track_running_stats}


class Met:
    """Moments of what every batch norm of a model was given, in runs on one batch after another.

    Attributes:
        found: By name, and by call in the order of all runs so far.
    """

    def __init__(self) -> None:
        self.found: dict[str, list[Moments]] = {}

    @contextmanager
    def looking(self, model: nn.Module) -> Generator[None]:
        """Look at the norms of a model while it runs."""
        hooks = [
            module.register_forward_pre_hook(self._hook(name), with_kwargs=True)
            for name, module in norms_of(model).items()
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _hook(self, name: str) -> Any:
        def meet(_: nn.Module, args: tuple[Tensor, ...], named: Mapping[str, Tensor]) -> None:
            self.found.setdefault(name, []).append(moments(args[0] if args else named["input"]))

        return meet


class Norms:
    """The batch norms of a network of which layers are repaired one after another.

    What a norm gets depends on all layers before it. So it follows every batch in the runs that
    come to it; once it is settled, it goes by the mean of all of them. One that is held stays as it
    is: the layer before it is to give what the norm takes.
    """

    def __init__(
        self,
        model: nn.Module,
        dense: Mapping[str, list[Moments]],
        kept: Mapping[str, Tensor],
        held: Iterable[str] = (),
    ) -> None:
        """Wait for the norms of a model in eval mode to be run.

        Args:
            model: The smaller network.
            dense: Moments in the dense one, by name and call, on the same batches.
            kept: Numbers of the channels that are left, by name of the norm; all of others.
            held: Names of those that are held.
        """
        self._dense, self._kept = dense, kept
        self._norms = norms_of(model)
        self._was = {
            name: (m.running_mean.double().clone(), m.running_var.double().clone())
            for name, m in cast("dict[str, Any]", self._norms).items()
        }
        self._met: dict[str, list[Moments]] = {}
        self._held = set(held)
        self._settled: set[str] = set()
        self._hooks = [
            module.register_forward_pre_hook(self._hook(name), with_kwargs=True)
            for name, module in self._norms.items()
        ]

    def _hook(self, name: str) -> Any:
        def meet(_: nn.Module, args: tuple[Tensor, ...], named: Mapping[str, Tensor]) -> None:
            if name in self._settled or name in self._held:
                return
            met = self._met.setdefault(name, [])
            call = len(met)
            met.append(moments(args[0] if args else named["input"]))
            theirs = self._theirs(name)
            if call < len(theirs) and len(theirs[call][0]) == len(met[call][0]):
                self._move(name, [met[call]], [theirs[call]])

        return meet

    def settle(self, ready: Callable[[str], bool] = lambda _: True) -> None:
        """Go on by the mean of what the norms that were run have met; the others forget it.

        Args:
            ready: True of the name of a norm where nothing before it will change any more.
        """
        for name in [name for name in self._met if ready(name)]:
            met, theirs = self._met[name], self._theirs(name)
            if name not in self._settled and len(theirs) == len(met):
                self._move(name, met, theirs)
            self._settled.add(name)
        self._met.clear()

    def release(self, name: str) -> None:
        """Have a norm that was held follow like the others."""
        self._held.discard(name)

    def take(self, name: str, bias: Tensor) -> None:
        """Have a norm that is held add a bias to what it is given, by channel."""
        norm = cast("Any", self._norms[name])
        with torch.no_grad():
            norm.running_mean.sub_(bias.to(norm.running_mean))

    def close(self) -> None:
        """Settle all, and look at no further run."""
        self.settle()
        for hook in self._hooks:
            hook.remove()

    def _theirs(self, name: str) -> list[Moments]:
        """What the dense norm met, of the channels that are left."""
        found = self._dense.get(name, [])
        kept = self._kept.get(name)
        return found if kept is None else [(mean[kept], variance[kept]) for mean, variance in found]

    def _move(self, name: str, mine: list[Moments], theirs: list[Moments]) -> None:
        mean, variance = self._was[name]
        (m_small, v_small), (m_dense, v_dense) = _mean(mine), _mean(theirs)
        if m_small.shape != mean.shape or m_dense.shape != mean.shape:
            return
        still = (v_dense <= LEAST * variance) | (v_small <= LEAST * variance)
        ratio = torch.where(still, 1.0, v_small / v_dense)
        norm = cast("Any", self._norms[name])
        with torch.no_grad():
            # Written so that nothing moves, to the last bit, where both networks are equal.
            wider = (ratio.sqrt() - 1) * (mean - m_dense.to(mean))
            norm.running_mean.copy_(mean + (m_small - m_dense).to(mean) + wider)
            norm.running_var.copy_(variance * ratio.to(variance))


def moments(x: Tensor) -> Moments:
    """Mean and variance by channel of (batch, channel, ...)."""
    others = [dim for dim in range(x.ndim) if dim != 1]
    wide = x.detach().double()
    return wide.mean(others), wide.var(others, correction=0)


def _mean(found: list[Moments]) -> Moments:
    """Equal weights for all batches."""
    means, variances = zip(*found, strict=True)
    return torch.stack(means).mean(0), torch.stack(variances).mean(0)
