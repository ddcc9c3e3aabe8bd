"""Facts of a compression, as plain data: costs against the budget, layer by layer, with proof."""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import torch
from torch import nn

from compressor.budget import Budget, Cost
from compressor.inputs.example import Example
from compressor.repair.least_squares import Repaired
from compressor.reports.arena import Memory
from compressor.reports.kept import Layer
from compressor.rules import Verdict
from compressor.rules.counters import Count, fvcore_count, thop_count, torchinfo_count
from compressor.run.history import Epoch, Rate, Shrink

Verdicts = Mapping[str, tuple[Count, Count]]
"""What each counter says of the original and of the result."""


@dataclass(frozen=True, eq=False)
class Facts:
    """Everything worth knowing about a compression.

    Attributes:
        model: Class of the model.
        budget: The caps.
        before: Cost of the original, measured.
        after: Cost of the result, measured on the smaller module and equal to the prediction.
        layers: One row a module; their sums and `elsewhere` are the totals.
        told: Numbers that attributes of the model's own modules held and hold, by their names:
            sizes that its code goes by.
        elsewhere: MACs of operations without a weight, which nothing here removes.
        frozen: Reason by layer for everything that stayed whole.
        shrinks: What every removal did and can prove.
        log: Training, epoch by epoch.
        versions: Versions that may matter.
        files: Bytes of the files of the original and of the result
            (`compressor.network.file.container`, or what the budget's `file` says), which a cap on
            bytes counts; None where bytes have no cap, or there is no file.
        to_come: The phase after which there will be such a file, where there is none yet: the
            second number is then the most that it can have. Empty where there is one.
        stored: Kinds of the numbers that the weights in the file are, such as ``"float32"``.
        floating: Entries of the weights that stay in floating point where others became integers,
            by module: those of recurrent layers, or of layers whose weight is computed.
        accounted: Bytes of the result's non-zero entries, and of all, at the bits they are stored
            with, as the DCASE challenges count: zeros were free in 2020 and 2021 and count since.
        fileless: Why there is no file; a cap on bytes then counts the stored parameters.
        verdict: Of the rule whose caps the budget has, on the result, by the rule's own counting;
            None where the caps are no rule's.
        rates: Learning rates that were looked for, and what was tried.
        unjudged: Why a rule cannot count the result.
        memory: Working memory of the `.tflite` file of the result; None where RAM has no cap.
        repairs: What every repair apart from a removal did.
        accuracy: Accuracy on `val` of the original and of the result; None without such a loader.
        count: Makes `counters`; called once, when they are first asked for.
    """

    model: str
    budget: Budget
    before: Cost
    after: Cost
    layers: tuple[Layer, ...]
    elsewhere: int
    frozen: Mapping[str, str]
    shrinks: tuple[Shrink, ...]
    log: tuple[Epoch, ...]
    versions: Mapping[str, str]
    files: tuple[int, int] | None = None
    to_come: str = ""
    accounted: tuple[int, int] | None = None
    fileless: str = ""
    verdict: Verdict | None = None
    unjudged: str = ""
    stored: str = ""
    floating: Mapping[str, int] = field(default_factory=dict[str, int])
    told: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    repairs: tuple[Repaired, ...] = ()
    rates: tuple[Rate, ...] = ()
    memory: Memory | None = None
    accuracy: tuple[float, float] | None = None
    count: Callable[[], Verdicts] = field(repr=False, default=dict[str, tuple[Count, Count]])

    @cached_property
    def counters(self) -> Verdicts:
        """Counts of other counters, before and after: those whose package is installed."""
        return self.count()

    @property
    def unused(self) -> dict[str, float]:
        """Share of each cap that the result leaves over."""
        after = self.after if self.files is None else replace(self.after, bytes=self.files[1])
        return {name: 1 - getattr(after, name) / cap for name, cap in self.budget.caps.items()}

    @property
    def binding(self) -> tuple[str, ...]:
        """Caps that stopped the last shrink from keeping more."""
        return self.shrinks[-1].binding if self.shrinks else ()

    @property
    def difference(self) -> float | None:
        """Largest output difference between masked and shrunk model, over all shrinks."""
        checked = [s.difference for s in self.shrinks if s.difference is not None]
        return max(checked, default=None)

    def data(self) -> dict[str, Any]:
        """Everything as plain data that JSON can hold: numbers that are not finite become None."""
        return _finite(
            {
                "model": self.model,
                "budget": self.budget.caps,
                "shares": self.budget.shares,
                "file": None if self.budget.file is None else self.budget.file.name,
                "before": asdict(self.before),
                "after": asdict(self.after),
                "accuracy": self.accuracy,
                "files": self.files,
                "to come": self.to_come,
                "stored": self.stored,
                "floating": self.floating,
                "accounted": self.accounted,
                "fileless": self.fileless,
                "unjudged": self.unjudged,
                "verdict": None if self.verdict is None else self.verdict.data(),
                "unused": self.unused,
                "binding": self.binding,
                "difference": self.difference,
                "counters": {k: [asdict(c) for c in pair] for k, pair in self.counters.items()},
                "shrinks": [asdict(s) for s in self.shrinks],
                "repairs": [asdict(repair) for repair in self.repairs],
                "memory": None if self.memory is None else self.memory.data(),
                "rates": [asdict(rate) for rate in self.rates],
                "layers": [asdict(layer) for layer in self.layers],
                "told": self.told,
                "elsewhere": self.elsewhere,
                "frozen": self.frozen,
                "log": [asdict(epoch) for epoch in self.log],
                "versions": self.versions,
            }
        )

    def json(self) -> str:
        """`data` as JSON."""
        return json.dumps(self.data(), indent=1, allow_nan=False)


def verdicts(before: nn.Module, after: nn.Module, example: Example) -> Verdicts:
    """Count by torchinfo's rule, fvcore and thop, the latter two where they are installed.

    A counter that fails on the model is left out: none of them is ours, and none decides anything.
    """
    counters = {"torchinfo (NeSsi)": torchinfo_count, "fvcore": fvcore_count, "thop": thop_count}
    found: dict[str, tuple[Count, Count]] = {}
    for name, counter in counters.items():
        try:
            pair = counter(before, example), counter(after, example)
        except Exception:  # noqa: BLE001, S112 - whatever another package's failure may be
            continue
        if pair[0] is not None and pair[1] is not None:
            found[name] = (pair[0], pair[1])
    return found


def versions() -> dict[str, str]:
    """Python, this library and what its numbers depend on."""
    found = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for name in ("compressor-nn", "numpy", "scipy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in cast("list[Any]", value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value
