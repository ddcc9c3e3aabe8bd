"""Scores by an importance, the library's or a user's, held to what they must be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn, cast

import torch
from torch import Tensor, nn

from compressor.allocation.request import check_scores
from compressor.graph.graph import Graph
from compressor.importance import Evidence, Importance, Scores, Tensors
from compressor.inputs.arguments import name_of_function
from compressor.repair.activations import Reading
from compressor.repair.applied import Key

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def scores_of(
    importance: Importance, graph: Graph, tensors: Tensors, evidence: Evidence, *, data: bool
) -> Scores:
    """What an importance says of every unit, shape (units,).

    Args:
        importance: The function.
        graph: The network as coupled axes.
        tensors: Weights by name.
        evidence: What the network does on data.
        data: Whether there is any; without, whoever looks at the evidence is told so.

    Raises:
        ValueError: If it looks at evidence and there is none, or gives anything but one score per
            unit, finite and not negative.
    """
    name = name_of_function(importance)
    found = importance(graph, tensors, evidence if data else _Nothing(name))
    return check_scores(graph, found, name)


def agreed(fabric: Fabric | None, values: Scores) -> Scores:
    """The mean over all processes."""
    if fabric is None or fabric.world_size == 1:
        return values
    mine = fabric.to_device(torch.from_numpy(values))
    return cast("Tensor", fabric.all_reduce(mine, reduce_op="mean")).cpu().numpy()


class _Nothing(Evidence):
    """Evidence where there is no data, false as an empty list is; it refuses to be looked at.

    A sum over no gradients would be 0, which is no score, or one that says nothing.
    """

    def __init__(self, importance: str) -> None:
        super().__init__(nn.Identity(), [])
        self._importance = importance

    def __bool__(self) -> bool:
        return False

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        self._refuse()

    @cached_property
    def activations(self) -> Mapping[Key, Reading]:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ValueError(
            f"the importance {self._importance} is measured on data, and its evidence is empty: "
            "there is no data; pass a loader, or take an importance of weights alone, such as "
            "compressor.importance.frobenius"
        )
