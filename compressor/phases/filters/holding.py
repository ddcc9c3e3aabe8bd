"""Units that are to go later, held at zero until then; and batches that are the same every time."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from compressor.graph.graph import Graph
from compressor.graph.structure import Structure
from compressor.inputs import randomness
from compressor.inputs.batches import Batch
from compressor.phases.filters.energy import alive

if TYPE_CHECKING:
    from compressor.run.compression import Compression


def hold(session: Compression, graph: Graph, structure: Structure) -> None:
    """Mask every parameter that writes a unit that does not stay, and set it to zero."""
    named = dict(session.model.named_parameters())
    for name, stays in alive(graph, structure).items():
        if not bool(stays.all()):
            session.masks[name] = stays.to(named[name].device).expand_as(named[name]).clone()
    session.masks.hold(session.model)


def release(session: Compression) -> None:
    """Forget the masks under which everything lives, as after the removal of all else."""
    for name in [name for name, live in session.masks.items() if bool(live.all())]:
        del session.masks[name]


def same_batches(session: Compression, count: int) -> list[Batch]:
    """The first batches that the data yield after a fixed seed; no random state moves.

    Losses that are to be compared over a whole phase are measured on the same batches, where the
    loader draws from the global generators or its own.
    """
    source = getattr(session.data, "source", session.data)
    if session.data is None:
        return []
    with randomness.preserved(source):
        randomness.seed_everything(0)
        for generator in randomness.generators(source):
            generator.manual_seed(0)
        return list(islice(session.data, count))
