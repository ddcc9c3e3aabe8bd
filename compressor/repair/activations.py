"""Activations of a dense network, as products summed over rows of every layer that reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressor.inputs.batches import Batch
from compressor.inputs.evaluation import evaluating
from compressor.repair.applied import Applied, Key, Watch
from compressor.repair.layers import Forward, Layer, Parts, layers_of, watched
from compressor.repair.products import Products
from compressor.repair.rows import as_matrix, part_of, places, read, rows_of, written

MOST = 2048
"""Entries of a row of a weight, up to which all products of two are kept. Where there are more,
different taps of a kernel are taken for uncorrelated and those of one tap for alike."""


WIDE = 4096
"""Channels of a row up to which a layer is looked at."""


@dataclass(frozen=True)
class Reading:
    """Products of what one layer reads and writes.

    Attributes:
        layer: The layer.
        matrix: Its weight, (group, out, entry); (group, out x taps, channel) where taps are taken
            for uncorrelated.
        taps: Entries of a channel in a row of `matrix`.
        products: Their sums.
        merged: Taps are taken for uncorrelated.
    """

    layer: Layer
    matrix: Tensor
    taps: int
    products: Products
    merged: bool = False


def activations_of(
    model: nn.Module,
    batches: Sequence[Batch],
    forward: Forward,
    *,
    seed: int = 0,
    exact: bool = False,
) -> dict[Key, Reading]:
    """Run a model on all batches once and sum the products of all layers' rows.

    Layers with a row that is not finite, or that read too many channels, are left out. `seed`
    draws the rows where there are many; with `exact` products are those of float64, to tell what is
    zero from what is small.
    """
    with evaluating(model):
        layers = layers_of(model, batches[0], forward) if batches else []
        found = {one.key: _empty(model, one) for one in layers if _entries(model, one) <= WIDE}
        draws = torch.Generator().manual_seed(seed)
        for batch in batches:
            parts = Parts()

            def applied(one: Applied, parts: Parts = parts) -> None:
                reading = found.get(parts.key(one))
                if reading is not None:
                    _add(reading, one, len(batches), draws, exact=exact)

            watched(model, batch, forward, Watch(model, applied))
    return {key: one for key, one in found.items() if bool(one.products.uu.isfinite().all())}


def _entries(model: nn.Module, layer: Layer) -> int:
    """Entries of a row of a weight, taps apart."""
    weight = model.get_parameter(layer.key[0]).detach()
    entries = as_matrix(weight, layer.example).shape[2]
    return entries // (weight[0, 0].numel() if layer.example.geometry else 1)


def _empty(model: nn.Module, layer: Layer) -> Reading:
    weight = model.get_parameter(layer.key[0]).detach()
    matrix = part_of(as_matrix(weight, layer.example), layer.example).double().cpu()
    groups, out, entries = matrix.shape
    taps = weight[0, 0].numel() if layer.example.geometry else 1
    if entries > MOST and taps > 1:
        apart = matrix.reshape(groups, out, entries // taps, taps).permute(0, 1, 3, 2)
        matrix = apart.reshape(groups, out * taps, entries // taps)
        return Reading(layer, matrix, 1, Products.none(groups, 0, entries // taps), merged=True)
    return Reading(layer, matrix, taps, Products.none(groups, out, entries))


def _add(
    reading: Reading, one: Applied, batches: int, draws: torch.Generator, *, exact: bool
) -> None:
    """Add the rows of one application."""
    layer, products = reading.layer, reading.products
    groups, _, entries = products.yu.shape
    most = rows_of(entries, batches * layer.calls)
    where = places(one, most, draws)
    u, y = read(one, layer.kernel, where), written(one, where)
    u, y = (u.double(), y.double()) if exact else (u, y)
    if reading.merged:  # taps as further rows
        u = u.reshape(len(u), groups, entries, -1).permute(0, 3, 1, 2).flatten(0, 1)
        products.add(u, u.new_zeros(len(u), groups, 0))
    else:
        products.add(u, y.reshape(len(u), groups, -1))
