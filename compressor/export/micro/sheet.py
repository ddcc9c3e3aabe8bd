"""A network that is being written as a program: what is written already, and where it lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from compressor.export.micro.draft import Draft
from compressor.export.micro.layout import Held, Shape, axis, channels_last, placed, plain
from compressor.export.micro.operations import (
    Cut,
    Floated,
    Operation,
    Padded,
    Pair,
    Part,
    Reshaped,
)
from compressor.export.micro.program import (
    Numbers,
    Port,
    Program,
    Steps,
)
from compressor.export.micro.program import Tensor as Entry
from compressor.export.micro.refusals import (
    layer_of,
    no_kernel,
    reads_constant,
    refused,
    returns_constant,
)
from compressor.inputs.tensors import leaves
from compressor.network import Network, Ref, Step, Weight, packet
from compressor.network.integer import Requantise
from compressor.network.steps import Value
from compressor.quantization.chains import only_reader
from compressor.quantization.grids import requantise
from compressor.quantization.place import cut

aten = torch.ops.aten

INT8 = np.dtype(np.int8)

FLOAT32 = np.dtype(np.float32)

ENDS = (-128, 127)
"""The smallest and the largest integer of an activation."""


class Sheet:
    """A program under way.

    Attributes:
        network: What is written.
        draft: Tensors and operators so far.
        held: Results of the network that are there already, by name.
        by_kernel: Layers that pad by further entries of their kernels.
    """

    def __init__(self, network: Network, by_kernel: Sequence[str] = ()) -> None:
        """Nothing but the inputs, on no grid and in no order yet."""
        self.network = network
        self.draft = Draft()
        self.by_kernel = frozenset(by_kernel)
        self.held: dict[str, Held] = {}
        self._orders: dict[int, Numbers] = {}
        self._floated: dict[int, int] = {}
        for name, x in zip(network.inputs, network.example, strict=True):
            shape = tuple(x.shape)
            number = self.draft.add(Entry(shape, FLOAT32, name=name))
            self.held[name] = Held(number, shape, None)

    def program(self) -> Program:
        """What was written, with the network's inputs and outputs."""
        returned = list(leaves(self.network.outputs))
        fixed = [leaf.name for leaf in returned if isinstance(leaf, Weight)]
        if fixed:
            raise returns_constant(fixed[0])
        found = [leaf for leaf in returned if isinstance(leaf, Ref)]
        return Program(
            tuple(self.draft.tensors),
            tuple(self.draft.operators),
            tuple(self._port(Ref(name)) for name in self.network.inputs),
            tuple(self._port(ref) for ref in found),
        )

    def entry(self, number: int) -> Entry:
        """A tensor of the program."""
        return self.draft.tensors[number]

    def steps(self, number: int) -> Steps:
        """The grid of a tensor that is known to have one."""
        found = self.entry(number).steps
        if found is None:
            raise ValueError(f"tensor {number} of the program is on no grid")
        return found

    def read(self, step: Step, value: Value) -> Held:
        """What a step reads, which an operator has to have made, or the file to be given."""
        held = self.held.get(value.name) if isinstance(value, Ref) else None
        if held is None:
            name = value.name if isinstance(value, Ref | Weight) else value
            raise reads_constant(self.network, step, str(name))
        return held

    def rounded(self, step: Step, value: Value) -> Held:
        """What a step reads, which has to be on a grid."""
        held = self.read(step, value)
        if self.entry(held.tensor).steps is None:
            raise no_kernel(self.network, step)
        return held

    def fresh(self, held: Held) -> bool:
        """True if it is an input that nobody has read yet."""
        given = {self.held[name].tensor for name in self.network.inputs}
        read = {number for operator in self.draft.operators for number in operator.inputs}
        return held.tensor in given - read

    def begin(self, step: Step, grid: Requantise) -> None:
        """Put an input on its grid: the file takes integers."""
        held = self.held[step.args[0].name]
        entry = replace(self.entry(held.tensor), dtype=INT8, steps=steps_of(grid))
        self.draft.tensors[held.tensor] = entry
        self.held[step.name] = held

    def order(self, held: Held, wanted: Numbers, shape: Shape) -> Numbers:
        """The order of a tensor; an input without one gets the wanted one, and a shape."""
        if held.order is not None:
            return held.order
        if held.tensor not in self._orders:
            self._orders[held.tensor] = wanted
            self.draft.tensors[held.tensor] = replace(self.entry(held.tensor), shape=shape)
        return self._orders[held.tensor]

    def wanted(self, step: Step, value: Value) -> int:
        """The number of what a step reads, channels last, in a shape that says so."""
        return self.channels_last(step, self.rounded(step, value))

    def floated(self, step: Step, value: Value) -> int:
        """The same in float32, which a grid is left for where the value stands on one."""
        held = self.read(step, value)
        number = self.channels_last(step, held)
        if self.entry(number).steps is None:
            return number
        if number not in self._floated:
            result = Entry(self.entry(number).shape, FLOAT32, name=value.name)
            self._floated[number] = self.draft.run(Floated(), [number], result, layer_of(step))
        return self._floated[number]

    def channels_last(self, step: Step, held: Held) -> int:
        """The number of a tensor that holds a result with its channels last."""
        if not 2 <= len(held.shape) <= 4:
            raise refused(
                step,
                f"reads {len(held.shape)} dimensions",
                "bring it to a batch, channels and one or two more",
            )
        wanted, shape = channels_last(held.shape), placed(held.shape)
        if not np.array_equal(self.order(held, wanted, shape), wanted):
            raise refused(
                step,
                f"reads values {held.shape} whose channels do not lie last in memory, and would "
                "need a TRANSPOSE",
                "leave views and permutations between layers out",
            )
        return self.shaped(held.tensor, shape, step)

    def shaped(self, number: int, shape: Shape, step: Step) -> int:
        """A tensor in another shape of the same bytes."""
        entry = self.entry(number)
        if entry.shape == shape:
            return number
        result = Entry(shape, entry.dtype, entry.steps, name=entry.name)
        inputs = number, self.draft.whole(shape)
        return self.draft.run(Reshaped(), inputs, result, layer_of(step))

    def run(
        self, operation: Operation, inputs: Sequence[int], shape: Shape, steps: Steps, step: Step
    ) -> int:
        """Append an operator with an int8 result."""
        result = Entry(shape, INT8, steps, name=step.name)
        return self.draft.run(operation, inputs, result, layer_of(step))

    def keep(self, step: Step, number: int, order: Numbers | None = None) -> None:
        """Say which tensor holds the result of a step, channels last unless an order is given."""
        shape = self.network.shapes[step.name]
        self.held[step.name] = Held(number, shape, channels_last(shape) if order is None else order)

    def padded(self, number: int, pads: tuple[Pair, Pair], step: Step) -> int:
        """A tensor with zeros around its rows and columns."""
        entry = self.entry(number)
        around = ((0, 0), *pads, (0, 0))
        shape = tuple(n + sum(ends) for n, ends in zip(entry.shape, around, strict=True))
        inputs = number, self.draft.whole(around)
        return self.run(Padded(), inputs, shape, self.steps(number), step)

    def part(self, number: int, at: int, ends: Pair, step: Step) -> int:
        """A part of a tensor along one axis, the whole of it where that is all."""
        entry = self.entry(number)
        if ends == (0, entry.shape[at]):
            return number
        begin = [ends[0] if n == at else 0 for n in range(len(entry.shape))]
        shape = tuple(ends[1] - ends[0] if n == at else s for n, s in enumerate(entry.shape))
        inputs = number, self.draft.whole(begin), self.draft.whole(shape)
        return self.run(Part(), inputs, shape, self.steps(number), step)

    def _port(self, ref: Ref) -> Port:
        held = self.held[ref.name]
        if self.fresh(held):
            raise ValueError(
                f"export: the input {ref.name!r} is read by no operation, so that no .tflite is "
                "written: leave it out of the network"
            )
        order = self.order(held, plain(held.shape), held.shape)
        return Port(held.tensor, held.shape, order)


def steps_of(grid: Requantise) -> Steps:
    """The grid of integers that a quantiser moves values to."""
    return Steps(numbers(grid.scale).reshape(1), grid.grid.zero)


def goal(network: Network, step: Step) -> tuple[Steps, Cut]:
    """The grid that a result goes to, and the limits on the way beside those of the grid.

    Raises:
        ValueError: If it goes to none, or a limit is one that operators do not know.
    """
    low, high = ENDS
    bounds: list[tuple[float | None, float | None]] = []
    reader = only_reader(network, step.name)
    while reader is not None and ((found := cut(reader)) or packet(reader) is aten.cat):
        bounds += [] if found is None else [found]  # a part of what is put together has its grid
        reader = only_reader(network, reader.name)
    grid = None if reader is None else requantise(network, reader)
    if grid is None:
        raise no_kernel(network, step)
    zero, scale = grid.grid.zero, steps_of(grid).scale
    for least, most in bounds:
        low = low if least is None else max(low, zero + _whole(least, scale))
        high = high if most is None else min(high, zero + _whole(most, scale))
    for kind in Cut:
        least, most = kind.value
        ends = (
            ENDS[0] if least is None else max(ENDS[0], zero + _whole(least, scale)),
            ENDS[1] if most is None else min(ENDS[1], zero + _whole(most, scale)),
        )
        if ends == (low, high):
            return steps_of(grid), kind
    raise refused(
        step,
        f"is limited to {bounds}, which no operator is",
        "use ReLU or ReLU6 in its place",
    )


def uncut(network: Network, step: Step) -> Steps:
    """The grid that a result goes to, where no operator could limit it further."""
    steps, kind = goal(network, step)
    if kind is not Cut.NONE:
        raise refused(step, f"is limited by {kind.name} on its way", "limit it before, or not")
    return steps


def numbers(tensor: Tensor) -> Numbers:
    """The content of a tensor."""
    return tensor.detach().cpu().numpy()


def turned(held: Held, order: Numbers, dims: Sequence[int]) -> Numbers:
    """The order of a permutation of a result whose order is known."""
    places = plain(held.shape).reshape(held.shape).transpose(dims).reshape(-1)
    return np.argsort(places)[order]


def along(dim: int, held: Held) -> int:
    """The axis in memory of a dimension of a result."""
    return axis(dim, len(held.shape))


def _whole(limit: float, scale: np.float32) -> int:
    """A limit in steps, halves away from zero, as runtimes round it."""
    steps = float(np.float32(limit) / scale)
    return math.floor(steps + 0.5) if steps > 0 else -math.floor(0.5 - steps)
