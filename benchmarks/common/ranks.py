"""How well one number predicts the order of another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import spearmanr


def rank_correlation(predicted: Sequence[float], outcome: Sequence[float]) -> float:
    """Spearman's: 1 where both have one order; 0 where either is one value throughout."""
    if len(set(predicted)) < 2 or len(set(outcome)) < 2:
        return 0.0
    return float(spearmanr(predicted, outcome).statistic)


def regret(predicted: Sequence[float], outcome: Sequence[float]) -> float:
    """What is lost of the best outcome where the greatest prediction is taken."""
    return float(np.max(outcome) - outcome[int(np.argmax(predicted))])
