"""The caps of a run: shares of the network given, and caps on the way where several shrinks do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressor.budget import Budget, Cost
from compressor.errors import TraceError
from compressor.run.file_size import Stored


def of_network(budget: Budget, cost: Cost, stored: Stored) -> Budget:
    """A budget with its shares as those of the network given.

    Args:
        budget: The caps.
        cost: Of the network, with its RAM where that has a cap.
        stored: The network. A share of bytes is one of its file, as a report has it for the network
            before; of its stored parameters where there is no file, which the cap is on then too.
    """
    if "bytes" in budget.unresolved:
        budget = budget.of_wholes(*_bytes(budget, cost, stored))
    return budget.resolved(cost)


def _bytes(budget: Budget, cost: Cost, stored: Stored) -> tuple[dict[str, int], str]:
    """The bytes that a share is of, and whose they are."""
    try:
        stored.artefact.bound(stored)  # which says why there is none
    except TraceError:
        return {"bytes": cost.bytes}, "the parameters"
    network = stored.captured.of(stored.model, stored.example)
    what = "the file" if budget.file is None else ""
    return {"bytes": len(stored.artefact.content(network))}, what


def among(caps: Mapping[str, Any]) -> Budget:
    """A budget of some caps, by name; which file one on bytes is on, the run knows."""
    return Budget(**caps)


def on_the_way(budget: Budget, now: Cost, remaining: int) -> Budget:
    """Caps for the next of `remaining` shrinks: in equal ratios from `now` to the budget."""
    caps = dict(budget.caps)
    for name, cap in budget.caps.items():
        cost = getattr(now, name)
        if remaining > 1 and cost > cap:
            caps[name] = max(cap, int(cost * (cap / cost) ** (1 / remaining)))
    return among(caps)
