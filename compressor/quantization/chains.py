"""Layers of a network, and what behind each of them goes into its scales.

A layer is a convolution or matrix product on a parameter. What follows it channel by channel
(batch normalisation, multiplication by and addition of a constant) is a gain and a shift of its
output, as is normalisation by sub-bands: a view that splits channels into (channel, sub-band),
batch normalisation, and the view back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from compressor.graph.kinds import Kind, Rounding
from compressor.graph.operations import operation_of
from compressor.inputs.tensors import leaves
from compressor.network import Network, Ref, Step, Weight, packet
from compressor.network.constants import constant
from compressor.network.steps import Value
from compressor.quantization.folding import Affine, batch_norm, identity
from compressor.quantization.rounded import channels_last, weighted

aten = torch.ops.aten


@dataclass(frozen=True)
class Link:
    """One thing that follows a layer.

    Attributes:
        steps: Names of its steps, in order.
        bands: Sub-bands of every channel that it tells apart; 1 for none.
    """

    steps: tuple[str, ...]
    bands: int = 1


@dataclass(frozen=True)
class Layer:
    """A convolution or matrix product and what goes into its scales.

    Attributes:
        step: Name of the layer's step.
        links: What follows, in order.
    """

    step: str
    links: tuple[Link, ...]

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of all its steps, in order."""
        return (self.step, *(name for link in self.links for name in link.steps))

    @property
    def end(self) -> str:
        """Name of the last result."""
        return self.steps[-1]


@dataclass(frozen=True)
class Scaling:
    """Links that follow no layer, and run as one multiplication and addition.

    Attributes:
        source: Name of the result that they begin with.
        links: At least one, in order.
    """

    source: str
    links: tuple[Link, ...]

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of all its steps, in order."""
        return tuple(name for link in self.links for name in link.steps)

    @property
    def end(self) -> str:
        """Name of the last result."""
        return self.steps[-1]


def scaling(network: Network, step: Step) -> Scaling | None:
    """The scaling that begins with a step, a normalisation; None if none does."""
    source = step.args[0] if step.args else None
    if not isinstance(source, Ref) or operation_of(step.op).rounding is Rounding.PAIR:
        return None
    first = _link(network, step, source.name, bands=True)
    if first is None:
        return None
    return Scaling(source.name, (first, *links(network, first.steps[-1])))


def layers(network: Network, *, bands: bool = True) -> tuple[Layer, ...]:
    """The layers with all that goes into their scales, up to the first quantiser if there are any.

    With `bands` normalisation by sub-bands goes into the scales, too.
    """
    return tuple(_layer(network, step, bands=bands) for step in weighted(network))


def links(network: Network, name: str, *, bands: bool = True) -> tuple[Link, ...]:
    """List links behind a result, channel by channel, while nobody else reads what lies between."""
    found: list[Link] = []
    while (reader := only_reader(network, name)) is not None:
        link = _link(network, reader, name, bands=bands)
        if link is None:
            break
        found.append(link)
        name = link.steps[-1]
    return tuple(found)


def only_reader(network: Network, name: str) -> Step | None:
    """The one step that reads a result which is not returned; None if there are more or none."""
    returned = any(leaf == Ref(name) for leaf in leaves(network.outputs))
    readers = network.consumers(name)
    return readers[0] if len(readers) == 1 and not returned else None


def affine(network: Network, found: tuple[Link, ...], channels: int, bias: Value = None) -> Affine:
    """Gain and shift of all links together, in evaluation.

    A layer's own `bias`, if it has one, comes before them; its result has so many `channels`.
    """
    whole = identity(channels)
    if isinstance(bias, Weight):
        whole = Affine(whole.gain, network.tensor(bias).detach().cpu().double())
    for link in found:
        part = _affine(network, link, channels)
        whole = whole.then(part.gain, part.shift)
    return whole


def _layer(network: Network, step: Step, *, bands: bool) -> Layer:
    found = () if channels_last(network, step) else links(network, step.name, bands=bands)
    return Layer(step.name, found)


def _link(network: Network, step: Step, name: str, *, bands: bool) -> Link | None:
    if is_norm(step, name):
        return Link((step.name,))
    if operation_of(step.op).kind is Kind.VIEWS:
        return _bands(network, step, name) if bands else None
    pair = operation_of(step.op).rounding is Rounding.PAIR
    return Link((step.name,)) if pair and _per_channel(network, step, name) is not None else None


def is_norm(step: Step, name: str) -> bool:
    """True if a step normalises this result by statistics that it keeps."""
    if packet(step) is not aten.batch_norm or step.argument("input") != Ref(name):
        return False
    return isinstance(step.argument("running_mean"), Weight)


def _bands(network: Network, view: Step, name: str) -> Link | None:
    """Normalisation by sub-bands, if that is what begins with `view`."""
    norm = only_reader(network, view.name)
    back = None if norm is None else only_reader(network, norm.name)
    if norm is None or back is None or not is_norm(norm, view.name):
        return None
    if operation_of(back.op).kind is not Kind.VIEWS:
        return None
    before, split = network.shapes[name], network.shapes[view.name]
    if len(before) != 4 or len(split) != 4 or split[1] % before[1]:
        return None
    bands = split[1] // before[1]
    expected = (before[0], before[1] * bands, before[2] // bands, before[3])
    if split != expected or network.shapes[back.name] != before or before[2] % bands:
        return None
    return Link((view.name, norm.name, back.name), bands)


def _per_channel(network: Network, step: Step, name: str) -> Tensor | None:
    """The constant that a result is multiplied by or added to, (channels,); None for another."""
    if step.args[0] == step.args[1] or step.kwargs.get("alpha", 1) != 1:
        return None
    (other,) = (value for value in step.args[:2] if value != Ref(name))
    found = constant(network, other)
    shape = network.shapes[name]
    if found is None or len(shape) < 2 or found.dim() > len(shape):
        return None
    wanted = (1, shape[1], *[1] * (len(shape) - 2))
    full = (*[1] * (len(shape) - found.dim()), *found.shape)
    return found.reshape(-1) if full == wanted else None


def _affine(network: Network, link: Link, channels: int) -> Affine:
    """Gain and shift of one link."""
    step = network.step(link.steps[len(link.steps) // 2])
    if packet(step) is aten.batch_norm:
        mean, variance = (
            network.tensor(step.argument(name)).cpu() for name in ("running_mean", "running_var")
        )
        scale, shift = (_stored(network, step.argument(name)) for name in ("weight", "bias"))
        norm = batch_norm(scale, shift, mean, variance, step.argument("eps"))
        shape = (channels, link.bands) if link.bands > 1 else (channels,)
        return Affine(norm.gain.view(shape), norm.shift.view(shape))
    (name,) = (ref for ref in step.refs if constant(network, Ref(ref)) is None)
    value = cast("Tensor", _per_channel(network, step, name)).cpu().double()
    whole = identity(channels)
    return Affine(value, whole.shift) if packet(step) is aten.mul else Affine(whole.gain, value)


def _stored(network: Network, value: Value) -> Tensor | None:
    return network.tensor(value).cpu() if isinstance(value, Weight) else None
