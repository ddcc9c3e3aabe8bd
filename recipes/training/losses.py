"""The class-balanced focal loss of the 2020 submission."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.inputs.batches import Batch


@dataclass(frozen=True)
class ClassBalancedFocal:
    """Focal loss over independent sigmoids, weighted by the effective number of samples.

        CB(z, y) = -(1 - beta) / (1 - beta^n_y) * sum_i (1 - p_i)^gamma * log(p_i)

    with p_i = sigmoid(z_i) for i = y and sigmoid(-z_i) for every other class i.

    S. Chang et al., QTI submission to DCASE 2020, equation 2, after Y. Cui, M. Jia, T.-Y. Lin,
    Y. Song, S. Belongie, "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019. The
    report gives neither beta nor gamma; the defaults are the paper's most used. As in that paper
    (section 4) the weights are scaled to a mean of one over the classes, so that the learning rate
    means the same for every beta. A label distribution, as mixup makes it, gets the expected loss
    of a label drawn from it.

    Attributes:
        counts: Training clips of each class, at least one.
        beta: At least 0 (all classes count alike) and below 1 (towards inverse frequency).
        gamma: Discount of confident answers; 0 for none.
    """

    counts: Sequence[float]
    beta: float = 0.9999
    gamma: float = 2.0

    def __post_init__(self) -> None:
        """Refuse what the equation has no value for."""
        counts = tuple(float(count) for count in self.counts)  # of an array, too
        object.__setattr__(self, "counts", counts)
        if not counts or not all(1 <= count < float("inf") for count in counts):
            raise ValueError(
                f"ClassBalancedFocal(counts={list(counts)}): every class needs at least one "
                "training clip, as its weight is divided by a number that grows from 0 with them."
            )
        if not 0 <= self.beta < 1 or not 0 <= self.gamma < float("inf"):
            raise ValueError(
                f"ClassBalancedFocal(beta={self.beta}, gamma={self.gamma}): beta must lie in "
                "[0, 1), gamma must be finite and at least 0."
            )

    def weights(self) -> Tensor:
        """Weight of each class (classes,), float64, with mean one."""
        counts = torch.tensor(list(self.counts), dtype=torch.float64)
        # 1 - beta^n by expm1, which keeps its digits where beta^n is almost one.
        effective = (
            -torch.expm1(counts * torch.log(torch.tensor(self.beta, dtype=torch.float64)))
            if self.beta > 0
            else torch.ones_like(counts)
        )
        return len(counts) / (effective * effective.reciprocal().sum())

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean over the batch of inputs and targets, which are labels or label distributions."""
        inputs, targets = batch
        return self.of_logits(model(inputs), targets)

    def of_logits(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of logits (batch, classes) for labels (batch,) or distributions like them.

        Raises:
            ValueError: If there are not as many logits as counts, or not a target for each clip.
        """
        classes = len(self.counts)
        if logits.ndim != 2 or logits.shape[1] != classes:
            raise ValueError(
                f"ClassBalancedFocal knows the counts of {classes} classes and got logits of shape "
                f"{tuple(logits.shape)}: it takes (batch, {classes})."
            )
        if targets.shape not in {logits.shape, logits.shape[:1]}:
            raise ValueError(
                f"ClassBalancedFocal got logits of shape {tuple(logits.shape)} and targets of "
                f"shape {tuple(targets.shape)}: it takes labels (batch,) or distributions (batch, "
                f"{classes})."
            )
        if targets.ndim == 1:
            targets = functional.one_hot(targets.long(), classes).to(logits.dtype)
        present, absent = self._focal(logits), self._focal(-logits)
        # Class y's sum has `present` at y and `absent` elsewhere.
        each = present - absent + absent.sum(dim=1, keepdim=True)
        return (targets * self.weights().to(logits) * each).sum(dim=1).mean()

    def _focal(self, z: Tensor) -> Tensor:
        """`-(1 - p)^gamma log p` of p = sigmoid(z), elementwise and safe for any z."""
        return -torch.exp(self.gamma * functional.logsigmoid(-z)) * functional.logsigmoid(z)
