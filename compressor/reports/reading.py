"""A report read again from its own JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from compressor.budget import Budget, Cost
from compressor.counting.memory.lifetimes import Lifetime
from compressor.repair.least_squares import Repaired
from compressor.reports.arena import Memory
from compressor.reports.kept import Layer
from compressor.rules import Verdict, of_year
from compressor.rules.counters import Count
from compressor.run.file_size import Artefact
from compressor.run.history import Epoch, Rate, Shrink, restored
from compressor.run.onnx_size import Onnx
from compressor.run.tflite_size import Tflite

Plain = Mapping[str, Any]
"""An object of JSON."""


def fields_of(text: str | bytes) -> dict[str, Any]:
    """The fields of `compressor.reports.facts.Facts` that `json` wrote.

    Raises:
        ValueError: If it is not the JSON of a report.
    """
    try:
        return _fields(json.loads(text))
    except (ValueError, TypeError, LookupError, AttributeError, StopIteration) as error:
        raise ValueError(
            f"this is not the JSON of a report ({type(error).__name__}: {error}). Report.json() "
            "makes it, and Result.save writes it as report.json"
        ) from error


def _fields(data: Plain) -> dict[str, Any]:
    verdict = data["verdict"]
    caps = {**data["budget"], **data.get("shares", {})}  # which reports had none of before
    budget = Budget(**caps, file=_file(data["file"]))
    return {
        "model": str(data["model"]),
        "budget": budget if verdict is None else budget.of(of_year(verdict["year"])),
        "before": Cost(**data["before"]),
        "after": Cost(**data["after"]),
        "layers": tuple(map(_layer, data["layers"])),
        "told": {name: tuple(pair) for name, pair in data["told"].items()},
        "elsewhere": data["elsewhere"],
        "frozen": data["frozen"],
        "shrinks": tuple(map(_shrink, data["shrinks"])),
        "log": tuple(map(_epoch, data["log"])),
        "versions": data["versions"],
        "files": _pair(data["files"]),
        "accuracy": _pair(data["accuracy"]),
        "accounted": _pair(data["accounted"]),
        "to_come": data["to come"],
        "fileless": data["fileless"],
        "unjudged": data["unjudged"],
        "verdict": None if verdict is None else _verdict(verdict),
        "stored": data["stored"],
        "floating": data["floating"],
        "repairs": tuple(map(_repaired, data["repairs"])),
        "rates": tuple(map(_rate, data["rates"])),
        "memory": _memory(data["memory"]),
        "count": lambda: {name: _counts(pair) for name, pair in data["counters"].items()},
    }


def _file(name: str | None) -> Artefact | None:
    """The file that a cap on bytes is on, by its name; None for that of `Result.write`."""
    return None if name is None else next(file for file in FILES if file.name == name)


FILES: tuple[Artefact, ...] = (Tflite(), Onnx())
"""Those of other runtimes."""


def _number(value: float | None, instead: float = math.nan) -> float:
    """A number, or what was none: JSON has no infinity and no NaN."""
    return instead if value is None else value


def _pair(values: Any) -> Any:
    return None if values is None else tuple(map(_number, values))


def _layer(state: Plain) -> Layer:
    pairs = {name: _pair(state[name]) for name in ("channels", "params", "macs")}
    return replace(Layer(**state), **pairs)


def _shrink(state: Plain) -> Shrink:
    tried = {name: _number(loss, math.inf) for name, loss in state["tried"].items()}
    repaired = state["repaired"]
    whole = {**state, "tried": tried, "repaired": repaired and _distances(repaired)}
    return restored(whole)


def _distances(state: Plain) -> dict[str, Any]:
    return {
        **state,
        **{name: _number(state[name], math.inf) for name in ("before", "normed", "after")},
        "layers": {name: _pair(pair) for name, pair in state["layers"].items()},
    }


def _repaired(state: Plain) -> Repaired:
    return Repaired.of(_distances(state))


def _epoch(state: Plain) -> Epoch:
    extra = {name: _number(value, math.inf) for name, value in state["extra"].items()}
    return replace(Epoch(**state), loss=_number(state["loss"]), extra=extra)


def _rate(state: Plain) -> Rate:
    tried = tuple((rate, _number(loss, math.inf)) for rate, loss in state["tried"])
    return replace(Rate(**state), tried=tried)


def _verdict(state: Plain) -> Verdict:
    wider = state.get("wider", {})  # which reports had none of before
    return Verdict(of_year(state["year"]), Cost(**state["cost"]), wider)


def _memory(state: Plain | None) -> Memory | None:
    if state is None:
        return None
    return Memory(tuple(Lifetime(**tensor) for tensor in state["lifetimes"]), state["cap"])


def _counts(pair: Any) -> tuple[Count, Count]:
    return Count(**pair[0]), Count(**pair[1])
