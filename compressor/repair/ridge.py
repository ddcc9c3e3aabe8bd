"""Least squares pulled towards the weights that are there, the pull chosen on other rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.repair.products import Products

PULLS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Pulls that are tried, in parts of the mean square of an entry."""

MANY, FEW = 1024, (1e-3, 1e-1)
"""Entries beyond which time counts, and the pulls that are tried there."""


@dataclass(frozen=True)
class Solution:
    """The answer to a problem.

    Attributes:
        weight: (group, out, entry).
        bias: (group, out), or None where there is none to choose.
        pull: The pull; infinity where the weight stays as it was.
        before: Mean squared error of the weight that was there, in parts of the outputs' variance.
        after: The same of the answer. Both on the rows that are solved for.
        rows: Their number.
    """

    weight: Tensor
    bias: Tensor | None
    pull: float
    before: float
    after: float
    rows: int = 0


def solved(
    first: Products, second: Products, weight: Tensor, *, biased: bool, mask: Tensor | None = None
) -> Solution:
    """The weight of least squared error on two sets of rows, which choose the pull for each other.

    Args:
        first: Products over one half of the rows; of means alone, the bias is all that is chosen.
        second: Over the other. A pull is as good as what it makes of one half, on the other.
        weight: What is there, (group, out, entry), float64: the answer is pulled towards it.
        biased: There is a bias, which is free: without a pull.
        mask: Boolean like `weight`, True where an entry may be other than zero; None for all.
    """
    if not first.uu.numel():
        return _means(first + second, weight, biased=biased)
    halves = [p.centred() if biased else p.mean() for p in (first, second)]
    both = (first + second).centred() if biased else (first + second).mean()
    pulls = PULLS if weight.shape[2] <= MANY else FEW
    scores = dict.fromkeys(pulls, 0.0)
    if min(first.count, second.count) > 1:
        for mine, other in (halves, reversed(halves)):
            for pull in pulls:
                found = _ridge(mine, weight, pull, mask)
                scores[pull] += math.inf if found is None else float(other.error(found).sum())
        least = sum(float(half.error(weight).sum()) for half in halves)
    else:
        least = -math.inf
    pull = min(scores, key=scores.__getitem__)
    found = _ridge(both, weight, pull, mask) if scores[pull] < least else None
    answer = weight if found is None else found
    bias = both.y - (answer @ both.u.unsqueeze(2)).squeeze(2) if biased else None
    spread = float(both.yy.sum()) or 1.0
    return Solution(
        answer, bias, math.inf if found is None else pull,
        float(both.error(weight).sum()) / spread, float(both.error(answer).sum()) / spread,
        both.count,
    )  # fmt: skip


def _means(both: Products, weight: Tensor, *, biased: bool) -> Solution:
    """The answer by means alone: the weight as it is, and the bias that makes up for it."""
    n = max(both.count, 1)
    bias = both.y / n - (weight @ both.u.unsqueeze(2)).squeeze(2) / n if biased else None
    return Solution(weight, bias, math.inf, 1.0 if biased else 0.0, 0.0, both.count)


def _ridge(products: Products, weight: Tensor, pull: float, mask: Tensor | None) -> Tensor | None:
    """``W + (yu - W uu) (uu + pull s I)^-1``, s the mean square of an entry.

    None where rounding has left no positive system: entries that hardly vary around large means.
    """
    rest = products.yu - weight @ products.uu
    size = products.uu.diagonal(dim1=1, dim2=2).mean(1)
    size = torch.where(size > 0, size, 1.0)
    eye = torch.eye(products.uu.shape[1], dtype=torch.float64)
    system = products.uu + (pull * size)[:, None, None] * eye
    if mask is None or bool(mask.all()):
        factor, failed = torch.linalg.cholesky_ex(system)
        if bool(failed.any()):
            return None
        return weight + torch.cholesky_solve(rest.transpose(1, 2), factor).transpose(1, 2)
    answer = weight.clone()
    for group, out in (mask.any(2)).nonzero().tolist():
        where = mask[group, out].nonzero().flatten()
        part = system[group][where][:, where]
        found, failed = torch.linalg.solve_ex(part, rest[group, out, where])
        if bool(failed):
            return None
        answer[group, out, where] += found
    return answer
