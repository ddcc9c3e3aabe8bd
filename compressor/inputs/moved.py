"""Modules under the names that they had before: they import for one version, and warn."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

KEPT = {
    "inputs": "batches checks copies finite functions labels losses models randomness remedies "
    "settings sources waiting",
    "graph": "archive keep structure",
    "counting": "origins stored",
    "surgery": "averages draws masking masks weightings",
    "tracing": "blame boundaries modes",
    "allocation": "coding",
    "network.file": "allowance container deflate streams",
    "rules": "counters",
    "export": "front_end",
    "run": "calibration checkpoint claim identity optimizers progress smallest widths",
    "phases": "admm filters half joint order unstructured",
    "reports": "certificate found render result",
}
"""Names of modules that now lie in a room, by the room."""

RENAMED = {
    "admm.best": "phases.admm.state",
    "admm.penalty": "phases.admm.pull",
    "admm.projections": "phases.admm.projections",
    "admm.solver": "phases.admm.solver",
    "admm.state": "phases.admm.state",
    "allocation.choices": "allocation.knapsack",
    "allocation.conjugate": "allocation.conjugates",
    "allocation.dual": "allocation.lagrangian",
    "allocation.exact": "allocation.milp",
    "allocation.uniform": "allocation.width_factor",
    "arguments": "inputs.arguments phases.schedule",
    "choice": "allocation.candidates",
    "comparison": "inputs.example surgery.comparison",
    "contract": "run.phase run.later phases",
    "descent": "counting.cost run.history run.compression",
    "exclusive": "inputs.process",
    "executorch_export": "export.executorch",
    "filters.banks": "phases.filters.bank",
    "filters.energy": "phases.filters.by_admm",
    "filters.holding": "phases.filters.pruning",
    "filters.least": "phases.filters.least",
    "filters.masked": "phases.filters.masking",
    "filters.pruning": "phases.filters.pruning",
    "filters.ranking": "phases.filters.ranking",
    "filters.reach": "phases.filters.reach",
    "filters.rules": "phases.filters.rules",
    "filters.singles": "phases.filters.singles",
    "filters.slim": "phases.filters.slimming",
    "filters.split": "phases.filters.uncoupled",
    "filters.steps": "phases.filters.program",
    "filters.strategies": "phases.filters.by_admm",
    "filters.targets": "phases.filters.singles",
    "filters.threshold": "phases.filters.one_threshold",
    "fit": "fitting",
    "footprint": "run.file_size",
    "frequency": "phases.frequency.phase",
    "frequency_checks": "phases.frequency.checks",
    "graph": "graph.graph",
    "layers": "reports.kept",
    "measure": "inputs.example counting.measuring",
    "network.guard": "network.file.guard",
    "network.hazards": "network.file.hazards",
    "network.holders": "network.tree",
    "network.kinds": "network.file.kinds",
    "network.lines": "network.file.step_lines",
    "network.operations": "network.file.operations",
    "network.plain": "network.file.plain",
    "network.values": "network.file.values",
    "onnx_export": "export.onnx",
    "plot": "reports.picture",
    "probe": "tracing.trial",
    "quantization.convert": "quantization.conversion",
    "quantization.exported": "export.placeholders",
    "quantization.integer": "network.integer",
    "quantization.phase": "phases.int8",
    "quantization.prepare": "quantization.preparation",
    "quantization.qdq": "export.qdq",
    "quantization.sums": "network.sums",
    "quantization.weighted": "quantization.rounded",
    "quantization.xnnpack": "export.xnnpack",
    "report": "run.history reports.facts reports.report",
    "rows": "phases.frequency",
    "rows.data": "phases.frequency.moves",
    "rows.flow": "phases.frequency.flow",
    "rows.gates": "phases.frequency.gates",
    "rows.layers": "phases.frequency.layers",
    "rows.learning": "phases.frequency.learning",
    "rows.masks": "phases.frequency.masks",
    "rows.rules": "phases.frequency.rules",
    "rows.select": "phases.frequency.select",
    "rows.session": "phases.frequency.removal",
    "rows.trace": "phases.frequency.trace",
    "surgery": "surgery.cutting",
    "trace": "tracing.tracer",
    "tracing.across": "graph.operations graph.kinds",
    "tracing.assemble": "tracing.axes",
    "tracing.inline": "graph.inline",
    "tracing.program": "inputs.tensors inputs.evaluation inputs.example graph.program",
    "tracing.propagate": "tracing.walk",
    "training": "inputs.tensors run.training",
    "verify": "surgery.proof",
}
"""Modules with another name now; where they were divided, all that took a part."""


class _Moved(ModuleType):
    """Stands for a module, and imports it when something of it is asked for."""

    def __init__(self, name: str, asked: Callable[[str], Any]) -> None:
        super().__init__(name, "A module under the name that it had before.")
        self._asked = asked

    def __getattr__(self, name: str) -> Any:
        return self._asked(name)


def new_names() -> dict[str, tuple[str, ...]]:
    """Dotted names of all modules that moved, with those of today."""
    rooms = {name: f"{room}.{name}" for room, names in KEPT.items() for name in names.split()}
    return {
        f"compressor.{old}": tuple(f"compressor.{name}" for name in new.split())
        for old, new in {**rooms, **RENAMED}.items()
    }


def answer_to_old_names() -> None:
    """Let every module that moved be imported under its old name.

    Where a room has that name now, the room answers for what the module held.
    """
    for old, new in new_names().items():
        asked = _asking(old, new)
        module = sys.modules.setdefault(old, _Moved(old, asked))
        if not isinstance(module, _Moved):
            vars(module).setdefault("__getattr__", asked)
        parent, _, name = old.rpartition(".")
        package = sys.modules.get(parent)
        if package is not None and name not in vars(package):
            setattr(package, name, module)


def _asking(old: str, new: tuple[str, ...]) -> Callable[[str], Any]:
    def asked(name: str) -> Any:
        if not name.startswith("__"):  # which importers and inspectors ask of every module
            for place in new:
                found = vars(import_module(place))
                if name in found:
                    message = f"{old}.{name} is in {place} now: import it from there"
                    warnings.warn(message, DeprecationWarning, stacklevel=3)
                    return found[name]
        raise AttributeError(f"module {old!r} has no attribute {name!r}", name=name)

    return asked
