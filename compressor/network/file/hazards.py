"""Dangers of an operation whose arguments are of the declared types.

A result without memory tells its size, and most operations say themselves what they cannot take.
Here is the rest: results of too many tensors, kernels that believe sizes which nobody compares, and
one operation whose result is as large as a tensor says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from compressor.network.steps import Step, Value, Weight, packet

if TYPE_CHECKING:
    from compressor.network.core import Network

aten = torch.ops.aten

PIECES = 1 << 14
"""Tensors that one step may make: each takes a kilobyte, however small it is."""

FACTORS = 64
"""Matrices that one step may multiply: their best order is sought in cubic time."""

_SPLITS = (aten.split, aten.chunk, aten.unsafe_chunk, aten.tensor_split, aten.unbind)
_GATES = {aten.lstm.input: 4, aten.gru.input: 3, aten.rnn_tanh.input: 1, aten.rnn_relu.input: 1}
_CHAINS = (aten.linalg_multi_dot, aten.chain_matmul)
_COUNTS = ("chunks", "sections")
_SIZES = ("split_size", "split_sizes")


def refuse_crowds(op: OpOverload, given: Mapping[str, Any]) -> None:
    """Refuse to cut a tensor into more than `PIECES`, to multiply more than `FACTORS` matrices."""
    if op.overloadpacket in _CHAINS:
        count = max(len(value) for value in given.values())
        if count > FACTORS:
            raise ValueError(f"{count:,} matrices would be multiplied, and {FACTORS} may be")
    if op.overloadpacket not in _SPLITS:
        return
    x, dim = given.get("self"), given.get("dim", 0)
    length = x.shape[dim] if isinstance(x, Tensor) and -x.dim() <= dim < x.dim() else 0
    sizes = [size for name in _SIZES if isinstance(size := given.get(name), int) and size > 0]
    counts = [given.get(name, 0) for name in _COUNTS] + [-(-length // size) for size in sizes]
    count = max(*counts, length if op.overloadpacket is aten.unbind else 0)
    if count > PIECES:
        raise ValueError(f"a tensor would be cut into {count:,} pieces, and {PIECES:,} may be")


def refuse_recurrence(op: OpOverload, given: Mapping[str, Any]) -> None:
    """Refuse recurrent layers whose tensors do not fit each other in shape or data type.

    Their kernels believe that states and weights have the sizes which the first weight says, and
    read and write beyond their memory where they have not.
    """
    gates = _GATES.get(op)
    if gates is None:
        return
    x, state, params = given["input"], given["hx"], given["params"]
    states = list(state) if isinstance(state, list | tuple) else [state]
    tensors = [x, *states, *params]
    if not all(isinstance(t, Tensor) and t.dtype is tensors[0].dtype for t in tensors):
        raise ValueError("the tensors of a recurrent layer are of several data types, or numbers")
    if x.dim() != 3 or len(states) != (2 if gates == 4 else 1):
        raise ValueError(f"a recurrent layer gets {len(states)} states and {x.dim()} dimensions")
    directions, layers = 1 + given["bidirectional"], given["num_layers"]
    each = 4 if given["has_biases"] else 2
    projected = gates == 4 and len(params) == directions * layers * (each + 1)
    each += projected
    if layers < 1 or len(params) != directions * layers * each:
        raise ValueError(f"{layers} recurrent layers are given {len(params)} weights")
    batch, hidden = x.shape[0 if given["batch_first"] else 1], states[-1].shape[-1:].numel()
    out = params[each - 1].shape[0] if projected else hidden
    wanted = [(directions * layers, batch, out), (directions * layers, batch, hidden)]
    shapes = wanted[: len(states)]
    for number in range(directions * layers):
        size = x.shape[2] if number < directions else directions * out
        shapes += [(gates * hidden, size), (gates * hidden, out)]
        shapes += [(gates * hidden,)] * 2 if given["has_biases"] else []
        shapes += [(out, hidden)] if projected else []
    for tensor, shape in zip((*states, *params), shapes, strict=True):
        if tuple(tensor.shape) != shape:
            raise ValueError(f"a recurrent layer needs {shape} where it is given {tensor.shape}")


def refuse_weight_norm(op: OpOverload, given: Mapping[str, Any]) -> None:
    """Refuse a weight normalisation whose magnitudes are not one for each channel, of its type.

    Its kernel believes that they are, and reads and writes beyond them where they are not.
    """
    if op is not aten._weight_norm.default:  # noqa: SLF001 - the name of what the export gives
        return
    v, g, dim = given["v"], given["g"], given.get("dim", 0)
    if not isinstance(v, Tensor) or not isinstance(g, Tensor) or v.dtype is not g.dtype:
        raise ValueError("directions and magnitudes of a weight are of several data types")
    ends = {0, v.dim() - 1}
    wanted = [size if at == dim else 1 for at, size in enumerate(v.shape)]
    if dim in ends and list(g.shape) != wanted:
        raise ValueError(f"magnitudes of {tuple(v.shape)} are {wanted} and not {list(g.shape)}")


def repeats(network: Network, step: Step) -> int | None:
    """Length of what `repeat_interleave` makes of as many repeats as a tensor says; else None.

    Its kernel believes the length that it is told, and writes beyond its memory where the repeats
    add up to another. So these have to be known, made by a step of constants, or stored in a
    network of which no step writes, and add up to it: else a ValueError.
    """
    if step.op is not aten.repeat_interleave.self_Tensor:
        return None
    total = _total(network, step.argument("repeats"))
    said = step.argument("output_size")
    if total is None or said not in (None, total) or any(other.writes for other in network.steps):
        raise ValueError(
            f"entries are to be repeated as often as a tensor says, {total} times altogether, and "
            f"the result is said to have a length of {said}: give the repeats as a number"
        )
    return total


def _total(network: Network, value: Value) -> int | None:
    """The sum of a tensor of constants, none of them negative."""
    made = network.producer(value)
    if isinstance(value, Weight):
        held = network.tensor(value)
        negative = held.dtype.is_floating_point or bool((held < 0).any())
        return None if negative else int(held.sum())
    if made is not None and packet(made) is aten.lift_fresh_copy and made.args:
        return _total(network, made.args[0])
    if made is None or packet(made) is not aten.full or len(made.args) != 2:
        return None
    size, times = made.args
    if not isinstance(size, tuple) or len(size) != 1:
        return None
    known = type(size[0]) is int and type(times) is int and min(size[0], times) >= 0
    return size[0] * times if known else None
