"""The masked original as the smaller model goes about it: on its queries, over its widths.

Both say the same in the end. In between, queries that follow their width
(`compressor.surgery.scales`) are another multiple in the smaller model, whose attention divides by
another root for it. Who compares what is in between has the original do likewise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.fx import Node

from compressor.graph.graph import Graph
from compressor.graph.kinds import Kind
from compressor.graph.operations import operation_of
from compressor.graph.program import argument, shape_of
from compressor.graph.structure import Structure
from compressor.surgery.masking import Masked
from compressor.surgery.scales import factors


class Narrowed(Masked):
    """Runs a program with the removed channels held at zero, and its queries scaled."""

    def __init__(self, graph: Graph, structure: Structure, tensors: Mapping[str, Tensor]) -> None:
        """Prepare the run on full-size parameters and buffers by name, not scaled as yet."""
        scales = factors(structure)
        scaled = {name: factor.whole(tensors[name]) for name, factor in scales.items()}
        super().__init__(graph, structure, {**tensors, **scaled})
        self._scale: float | None = None

    def run_node(self, n: Node) -> Any:
        """Run one operation; an attention without a scale has that of the width that is left."""
        self._scale = None
        attends = n.op == "call_function" and operation_of(n.target).kind is Kind.ATTENTION
        if attends and argument(n, "scale") is None:
            query: Any = n.args[0]
            last = len(shape_of(query)) - 1
            left = [int(alive.sum()) for at, alive in self.alive.get(query.name, ()) if at == last]
            self._scale = left[0] ** -0.5 if left else None
        return super().run_node(n)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call it, with the scale."""
        more = {} if self._scale is None else {"scale": self._scale}
        return super().call_function(target, args, {**kwargs, **more})
