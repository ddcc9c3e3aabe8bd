"""What is not written for a microcontroller, said in one sentence: the layer, and what to do."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from compressor.network import Network, Step, packet
from compressor.network.constants import PLACE
from compressor.network.integer import IntConv, IntLinear, IntTransposed, Requantise, Scale
from compressor.network.steps import Value
from compressor.quantization.preparation import KEPT
from compressor.quantization.rounded import lopsided
from compressor.wording import listed

aten = torch.ops.aten

RECURRENT = "lstm", "gru", "rnn_tanh", "rnn_relu"
"""Operations that begin with others, for their first state, which say nothing to a reader."""

SUBSTITUTES = {
    "gelu mish hardswish elu selu celu tanh hardsigmoid leaky_relu softplus": (
        "use ReLU, SiLU or a sigmoid in its place"
    ),
    "hardtanh clamp clamp_min": "use ReLU or ReLU6 in its place",
    "prelu _prelu_kernel": "use ReLU in its place",
    "softmax log_softmax _softmax _log_softmax": (
        "leave it to the loss: the largest result is the same without"
    ),
    "layer_norm group_norm instance_norm rms_norm": "use batch normalisation in its place",
    " ".join(RECURRENT): "use convolutions over time in its place",
    "avg_pool1d avg_pool2d adaptive_avg_pool1d adaptive_avg_pool2d": (
        "average windows that divide the input, zeros of a padding counted"
    ),
    "adaptive_max_pool1d adaptive_max_pool2d": "use a max-pool with a window in its place",
    "sub rsub div": "use sums and products in its place, a constant going into the layer before",
    "constant_pad_nd pad reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d": (
        "have the convolution pad with zeros"
    ),
    "chunk split split_with_sizes": "use two convolutions in its place",
    "upsample_nearest1d upsample_nearest2d upsample_linear1d upsample_bilinear2d "
    "upsample_bicubic2d repeat repeat_interleave pixel_shuffle": (
        "work on one size, or enlarge the result outside of the network"
    ),
    "conv3d max_pool3d avg_pool3d": "use two dimensions in its place",
}
"""What to do about operations of PyTorch, by their names; docs/microcontroller.md lists them."""


SOMETIMES = {
    *("hardtanh", "clamp", "clamp_min", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d"),
    *("adaptive_avg_pool2d", "sub", "rsub", "div"),
}
"""Those of them that are written in other forms."""

NEVER = frozenset(name for names in SUBSTITUTES for name in names.split()) - SOMETIMES
"""Those that are not written in any."""


def layer_of(step: Step) -> str:
    """A step as its author knows it: by its module, or by the name of its result."""
    return step.module or step.name.removesuffix(KEPT)


def refused(step: Step, why: str, what: str) -> ValueError:
    """The error that names a layer, what stops it, and what to do."""
    return _sentence(repr(layer_of(step)), why, what)


def check_operations(network: Network) -> None:
    """Refuse operations of `NEVER`, all of them in one sentence and recurrent layers first.

    Raises:
        ValueError: If the network has one.
    """
    odd = [step for step in network.steps if packet(step) is not None and _name(step) in NEVER]
    if not odd:
        return
    odd.sort(key=lambda step: _name(step) not in RECURRENT)
    error, first = no_kernel(network, odd[0]), layer_of(odd[0])
    more = {layer_of(step): _name(step) for step in odd if layer_of(step) != first}
    if not more:
        raise error
    each = [f"{layer!r} runs {name} ({_remedy(name)})" for layer, name in more.items()]
    raise ValueError(f"{error}. Nor are these: {listed(each, len(each))}")


def reads_constant(network: Network, step: Step, name: str) -> ValueError:
    """The error for a step that reads a constant where operators take what others make."""
    does = "reads" if network.called(step) else f"runs {_name(step)} on"
    who = repr(step.module) if step.module else "the model's own forward pass"
    why = f"{does} {_constant(name)}, which depends on no input of the network"
    return _sentence(who, why, "add constants to what layers make, or multiply it by them")


def returns_constant(name: str) -> ValueError:
    """The error for a network that returns what is the same for every input."""
    return _sentence(
        "the model",
        f"returns {_constant(name)}, which depends on no input of the network",
        "leave it out of what forward returns",
    )


def _constant(name: str) -> str:
    """A constant by the operation that makes it, or by its name in the model."""
    place, _, made = name.partition(".")
    return f"what {made!r} makes of constants" if place.rstrip("_") == PLACE else repr(name)


def no_kernel(network: Network, step: Step) -> ValueError:
    """The error for a step that is not written in integers."""
    called = network.called(step)
    if called is not None:
        return _module(network, step, called)
    if lopsided(network, step):
        why = "pads one side more than the other (padding='same' with an even kernel)"
        return refused(step, why, "take an odd kernel, or pad both sides by the same number")
    name = _name(_main(network, step))
    what = _remedy(name)
    who = repr(step.module) if step.module else "the model's own forward pass"
    return _sentence(who, f"runs {name}, which this library does not write as integers", what)


def _remedy(name: str) -> str:
    """What to do about an operation of this name."""
    known = (what for names, what in SUBSTITUTES.items() if name in names.split())
    return next(known, "write it with convolutions, sums, products, ReLU and pools")


def _sentence(who: str, why: str, what: str) -> ValueError:
    return ValueError(f"export: {who} {why}, so that no .tflite is written: {what}")


def _main(network: Network, step: Step) -> Step:
    """The recurrent operation of a step's module, if there is one; else the step."""
    same = (other for other in network.steps if step.module and other.module == step.module)
    return next((other for other in same if _name(other) in RECURRENT), step)


def _module(network: Network, step: Step, called: nn.Module) -> ValueError:
    if isinstance(called, IntTransposed):
        why = "is a transposed convolution, which this library does not write as integers"
        return refused(step, why, "work on one size, or enlarge the result outside of the network")
    if isinstance(called, IntConv | IntLinear):
        weight = network.tensor(step.args[1])
        inputs = weight[0].numel()
        why = f"adds up {inputs:,} products, more than 32 bits may hold"
        return refused(step, why, "split its input, or take fewer channels")
    if isinstance(called, Requantise):
        why = "reads values that are computed in floating point"
        return refused(step, why, "leave the operations before it out, or use others")
    if isinstance(called, Scale):
        why = "normalises values that are not rounded"
        return refused(step, why, "normalise the input before the network, or convolve it first")
    return refused(step, f"is a {type(called).__name__}", "write it with convolutions and sums")


def _name(step: Step) -> str:
    found: Value = packet(step)
    if found is not None:
        return str(found).rpartition(".")[2]
    op: Callable[..., Value] | str = step.op
    return op if isinstance(op, str) else op.__name__
