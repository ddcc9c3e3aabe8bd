"""Graphs with the shapes of known networks, made without a model, for allocation benchmarks.

Counts agree with the published networks (`benchmarks/allocation/gaps.md` prints them); every axis
is at full resolution and every convolution that can be cut is one weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from compressor.graph.graph import ALWAYS, Axis, Dim, Graph, Site, Weight

FLOAT32 = 4
"""Bytes of one stored weight."""


class Sketch:
    """A graph under construction: axes are numbered in the order they are added."""

    def __init__(self) -> None:
        self._axes: list[Axis] = []
        self._weights: dict[str, Weight] = {}
        self._sites: list[Site] = []

    def axis(self, name: str, size: int, *, writers: int = 1, frozen: str = "") -> int:
        """Add an axis and return its number."""
        first = sum(axis.size for axis in self._axes)
        self._axes.append(Axis(name, first, size, writers, (name,), frozen))
        return len(self._axes) - 1

    def owners(self, *axes: int, repeat: int = 1) -> Dim:
        """A dimension that is the concatenation of `axes`, every unit owning `repeat` entries."""
        parts = [np.arange(self._axes[a].first, self._axes[a].units.stop) for a in axes]
        return Dim(np.repeat(np.concatenate(parts), repeat).astype(np.int64))

    def weight(
        self, name: str, *dims: Dim | int, positions: int = 0, depthwise: bool = False
    ) -> None:
        """Add a parameter; with `positions` it is also a convolution used that often."""
        shape = tuple(fixed(d) if isinstance(d, int) else d for d in dims)
        self._weights[name] = Weight(name, shape, FLOAT32, out_dim=0 if positions else None)
        if positions:
            module, reads = name.removesuffix(".weight"), shape[0 if depthwise else 1]
            site = Site(module, name, positions, "conv", reads, shape[0], dense=not depthwise)
            self._sites.append(site)

    def depthwise(self, name: str, axis: int, kernel: int, positions: int) -> None:
        """Add a depthwise convolution: one small filter for every channel of `axis`."""
        self.weight(name, self.owners(axis), 1, kernel, positions=positions, depthwise=True)

    def norm(self, name: str, *axes: int, bands: int = 1) -> None:
        """Add the scale and shift of a normalisation over `axes`."""
        for part in ("weight", "bias"):
            self.weight(f"{name}.{part}", self.owners(*axes, repeat=bands))

    def conv(
        self,
        name: str,
        out: int,
        inputs: int | Sequence[int],
        kernel: int,
        positions: int,
        *,
        norm: bool = True,
    ) -> None:
        """Add a convolution from axes `inputs` (concatenated) to axis `out`, with its norm."""
        reads = (inputs,) if isinstance(inputs, int) else tuple(inputs)
        dims = self.owners(out), self.owners(*reads), kernel
        self.weight(f"{name}.weight", *dims, positions=positions)
        if norm:
            self.norm(f"{name}.norm", out)

    def classified(self, classes: int, *axes: int, positions: int = 1) -> Graph:
        """The finished graph, with a linear layer from `axes` to classes at its end."""
        self.weight("classify.weight", classes, self.owners(*axes), positions=positions)
        self.weight("classify.bias", classes)
        return self.graph()

    def graph(self) -> Graph:
        """The finished graph."""
        return Graph(tuple(self._axes), self._weights, tuple(self._sites))


def fixed(size: int) -> Dim:
    """A dimension of `size` entries that no unit owns."""
    return Dim(np.full(size, ALWAYS, dtype=np.int64))


def chain(widths: Sequence[int], side: int = 64, stages: int = 4, classes: int = 10) -> Graph:
    """Plain 3x3 convolutions one after another, halving the image `stages` - 1 times."""
    sketch = Sketch()
    before = sketch.axis("conv0", widths[0])
    sketch.weight("conv0.weight", sketch.owners(before), 1, 9, positions=side**2)
    sketch.norm("conv0.norm", before)
    for number, width in enumerate(widths[1:], start=1):
        name = f"conv{number}"
        axis = sketch.axis(name, width)
        positions = (side >> (number * stages // len(widths))) ** 2
        sketch.conv(name, axis, before, 9, positions)
        before = axis
    return sketch.classified(classes, before, positions=1)


def bc_resnet_asc(channels: int = 80, frames: int = 17) -> Graph:
    """BC-ResNet-ASC on 1 s of sound: five fully coupled trunks (QTI, DCASE 2021 Task 1).

    A stage is one axis: the broadcast residual ties the output of the temporal branch to its own
    input, so the square of a width enters the cost.
    """
    sketch = Sketch()
    stem = sketch.axis("stem", 2 * channels)
    rows = 128
    sketch.weight("stem.weight", sketch.owners(stem), 1, 25, positions=rows * frames)
    sketch.norm("stem.norm", stem)
    before = stem
    for stage, (ratio, blocks) in enumerate(((1.0, 2), (1.5, 2), (2.0, 2), (2.5, 3)), start=1):
        if stage in {2, 3}:
            rows, frames = rows // 2, frames // 2
        axis = sketch.axis(f"stage{stage}", int(ratio * channels), writers=blocks + 1)
        for block in range(blocks):
            name = f"stage{stage}.{block}"
            if block == 0:
                sketch.conv(f"{name}.expand", axis, before, 1, rows * frames)
            _broadcast_block(sketch, name, axis, rows, frames)
        before = axis
    return sketch.classified(10, before, positions=rows * frames)


def _broadcast_block(sketch: Sketch, name: str, axis: int, rows: int, frames: int) -> None:
    """Frequency depthwise, sub-spectral norm, temporal depthwise, pointwise: all on one axis."""
    sketch.depthwise(f"{name}.frequency.weight", axis, 3, rows * frames)
    sketch.norm(f"{name}.frequency.norm", axis, bands=4)
    sketch.depthwise(f"{name}.time.weight", axis, 3, frames)
    sketch.norm(f"{name}.time.norm", axis)
    sketch.conv(f"{name}.mix", axis, axis, 1, frames, norm=False)


def resnet(blocks: Sequence[int], *, bottleneck: bool) -> Graph:
    """A ResNet for 224 x 224 images (He et al. 2016), projection shortcuts included."""
    sketch = Sketch()
    stem = sketch.axis("stem", 64, writers=1 if bottleneck else 1 + blocks[0])
    sketch.weight("stem.weight", sketch.owners(stem), 3, 49, positions=112**2)
    sketch.norm("stem.norm", stem)
    before, side = stem, 56
    for stage, count in enumerate(blocks):
        width = 64 << stage
        shares_stem = stage == 0 and not bottleneck
        size = 4 * width if bottleneck else width
        trunk = stem if shares_stem else sketch.axis(f"trunk{stage}", size, writers=count + 1)
        for block in range(count):
            name, first = f"{stage}.{block}", block == 0
            source = before if first else trunk
            out = side >> bool(stage)
            if bottleneck:
                entry = side if first and stage else out
                _bottleneck(sketch, name, (source, trunk), width, entry, out)
            else:
                inner = sketch.axis(f"{name}.conv1", width)
                sketch.conv(f"{name}.conv1", inner, source, 9, out**2)
                sketch.conv(f"{name}.conv2", trunk, inner, 9, out**2)
            if first and not shares_stem:
                sketch.conv(f"{name}.shortcut", trunk, source, 1, out**2)
        before, side = trunk, side >> bool(stage)
    return sketch.classified(1000, before, positions=1)


def _bottleneck(
    sketch: Sketch, name: str, ends: tuple[int, int], width: int, entry: int, out: int
) -> None:
    """1x1, 3x3 (strides), 1x1."""
    narrow, inner = sketch.axis(f"{name}.conv1", width), sketch.axis(f"{name}.conv2", width)
    sketch.conv(f"{name}.conv1", narrow, ends[0], 1, entry**2)
    sketch.conv(f"{name}.conv2", inner, narrow, 9, out**2)
    sketch.conv(f"{name}.conv3", ends[1], inner, 1, out**2)


def densenet121(growth: int = 32) -> Graph:
    """DenseNet-121: within a block every layer reads all before it, so all axes interact."""
    sketch = Sketch()
    stem = sketch.axis("stem", 2 * growth)
    sketch.weight("stem.weight", sketch.owners(stem), 3, 49, positions=112**2)
    sketch.norm("stem.norm", stem)
    read, side, entering = [stem], 56, 2 * growth
    for stage, count in enumerate((6, 12, 24, 16)):
        for block in range(count):
            name = f"{stage}.{block}"
            sketch.norm(f"{name}.norm", *read)
            narrow = sketch.axis(f"{name}.conv1", 4 * growth)
            sketch.conv(f"{name}.conv1", narrow, read, 1, side**2)
            grown = sketch.axis(f"{name}.conv2", growth)
            sketch.conv(f"{name}.conv2", grown, narrow, 9, side**2, norm=False)
            read.append(grown)
        sketch.norm(f"{stage}.norm", *read)
        if stage < 3:
            entering = (entering + growth * count) // 2
            squeeze = sketch.axis(f"{stage}.transition", entering)
            sketch.conv(f"{stage}.transition", squeeze, read, 1, side**2, norm=False)
            read, side = [squeeze], side // 2
    return sketch.classified(1000, *read, positions=1)


NETWORKS: dict[str, Callable[[], Graph]] = {
    "chain10": partial(chain, (16, 16, 24, 24, 32, 32, 40, 48, 50, 64)),
    "chain30": partial(chain, (32,) * 8 + (48,) * 8 + (64,) * 7 + (96,) * 7),
    "BC-ResNet-ASC-8": bc_resnet_asc,
    "ResNet-18": partial(resnet, (2, 2, 2, 2), bottleneck=False),
    "ResNet-50": partial(resnet, (3, 4, 6, 3), bottleneck=True),
    "DenseNet-121": densenet121,
    "chain500": partial(chain, (1000,) * 125 + (1500,) * 125 + (2500,) * 125 + (3000,) * 125),
}
"""The networks of the allocation benchmark; the chains have 346, 1,760 and a million filters."""
