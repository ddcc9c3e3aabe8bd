"""The learning rate that suits a network: rates tried on copies of it, for a few steps each.

A rate is worth what its steps take off the loss on batches that were held back. Short trials are
biased: the more steps there are to come, the larger the rate that is best (Y. Wu, M. Ren, R. Liao,
R. Grosse, "Understanding Short-Horizon Bias in Stochastic Meta-Optimization", ICLR 2018). So the
largest rate is taken that still gains `SHARE` of what the best one gains. Where the network has
just been cut, trials begin at the weights as they were cut, before any repair
(`compressor.run.unrepaired`). These are far from a minimum, which asks for larger rates and makes
up for the bias: there the best rate itself is taken. How far all that lies from the best rate of
whole fine-tunes: `benchmarks/accuracy/rates.md`, `defaults.md`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from compressor.inputs import randomness
from compressor.inputs.batches import Batch, Batches, tensors
from compressor.inputs.copies import private_copy
from compressor.inputs.finite import is_finite
from compressor.inputs.losses import Loss
from compressor.run.calibration import calibration_loss
from compressor.run.clipping import clip_gradients
from compressor.run.history import Rate
from compressor.run.rates import cosine

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch.optim import Optimizer

FALLBACK = 1e-3
"""Rate where nothing can be measured and none is known: AdamW's default in PyTorch."""
FIRST = tuple(5e-4 * 2**n for n in range(5))
"""Rates tried first where none is known: 5e-4 to 8e-3."""
AROUND = (0.25, 0.5, 1.0, 2.0)
"""Those around the rate of the dense training, as its multiples."""
FURTHER = 5
"""Most rates below the first ones, and above them where a rate says little of the length of a step
(`Trials.scaled`), each half or twice the one before."""
SHARE = 0.75
"""Of the best gain: the largest rate that has so much is taken, unless the network was just cut."""
STEPS = (8, 16)
"""Fewest and most steps of a trial: with fewer, luck decides between a rate and its quarter."""
HELD = 4
"""Most batches that are held back to judge by."""
LEAST = 4
"""Fewest batches with which a trial means something: three to learn from and one to judge by."""
WARM = 0.2
"""Share of a trial over which the rate rises; then it falls along half a cosine."""


@dataclass(frozen=True)
class Trials:
    """What is the same in every trial.

    Attributes:
        model: Left as it is: copies are trained.
        optimizer: Makes an optimiser of a copy, at a rate.
        loss: The function to minimise.
        batches: What is learned from, one a step and over again, and `held`: what is judged by.
        held: At least one batch, not among the others.
        steps: Steps of each trial.
        hold: Sets what is to stay zero to zero, after every step.
        start: Puts a copy where trials begin, and tells whether that is where it was just cut
            (`compressor.run.unrepaired`).
        clip: Largest norm of the gradient; None for no bound.
        scaled: True where the length of a step is the rate's in any network (Adam and its kin
            divide by the size of the gradient; SGD does not), so that the first rates are enough.
        fabric: Precision, devices and processes, which agree on every loss.
    """

    model: nn.Module
    optimizer: Callable[[nn.Module, float], Optimizer]
    loss: Loss
    batches: Sequence[Batch]
    held: Sequence[Batch]
    steps: int
    hold: Callable[[nn.Module], None] = lambda _: None
    start: Callable[[nn.Module], bool] = lambda _: False
    clip: float | None = None
    scaled: bool = True
    fabric: Fabric | None = None

    @property
    def cut(self) -> bool:
        """True where trials begin at weights that were just cut."""
        return self.start(private_copy(self.model))

    def loss_at_start(self) -> float:
        """Mean loss on the batches held back, BatchNorm's statistics being estimated on them."""
        return self._judged(self._twin())

    def loss_after(self, rate: float) -> float:
        """The same after a trial; infinity where it diverged. No random state moves."""
        with randomness.preserved():  # each trial draws the same
            twin = self._twin().train()
            return self._judged(twin) if self._trained(twin, rate) else self._judged(None)

    def _twin(self) -> nn.Module:
        """A copy of the model where trials begin."""
        twin = private_copy(self.model)
        self.start(twin)
        return twin

    def _trained(self, twin: nn.Module, rate: float) -> bool:
        """Train a copy in place; False as soon as its loss is not finite."""
        optimizer = self.optimizer(twin, rate)
        starts = [group["lr"] for group in optimizer.param_groups]
        model, wrapped = twin, optimizer
        if self.fabric is not None:
            model, wrapped = self.fabric.setup(twin, optimizer)
        finite = True
        for step in range(self.steps):
            for group, start in zip(optimizer.param_groups, starts, strict=True):
                group["lr"] = start * course((step + 0.5) / self.steps)
            value = self.loss(model, self.batches[step % len(self.batches)])
            finite = finite and math.isfinite(value.detach().item())
            if not finite and (self.fabric is None or self.fabric.world_size == 1):
                return False  # of several processes all go on, as each waits for the others
            wrapped.zero_grad()
            _backward(value, self.fabric)
            clip_gradients(model, wrapped, self.clip, self.fabric)
            wrapped.step()
            self.hold(twin)
        return finite

    def _judged(self, model: nn.Module | None) -> float:
        loss = math.inf if model is None else calibration_loss(model, self.held, self.loss)
        if self.fabric is None or self.fabric.world_size == 1:
            return loss
        mine = self.fabric.to_device(torch.tensor(loss, dtype=torch.float64))
        return float(cast("Tensor", self.fabric.all_reduce(mine, reduce_op="mean")))


def course(over: float) -> float:
    """Factor of the rate when the share `over` of a trial is done."""
    return over / WARM if over < WARM else cosine((over - WARM) / (1 - WARM))


def steps_of(batches: int | None) -> int:
    """Steps of each trial: of an epoch of so many batches about a half."""
    least, most = STEPS
    return most if batches is None else min(max(batches // 2, least), most)


def first_rates(known: float | None) -> tuple[float, ...]:
    """The rates to begin with, around the one of the dense training where it is known."""
    return FIRST if known is None else tuple(known * factor for factor in AROUND)


def search(trials: Trials, known: float | None, phase: str) -> Rate:
    """Try rates and take one.

    Args:
        trials: What is the same in all of them.
        known: Rate of the dense training; None where nobody says it.
        phase: Name of the phase, for the report.

    Returns:
        The rate with what was tried; `known`, or `FALLBACK`, where no rate lowers the loss.
    """
    start, share = trials.loss_at_start(), 1.0 if trials.cut else SHARE
    tried = {rate: trials.loss_after(rate) for rate in first_rates(known)}
    above = FURTHER if known is None and not trials.scaled else 0
    for end, factor, most in ((max, 2.0, above), (min, 0.5, FURTHER)):
        for _ in range(most):
            rate = taken(tried, start, share)
            if rate is None or rate != end(tried):
                break
            tried[rate * factor] = trials.loss_after(rate * factor)
    rate = taken(tried, start, share)
    pairs = tuple(sorted(tried.items()))
    if rate is None:
        why = f"no rate lowered the loss of {start:.3g}"
        return Rate(phase, known or FALLBACK, why, start, pairs, trials.steps)
    return Rate(phase, rate, "", start, pairs, trials.steps)


def taken(tried: dict[float, float], start: float, share: float) -> float | None:
    """The largest rate that gains this share of the best gain; None if none gains anything."""
    gains = {rate: start - loss for rate, loss in tried.items() if math.isfinite(loss)}
    best = max(gains.values(), default=0.0)
    if not best > 0:  # NaN where the start has no finite loss
        return None
    return max(rate for rate, gain in gains.items() if gain >= share * best)


def measured(
    data: Batches,
    trials: Callable[[Sequence[Batch], Sequence[Batch], int], Trials],
    known: float | None,
    phase: str,
) -> Rate:
    """Read a few batches, which moves no generator that is known, and search.

    Args:
        data: Read from the start, at most `STEPS` and `HELD` batches of it.
        trials: Made of batches to learn from, batches to judge by, and the steps of a trial.
        known: Rate of the dense training; None where nobody says it.
        phase: Name of the phase, for the report.

    Returns:
        The rate; `known`, or `FALLBACK`, with the reason where nothing can be measured.
    """
    steps = steps_of(data.length)
    with randomness.preserved(data.source):
        batches = list(islice(data, steps + HELD))
    why = _unfit(batches)
    if why:
        return Rate(phase, known or FALLBACK, why)
    held = min(HELD, len(batches) // LEAST)
    return search(trials(batches[held:], batches[:held], steps), known, phase)


def _unfit(batches: Sequence[Batch]) -> str:
    """The reason why nothing can be measured on some batches; empty where it can."""
    if len(batches) < LEAST:
        return f"{len(batches)} batches are too few to measure rates on ({LEAST} are needed)"
    if not all(is_finite(tensor) for batch in batches for tensor in tensors(batch)):
        return "the batches hold NaN or infinity"
    return ""


def _backward(value: Tensor, fabric: Fabric | None) -> None:
    if fabric is None:
        value.backward()
    else:
        fabric.backward(value)
