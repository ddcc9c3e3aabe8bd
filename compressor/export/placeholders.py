"""The integer reference as PyTorch's exporter gets to see it: a name in the place of each layer.

The exporter translates what it knows, everything between integer layers, and keeps the names, which
are replaced by what `qdq` writes. Exported as they are, the some twenty operations of each layer
would take the exporter a minute, and it would find them again only by luck.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from compressor.export import qdq
from compressor.graph.kinds import Kind
from compressor.graph.operations import operation_of
from compressor.network import Network, Ref, Rewrite, Step, Weight, packet
from compressor.network.integer import IntConv, IntLinear, IntMean, IntTransposed, Requantise, Scale
from compressor.network.steps import Value, renamed
from compressor.network.sums import IntSum
from compressor.quantization.chains import only_reader
from compressor.quantization.counted import counted_groups
from compressor.quantization.grids import wraps
from compressor.quantization.place import cut

aten = torch.ops.aten

DOMAIN = "compressor"
"""Domain of the names."""

PLACE = "exported"
"""Branch of a network that holds them."""


Shaped = Callable[[tuple[int, ...]], tuple[int, ...]]
"""The shape of a result from that of what it is made of; sizes may be open."""


class Name(nn.Module):
    """Stands for a module during an export.

    Args:
        number: Its number.
        shape: The shape of its result, from that of its input.
    """

    def __init__(self, number: int, shape: Shaped) -> None:
        super().__init__()
        self.number = number
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """A result of the right shape; outside of an export PyTorch would fill it with zeros."""
        if not torch.onnx.is_in_onnx_export():
            raise RuntimeError("this network was made for an export and does not run")
        shape = self.shape(tuple(x.shape))
        name = f"{DOMAIN}::Layer"
        return torch.onnx.ops.symbolic(
            name, (x,), {"number": self.number}, dtype=torch.float32, shape=shape
        )


class Exported:
    """A network to export, and what its names stand for.

    Attributes:
        network: The network; it does not run.
        writes: What writes each numbered name.
    """

    def __init__(self, network: Network) -> None:
        """Rewrite a network.

        Args:
            network: From `compressor.quantization.conversion`, or one without integer layers.
        """
        self.writes: list[qdq.Write] = []
        self._given = network
        self._largest = 0
        self._passed: dict[str, str] = {}  # what a layer took along: who reads it reads the layer
        self._rewrite = Rewrite(network)
        for step in network.steps:
            self._step(step)
        self.network = self._rewrite.build()
        if self._signed() and self._largest > qdq.SAFE:
            warnings.warn(
                f"export: signed weights of up to {self._largest} go into the file, and x86 CPUs "
                f"without VNNI cut sums off where they are above {qdq.SAFE}: ONNX Runtime needs "
                "session.x64quantprecision=1 there. Presets ORT and TENSORRT are exact on all CPUs",
                stacklevel=5,
            )

    def write(self, onnx: Any, model: Any) -> None:
        """Replace the names in an exporter's model by what they stand for.

        Args:
            onnx: The package.
            model: A `ModelProto`, changed in place.
        """
        writer = qdq.Writer(onnx, signed=self._signed())
        for node in model.graph.node:
            if node.domain == DOMAIN:
                (number,) = (a.i for a in node.attribute if a.name == "number")
                writer.end(self.writes[number](writer, node.input[0]), node.output[0])
            else:
                writer.nodes.append(node)
        del model.graph.node[:]
        model.graph.node.extend(writer.nodes)
        model.graph.initializer.extend(writer.constants)
        kept = [entry for entry in model.opset_import if entry.domain != DOMAIN]
        del model.opset_import[:]
        model.opset_import.extend(kept)

    def _signed(self) -> bool:
        """True if all weights are written signed: as the activations that they meet are."""
        each = self._given.modules()
        return any(isinstance(m, Requantise) and m.grid.dtype is torch.int8 for m in each)

    def _step(self, step: Step) -> None:
        if operation_of(step.op).kind is Kind.VIEWS:
            self._follow_batch(step)
        counted = counted_groups(self._given, step)
        if counted is not None:
            op = self._rewrite.add(f"{PLACE}.{step.name}", counted)
            names = ("input", "weight", "bias", "groups")
            args = tuple(step.argument(name) for name in names)
            self._rewrite.edit(step.name, op=op, args=args, kwargs={})
        module = self._given.called(step)
        if module is None:
            return
        if isinstance(module, IntSum):
            self._rewrite.edit(step.name, op=aten.add.Tensor, args=step.args[:2])
            return
        write = self._write(step, module)
        if write is not None:
            self.writes.append(write)
            name = Name(len(self.writes) - 1, self._shaped(step))
            op = self._rewrite.add(f"{PLACE}.{step.name}", name)
            self._rewrite.edit(step.name, op=op, args=renamed(step.args[:1], self._passed))

    def _write(self, step: Step, module: nn.Module) -> qdq.Write | None:
        """The writer of a module; None if it is not one of ours."""
        if isinstance(module, Requantise):
            return qdq.on_grid(module)
        if isinstance(module, IntMean):
            return qdq.mean(module)
        if isinstance(module, Scale):
            return qdq.scaled(module, self._given.shapes[step.name])
        if isinstance(module, IntConv | IntLinear):
            return self._layer(step, module)
        return None

    def _layer(self, step: Step, module: IntConv | IntLinear) -> qdq.Write:
        """The writer of a layer with a weight."""
        weight = self._given.tensor(cast("Weight", step.args[1]))
        shape = self._given.shapes[step.name]
        if isinstance(module, IntTransposed) or wraps(self._given, step, module, weight):
            return self._floating(step, module, weight)
        self._largest = max(self._largest, qdq.largest(weight))
        if isinstance(module, IntLinear):
            return qdq.product(module, weight, len(shape))
        if module.scale.dim() == 2:
            return self._bands(step, module, weight)
        write = qdq.convolution(module, weight)
        return qdq.alone(write) if len(shape) < weight.dim() else write

    def _floating(self, step: Step, module: IntConv | IntLinear, weight: Tensor) -> qdq.Write:
        """A layer that no integer kernel computes, on its integers."""
        shape = self._given.shapes[step.name]
        write = qdq.floating(module, weight, shape)
        without = isinstance(module, IntConv) and len(shape) < weight.dim()
        return qdq.alone(write) if without else write

    def _shaped(self, step: Step) -> Shaped:
        """The shape of what a step gives, from that of what it reads."""
        module = self._given.called(step)
        if isinstance(module, IntMean):
            over = module.windows
            dims = len(over.size)
            return lambda shape: (*shape[:-dims], *over.moves.size(shape[-dims:], over.size))
        if not isinstance(module, IntConv | IntLinear):
            return lambda shape: shape
        weight = self._given.tensor(cast("Weight", step.args[1])).shape
        if isinstance(module, IntLinear):
            return lambda shape: (*shape[:-1], weight[0])
        kernel, channels = weight[2:], len(module.scale)
        return lambda shape: (
            *shape[: -len(kernel) - 1],
            channels,
            *module.geometry.size(shape[-len(kernel) :], kernel),
        )

    def _bands(self, step: Step, module: IntConv, weight: Tensor) -> qdq.Write:
        """A layer with sub-bands takes along what cuts off behind it: rounded first, put together.

        In floating point where a sub-band lies in the padding alone, or no quantiser follows.
        """
        rows = self._given.shapes[cast("Ref", step.args[0]).name][2]
        slabs = qdq.slabs(module.geometry, weight.shape[2], rows, module.scale.shape[1])
        cuts: list[tuple[float | None, float | None]] = []
        passed: list[Step] = []
        behind = only_reader(self._given, step.name)
        while behind is not None and (limits := cut(behind)) is not None:
            cuts.append(limits)
            passed.append(behind)
            behind = only_reader(self._given, behind.name)
        grid = self._given.called(behind)
        empty = any(slab.rows[0] >= slab.rows[1] for slab in slabs)
        if empty or not isinstance(grid, Requantise):
            return self._floating(step, module, weight)
        self._passed.update((each.name, step.name) for each in passed)
        return qdq.bands(module, weight, slabs, grid, cuts)

    def _follow_batch(self, step: Step) -> None:
        """A view takes the size of the batch from what it views, which costs a runtime nothing."""
        shape = cast("tuple[Value, ...]", step.args[1])
        unknown = [n for n, size in enumerate(shape) if isinstance(size, Ref)]
        if len(unknown) != 1 or -1 in shape:
            return
        producer = self._given.producer(shape[unknown[0]])
        if producer is not None and packet(producer) is aten.sym_size:
            sizes = tuple(-1 if n == unknown[0] else size for n, size in enumerate(shape))
            self._rewrite.edit(step.name, args=(step.args[0], sizes))
