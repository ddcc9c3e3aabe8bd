"""Can the phases of a schedule meet a cap on bytes that is on a file for another runtime?"""

from __future__ import annotations

from collections.abc import Sequence

from compressor.errors import BudgetError
from compressor.run.compression import Compression
from compressor.run.phase import Phase, name_of


def check_artefact(session: Compression, phases: Sequence[Phase]) -> None:
    """Find out that the file is never made, or that phases save what saves nothing in it.

    Without data nothing can be rounded; the cap is then on the file that there will be.

    Raises:
        BudgetError: If so.
    """
    artefact = session.artefact
    if session.budget.bytes is None or artefact.sparse:
        return
    rounds = any(phase.rounds_weights for phase in phases)
    if session.data is not None and artefact.rounding and not rounds:
        raise BudgetError(
            f"{session.budget} was asked, and without {artefact.rounding} there is no "
            f"{artefact.name}: put it at the end of the schedule"
        )
    zeros = [phase for phase in phases if phase.makes_zeros]
    if zeros and session.budget.nonzero is None:
        raise BudgetError(
            f"{session.budget} was asked, and {name_of(zeros[0])}() makes zeros, and a "
            f"{artefact.name} holds {artefact.holds}: leave it out, or cap nonzero too, or leave "
            "file out of the budget, as sparse weights are for the file of Result.write"
        )
