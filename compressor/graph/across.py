"""Which operations look across a dimension: one table for the tracer and for the masked original.

What the tracer lets pass because "it sees the kept entries only" is what the masked original has to
compute over the kept entries only. Both read this table, so that they cannot disagree.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

aten = torch.ops.aten


def _each(names: str) -> frozenset[Any]:
    return frozenset(getattr(aten, name) for name in names.split())


REDUCTIONS = _each(
    "mean sum nansum prod var std amax amin max min any all var_mean std_mean aminmax logsumexp "
    "linalg_vector_norm norm median nanmedian mode kthvalue argmax argmin"
)
"""One entry, or a pair, in the place of a dimension."""

RANKED = _each("topk sort")
"""The entries of a dimension by size, and where they were."""

SCANS = _each("softmax _softmax log_softmax _log_softmax cumsum cumprod logcumsumexp cummax cummin")
"""As many entries as before, each of which depends on others."""

NORMS = _each("layer_norm rms_norm group_norm")
"""As many entries as before, by their common mean and variance, with weights of their own."""

ALL = REDUCTIONS | RANKED | SCANS | NORMS

STATISTICS = _each("var_mean std_mean aminmax")
"""Pairs of two values; of any other pair the second is a position."""

POSITIONS = _each("argmax argmin")
"""Their only result is a position."""


def looks_across(node: Node) -> bool:
    """Whether an operation looks across some dimension.

    A name is not enough: ``torch.max(a, b)`` is entry-wise, and PyTorch tags that form so.
    """
    return packet_of(node) in ALL and not entrywise(node.target)


def entrywise(overload: Any) -> bool:
    """Whether PyTorch says that a form of an operation works entry by entry."""
    return torch.Tag.pointwise in getattr(overload, "tags", ())


def entrywise_forms() -> list[Any]:
    """The forms of the operations above that are entry-wise all the same."""
    forms = [getattr(packet, name) for packet in ALL for name in packet.overloads()]
    return [form for form in forms if entrywise(form)]


def packet_of(node: Node) -> Any:
    """The operation of a node, whatever its form."""
    return getattr(node.target, "overloadpacket", None)


def positions_read(node: Node) -> bool:
    """Whether anybody reads where the values of a pair were found."""
    return any(user.args[1] == 1 and user.users for user in node.users)
