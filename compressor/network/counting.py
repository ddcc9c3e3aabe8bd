"""Cost of a network, read off its steps: a second opinion on what `compressor.measure` counts.

`measure` runs a model under PyTorch's counter. Here the multiply-accumulates of a step follow from
the shapes of its weight and of its result. It is how a file is counted that was just read back.
"""

from __future__ import annotations

from math import prod

import torch

from compressor.counting.stored import COUNTED, Integral
from compressor.graph.kinds import Kind
from compressor.graph.operations import operation_of
from compressor.inputs.tensors import leaves
from compressor.network.core import Network
from compressor.network.integer import IntTransposed
from compressor.network.roles import source
from compressor.network.steps import Ref, Step, Value, Weight

_CONVOLUTIONS = (Kind.CONVOLUTION, Kind.TRANSPOSED)
_LAYERS = (
    Kind.RECURRENT, Kind.LINEAR, Kind.BATCH_NORM, Kind.LAYER_NORM, Kind.GROUP_NORM, Kind.PRELU,
    Kind.EMBEDDING, Kind.BAGS, Kind.BILINEAR,
)  # fmt: skip
"""Operations that are a layer of PyTorch's, with parameters of its own."""
_NAMES = ("weight", "bias")
"""Parts of a parameter's name."""
_UNREAD = ["attention", "einsum", "addmm", "baddbmm", "mv", "dot", "bilinear"]


def multiply_accumulates(network: Network) -> int | None:
    """Multiply-accumulates of one input; None where a step multiplies in a way not read here.

    Called modules that hold a weight (layers of integers) take it as their second argument.
    """
    found = [_step(network, step) for step in network.steps]
    known = [macs for macs in found if macs is not None]
    return sum(known) if len(known) == len(found) else None


def torchinfo_macs(network: Network) -> int:
    """Mult-adds of one input by the rule of torchinfo (`compressor.rules.counters`), step by step.

    Where a class has "Conv" in its name there, here a step is a convolution: weights and biases
    count once for every position of its output. Weights and biases of other layers count once for
    every entry of the first dimension of the output, which is no batch where time or frames come
    first; of recurrent ones of the first two. Of an operation with several outputs the first is
    meant, as there, whichever is read. A layer of integers is the layer with its normalisation
    folded: every output is a bias away from a sum. What calls a function there counts nothing, and
    here as a layer: a list of operations cannot tell them apart.
    """
    return sum(_by_torchinfo(network, step) for step in network.steps)


def entries(network: Network) -> tuple[int, int]:
    """Entries of all parameters and integer weights, and how many of them are not zero."""
    tensors = {id(t): t for t in network.parameters()}
    tensors |= {id(t): t for t in network.buffers() if t.dtype == torch.int8}
    counted = tensors.values()
    return sum(t.numel() for t in counted), sum(int(t.count_nonzero()) for t in counted)


def _by_torchinfo(network: Network, step: Step) -> int:
    kind = operation_of(step.op).kind
    if kind in _CONVOLUTIONS:
        given = [step.argument(name) for name in ("weight", "bias")]
        once = sum(prod(_shape(network, value)) for value in given if value is not None)
        return once * _positions(network.firsts[step.name])
    module = network.called(step)
    if module is not None:
        return _integers(network, step) if isinstance(module, Integral) else 0
    if kind not in _LAYERS:
        return 0
    once = sum(network.tensor(name).numel() for name in _parameters(network, step))
    return once * prod(network.firsts[step.name][: 2 if kind is Kind.RECURRENT else 1])


def _positions(result: tuple[int, ...]) -> int:
    """Positions of a convolution's output, those of all that are in the place of a batch."""
    return prod(result[:1] + result[2:])


def _integers(network: Network, step: Step) -> int:
    """Count a layer of integers, or a normalisation that is an operation of its own."""
    module = network.called(step) or network
    result = network.firsts[step.name]
    weight = step.args[1] if len(step.args) > 1 else None
    if not isinstance(weight, Weight):
        held = [s.tensor for s in network.stored() if s.role in COUNTED]
        mine = {id(t) for t in module.buffers(recurse=False)}
        return sum(t.numel() for t in held if id(t) in mine) * prod(result[:1])
    kernel = _shape(network, weight)
    if len(kernel) == 2:
        return (prod(kernel) + module.get_buffer("bias").numel()) * prod(result[:1])
    return prod(kernel) * _positions(result) + prod(result)


def _parameters(network: Network, step: Step) -> list[str]:
    """Names of the parameters that a step reads, of those that torchinfo knows by their names."""
    given = (*step.args, *step.kwargs.values())
    flat = [leaf for value in given for leaf in (value if isinstance(value, tuple) else (value,))]
    names = {source(leaf, network.producer) for leaf in flat} - {None}
    known = [str(n) for n in names if any(k in str(n).rpartition(".")[2] for k in _NAMES)]
    roles = {id(s.tensor): s.role for s in network.stored()}
    return [name for name in known if roles[id(network.tensor(name))] in COUNTED]


def _step(network: Network, step: Step) -> int | None:
    kind, shapes = operation_of(step.op).kind, network.shapes
    if kind in (Kind.PRODUCT, Kind.BATCHED):
        left, right = (_shape(network, arg) for arg in step.args[:2])
        return prod(left) * (right[-1] if len(right) > 1 else 1) if left and right else None
    if isinstance(step.op, str):
        return _called(network, step)
    if kind in (Kind.CONVOLUTION, Kind.LINEAR):
        linear = kind is Kind.LINEAR
        return _applied(_shape(network, step.args[1]), shapes[step.name], last=linear)
    if kind is Kind.TRANSPOSED:
        return _spread(_shape(network, step.args[1]), _shape(network, step.args[0]))
    if kind is Kind.RECURRENT:
        return _recurrent(network, step)
    return None if any(name in str(step.op) for name in _UNREAD) else 0


def _recurrent(network: Network, step: Step) -> int:
    """Count a recurrent layer: every matrix once for every vector of the input."""
    steps = prod(_shape(network, step.args[0])[:-1])
    given = [_shape(network, value) for value in leaves(step.args[2:])]
    return steps * sum(prod(shape) for shape in given if len(shape) == 2)


def _called(network: Network, step: Step) -> int:
    """Count a submodule, which multiplies by its second argument if that is a weight."""
    given, weight = (*step.args, None, None)[:2]
    if not isinstance(weight, Weight):
        return 0
    kernel = tuple(network.tensor(weight).shape)
    if isinstance(network.called(step), IntTransposed):
        return _spread(kernel, _shape(network, given))
    return _applied(kernel, network.shapes[step.name])


def _applied(kernel: tuple[int, ...], result: tuple[int, ...], *, last: bool = False) -> int:
    """A kernel (outputs, ...) applied once for every position of the result."""
    if last or len(kernel) == 2:
        return prod(kernel) * prod(result[:-1])
    return prod(kernel) * _moves(kernel, result)


def _spread(kernel: tuple[int, ...], source: tuple[int, ...]) -> int:
    """A kernel (inputs, ...) applied once for every position of what it is applied to."""
    return prod(kernel) * _moves(kernel, source)


def _moves(kernel: tuple[int, ...], shape: tuple[int, ...]) -> int:
    """Entries of a channel of (channels, ...), or of (frames, channels, ...) that take turns."""
    return prod(shape[: 1 - len(kernel)]) * prod(shape[2 - len(kernel) :])


def _shape(network: Network, value: Value) -> tuple[int, ...]:
    if isinstance(value, Weight):
        return tuple(network.tensor(value).shape)
    return network.shapes.get(value.name, ()) if isinstance(value, Ref) else ()
