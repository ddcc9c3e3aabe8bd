"""Gradients cut to a norm before a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from torch import nn

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def clip_gradients(
    model: nn.Module, optimizer: object, most: float | None, fabric: Fabric | None
) -> None:
    """Scale all gradients of a model down by one factor, so that their norm is at most `most`.

    R. Pascanu, T. Mikolov, Y. Bengio, ICML 2013, algorithm 1. Nothing is done for None. Under
    `fabric`, which undoes the scale of 16-bit losses first, both are as it wraps them.
    """
    if most is None:
        return
    if fabric is None:
        nn.utils.clip_grad_norm_(model.parameters(), most)
        return
    wrapped = cast("Any", fabric)
    # A gradient that is not finite is the scaler's affair, or the next loss says it.
    wrapped.clip_gradients(model, optimizer, max_norm=most, error_if_nonfinite=False)
