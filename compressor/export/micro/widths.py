"""The sizes of a program's tensors as functions of the widths of a network's axes.

A convolution or product makes the channels that its weight writes, of which the graph knows the
units; everything else passes on the channels that it is given, or puts some together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from compressor.allocation.memory import Block, Memory, Moment, total
from compressor.export.micro.arena import lifetimes
from compressor.export.micro.operations import (
    Convolution,
    Joined,
    Part,
    Product,
    Reshaped,
    Squares,
)
from compressor.export.micro.program import Operator, Program
from compressor.graph.graph import ALWAYS, Dim, Graph, Polynomial
from compressor.graph.graph import Weight as Parameter
from compressor.network import Network, Weight


@dataclass(frozen=True, eq=False)
class Sized:
    """A tensor of the program.

    Attributes:
        bytes: By the widths.
        last: The units of its last axis; None where they are not in order.
    """

    bytes: Polynomial
    last: Dim | None


def memory_of(program: Program, network: Network, graph: Graph) -> Memory:
    """The working memory of the programs of all structures of a graph.

    Args:
        program: Translated from the network.
        network: Of integers, with the names of the graph's parameters.
        graph: Of the model that the network was made of, with as many units.

    Raises:
        ValueError: If the channels of a tensor cannot be told from the graph, or its units are not
            those of the program.
    """
    sizes = Sizes(program, network, graph).all()
    blocks = {n: Block(t.name, sizes[n].bytes) for n, t in lifetimes(program).items()}
    alive = {n: (t.first, t.last) for n, t in lifetimes(program).items()}
    return Memory(
        tuple(
            Moment(
                operator.layer,
                tuple(blocks[n] for n, (first, last) in alive.items() if first <= at <= last),
            )
            for at, operator in enumerate(program.operators)
        )
    )


class Sizes:
    """The sizes found so far, operator by operator."""

    def __init__(self, program: Program, network: Network, graph: Graph) -> None:
        self.program, self.graph = program, graph
        self.steps = {step.name: step for step in network.steps}
        self.known: dict[int, Sized] = {}
        self.parameters: dict[str, Parameter] = {}
        for parameter in graph.weights.values():
            self.parameters |= dict.fromkeys((parameter.name, *parameter.aliases), parameter)

    def all(self) -> Mapping[int, Sized]:
        """Of every tensor that takes working memory."""
        for port in self.program.inputs:
            shape = self.program.tensors[port.tensor].shape
            dim = Dim(np.full(shape[-1], ALWAYS))
            self.known[port.tensor] = self._of(port.tensor, dim)
        for operator in self.program.operators:
            (number,) = operator.outputs
            self.known[number] = self._result(operator, number)
            self._check(operator, number)
        return self.known

    def _result(self, operator: Operator, number: int) -> Sized:
        """The size of what an operator makes."""
        operation = operator.operation
        given = [self.known[n] for n in operator.inputs if n in self.known]
        written = self._written(number) if isinstance(operation, Convolution | Product) else None
        if written is not None:
            return self._of(number, written)
        sums = isinstance(operation, Convolution | Squares) and len(self._shape(number)) == 4
        if sums and self._shape(number)[-1] == 1:  # over all channels, or of one
            return self._of(number, Dim(np.full(1, ALWAYS)))
        mixes = isinstance(operation, Product) or type(operation) is Convolution
        if mixes and self._shape(operator.inputs[0])[-1] > 1:  # a mean of one channel mixes none
            raise _unknown(operator.layer)
        if isinstance(operation, Joined):
            axis = len(self._shape(number)) - 1
            dims = [one.last for one in given]
            last = _joined(dims) if operation.axis == axis else dims[0]
            return Sized(total(one.bytes for one in given), last)
        if isinstance(operation, Reshaped):
            return replace(given[0], last=None)
        if isinstance(operation, Part):
            return self._part(operator, number)
        return self._passed(operator, number)

    def parameter(self, number: int) -> Parameter | None:
        """The weight of the layer that makes a tensor; None where it has none."""
        step = self.steps.get(self.program.tensors[number].name)
        weight = None if step is None or len(step.args) < 2 else step.args[1]
        return self.parameters.get(weight.name) if isinstance(weight, Weight) else None

    def _written(self, number: int) -> Dim | None:
        """The units of the channels that a layer's weight writes; None where it has none."""
        parameter = self.parameter(number)
        return None if parameter is None else parameter.dims[parameter.out_dim or 0]

    def _passed(self, operator: Operator, number: int) -> Sized:
        """The size of what has the channels of an input: of the one with as many that can go."""
        shape = self._shape(number)
        same = [n for n in operator.inputs if n in self.known and self._shape(n)[-1] == shape[-1]]
        if not same and shape[-1] == 1:  # a mean over channels
            return self._of(number, Dim(np.full(1, ALWAYS)))
        if not same:
            raise _unknown(operator.layer)
        source = max(same, key=lambda n: sum(self.known[n].bytes.linear) > 0)
        return self._scaled(source, number)

    def _part(self, operator: Operator, number: int) -> Sized:
        """The size of a part of a tensor."""
        source, begin = operator.inputs[:2]
        shape = self._shape(number)
        if shape[-1] == self._shape(source)[-1]:
            return self._scaled(source, number)
        last = self.known[source].last
        if last is None:
            raise _unknown(operator.layer)
        first = int(cast("np.ndarray", self.program.tensors[begin].data)[-1])
        taken = slice(first, first + shape[-1])
        also = None if last.also is None else last.also[taken]
        return self._of(number, Dim(last.owner[taken], also))

    def _scaled(self, source: int, number: int) -> Sized:
        """The size of a tensor with the channels of another, at more or fewer places."""
        size, before = (self.program.tensors[n].size for n in (number, source))
        given = self.known[source]
        cost = given.bytes
        parts = [[cost.const], cost.linear, cost.coefs, cost.rates]
        (const,), linear, coefs, rates = (tuple(n * size // before for n in each) for each in parts)
        scaled = replace(cost, const=const, linear=linear, coefs=coefs, rates=rates)
        return Sized(scaled, given.last)

    def _of(self, number: int, last: Dim) -> Sized:
        """The size of a tensor whose last axis has these units."""
        tensor = self.program.tensors[number]
        return Sized(self.graph.combined(tensor.size // max(tensor.shape[-1], 1), (last,)), last)

    def _check(self, operator: Operator, number: int) -> None:
        """Hold a size at full widths to the program's own."""
        found, size = self.known[number].bytes(self.graph.sizes), self.program.tensors[number].size
        if found != size:
            raise ValueError(
                f"the working memory of {operator.layer!r} is {size:,} bytes and was taken for "
                f"{found:,}. Please report the model"
            )

    def _shape(self, number: int) -> tuple[int, ...]:
        return self.program.tensors[number].shape


def _joined(dims: Sequence[Dim | None]) -> Dim | None:
    """The units of some axes, one behind the other."""
    known = [dim for dim in dims if dim is not None]
    if len(known) < len(dims):
        return None
    owner = np.concatenate([dim.owner for dim in known])
    if all(dim.also is None for dim in known):
        return Dim(owner)
    also = [np.full(dim.size, ALWAYS) if dim.also is None else dim.also for dim in known]
    return Dim(owner, np.concatenate(also))


def _unknown(layer: str) -> ValueError:
    return ValueError(
        f"the channels that {layer!r} makes are not told by the network's graph, so that its "
        "working memory is not known at other widths. Please report the model"
    )
