"""The phase that repairs what phases before it have taken from a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from compressor.inputs.batches import first_examples
from compressor.inputs.copies import private_copy
from compressor.inputs.settings import check_whole
from compressor.inputs.tensors import all_tensors, fill
from compressor.run.judge import Judge
from compressor.run.later import NOTHING
from compressor.run.phase import Phase, name_of

if TYPE_CHECKING:
    from compressor.run.compression import Compression
    from compressor.run.training import Training


@dataclass(frozen=True)
class Repair(Phase):
    """Have every layer say, by least squares, what it said in the dense network.

    In closed form and on inputs alone; see `compressor.repair.least_squares`. `Prune` repairs what
    it cuts by itself; after `Unstructured`, whose zeros stay zero, it takes this phase. The dense
    network is the one given, or the one that `Train` left. What training has moved far from it is
    not brought back: where the outputs come out no nearer, nothing is changed.

    Attributes:
        inputs: Examples that are run, at most, about as often as there are layers.
    """

    inputs: int = 256

    needs = "Repair measures"
    lowers = NOTHING

    def __post_init__(self) -> None:
        """Check the number."""
        check_whole("Repair", 1, inputs=self.inputs)

    def check(self, session: Compression, earlier: Sequence[Phase]) -> None:  # noqa: ARG002
        """Find out whether the network will be one of layers that can be compared.

        Raises:
            ValueError: If a phase before leaves another one.
        """
        last = next((p for p in earlier if p.leaves_uncut or p.stores_network), None)
        if last is not None:
            raise ValueError(
                f"Repair() compares the layers of the network given, and {name_of(last)} leaves "
                f"others: put Repair() before {name_of(last)}"
            )

    def run(self, training: Training, part: int) -> None:  # noqa: ARG002 - a Phase
        """Repair, and remember it for the report."""
        session = training.session
        batches = list(first_examples(training.batches(whole=True), self.inputs))
        dense = _trained(session) if session.trained else session.original
        masks = dict(session.masks)
        judge = Judge(dense, session.dense, batches, session.loss, self.inputs, masks)
        session.repairs.append(session.repair_by(judge, session.structure))


def _trained(session: Compression) -> nn.Module:
    """The dense network that was trained, in the form that a change of the input gave the model."""
    dense = private_copy(session.original)
    found = {f"{session.within}{name}": t for name, t in all_tensors(session.teacher).items()}
    fill(dense, all_tensors(dense) | found)
    return dense
