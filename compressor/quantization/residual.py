"""Residual Normalization in training for whole numbers: a quantiser behind every part of it.

A network writes it as nine operations: mean and variance of every row of one example, what is
centred, times one over a root, and a share of the input beside it. They become one step that runs
`NormQuantiser`, whose parts are put together as in `compressor.network.fixed_norm`: no more than
two tensors of the input's size are alive at a time.

Source: B. Kim et al., "Domain Generalization on Efficient Acoustic Scene Classification using
Residual Normalization", DCASE Workshop 2021, equations 1 to 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from compressor.network import Network, Ref, Rewrite, Step, Weight, packet
from compressor.network.fixed_norm import GRIDS, MOST, FixedNorm
from compressor.network.grid import wide
from compressor.network.steps import Value
from compressor.quantization.histogram import BINS, FRACTIONS, Histogram
from compressor.quantization.layers import ActivationQuantiser, Mode
from compressor.quantization.presets import Preset

aten = torch.ops.aten

OVER = {1, 3}
"""The dimensions that mean and variance run over, channels and time."""

LEAST = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)
"""Steps of the variance of which one over the root may be the largest of its grid."""


@dataclass(frozen=True)
class Norm:
    """A Residual Normalization in a network.

    Attributes:
        source: Name of what is normalised.
        weight: Share of it that is passed on: a number, or a parameter of shape ().
        eps: Added to the variance.
        steps: Names of its steps, in order; the last is the result.
    """

    source: str
    weight: Value
    eps: float
    steps: tuple[str, ...]


def norms(network: Network) -> tuple[Norm, ...]:
    """The Residual Normalizations of a network whose parts nothing else reads, in order."""
    found = (_norm(network, step) for step in network.steps if packet(step) is aten.rsqrt)
    return tuple(norm for norm in found if norm is not None)


class NormQuantiser(nn.Module):
    """Residual Normalization with every part but the result rounded; see `FixedNorm`.

    Args:
        preset: The grids to choose from.
        eps: Added to the variance.
        positive: True if the input is never negative, whatever the weights are.
        growing: True if the weight is never negative.
        learned: True if scales are parameters.
    """

    def __init__(
        self, preset: Preset, eps: float, *, positive: bool, growing: bool, learned: bool
    ) -> None:
        super().__init__()
        self.eps = eps
        never = {"mean": positive, "power": True, "root": True}
        never |= {"gain": growing, "shift": positive and growing}
        for name in GRIDS[1:]:
            grid = preset.unsigned if never.get(name, False) else preset.signed
            one = replace(preset, signed=grid, unsigned=grid)  # no data choose it
            self.add_module(name, ActivationQuantiser(one, learned=learned))

    def part(self, name: str) -> ActivationQuantiser:
        """The quantiser of one of `GRIDS` but the first."""
        return cast("ActivationQuantiser", self.get_submodule(name))

    def forward(self, x: Tensor, *, weight: Tensor | float) -> Tensor:
        """(batch, channel, rows, columns), shape and type are kept."""
        whole = wide(x)
        mean = self.part("mean")(whole.mean((1, 3), keepdim=True))
        centred = self.part("centred")(whole - mean)
        power = self.part("power")(centred.square().mean((1, 3), keepdim=True))
        root = self.part("root")(torch.rsqrt(self._above_zero(power)))
        gain, shift = self.part("gain")(root + weight), self.part("shift")(mean * weight)
        return (self.part("product")(centred * gain) + shift).to(x.dtype)

    def settle(self) -> None:
        """Choose the grids of power, root and gain together, and round with them from now on.

        An error of the root is multiplied by what is centred, so that it weighs by the variance. A
        row of silence has none, and one over its root is the largest number there is: by their own
        errors the grids would be those of silence, with a step or two for everything else.

        Raises:
            ValueError: If nothing was observed.
        """
        power, root, gain = (self.part(name) for name in ("power", "root", "gain"))
        if power.histogram is None:
            raise ValueError("Residual Normalization can settle after observe() alone")
        scale, most = _grids(power.histogram, self.eps)
        passed = 0.0
        if root.histogram is not None and gain.histogram is not None:
            passed = (gain.histogram.largest - root.histogram.largest).clamp(min=0)
        power.settle_on(scale)
        root.settle_on(most / root.grid.steps[1])
        gain.settle_on((most + passed) / gain.grid.steps[1])

    def _above_zero(self, power: Tensor) -> Tensor:
        """Variance and `eps`, which is whole steps where the variance is.

        No step at all becomes so little that the root is limited to the largest of its grid.
        """
        quantiser, root = self.part("power"), self.part("root")
        if quantiser.mode is not Mode.FAKE or root.mode is not Mode.FAKE:
            return power + self.eps
        scale = quantiser.scale.detach()
        whole = (power + (self.eps / scale).round() * scale).clamp(
            max=quantiser.grid.steps[1] * scale
        )
        most = root.scale.detach() * root.grid.steps[1]
        return torch.where(whole > 0, whole, 0.25 / most.square())

    def fixed(self, input_scale: Tensor, entries: int, weight: Value) -> FixedNorm:
        """The same in whole numbers, for rows of so many entries and a weight of this kind."""
        each = [self.part(name) for name in GRIDS[1:]]
        scales = dict(zip(GRIDS, (input_scale, *(q.scale for q in each)), strict=True))
        scales["power"] = scales["power"] * entries  # of a sum, where training has a mean
        scales["root"] = scales["root"] / entries**0.5
        stacked = torch.stack([scale.detach().cpu().float() for scale in scales.values()])
        own = float(weight) if isinstance(weight, int | float) else None
        return FixedNorm(stacked, tuple(q.grid.zero for q in each), self.eps, own)


def _grids(seen: Histogram, eps: float) -> tuple[Tensor, Tensor]:
    """The scale of variances, and the largest one over a root, of the least error of products.

    Both in double precision, ().
    """
    steps = torch.arange(BINS, dtype=torch.float64, device=seen.top.device) + 0.5
    v = steps * (seen.top / BINS)
    weights, exact = seen.counts.double() * v, (v + eps).rsqrt()
    best, chosen = None, (torch.ones_like(seen.top), torch.ones_like(seen.top))
    if not seen.largest:
        return chosen
    for part in torch.linspace(-1, 0, FRACTIONS, dtype=torch.float64).tolist():
        scale = 10**part * seen.largest / 255
        whole = ((v / scale).round() + (eps / scale).round()).clamp(max=255)
        found = (whole * scale).rsqrt()
        for least in LEAST:
            most = (least * scale).rsqrt()
            rounded = (found * 255 / most).round().clamp(max=255) * most / 255
            error = (weights * (rounded - exact).square()).sum()
            if best is None or error < best:
                best, chosen = error, (scale, most)
    return chosen


def in_parts(rewrite: Rewrite, found: Sequence[tuple[Norm, NormQuantiser]], place: str) -> None:
    """Put quantisers in the place of normalisations; `place` is the branch that holds them."""
    for norm, quantiser in found:
        last = rewrite.network.step(norm.steps[-1])
        op = rewrite.add(f"{place}.{last.name}_parts", quantiser)
        call = Step(last.name, op, (Ref(norm.source),), {"weight": norm.weight}, last.module)
        rewrite.replace(norm.steps, call)


def _norm(network: Network, root: Step) -> Norm | None:
    """The normalisation that one over a root belongs to; None for anything else."""
    lifted = _made(network, root.args[0], aten.add)
    variance = None if lifted is None else _made(network, lifted.args[0], aten.mean)
    square = None if variance is None else _made(network, variance.args[0], aten.mul)
    centred = None if square is None else _made(network, square.args[0], aten.sub)
    mean = None if centred is None else _made(network, centred.args[1], aten.mean)
    if lifted is None or variance is None or square is None or centred is None or mean is None:
        return None
    source, eps = centred.args[0], lifted.args[1]
    if mean.args[0] != source or square.args[0] != square.args[1] or not isinstance(eps, float):
        return None
    product = _reader(network, root, Ref(centred.name))
    total = None if product is None else _reader(network, product)
    if product is None or total is None or packet(total) is not aten.add:
        return None
    passed = _made(network, _other(total, product.name), aten.mul)
    weight = None if passed is None else _other(passed, cast("Ref", source).name)
    if passed is None or not _is_weight(network, weight):
        return None
    inner = mean, centred, square, variance, lifted, root, passed, product, total
    plain = all(step.kwargs.get("alpha", 1) == 1 for step in inner)
    if not plain or not all(_over_rows(network, step) for step in (mean, variance)):
        return None
    names = {step.name for step in inner}
    order = tuple(step.name for step in network.steps if step.name in names)
    read = (reader.name for step in inner[:-1] for reader in network.consumers(step.name))
    return Norm(cast("Ref", source).name, weight, eps, order) if names >= set(read) else None


def _made(network: Network, value: Value, kind: Any) -> Step | None:
    """The step that made a value, if it is of a kind."""
    step = network.producer(value) if isinstance(value, Ref) else None
    return step if step is not None and packet(step) is kind else None


def _reader(network: Network, step: Step, other: Ref | None = None) -> Step | None:
    """The one step that reads a result: the product with another, or any."""
    readers = network.consumers(step.name)
    if len(readers) != 1:
        return None
    times = packet(readers[0]) is aten.mul and _other(readers[0], step.name) == other
    return readers[0] if other is None or times else None


def _other(step: Step, name: str) -> Value:
    """The operand of a pair that is not this result; None if neither is."""
    one, two = step.args[:2]
    return two if one == Ref(name) else one if two == Ref(name) else None


def _is_weight(network: Network, value: Value) -> bool:
    """True for a number, and for a parameter of shape ()."""
    if isinstance(value, Weight):
        return network.tensor(value).dim() == 0
    return isinstance(value, int | float)


def _over_rows(network: Network, mean: Step) -> bool:
    """True for a mean over channels and time of (batch, channel, frequency, time), all kept."""
    shape, dims = network.shapes[cast("Ref", mean.args[0]).name], mean.argument("dim")
    if len(shape) != 4 or not isinstance(dims, list | tuple) or not mean.argument("keepdim"):
        return False
    over = {cast("int", dim) % 4 for dim in dims}
    return over == OVER and shape[1] * shape[3] <= MOST and mean.argument("dtype") is None
