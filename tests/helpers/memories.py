"""Random working memory of a graph: steps at which tensors of random sizes are alive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from compressor.allocation.memory import Block, Memory, Moment
from compressor.graph.graph import Polynomial

if TYPE_CHECKING:
    from compressor.graph.graph import Graph


def memory(graph: Graph, seed: int, most: int = 14) -> Memory:
    """Up to `most` steps; a tensor has the channels of no axis, of one, or of two."""
    random = np.random.default_rng(seed)

    def block(number: int) -> Block:
        linear = [0] * len(graph.axes)
        for axis in random.integers(0, max(len(linear), 1), random.integers(0, 3)):
            if linear:
                linear[int(axis)] += int(random.integers(1, 40))
        return Block(f"t{number}", Polynomial(int(random.integers(1, 60)), tuple(linear)))

    moments = [
        Moment(f"layer{step}", tuple(block(n) for n in range(random.integers(1, 4))))
        for step in range(random.integers(1, most + 1))
    ]
    return Memory(tuple(moments))


def cap(memory: Memory, graph: Graph, share: float, low: np.ndarray | None = None) -> int:
    """A cap that is a share of the way from the smallest peak to that of the whole."""
    low = np.ones(len(graph.axes), dtype=np.int64) if low is None else low
    least, whole = memory(low), memory(graph.sizes)
    return max(int(least + share * (whole - least)), 1)
