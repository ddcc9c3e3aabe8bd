"""Working memory of a result: what is alive when it runs, and where its file puts it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from compressor.counting.measuring import opened
from compressor.counting.memory.lifetimes import Lifetime, Peak, peak
from compressor.counting.memory.packing import packed
from compressor.counting.memory.plan import planned
from compressor.counting.stored import Compressed
from compressor.export.micro.arena import lifetimes
from compressor.export.micro.program import Program
from compressor.export.micro.thrift import frugal
from compressor.inputs.example import Example, one_input
from compressor.inputs.models import check_model
from compressor.network import to_network
from compressor.reports.memory import plot_memory
from compressor.run.working_memory import rounded


def working_memory(
    model: nn.Module | Compressed, example: Example | None = None, *, cap: int | None = None
) -> Memory:
    """Working memory that the `.tflite` file of a model needs on a microcontroller.

    Before `Int8` it is that of the file that there will be after ``Int8(preset=presets.TFLM)``,
    with its sub-bands folded. Its peak is what `Budget(ram=...)` caps and `Cost.ram` counts.

    Args:
        model: Any module, a network of integers, or what `fit` returned.
        example: Input, batch first; only its first item's shape is used. By default
            `model.example_input_array`.
        cap: Bytes to draw as a line in the picture.

    Raises:
        TraceError: If the model cannot be written as a network.
        ValueError: If it has no `.tflite` file; names the layer, and what to do.
    """
    model, example = opened(model, example)
    check_model(model)
    network = to_network(model, one_input(model, example)).eval()
    return memory_of(frugal(rounded(network)), cap)


def memory_of(program: Program, cap: int | None = None) -> Memory:
    """The working memory of a program."""
    return Memory(tuple(lifetimes(program).values()), cap)


@dataclass(frozen=True)
class Memory:
    """The arena of a `.tflite` file, without the buffers of kernels and what a runtime keeps.

    Attributes:
        tensors: Alive from one operator to another.
        cap: On the peak; None for none.
    """

    tensors: tuple[Lifetime, ...]
    cap: int | None = None

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Where the file's own plan puts each tensor, in bytes."""
        return packed(self.tensors).offsets

    @property
    def peak(self) -> Peak:
        """The operator at which most is alive, and what that is."""
        return peak(self.tensors)

    @property
    def arena(self) -> int:
        """Bytes of the arena by that plan: those of the peak, if the plan is as good as can be."""
        return planned(self.tensors, self.offsets).head

    def plot(self, path: str | Path, title: str = "") -> None:
        """Write a picture of it over the run of the network; needs matplotlib (extra ``plot``)."""
        plot_memory(self.tensors, Path(path), self.offsets, self.cap, title)

    def data(self) -> dict[str, Any]:
        """The peak, and when every tensor is alive, as plain data."""
        most = self.peak
        tensors = {tensor.name: tensor.room for tensor in most.tensors}
        found = {"peak": most.bytes, "operator": most.step, "tensors": tensors, "cap": self.cap}
        return {**found, "lifetimes": [asdict(tensor) for tensor in self.tensors]}

    def __str__(self) -> str:
        """The peak for people."""
        most = self.peak
        each = ", ".join(f"{tensor.name} {tensor.room:,}" for tensor in most.tensors)
        return f"{most.bytes:,} bytes at operator {most.step}: {each}"
