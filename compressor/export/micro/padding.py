"""The edges of convolutions and pools: what PyTorch pads, as the two forms that a file knows.

PyTorch adds the same number of zeros on both sides. A file says *valid*, none, or *same*: as many
outputs as strides begin in the input, with the zeros that this takes, the odd one behind. Where
neither is what PyTorch does, zeros are put around the input beforehand, no more than are read; or
the kernel gets further entries of zero, so that *same* adds what PyTorch does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from compressor.export.micro.operations import Pair


@dataclass(frozen=True)
class Edge:
    """One dimension of a convolution or pool.

    Attributes:
        inputs: Entries of the input.
        outputs: Entries of the result.
        kernel: Entries of the kernel.
        stride: Steps between outputs.
        dilation: Steps between the kernel's entries.
        before: Entries of the padding in front of the input.
    """

    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    before: int = 0

    @property
    def reach(self) -> int:
        """Entries from the first that an output reads to the last."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def read(self) -> int:
        """Entries that all outputs read together, those of the padding included."""
        return (self.outputs - 1) * self.stride + self.reach

    @property
    def behind(self) -> int:
        """Entries of the padding behind the input that are read."""
        return max(self.read - self.inputs - self.before, 0)

    @property
    def valid(self) -> bool:
        """True if no padding is read."""
        made = (self.inputs - self.reach) // self.stride + 1
        return self.before == 0 and made == self.outputs

    @property
    def same(self) -> bool:
        """True if *same* adds exactly what is read."""
        added = max(self.read - self.inputs, 0)
        return math.ceil(self.inputs / self.stride) == self.outputs and added // 2 == self.before

    @property
    def padded(self) -> Edge:
        """The same with the padding in the input."""
        return replace(self, inputs=self.inputs + self.before + self.behind, before=0)

    def longer(self) -> Edge | None:
        """The same with the fewest further entries of zero that make it *same*; None for none."""
        for more in range(self.kernel + 1):
            found = replace(self, kernel=self.kernel + more)
            if found.same:
                return found
        return None


@dataclass(frozen=True)
class Edges:
    """What is done at the edges, over rows and columns.

    Attributes:
        same: What the file says.
        pads: Zeros to put in front and behind beforehand.
        kernel: Size of the kernel, its further entries included.
    """

    same: bool
    pads: tuple[Pair, Pair]
    kernel: Pair

    @property
    def plain(self) -> bool:
        """True if nothing is put around the input."""
        return self.pads == ((0, 0), (0, 0))


def edges(each: Sequence[Edge], *, by_kernel: bool = False) -> Edges:
    """The way to pad rows and columns; with further entries of the kernel if they are asked for."""
    rows, columns = each
    kernel = rows.kernel, columns.kernel
    if rows.valid and columns.valid:
        return Edges(same=False, pads=((0, 0), (0, 0)), kernel=kernel)
    if rows.same and columns.same:
        return Edges(same=True, pads=((0, 0), (0, 0)), kernel=kernel)
    longer = rows.longer(), columns.longer()
    if by_kernel and longer[0] is not None and longer[1] is not None:
        kernel = longer[0].kernel, longer[1].kernel
        return Edges(same=True, pads=((0, 0), (0, 0)), kernel=kernel)
    pads = (rows.before, rows.behind), (columns.before, columns.behind)
    return Edges(same=False, pads=pads, kernel=kernel)
