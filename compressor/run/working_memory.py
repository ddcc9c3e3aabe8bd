"""Working memory of the `.tflite` file of a model, before it is a network of integers and after.

The figure is the file's: the model becomes the network that the later phases make of it, or, where
none of them rounds, the one of ``Int8(preset=presets.TFLM)``, with stand-ins for the scales that
data choose; the writer translates it, and what is alive at each operator is read off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compressor.allocation.memory import Memory
from compressor.errors import BudgetError, TraceError
from compressor.export.micro.translation import translated
from compressor.export.micro.widths import memory_of
from compressor.network import Network
from compressor.network.integer import Requantise
from compressor.quantization.presets import TFLM
from compressor.quantization.stand_in import stand_in

if TYPE_CHECKING:
    from compressor.export.micro.program import Program
    from compressor.run.file_size import Stored


def network_to_write(stored: Stored) -> Network:
    """The integers whose file a cap on RAM is on.

    Raises:
        TraceError: If the model cannot be written as a network.
        ValueError: If nothing of it can be rounded.
    """
    made = stored.captured.of(stored.model, stored.example)
    for phase in stored.later:
        made = phase.network_after(made, stored.bits)
    if any(isinstance(module, Requantise) for module in made.modules()):
        return made
    return stand_in(made, TFLM, bits=stored.bits)


def program_of(stored: Stored) -> Program:
    """What the writer will make of a model at the end of later phases; errors as of `memory`."""
    try:
        return translated(network_to_write(stored))
    except (TraceError, ValueError) as error:
        raise _refused(stored, error) from error


def memory(stored: Stored) -> Memory:
    """The working memory of that program for every structure of the model's graph.

    Raises:
        BudgetError: If the model has no `.tflite` file; has the writer's sentence.
    """
    try:
        made = network_to_write(stored)
        return memory_of(translated(made), made, stored.graph)
    except (TraceError, ValueError) as error:
        raise _refused(stored, error) from error


def _refused(stored: Stored, error: Exception) -> BudgetError:
    return BudgetError(
        f"a cap on ram is on the .tflite file for TensorFlow Lite Micro, and there is none of this "
        f"{type(stored.model).__name__}: {error}"
    )
