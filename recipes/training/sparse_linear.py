"""The l1 pre-training of the linear model: multinomial regression that drops features.

L. Schmidt, B. Kilic, N. Peters, FAU submission to DCASE 2022 Task 1, section 2.1: a linear model of
moments "is pre-trained with l1 sparsity and selects approximately half of the input features". The
report gives neither the solver nor the strength. Here

    minimise  mean_n CE(W f_n + b, y_n) + strength * sum |W|

is solved to its optimality condition by proximal gradient steps with momentum (A. Beck,
M. Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm", 2009, with the adaptive restart of
B. O'Donoghue, E. Candes, 2015), and the strength is found by bisection on the features that remain.
scikit-learn's SAGA finds the same optimum, but takes several times as long and runs on CPUs alone.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models import LinearMoments, moments

STEP = 0.7
"""Factor from one strength to the next weaker one, on the way down to the share asked for."""
WEAKEST = 1e-3
"""End of that way, as a part of the strength at which nothing remains. Fewer clips than features
are told apart before half of the features remain; weaker terms then change nothing but the time
they take."""

TOLERANCE = 0.01
"""Greatest violation of the optimality condition, as a share of the strength, of a solution."""
ROUNDING = 32
"""Roundings of one below which a gradient says nothing."""


@dataclass(frozen=True)
class Sparse:
    """A solution for one strength.

    Attributes:
        weight: (classes, features), with exact zeros.
        bias: (classes,).
        strength: Factor of the l1 term.
        violation: Largest breach of the optimality condition, as a share of the strength.
    """

    weight: Tensor
    bias: Tensor
    strength: float
    violation: float

    @property
    def kept(self) -> Tensor:
        """Mask of the features that any class uses: boolean (features,)."""
        return self.weight.ne(0).any(dim=0)

    @property
    def share(self) -> float:
        """Share of the features that any class uses, 0 to 1."""
        return float(self.kept.double().mean())


def gradients(features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    """Gradients of the mean cross entropy: by weight (classes, features) and bias (classes,)."""
    chance = torch.softmax(functional.linear(features, weight, bias), dim=1)
    wrong = (chance - functional.one_hot(labels.long(), len(bias)).to(chance)) / len(features)
    return wrong.T @ features, wrong.sum(dim=0)


def violation(
    features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor, strength: float
) -> float:
    """Largest breach of the optimality condition, as a share of the strength; 0 at an optimum.

    With the gradient G of the cross entropy: G = -strength * sign(W) where W is not zero,
    |G| <= strength where it is, and no gradient of the bias.
    """
    by_weight, by_bias = gradients(features, labels, weight, bias)
    at_zero = (by_weight.abs() - strength).clamp(min=0)
    elsewhere = (by_weight + strength * weight.sign()).abs()
    worst = torch.where(weight == 0, at_zero, elsewhere).max()
    return float(torch.maximum(worst, by_bias.abs().max())) / strength


def strongest(features: Tensor, labels: Tensor, classes: int) -> float:
    """The smallest strength at which no feature remains."""
    share = torch.bincount(labels, minlength=classes).to(features) / len(labels)
    bias = share.clamp(min=1e-12).log()
    by_weight, _ = gradients(features, labels, features.new_zeros(classes, features.shape[1]), bias)
    return float(by_weight.abs().max())


def fit(
    features: Tensor,
    labels: Tensor,
    classes: int,
    strength: float,
    *,
    start: Sparse | None = None,
    tolerance: float = TOLERANCE,
    steps: int = 5000,
) -> Sparse:
    """Solve for one strength.

    Args:
        features: (clips, features), each of about unit variance; on any device.
        labels: (clips,), whole numbers below `classes`.
        classes: Number of classes.
        strength: Factor of the l1 term, above 0.
        start: A solution for a neighbouring strength, to begin at.
        tolerance: Violation of the optimality condition at which to stop.
        steps: Most steps; where they do not suffice, `violation` says so.

    Raises:
        ValueError: If features and labels do not fit together, or the strength is not positive.
    """
    _check(features, labels, classes, strength)
    # The softmax's curvature is at most 1/2: half the largest eigenvalue of the Gram matrix with a
    # column of ones for the bias bounds the gradient's change.
    size = 2 / _largest_eigenvalue(features)
    weight = features.new_zeros(classes, features.shape[1]) if start is None else start.weight
    bias = features.new_zeros(classes) if start is None else start.bias
    ahead, ahead_bias, momentum = weight, bias, 1.0
    breach = math.inf
    for step in range(steps):
        by_weight, by_bias = gradients(features, labels, ahead, ahead_bias)
        new = functional.softshrink(ahead - size * by_weight, size * strength)
        new_bias = ahead_bias - size * by_bias
        # Restart where the last step went uphill along the direction of the momentum.
        uphill = ((ahead - new) * (new - weight)).sum() + (
            (ahead_bias - new_bias) * (new_bias - bias)
        ).sum()
        grown = 1.0 if uphill > 0 else (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        push = 0.0 if uphill > 0 else (momentum - 1) / grown
        ahead, ahead_bias = new + push * (new - weight), new_bias + push * (new_bias - bias)
        weight, bias, momentum = new, new_bias, grown
        if step % 20 == 19:
            breach = violation(features, labels, weight, bias, strength)
            if breach <= tolerance:
                break
    return Sparse(weight, bias, strength, breach)


def select(
    features: Tensor, labels: Tensor, classes: int, share: float = 0.5, *, within: float = 0.02
) -> Sparse:
    """The solution whose strength leaves about a share of the features.

    Args:
        features: (clips, features), each of about unit variance.
        labels: (clips,), int64.
        classes: Number of classes.
        share: Share of the features that any class may use, above 0 and below 1.
        within: Distance from the share that is near enough.

    Returns:
        The solution; where no strength comes within that of the share, as the number jumps or the
        clips are too few for so many features, the nearest that was found, with a warning.

    Raises:
        ValueError: If the share is out of range, or as `fit` does.
    """
    if not 0 < share < 1:
        raise ValueError(f"select(share={share}): the share of features must lie between 0 and 1.")
    _check(features, labels, classes, 1.0)
    high = strongest(features, labels, classes)
    # Where features say nothing, what is left of their gradients is rounding.
    rounding = ROUNDING * torch.finfo(features.dtype).eps
    _check(features, labels, classes, high if high > rounding else 0.0)
    weakest = WEAKEST * high
    best = near = fit(features, labels, classes, high)
    low: float | None = None  # a strength at which too many remain, once one is known
    while high > weakest:
        # Downwards from the strongest: weak solutions are slow to find and begin best at others.
        strength = STEP * high if low is None else math.sqrt(low * high)
        near = fit(features, labels, classes, strength, start=near)
        best = min(best, near, key=lambda found: abs(found.share - share))
        if abs(best.share - share) <= within or (low is not None and high < 1.0001 * low):
            break
        low, high = (strength, high) if near.share > share else (low, strength)
    if abs(best.share - share) > within or best.violation > TOLERANCE:
        warnings.warn(
            f"{share:.0%} of {features.shape[1]} features were to remain for {len(labels)} clips; "
            f"the nearest found leaves {best.share:.0%}, at a strength of {best.strength:.2g} "
            f"whose optimality condition is breached by {best.violation:.2g} of it (wanted: "
            f"{TOLERANCE}). More clips, or a smaller share, can be solved.",
            stacklevel=2,
        )
    return best


@torch.no_grad()
def pretrain(model: LinearMoments, x: Tensor, labels: Tensor, share: float = 0.5) -> Sparse:
    """Give a linear model the l1 solution on some clips, in place.

    Its standardisation gets the mean and variance of these clips' moments, its layer the sparse
    weight and the bias.

    Args:
        model: The model, whose classes are the labels'.
        x: Log-mels (clips, 1, mels, frames), any number of clips: moments are taken in parts.
        labels: (clips,), int64.
        share: Share of the features that any class may use; the report's "approximately half".

    Returns:
        The solution, whose `kept` says which features remain.

    Raises:
        ValueError: If the log-mels are not of the model's bands, or as `select` does; the model
            then stays as it was.
    """
    norm, layer = model.standardise, model.classifier
    mels = norm.num_features // model.order
    if x.ndim != 4 or x.shape[1] != 1 or x.shape[2] != mels:
        raise ValueError(
            f"pretrain got log-mels of shape {tuple(x.shape)} for a model of {mels} bands: it "
            f"takes (clips, 1, {mels}, frames)."
        )
    features = torch.cat([moments(part, model.order).flatten(1) for part in x.split(256)])
    mean, variance = features.mean(dim=0), features.var(dim=0, correction=0)
    standard = (features - mean) * torch.rsqrt(variance + norm.eps)
    found = select(standard, labels, layer.out_features, share)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    layer.weight.copy_(found.weight)
    layer.bias.copy_(found.bias)
    return found


def _largest_eigenvalue(features: Tensor, rounds: int = 50) -> float:
    """Largest eigenvalue of the Gram matrix (with a column of ones) by clip; a little above it."""
    generator = torch.Generator(features.device).manual_seed(0)
    wide = features.shape[1] + 1
    vector = torch.randn(wide, generator=generator, device=features.device, dtype=features.dtype)
    value = features.new_zeros(())
    for _ in range(rounds):
        vector = vector / vector.norm()
        product = features @ vector[:-1] + vector[-1]
        vector = torch.cat([features.T @ product, product.sum()[None]]) / len(features)
        value = vector.norm()
    return 1.05 * float(value)


def _check(features: Tensor, labels: Tensor, classes: int, strength: float) -> None:
    """Refuse what the solver would turn into NaN."""
    if features.ndim != 2 or labels.shape != features.shape[:1] or not len(labels):
        raise ValueError(
            f"Features of shape {tuple(features.shape)} and labels of shape {tuple(labels.shape)}: "
            "(clips, features) and (clips,) with at least one clip are needed."
        )
    if not features.isfinite().all():
        raise ValueError(
            f"{int((~features.isfinite()).any(dim=1).sum())} of {len(features)} clips have "
            "features that are not finite. Look for them in the front end."
        )
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise ValueError(
            f"Labels reach from {int(labels.min())} to {int(labels.max())}, classes are {classes}."
        )
    if not 0 < strength < math.inf:
        raise ValueError(
            f"The strength of the l1 term is {strength}: it must be above 0 and finite. It is 0 or "
            "not finite where the features do not vary between the classes."
        )
