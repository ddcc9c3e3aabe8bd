"""From a network trained for int8 to the integer reference: what runs, is stored and is judged."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from compressor.graph.kinds import Kind
from compressor.graph.operations import operation_of
from compressor.network import Network, Ref, Rewrite, Step, Weight, packet
from compressor.network.fixed import FixedScale
from compressor.network.grid import Integers
from compressor.network.integer import (
    IntConv,
    IntLinear,
    IntMean,
    IntTransposed,
    Requantise,
    Scale,
)
from compressor.network.steps import Value
from compressor.quantization.chains import Layer, Scaling, affine, layers
from compressor.quantization.fake import WEIGHT_LIMIT, swapped
from compressor.quantization.folding import fold
from compressor.quantization.layers import ActivationQuantiser, Mode, WeightQuantiser
from compressor.quantization.place import origin, scalings
from compressor.quantization.pools import windows
from compressor.quantization.preparation import quantisers
from compressor.quantization.residual import NormQuantiser
from compressor.quantization.rounded import geometry, weight_name
from compressor.quantization.rounding import rounded_once
from compressor.quantization.rounding_fixed import rounded_twice

aten = torch.ops.aten

PLACE = "int8"
"""Branch of a network that holds its integer layers."""


def convert(network: Network, *, sixteen: bool = True, float_bias: bool = False) -> Network:
    """The integer reference of a network that was trained for int8, in evaluation mode.

    Layers hold int8 weights under the names of the parameters, normalisation and dropout are gone,
    and results do not depend on the batch or the machine where nothing floating is left between.

    Args:
        network: From `prepare`, calibrated; not touched.
        sixteen: Round the scales of layers so that 16 bits hold them.
        float_bias: Leave biases in floating point, as some runtimes want them.

    Raises:
        ValueError: If the network was not prepared and calibrated.
    """
    each = quantisers(network)
    if not each:
        raise ValueError("convert: the network has no quantisers: prepare, calibrate and train it")
    if waiting := [name for name, made in each.items() if made.mode is not Mode.FAKE]:
        raise ValueError(
            f"convert: {len(waiting)} of {len(each)} quantisers have no scale yet, {waiting[0]!r} "
            "first: calibrate the network"
        )
    fixed = any(quantiser.preset.fixed_point for quantiser in each.values())
    rewrite, weights = Rewrite(network), dict[str, Tensor]()
    with torch.no_grad():
        found = layers(network)
        for part in found:
            integers = _layer(network, rewrite, part, sixteen=sixteen, float_bias=float_bias)
            weights[cast("str", weight_name(network, network.step(part.step)))] = integers.weight
        for part in scalings(network, found):
            _scaling(network, rewrite, part, fixed=fixed)
        for step in network.steps:
            _rest(network, rewrite, step)
    built = rewrite.build()
    for name, weight in weights.items():
        _store(built, name, weight)
    told = rounded_twice(built, PLACE) if fixed else rounded_once(built, PLACE)
    return told.to(next(network.parameters()).device).eval()


def _feeding(network: Network, value: Value) -> ActivationQuantiser | None:
    """The quantiser on whose grid a value stands."""
    step = network.producer(Ref(origin(network, value))) if isinstance(value, Ref) else None
    called = network.called(step)
    return called if isinstance(called, ActivationQuantiser) else None


def _layer(
    network: Network, rewrite: Rewrite, part: Layer, *, sixteen: bool, float_bias: bool
) -> Integers:
    """Put an integer layer in the place of a layer and what goes into its scales."""
    step = network.step(part.step)
    name = cast("str", weight_name(network, step))
    quantiser = _feeding(network, step.args[0])
    if quantiser is None:
        raise ValueError(f"convert: no quantiser rounds {step.args[0]}: was the network prepared?")
    moves = None if packet(step) is aten.linear else geometry(network, step)
    called = network.called(network.producer(step.args[1]))
    groups = moves.groups if moves is not None and moves.more is not None else 0
    weight = swapped(network.tensor(name).cpu(), groups)
    input_scale = quantiser.scale.cpu().float()
    integers = fold(
        weight,
        affine(network, part.links, weight.shape[0], step.argument("bias")),
        input_scale,
        max(abs(end) for end in quantiser.grid.steps),
        limit=called.limit if isinstance(called, WeightQuantiser) else WEIGHT_LIMIT,
        sixteen=sixteen,
        float_bias=float_bias,
    )
    if moves is None:
        made = IntLinear(integers, input_scale)
    else:
        made = (IntTransposed if groups else IntConv)(moves, integers, input_scale)
    module = rewrite.add(f"{PLACE}.{part.step}", made)
    args = (step.args[0], Weight(name))
    rewrite.replace(part.steps, Step(part.end, module, args, {}, step.module))
    return replace(integers, weight=swapped(integers.weight, groups).contiguous())


def _scaling(network: Network, rewrite: Rewrite, part: Scaling, *, fixed: bool) -> None:
    """Put one gain and shift in the place of normalisation that follows no layer.

    `fixed` for one of integers, where it works on rounded values.
    """
    channels = network.shapes[part.source][1]
    whole = affine(network, part.links, channels)
    source = _feeding(network, Ref(part.source)) if fixed else None
    if source is None:
        made = Scale(whole.gain, whole.shift)
    else:
        largest, scale = max(abs(end) for end in source.grid.steps), source.scale.cpu().float()
        made = FixedScale(fold(torch.ones(channels, 1), whole, scale, largest), scale)
    module = rewrite.add(f"{PLACE}.{part.end}", made)
    owner = network.step(part.end).module
    rewrite.replace(part.steps, Step(part.end, module, (Ref(part.source),), {}, owner))


def _rest(network: Network, rewrite: Rewrite, step: Step) -> None:
    """Convert quantisers and average pooling; leave dropout out."""
    called = network.called(step)
    if isinstance(called, ActivationQuantiser):
        module = rewrite.add(f"{PLACE}.{step.name}", Requantise(called.scale, called.grid))
        rewrite.edit(step.name, op=module)
    elif operation_of(step.op).kind is Kind.DROPOUT:
        rewrite.redirect(step.name, cast("Ref", step.args[0]).name)
    elif isinstance(called, NormQuantiser):
        _norm(network, rewrite, step, called)
    elif (over := windows(network, step)) and (source := _feeding(network, step.args[0])):
        module = rewrite.add(f"{PLACE}.{step.name}", IntMean(over, source.scale))
        rewrite.edit(step.name, op=module, args=step.args[:1], kwargs={})


def _norm(network: Network, rewrite: Rewrite, step: Step, called: NormQuantiser) -> None:
    """Put Residual Normalization in whole numbers in the place of the one that was trained."""
    source = _feeding(network, step.args[0])
    if source is None:
        raise ValueError(f"convert: no quantiser rounds {step.args[0]}: was the network prepared?")
    shape = network.shapes[cast("Ref", step.args[0]).name]
    weight = step.kwargs["weight"]
    module = called.fixed(source.scale, shape[1] * shape[3], weight)
    kwargs = {"weight": weight} if isinstance(weight, Weight) else {}
    rewrite.edit(step.name, op=rewrite.add(f"{PLACE}.{step.name}", module), kwargs=kwargs)


def _store(network: Network, name: str, weight: Tensor) -> None:
    """Put int8 numbers under the name of a parameter, in the place of all its names."""
    owner, _, leaf = name.rpartition(".")
    old = network.tensor(name)
    for holder in network.modules():
        for held in (holder._parameters, holder._buffers):  # noqa: SLF001 - all names of a tied one
            for other in [key for key, tensor in held.items() if tensor is old]:
                del held[other]
    network.get_submodule(owner).register_buffer(leaf, weight)
