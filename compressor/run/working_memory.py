"""Working memory of the `.tflite` file of a model, before it is a network of integers and after.

The figure is the file's: the model becomes the network that the later phases make of it, or, where
none of them rounds, the one of ``Int8(preset=presets.TFLM)``, with stand-ins for the scales that
data choose; the writer translates it, and what is alive at each operator is read off.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from compressor.allocation.memory import Memory
from compressor.errors import BudgetError, TraceError
from compressor.export.micro.arena import head
from compressor.export.micro.thrift import frugal
from compressor.export.micro.widths import memory_of
from compressor.network import Network
from compressor.network.integer import Requantise
from compressor.quantization.presets import TFLM
from compressor.quantization.stand_ins import stand_in

if TYPE_CHECKING:
    from compressor.export.micro.program import Program
    from compressor.run.file_size import Stored


class RamCap:
    """A cap on RAM on its way: what a plan of memory cannot use of it is not used.

    The largest live set is what the widths decide, and nearly always a plan takes no more. Where
    none so small is found, what it takes more is taken off the cap, and units go anew.

    Attributes:
        cap: The budget's.
        whole: Working memory of all structures of the original.
        lost: Bytes that no plan was found for.
    """

    def __init__(self, cap: int, whole: Memory) -> None:
        self.cap, self.whole, self.lost = cap, whole, 0

    @property
    def left(self) -> int:
        """Bytes that the largest live set may take."""
        return max(self.cap - self.lost, 1)

    def resume(self, caps: Mapping[str, int]) -> None:
        """Take up what was lost by the caps of the last removal: on the way they are above."""
        self.lost = max(self.cap - caps.get("ram", self.cap), 0)

    def exceeded(self, program: Program) -> bool:
        """True if the plan of a program does not fit, so that `left` is less from now on."""
        over = head(program) - self.cap
        self.lost += max(over, 0)
        return over > 0


def network_to_write(stored: Stored) -> Network:
    """The integers whose file a cap on RAM is on.

    Raises:
        TraceError: If the model cannot be written as a network.
        ValueError: If nothing of it can be rounded.
    """
    made = stored.captured.of(stored.model, stored.example)
    for phase in stored.later:
        made = phase.network_after(made, stored.bits)
    return rounded(made, stored.bits)


def rounded(network: Network, bits: Mapping[str, int] = MappingProxyType({})) -> Network:
    """A network of integers itself, of any other what it will be; errors as of `prepare`."""
    if any(isinstance(module, Requantise) for module in network.modules()):
        return network
    return stand_in(network, TFLM, bits=bits)


def program_of(stored: Stored) -> Program:
    """What the writer will make of a model at the end of later phases; errors as of `memory`."""
    return to_write(stored)[0]


def to_write(stored: Stored, cap: str = "ram") -> tuple[Program, Network]:
    """The program, and the integers that it is made of; errors as of `memory`, of another cap."""
    try:
        made = network_to_write(stored)
        return frugal(made), made
    except (TraceError, ValueError) as error:
        raise refused(stored, error, cap) from error


def memory(stored: Stored) -> Memory:
    """The working memory of that program for every structure of the model's graph.

    Raises:
        BudgetError: If the model has no `.tflite` file; has the writer's sentence.
    """
    program, made = to_write(stored)
    try:
        return memory_of(program, made, stored.graph)
    except ValueError as error:
        raise refused(stored, error) from error


def refused(stored: Stored, error: Exception, cap: str = "ram") -> BudgetError:
    """An error of the writer as one of a cap on its file."""
    return BudgetError(
        f"a cap on {cap} is on the .tflite file for TensorFlow Lite Micro, and there is none of "
        f"this {type(stored.model).__name__}: {error}"
    )
