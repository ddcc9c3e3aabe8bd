"""Pruning of single filters, at once or by ADMM.

`FilterPruning` is the phase. Beneath it, data flows one way:

    graph -> banks -> split -> reach -> least -> threshold -> slim
"""

from __future__ import annotations

from compressor.phases.filters.pruning import FilterPruning as FilterPruning
