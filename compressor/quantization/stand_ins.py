"""The integers that a network will become, with stand-ins for the scales that data will choose.

What a file holds, and what its tensors take in memory, depends on kinds, counts and shapes, which
are those of the network to come. Scales stand in: they differ from each other, as those chosen from
data do, so that every move from grid to grid that may be there is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

import torch

from compressor.network import Network, Step, packet
from compressor.network.fixed_norm import GRIDS
from compressor.network.steps import Value
from compressor.quantization.conversion import convert
from compressor.quantization.layers import ActivationQuantiser, Mode, SigmoidQuantiser
from compressor.quantization.preparation import prepare
from compressor.quantization.presets import Preset
from compressor.quantization.residual import NormQuantiser
from compressor.quantization.signs import never_negative

aten = torch.ops.aten

FINEST = -9.0
"""Logarithm to base 2 of the first scale: limits such as ReLU6's lie beyond a grid so fine, as they
do not stand out of one that was chosen behind them."""

APART = 2.0**-12
"""Difference between the logarithms of two scales."""


def stand_in(
    network: Network,
    preset: Preset,
    *,
    fold_bands: bool = True,
    bits: Mapping[str, int] = MappingProxyType({}),
    learned: bool = False,
) -> Network:
    """The integer reference of a network, with any scales; arguments and errors as of `prepare`.

    With `learned` scales those that data would choose alike may come to differ.
    """
    prepared = prepare(network, preset, fold_bands=fold_bands, bits=bits)
    number = 0
    for step in prepared.steps:
        called = prepared.called(step)
        if isinstance(called, SigmoidQuantiser):
            called.settle()
            continue
        each = [called] if isinstance(called, ActivationQuantiser) else []
        if isinstance(called, NormQuantiser):
            each = [called.part(name) for name in GRIDS[1:]]
        twin = None if learned else _copied(prepared, step)
        if twin is not None and isinstance(called, ActivationQuantiser):
            called.set_extra_state(twin.get_extra_state())
            called.settle_on(twin.scale)
            continue
        for quantiser in each:
            positive = never_negative(prepared, step.args[0])
            quantiser.grid = quantiser.preset.unsigned if positive else quantiser.preset.signed
            quantiser.mode = Mode.FAKE
            with torch.no_grad():
                quantiser.log_scale.fill_(FINEST + APART * number)
            number += 1
    return convert(prepared)


def _copied(prepared: Network, step: Step) -> ActivationQuantiser | None:
    """The quantiser of a result that what a step rounds is several copies of, side by side.

    Data choose the same grid and scale for both.
    """
    source = prepared.producer(step.args[0])
    if source is None or packet(source) is not aten.cat:
        return None
    first, *more = cast("tuple[Value, ...]", source.args[0])
    called = prepared.called(prepared.producer(first))
    alike = all(part == first for part in more)
    return called if alike and isinstance(called, ActivationQuantiser) else None
