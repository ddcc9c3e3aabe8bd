"""Pruning of filters: coupled channels or single filters, in one shot or on the way of training.

`FilterPruning` is the phase. Beneath it, data flows one way:

    graph -> banks -> split -> reach -> least -> threshold -> slim
"""

from __future__ import annotations

from compressor.phases.filters.pruning import FilterPruning

__all__ = ["FilterPruning"]
