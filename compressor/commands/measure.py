"""What does a network cost, exactly?

Parameters, multiply-accumulates for one input and bytes as stored now; the RAM is that of its 8-bit
.tflite file on a microcontroller (docs/counting.md). Of a .tflite file, anybody's: its own bytes,
RAM and multiply-accumulates. The exit code is 0, or 2 where something cannot be read or counted.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from compressor.budget import Cost
from compressor.commands.models import add_model, example_of, model_of
from compressor.counting.measuring import measure
from compressor.export.reading.contents import read
from compressor.graph.structure import full
from compressor.inputs.example import one_input
from compressor.network import Network
from compressor.reports.arena import working_memory
from compressor.reports.boards.fit import need
from compressor.reports.boards.wording import needs, operators
from compressor.reports.grids import text
from compressor.reports.kept import Layer, layers
from compressor.reports.render import layer_grid
from compressor.tracing.tracer import trace

HELP = "parameters, MACs, bytes and RAM of a network, or of a .tflite file"


def arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    add_model(parser)
    parser.add_argument(
        "--by-layer",
        action="store_true",
        help="a table of the layers, too (of a .tflite file: of its operators)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def run(options: Namespace) -> int:
    """Print what the model costs; returns the exit code."""
    if options.model.endswith(".tflite"):
        return _file(options)
    model = model_of(options)
    inputs = one_input(model, example_of(options, model))
    cost = measure(model, inputs)
    ram, why = _ram(model, inputs)
    rows, elsewhere = _layers(model, inputs) if options.by_layer else ((), 0)
    if options.json:
        told = {"model": type(model).__name__, "inputs": [list(x.shape) for x in inputs]}
        told |= {**asdict(cost), "ram": ram, "no ram": why}
        told |= {"layers": [_plain(row) for row in rows]} if options.by_layer else {}
        sys.stdout.write(json.dumps(told, indent=1) + "\n")
        return 0
    lines = _lines(model, inputs, cost, f"{ram:,} bytes" if ram is not None else f"- ({why})")
    sys.stdout.write("\n".join(lines) + "\n")
    if options.by_layer:
        sys.stdout.write("\n" + text("", [layer_grid(rows, elsewhere)], []) + "\n")
    return 0


def _lines(model: nn.Module, inputs: tuple[Tensor, ...], cost: Cost, ram: str) -> list[str]:
    shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
    return [
        f"{type(model).__name__}, for one input {shapes}",
        f"  parameters  {cost.params:,} ({cost.nonzero:,} not zero)",
        f"  MACs        {cost.macs:,}",
        f"  bytes       {cost.bytes:,} as stored now",
        f"  RAM         {ram} of its 8-bit .tflite file",
    ]


def _ram(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[int | None, str]:
    """Working memory in bytes, or why there is none."""
    try:
        return working_memory(model, inputs).peak.bytes, ""
    except ValueError as error:  # a network that no such file holds
        return None, str(error)


def _layers(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[tuple[Layer, ...], int]:
    graph = trace(model, inputs, check=False)
    rows = layers(model, full(graph), full(graph))
    if isinstance(model, Network):  # which knows no classes
        rows = tuple(replace(row, kind="-") for row in rows)
    return rows, graph.const_macs


def _plain(layer: Layer) -> dict[str, Any]:
    channels = layer.channels and layer.channels[0]
    told = {"module": layer.module, "kind": layer.kind, "channels": channels}
    return told | {"params": layer.params[0], "macs": layer.macs[0]}


def _file(options: Namespace) -> int:
    """The same of a `.tflite` file."""
    if options.settings or options.input or options.weights:
        raise ValueError(
            f"{options.model} is a .tflite file, of which the whole is counted as it is: leave "
            "out --with, --input and --weights"
        )
    contents = read(Path(options.model))
    needed, table = need(contents), operators(contents)
    if options.json:
        told: dict[str, Any] = {"model": needed.name, "macs": needed.macs, "bytes": needed.flash}
        told |= {"ram": needed.arena.head, "arena": needed.ram, "macs of zeros": needed.blank}
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        told |= {"operators": rows} if options.by_layer else {}
        sys.stdout.write(json.dumps(told, indent=1) + "\n")
        return 0
    lines = [*needs(needed), *(["", text("", [table], [])] if options.by_layer else [])]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0
