"""Layers whose weights are not trained, frozen or buffers: whole unless released."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from compressor.tracing.flow import Flow


def untrained(model: nn.Module) -> frozenset[str]:
    """Names of the parameters that are not trained.

    None in a network of which no parameter is: that is put away for inference, and says nothing
    of single layers.
    """
    names = {name: p.requires_grad for name, p in model.named_parameters(remove_duplicate=False)}
    fixed = frozenset(name for name, trained in names.items() if not trained)
    return frozenset() if len(fixed) == len(names) else fixed


def hold(flow: Flow, weights: Collection[str]) -> None:
    """Freeze what layers with these weights read and write, in a finished walk.

    A layer is what applies a weight as a convolution or matrix product. It stays whole on both
    sides, so that its weight keeps every bit. A bias or a normalisation that is not trained has no
    channels of its own: it follows the layer whose channels it meets.
    """
    for use in flow.uses:
        if use.weight not in weights:
            continue
        reason = (
            f"the weight of '{use.module}' is not trained (requires_grad=False): "
            f"release=['{use.module}'] lets it shrink"
        )
        for (name, _), ids in flow.owners.items():
            if name == use.weight:
                flow.couplings.freeze(ids, reason)
        flow.couplings.freeze(use.writes, reason)


def hold_tables(flow: Flow, buffers: Collection[str]) -> None:
    """Freeze what layers write whose weight is a buffer, in a finished walk.

    Mel filters, a Fourier transform or cosines in a buffer are a table that belongs together. What
    such a layer reads may shrink: rows of the table for channels that are gone multiply nothing. A
    depthwise one (a blur, a smoothing over time) has no channels of its own and follows.
    """
    for use in flow.uses:
        if use.weight in buffers and use.dense:
            reason = (
                f"the weight of '{use.module}' is the buffer '{use.weight}', which is not trained: "
                f"release=['{use.module}'] lets it shrink"
            )
            flow.couplings.freeze(use.writes, reason)
