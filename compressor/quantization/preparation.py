"""From a network to one that trains for int8: quantisers put in, scales chosen from data."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import cast

import torch
from torch import Tensor, nn

from compressor.inputs.evaluation import evaluating
from compressor.network import Network, Ref, Rewrite, Step, Weight, packet
from compressor.network.core import Guard
from compressor.quantization.chains import Layer
from compressor.quantization.layers import (
    ActivationQuantiser,
    Mode,
    SigmoidQuantiser,
    WeightQuantiser,
)
from compressor.quantization.place import places
from compressor.quantization.pools import windows
from compressor.quantization.presets import ORT, Preset
from compressor.quantization.residual import Norm, NormQuantiser, in_parts, norms
from compressor.quantization.rounded import lopsided, rounded_weights, weight_name
from compressor.quantization.signs import never_negative

aten = torch.ops.aten

PLACE = "quantisers"
"""Branch of a network that holds its quantisers."""

KEPT = "_kept"
"""What the name of a mean ends in that keeps its dimensions, for one that drops them."""


def prepare(
    network: Network,
    preset: Preset = ORT,
    *,
    fold_bands: bool = True,
    learned: bool = False,
    bits: Mapping[str, int] = MappingProxyType({}),
) -> Network:
    """Put quantisers into a network: weights are rounded from now on, activations once calibrated.

    Parameters keep their names, and tensors are shared with the network given.

    Args:
        network: A trained one, without quantisers.
        preset: The grids of activations.
        fold_bands: Normalisation by sub-bands (SubSpectralNorm) behind a convolution becomes part
            of its scales, one for each channel and sub-band; else it is an operation of its own,
            with its input and output rounded.
        learned: True if scales of activations are parameters.
        bits: Of the weights that are to have fewer than the preset's, by name of the parameter.

    Raises:
        ValueError: If the network has quantisers already, or no layer that can be rounded.
    """
    if any(isinstance(module, ActivationQuantiser) for module in network.modules()):
        raise ValueError("prepare: this network has quantisers already; prepare the one before")
    given, network = network, _explicit(network)
    network = _in_parts(network) if preset.fixed_point else network
    network = _by_parts(network, preset, learned=learned) if preset.statistics else network
    found = places(network, bands=fold_bands)
    if not found.layers:
        raise _nothing_to_round(network)
    rewrite = Rewrite(network)
    _round_weights(network, rewrite, found.layers, bits, preset.weight_bits)
    for name in found.results:
        quantiser = _quantiser(network, name, preset, learned=learned)
        rewrite.insert_after(name, rewrite.add(f"{PLACE}.{name}", quantiser))
    built = rewrite.build()
    if given.guard is not None:  # of a file: quantisers look at numbers, of which it has none
        built.guard = _before_rounding(given, given.guard)
    device = next(network.parameters()).device
    return built.to(device).train(network.training)


def _before_rounding(network: Network, guard: Guard) -> Guard:
    """The guard of a network from a file, asked about that network without its quantisers."""
    return lambda _, inputs: guard(network, inputs)


def quantisers(network: nn.Module) -> dict[str, ActivationQuantiser]:
    """The quantisers of a network's activations, by name."""
    named = network.named_modules()
    return {name: module for name, module in named if isinstance(module, ActivationQuantiser)}


def grids(network: nn.Module) -> dict[str, list[int]]:
    """Mode and grid of every quantiser as plain data, for a checkpoint; see `set_grids`."""
    each = quantisers(network).items()
    return {name: quantiser.get_extra_state().tolist() for name, quantiser in each}


def set_grids(network: nn.Module, plain: Mapping[str, Sequence[int]]) -> None:
    """Give quantisers the modes and grids that `grids` told; their scales are ordinary tensors."""
    for name, quantiser in quantisers(network).items():
        quantiser.set_extra_state(torch.tensor(plain[name]))


@torch.no_grad()
def calibrate(network: Network, batches: Iterable[tuple[Tensor, ...]]) -> None:
    """Choose grid and scale of every activation from some batches, in evaluation mode.

    Warns when the network looks untrained: scales that fit its activations will not fit those that
    training leads to, and training has been seen to diverge from there.

    Args:
        network: From `prepare`.
        batches: The inputs of some batches, on the network's device; some hundred examples do.

    Raises:
        ValueError: If there are no batches, or activations are not finite.
    """
    _warn_if_untrained(network)
    each = quantisers(network)
    for quantiser in each.values():
        quantiser.observe()
    count = 0
    with evaluating(network):
        for count, inputs in enumerate(batches, start=1):
            network(*inputs)
            for name, quantiser in each.items():
                if not quantiser.finite:
                    raise ValueError(
                        f"calibrate: {name.removeprefix(f'{PLACE}.')}: an activation was infinite "
                        f"or not a number on batch {count} of data, of which scales are chosen: "
                        "look for NaN or infinity in the batch, or calibrate a trained network"
                    )
    if not count:
        raise ValueError("calibrate: there are no batches to choose scales from")
    _settle(network)


def _settle(network: Network) -> None:
    """Choose grids and scales from what was counted; those of a normalisation together."""
    for module in network.modules():
        if isinstance(module, NormQuantiser):
            module.settle()
    waiting = {n: q for n, q in quantisers(network).items() if q.mode is Mode.OBSERVE}
    for name, quantiser in waiting.items():
        try:
            quantiser.settle()
        except ValueError as error:
            raise ValueError(f"calibrate: {name.removeprefix(f'{PLACE}.')}: {error}") from error


def _nothing_to_round(network: Network) -> ValueError:
    """The error for a network without a layer of integers, with what keeps it from having one."""
    odd = [step.module or step.name for step in network.steps if lopsided(network, step)]
    if odd:
        return ValueError(
            f"prepare: {odd[0]!r} pads one side more than the other (padding='same' with an even "
            "kernel), so that it is not computed in integers, and no other layer is: take an odd "
            "kernel, or pad both sides by the same number"
        )
    stored = (*network.parameters(), *network.buffers())
    if any(tensor.dtype == torch.float16 for tensor in stored):
        return ValueError(
            "prepare: the weights have 16 bits, as Half() leaves them, of which no integers are "
            "made and no .tflite is written: leave Half() out, or put Int8(preset=presets.TFLM) in "
            "its place"
        )
    return ValueError(
        "prepare: the network has no convolution and no matrix product on a parameter that "
        "nothing else reads, so that int8 would change nothing: leave Int8() out"
    )


def _explicit(network: Network) -> Network:
    """Means that drop their dimensions become means that keep them, and a squeeze.

    A quantiser can then stand between the two, where runtimes look for it.
    """
    rewrite = Rewrite(network)
    for step in network.steps:
        keep = packet(step) is aten.mean and step.argument("keepdim")
        if packet(step) is not aten.mean or keep or windows(network, step) is None:
            continue
        kept = Step(f"{step.name}{KEPT}", step.op, (*step.args[:2], True), {}, step.module)
        rewrite.insert_before(step.name, kept)
        squeeze, dims = aten.squeeze.dims, step.args[1]
        rewrite.edit(step.name, op=squeeze, args=(Ref(kept.name), dims), kwargs={})
    return rewrite.build()


def _in_parts(network: Network) -> Network:
    """SiLU as the product that it is, for runtimes that have a kernel for its sigmoid alone."""
    rewrite = Rewrite(network)
    for step in network.steps:
        if packet(step) is aten.silu:
            gate = Step(f"{step.name}_gate", aten.sigmoid.default, step.args[:1], {}, step.module)
            rewrite.insert_before(step.name, gate)
            args = (step.args[0], Ref(gate.name))
            rewrite.edit(step.name, op=aten.mul.Tensor, args=args, kwargs={})
    return rewrite.build()


def _by_parts(network: Network, preset: Preset, *, learned: bool) -> Network:
    """Residual Normalization with quantisers inside."""
    rewrite, found = Rewrite(network), list[tuple[Norm, NormQuantiser]]()
    for norm in norms(network):
        growing = isinstance(norm.weight, int | float) and norm.weight >= 0
        positive = never_negative(network, Ref(norm.source))
        made = NormQuantiser(preset, norm.eps, positive=positive, growing=growing, learned=learned)
        found.append((norm, made))
    in_parts(rewrite, found, PLACE)
    return rewrite.build() if found else network


def _quantiser(
    network: Network, name: str, preset: Preset, *, learned: bool
) -> ActivationQuantiser:
    """What rounds the result of a name."""
    step = network.producer(Ref(name))
    if preset.fixed_point and step is not None and packet(step) is aten.sigmoid:
        return SigmoidQuantiser(preset)
    return ActivationQuantiser(preset, learned=learned)


def _round_weights(
    network: Network, rewrite: Rewrite, layers: Iterable[Layer], bits: Mapping[str, int], most: int
) -> None:
    """Every layer reads its weight rounded, to `most` bits or to the fewer that `bits` names.

    A weight that several share is rounded once.
    """
    modules: dict[tuple[int, int], str] = {}
    groups = rounded_weights(network)
    rounded: dict[str, Ref] = {}
    for part in layers:
        step = network.step(part.step)
        name = cast("str", weight_name(network, step))
        if name not in rounded:
            kind = (min(bits.get(name, most), most), groups[name])
            if kind not in modules:
                transposed = f"_transposed_{kind[1]}" if kind[1] else ""
                place = f"{PLACE}.weights_{kind[0]}{transposed}"
                modules[kind] = rewrite.add(place, WeightQuantiser(*kind))
            call = Step(f"{step.name}_weight", modules[kind], (Weight(name),), {}, step.module)
            rounded[name] = rewrite.insert_before(step.name, call)
        rewrite.edit(step.name, args=(step.args[0], rounded[name], *step.args[2:]))


def _warn_if_untrained(network: Network) -> None:
    """Warn if a batch normalisation has the statistics that it began with."""
    for step in network.steps:
        mean = step.argument("running_mean") if packet(step) is aten.batch_norm else None
        if not isinstance(mean, Weight):
            continue
        variance = network.tensor(step.argument("running_var"))
        if bool((network.tensor(mean) == 0).all() and (variance == 1).all()):
            warnings.warn(
                f"calibrate: the statistics of {mean.name.rpartition('.')[0]!r} are those of a "
                "network that was never trained. Scales chosen now will not fit what training "
                "leads to, and it may diverge: train in floating point first",
                stacklevel=4,
            )
            return
