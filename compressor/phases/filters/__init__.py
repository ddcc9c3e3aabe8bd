"""Pruning of single filters, at once or on the way of training, and of channels by ADMM.

`FilterPruning` is the phase. Beneath it, data flows one way:

    graph -> banks -> split -> reach -> least -> threshold -> slim
"""

from __future__ import annotations

from compressor.phases.filters.pruning import FilterPruning

__all__ = ["FilterPruning"]
