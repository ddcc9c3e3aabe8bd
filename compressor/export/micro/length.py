"""The length of a program's file, whatever is trained and at any widths, before it is written.

What a file takes is known from counts and shapes but for three things that numbers decide. Equal
contents are stored once: here no two that are trained are (`compressor.export.micro.apart`). Limits
such as ReLU6's are a field of their layer where the grid reaches beyond them: here they always are.
And contents lie on multiples of 16 bytes: as a file is written in one order, and what is left out
of it brings nothing further away, a file with more parts is never shorter.

By the widths, a file has a byte for an entry of the weights, and for every channel that a layer
makes 4 bytes of bias, 4 of the weight's scale, 4 of the bias' scale, and 8 of zero points, which
all layers with as many channels share. What is shared and what aligned is no polynomial of the
widths; but the length is known at all of them, and lies above one (`Length`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from compressor.allocation.bounded import Bounded
from compressor.allocation.memory import total
from compressor.allocation.problem import Integers
from compressor.export.micro.apart import Content, Place, constants, told_apart
from compressor.export.micro.flatbuffer import ALIGNED
from compressor.export.micro.layers import LONG
from compressor.export.micro.operations import Convolution, Depthwise, Product, Reshaped, Sum, Times
from compressor.export.micro.program import Operator, Program, Tensor
from compressor.export.micro.widths import Sizes
from compressor.export.micro.writing import written
from compressor.graph.graph import Dim, Graph, Polynomial
from compressor.network import Network
from compressor.network.fixed import FixedMean
from compressor.quantization.place import cut

SCALE = 4
"""Bytes of a scale."""

ZERO = 8
"""Bytes of a zero point; so many more are those of a row of them and its alignment."""

FIELD = 4
"""Bytes of a limit among the settings of an operator."""

VTABLE = 24
"""Bytes that the description of such settings has at most."""

NEAR = 64
"""Bytes to which a row that joins is exact, so that few have to."""


@dataclass(frozen=True)
class Parts:
    """What the bytes of a file are.

    Attributes:
        weights: Weights and biases.
        scales: Their scales and zero points.
        rest: Operators, tensors, shapes, and the tables of them.
    """

    weights: int
    scales: int
    rest: int

    def __str__(self) -> str:
        """For people."""
        return (
            f"{self.weights:,} of weights and biases, {self.scales:,} of scales and zero points, "
            f"{self.rest:,} of operators, tensors and their tables"
        )


def longest(program: Program, network: Network) -> int:
    """Most bytes that the file of a program can have, whatever its weights and scales become.

    Args:
        program: Translated from the network.
        network: Of integers, with any scales.

    Raises:
        ImportError: If flatbuffers is missing.
    """
    return _length(told_apart(program, _means(network))) + _limits(program, network)


def parts(program: Program, network: Network) -> Parts:
    """What these bytes are; arguments and errors as of `longest`."""
    held = [Content.of(tensor) for tensor in constants(program).values()]
    return _parts(held, longest(program, network))


def _parts(held: Collection[Content], whole: int) -> Parts:
    weights = sum(content.bytes for content in held)
    counts = [content.scales for content in held]
    scales = SCALE * sum(counts) + ZERO * sum({*counts})
    return Parts(weights, scales, whole - weights - scales)


def _length(program: Program) -> int:
    return len(written(program, dict.fromkeys(program.lifetimes(), 0)))


def _means(network: Network) -> frozenset[str]:
    """Results whose weights are those of a mean, which nothing trains."""
    return frozenset(s.name for s in network.steps if isinstance(network.called(s), FixedMean))


def _limits(program: Program, network: Network) -> int:
    """Bytes of the limits that layers may have, and of one more zero point."""
    found = (cut(step) for step in network.steps)
    some = sum(limits is not None and limits[1] is not None for limits in found)
    kinds = {type(operator.operation) for operator in program.operators}
    able = sum(issubclass(kind, Convolution | Product | Sum | Times) for kind in kinds)
    return FIELD * some + VTABLE * able * bool(some) + 2 * ZERO


def _for_mean(program: Program, reshaped: Operator, means: Collection[str]) -> bool:
    """True if a mean reads what an operator has brought to another shape."""
    read = (o for o in program.operators if reshaped.outputs[0] in o.inputs)
    return any(program.tensors[o.outputs[0]].name in means for o in read)


class Length(Bounded):
    """`longest` of the programs of all structures of a graph.

    A structure whose program has other operators or kernels than this one
    (`compressor.export.micro.thrift`) may take some more or less.
    """

    def __init__(self, program: Program, network: Network, graph: Graph) -> None:
        """Arguments as of `compressor.export.micro.widths.memory_of`.

        Raises:
            ImportError: If flatbuffers is missing.
            ValueError: As `memory_of`.
        """
        counted = _Counted(program, network, graph)
        self._program, self._means = program, _means(network)
        self._limits = _limits(program, network)
        self._channels, self._held = counted.channels, counted.held
        self._planes = counted.planes
        self._known: dict[bytes, int] = {}
        self.least = self._least(graph.sizes)

    def __call__(self, widths: Integers) -> int:
        """Bytes at these widths."""
        key = np.asarray(widths, dtype=np.int64).tobytes()
        if key not in self._known:
            channels = {n: count(widths) for n, count in self._channels.items()}
            apart = told_apart(self._program, self._means, channels, self._contents(widths))
            self._known[key] = _length(apart) + self._limits + self._more(widths)
        return self._known[key]

    def told(self, widths: Integers) -> str:
        """Bytes at these widths, and what they are."""
        return f"{self(widths):,}: {_parts(self._contents(widths).values(), self(widths))}"

    def rows(self, largest: Integers, cap: int) -> dict[str, Polynomial]:
        """All that is never less: with shapes and zero points shared, and nothing aligned."""
        del largest, cap
        return {"least": self.least}

    def exceeded(self, widths: Integers, smallest: Integers, cap: int) -> dict[str, Polynomial]:
        """The same with what these widths have more, rounded up."""
        if self(widths) <= cap:
            return {}
        more = -(-(self(widths) - self.least(widths)) // NEAR) * NEAR
        more = min(more, cap - self.least(smallest))
        return {f"{more:,} more": replace(self.least, const=self.least.const + more)}

    def _more(self, widths: Integers) -> int:
        """Bytes of the weights and biases of means that have one for every channel here."""
        return sum(plane.more(widths) for plane in self._planes)

    def _contents(self, widths: Integers) -> dict[Place, Content]:
        return {place: held.at(widths) for place, held in self._held.items()}

    def _least(self, sizes: Integers) -> Polynomial:
        """A polynomial that is never above.

        With all results as wide, as shapes are shared most then, one row of zero points, and
        without what brings contents to their places.
        """
        alike = dict.fromkeys(range(len(self._program.tensors)), 0)
        contents = {
            place: replace(content, shape=self._held[place].alike)
            for place, content in self._contents(sizes).items()
        }
        shortest = _length(told_apart(self._program, self._means, alike, contents))
        costs = [cost for held in self._held.values() for cost in held.costs]
        # Rows of zero points are as long as rows of scales, and as many as there are lengths.
        rows = {content.scales for content in contents.values()} - {0, 1}
        zeros = max(
            (held.scales for held in self._held.values()), key=lambda c: c(sizes), default=None
        )
        varying = total([*costs, *([] if zeros is None else [times(zeros, ZERO)])])
        moved = ALIGNED * len(contents) + sum(ZERO * (n + 1) for n in rows)
        const = shortest + self._limits - moved - total(costs)(sizes)
        return replace(varying, const=varying.const + const)


@dataclass(frozen=True, eq=False)
class _Held:
    """A constant by the widths.

    Attributes:
        bytes: Of its content.
        scales: Number of its scales.
        shape: Its shape.
    """

    bytes: Polynomial
    scales: Polynomial
    shape: tuple[Polynomial, ...]

    @property
    def costs(self) -> tuple[Polynomial, ...]:
        """Its bytes and those of its scales."""
        return self.bytes, times(self.scales, SCALE)

    @property
    def alike(self) -> tuple[int, ...]:
        """A shape that is the same for all widths."""
        return tuple(0 if any((*n.linear, *n.coefs, *n.rates)) else n.const for n in self.shape)

    def at(self, widths: Integers) -> Content:
        """It at these widths."""
        shape = tuple(size(widths) for size in self.shape)
        return Content(self.bytes(widths), self.scales(widths), shape)


@dataclass(frozen=True, eq=False)
class _Plane:
    """What a mean with one weight for all channels is of; see `compressor.export.micro.layers`.

    Attributes:
        size: Its bytes.
        places: Of each channel.
        before: What every operator before it reads and makes, in bytes.
    """

    size: Polynomial
    places: int
    before: tuple[Polynomial, ...]

    def more(self, widths: Integers) -> int:
        """Bytes of a weight and a bias for every channel instead, where the mean has them."""
        size = self.size(widths)
        one = LONG <= size <= max(moment(widths) for moment in self.before) // 2
        return 0 if one else size + 4 * size // self.places - self.places - 4


def times(cost: Polynomial, price: int) -> Polynomial:
    """A cost so many times."""
    parts = [[cost.const], cost.linear, cost.coefs, cost.rates]
    (const,), linear, coefs, rates = (tuple(n * price for n in each) for each in parts)
    return replace(cost, const=const, linear=linear, coefs=coefs, rates=rates)


class _Counted:
    """The constants and channels of a program by the widths of a graph.

    Attributes:
        held: Constants, by their place.
        channels: Of results, by their number.
        planes: What means with one weight for all channels are of.
    """

    def __init__(self, program: Program, network: Network, graph: Graph) -> None:
        self._graph, self._sizes = graph, Sizes(program, network, graph)
        self.channels: dict[int, Polynomial] = {}
        for number, sized in self._sizes.all().items():
            if sized.last is not None and not sized.last.fixed:
                self.channels[number] = graph.combined(1, (sized.last,))
        self.planes = [
            self._plane(program, position)
            for position, o in enumerate(program.operators)
            if isinstance(o.operation, Reshaped) and _for_mean(program, o, _means(network))
        ]
        self.held: dict[Place, _Held] = {}
        for (position, place), tensor in constants(program).items():
            self.held[position, place] = self._of(program.operators[position], tensor)

    def _plane(self, program: Program, position: int) -> _Plane:
        """What an operator brings to another shape for a mean."""
        operator, known = program.operators[position], self._sizes.known
        before = (
            [known[n].bytes for n in (*o.inputs, *o.outputs) if n in known]
            for o in program.operators[:position]
        )
        places = program.tensors[operator.outputs[0]].shape[1]
        return _Plane(known[operator.inputs[0]].bytes, places, tuple(map(total, before)))

    def _of(self, operator: Operator, tensor: Tensor) -> _Held:
        """A constant of an operator."""
        now, places = Content.of(tensor), self._dims(operator, tensor)
        dims = tuple(places.values())
        price = now.bytes // prod(dim.size for dim in dims)
        shape = [self._graph.combined(size, ()) for size in now.shape]
        for place, dim in places.items():
            shape[place] = self._graph.combined(1, (dim,))
        last = self._sizes.known[operator.outputs[0]].last
        several = last is not None and now.scales == last.size
        scales = self._graph.combined(*(1, (last,)) if last and several else (now.scales, ()))
        return _Held(self._graph.combined(price, dims), scales, tuple(shape))

    def _dims(self, operator: Operator, tensor: Tensor) -> dict[int, Dim]:
        """The dimensions of a constant that have units, by the axis that they lie on."""
        result, axis = operator.outputs[0], len(tensor.shape) - 1
        layer = isinstance(operator.operation, Convolution | Product) and axis > 0
        weight = self._sizes.parameter(result) if layer else None
        if weight is None:
            last = self._sizes.known[result].last
            return {} if last is None or tensor.shape[axis] != last.size else {axis: last}
        outputs, inputs = weight.dims[:2]
        if isinstance(operator.operation, Depthwise):
            return {axis: outputs}
        return {0: outputs, axis: inputs}
