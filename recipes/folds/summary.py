"""What the folds' records say: accuracy by stage, its drop, whether caps and goals are met."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from recipes.folds.settings import CONTROL, DENSE, GOALS, KIB64, PARAMS, STAGES

Records = Mapping[str, Sequence[Mapping[str, Any]]]
"""Records by stage, a fold each."""

HEAD = (
    "network", "folds", "parameters, at most", "MACs a decision, at most", "bytes, at most",
    "accuracy", "drop from dense, points", "goal", "CPU seconds a fold",
)  # fmt: skip
BELOW = 1.0
"""Points that a network of integers may lie below that of the same caps without them."""


def rows(found: Records) -> list[list[str]]:
    """A line for every stage that has records: means over folds, greatest counts."""
    return [_row(stage, found) for stage in STAGES if found.get(stage)]


def _row(stage: str, found: Records) -> list[str]:
    records = found[stage]
    drops = [one["dense"] - one["accuracy"] for one in records]
    spent = [one["CPU seconds"] for one in records if one["CPU seconds"] is not None]
    greatest = {key: max(one[key] for one in records) for key in ("params", "macs", "bytes")}
    return [
        stage,
        f"{len(records)}",
        *(f"{greatest[key]:,}" for key in ("params", "macs", "bytes")),
        f"{mean(records):.2f} %",
        "" if stage == DENSE else f"{statistics.mean(drops):+.2f}",
        verdict(stage, found),
        f"{statistics.mean(spent):,.0f}" if spent else "-",
    ]


def mean(records: Sequence[Mapping[str, Any]]) -> float:
    """Accuracy over all clips of the folds, in percent."""
    clips = sum(one["clips"] for one in records)
    return sum(one["accuracy"] * one["clips"] for one in records) / clips


def verdict(stage: str, found: Records) -> str:
    """Whether a stage of five folds reaches its goal; empty where it has none yet."""
    if stage in (DENSE, CONTROL):
        return ""
    goal, records = GOALS[stage], found[stage]
    over = [
        name
        for name, cap in (("params", PARAMS), ("macs", goal.macs), ("bytes", goal.bytes))
        if cap is not None and max(one[name] for one in records) > cap
    ]
    if over:
        return f"over its cap on {', '.join(over)}"
    wanted = goal.accuracy
    if wanted is None:
        beside = found.get(beside_of(stage), ())
        if not beside:
            return ""
        wanted = mean(beside) - BELOW
    state = "reached" if mean(records) >= wanted else f"missed by {wanted - mean(records):.2f}"
    return f">= {wanted:.1f}: {state}"


def beside_of(stage: str) -> str:
    """The stage of the same caps without bytes."""
    macs = GOALS[stage].macs
    return next(name for name, goal in GOALS.items() if goal.macs == macs and goal.bytes != KIB64)
