"""The modules that a stored network may call: the library's own, and the only place that says so.

A file names a kind, never a class, so that what is built from it is one of these. Each kind is
written as plain settings and made from them again; its tensors are stored beside and put in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import nn

from compressor.network.fixed import (
    FixedConv,
    FixedLinear,
    FixedMean,
    FixedMove,
    FixedProduct,
    FixedScale,
    FixedSigmoid,
    FixedSum,
)
from compressor.network.fixed_norm import GRIDS, FixedNorm
from compressor.network.grid import Grid, Integers
from compressor.network.integer import (
    Geometry,
    IntConv,
    IntLinear,
    IntMean,
    IntTransposed,
    Requantise,
    Scale,
    Windows,
)
from compressor.network.sums import IntSum

Settings = dict[str, Any]
"""Anything that JSON can hold."""


@dataclass(frozen=True)
class Kind:
    """A module that can be stored.

    Attributes:
        of: Its class.
        plain: Everything but the tensors of a module of it.
        made: A module of such settings, with the tensors' names, or none, and any values.
    """

    of: type[nn.Module]
    plain: Callable[[Any], Settings]
    made: Callable[[Settings], nn.Module]


_ONE = torch.ones(())
"""A scale whose value is put in afterwards."""


def _empty(settings: Settings) -> Integers:
    """Content of a layer before its tensors are put in."""
    none = torch.empty(0)
    return Integers(none, none, none, bool(settings["large"]))


def _moves(convolution: IntConv) -> Settings:
    g, large = convolution.geometry, int(convolution.large)
    return {"moves": [g.stride, g.padding, g.dilation, g.groups], "large": large}


def _geometry(settings: Settings, more: tuple[int, ...] | None = None) -> Geometry:
    stride, padding, dilation, groups = settings["moves"]
    return Geometry(tuple(stride), tuple(padding), tuple(dilation), int(groups), more)


def _transposed(settings: Settings) -> IntTransposed:
    moves = _geometry(settings, tuple(map(int, settings["more"])))
    return IntTransposed(moves, _empty(settings), _ONE)


def _windows(settings: Settings) -> Windows:
    size = tuple(map(int, settings["window"]))
    plain = Windows.beside(*size)
    stride = tuple(map(int, settings.get("stride", plain.stride)))
    return Windows(size, stride, tuple(map(int, settings.get("padding", plain.padding))))


def _window(mean: IntMean) -> Settings:
    own, plain = mean.windows, Windows.beside(*mean.windows.size)
    moved = {} if own.stride == plain.stride else {"stride": own.stride}
    padded = {} if own.padding == plain.padding else {"padding": own.padding}
    return {"window": own.size} | moved | padded


def _grid(ends: Any) -> Grid:
    return Grid(*map(int, ends))


def _requantise(settings: Settings) -> Requantise:
    return Requantise(_ONE, _grid(settings["grid"]))


def _sum(settings: Settings) -> IntSum:
    one, other, result = map(_grid, settings["grids"])
    return IntSum((one, other, result))


def _fixed_sum(settings: Settings) -> FixedSum:
    one, other, result = map(_grid, settings["grids"])
    return FixedSum((one, other, result))


def _fixed_norm(settings: Settings) -> FixedNorm:
    zeros = tuple(map(int, settings["zeros"]))
    if len(zeros) != len(GRIDS) - 1:
        raise ValueError(f"a normalisation has {len(zeros)} zeros, and {len(GRIDS) - 1} grids")
    weight = settings.get("weight")
    own = None if weight is None else float(weight)
    return FixedNorm(torch.ones(len(GRIDS)), zeros, float(settings["eps"]), own)


def _norm_settings(norm: FixedNorm) -> Settings:
    own = {} if norm.weight is None else {"weight": norm.weight}
    return {"zeros": norm.zeros, "eps": norm.eps} | own


def _large(layer: IntLinear | FixedScale) -> Settings:
    return {"large": int(layer.large)}


KINDS: Mapping[str, Kind] = {
    "conv": Kind(IntConv, _moves, lambda s: IntConv(_geometry(s), _empty(s), _ONE)),
    "linear": Kind(IntLinear, _large, lambda s: IntLinear(_empty(s), _ONE)),
    "mean": Kind(IntMean, _window, lambda s: IntMean(_windows(s), _ONE)),
    "requantise": Kind(Requantise, lambda m: {"grid": astuple(m.grid)}, _requantise),
    "scale": Kind(Scale, lambda _: {}, lambda _: Scale(torch.ones(1), torch.zeros(1))),
    "sum": Kind(IntSum, lambda m: {"grids": [*map(astuple, m.grids)]}, _sum),
    "fixed conv": Kind(FixedConv, _moves, lambda s: FixedConv(_geometry(s), _empty(s), _ONE)),
    "fixed linear": Kind(FixedLinear, _large, lambda s: FixedLinear(_empty(s), _ONE)),
    "fixed mean": Kind(FixedMean, _window, lambda s: FixedMean(_windows(s), _ONE)),
    "fixed move": Kind(FixedMove, lambda _: {}, lambda _: FixedMove()),
    "fixed norm": Kind(FixedNorm, _norm_settings, _fixed_norm),
    "fixed product": Kind(FixedProduct, lambda _: {}, lambda _: FixedProduct()),
    "fixed scale": Kind(FixedScale, _large, lambda s: FixedScale(_empty(s), _ONE)),
    "fixed sigmoid": Kind(FixedSigmoid, lambda _: {}, lambda _: FixedSigmoid()),
    "fixed sum": Kind(FixedSum, lambda m: {"grids": [*map(astuple, m.grids)]}, _fixed_sum),
    "transposed": Kind(IntTransposed, lambda m: _moves(m) | {"more": m.geometry.more}, _transposed),
}
"""Kinds by the name they are stored under."""


def kind_of(module: nn.Module, name: str) -> str:
    """The name of a module's kind; ValueError if it is none of those that can be stored."""
    for key, kind in KINDS.items():
        if type(module) is kind.of:
            return key
    raise ValueError(
        f"the submodule {name!r} is a {type(module).__name__}, which cannot be stored: a stored "
        f"network calls {', '.join(k.of.__name__ for k in KINDS.values())} and nothing else. A "
        "network in int8 training has to be converted first"
    )
