"""Operations that PyTorch's exporter stumbles over, spelled as it can read them."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from compressor.network import Network, Ref, Rewrite, Step, packet
from compressor.network.steps import Value

aten = torch.ops.aten

PLACE = "spelled"
"""Branch of a network that holds the modules that stand for operations."""


def spelled(network: Network) -> Network:
    """A network that computes the same and exports; the network itself where nothing is to change.

    Limits of a `clamp` of which one is whole and the other is not become fractions, and attention
    on another number of dimensions than the four that the exporter knows becomes products.
    """
    rewrite, changed = Rewrite(network), False
    for step in network.steps:
        if packet(step) in (aten.clamp, aten.clip) and _mixed(step.args[1:]):
            args = (step.args[0], *(float(x) if type(x) is int else x for x in step.args[1:]))
            rewrite.edit(step.name, args=args)
            changed = True
        if packet(step) is aten.scaled_dot_product_attention:
            changed |= _four(network, rewrite, step)
    return rewrite.build() if changed else network


def _mixed(limits: tuple[Value, ...]) -> bool:
    """True if of two numbers one is whole and one is not."""
    return {type(x) for x in limits} == {int, float}


def _four(network: Network, rewrite: Rewrite, step: Step) -> bool:
    """Put a module in the place of attention on another number of dimensions than four."""
    query = cast("Ref", step.args[0]).name
    rank = len(network.shapes[query])
    if rank == 4 or rank < 3 or step.argument("enable_gqa"):
        return False
    given = ("query", "key", "value", "attn_mask")
    tensors = tuple(x for name in given if (x := step.argument(name)) is not None)
    scale, causal = step.argument("scale"), bool(step.argument("is_causal", False))  # noqa: FBT003
    op = rewrite.add(f"{PLACE}.{step.name}", Attention(scale, is_causal=causal))
    rewrite.edit(step.name, op=op, args=tensors, kwargs={})
    return True


class Attention(nn.Module):
    """Scaled dot-product attention in evaluation, on any number of dimensions from three on."""

    def __init__(self, scale: float | None, *, is_causal: bool) -> None:
        super().__init__()
        self.scale, self.is_causal = scale, is_causal

    def forward(self, query: Tensor, key: Tensor, value: Tensor, *mask: Tensor) -> Tensor:
        """(..., queries, width), (..., keys, width), (..., keys, out) -> (..., queries, out)."""
        scale = query.shape[-1] ** -0.5 if self.scale is None else self.scale
        scores = query @ key.transpose(-2, -1) * scale
        if self.is_causal:
            above = torch.ones_like(scores, dtype=torch.bool).triu(1)
            scores = scores.masked_fill(above, float("-inf"))
        for each in mask:
            kept = scores.masked_fill(each.logical_not(), float("-inf"))
            scores = kept if each.dtype is torch.bool else scores + each
        # A query that no key may answer gets zeros.
        unanswered = (scores == float("-inf")).all(-1, keepdim=True)
        return scores.softmax(-1).masked_fill(unanswered, 0.0) @ value
