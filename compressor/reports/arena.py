"""Working memory of a result: what is alive when it runs, and where its file puts it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from compressor.counting.memory.lifetimes import Lifetime, Peak, peak
from compressor.counting.memory.plan import planned
from compressor.counting.memory.planning import plan
from compressor.reports.memory import plot_memory


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
        return plan(self.tensors).offsets

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
        """The peak as plain data."""
        most = self.peak
        tensors = {tensor.name: tensor.room for tensor in most.tensors}
        return {"peak": most.bytes, "operator": most.step, "tensors": tensors}

    def __str__(self) -> str:
        """The peak for people."""
        most = self.peak
        each = ", ".join(f"{tensor.name} {tensor.room:,}" for tensor in most.tensors)
        return f"{most.bytes:,} bytes at operator {most.step}: {each}"
