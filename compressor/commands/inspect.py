"""Which channels of a network can go, what stays whole and why, and how small it can become.

A group of channels lives and dies together: the summands of a residual sum, a depthwise filter, a
norm, the weights that read it (`compressor.trace`). The exit code is 0, or 2 where the model cannot
be made or traced.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

import numpy as np

from compressor.budget import Cost
from compressor.commands.models import add_model, example_of, model_of
from compressor.counting.cost import cost_of
from compressor.graph.graph import Axis, Graph
from compressor.graph.structure import full, top
from compressor.reports.grids import Grid, text
from compressor.run.smallest import smallest_widths
from compressor.run.unfinished import check_given
from compressor.tracing.tracer import trace
from compressor.wording import listed, many

HELP = "the groups of channels, what is kept whole and why, the smallest reachable cost"


def arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    add_model(parser)
    parser.add_argument(
        "--keep", action="append", default=[], metavar="LAYER", help="keep a layer whole, too"
    )


def run(options: Namespace) -> int:
    """Print what can be removed; returns the exit code."""
    model = model_of(options)
    check_given(model)
    graph = trace(model, example_of(options, model), keep=options.keep)
    free = sum(axis.size for axis in graph.axes if not axis.frozen)
    first = (
        f"{type(model).__name__}: {many(len(graph.axes), 'group')}, "
        f"{many(graph.units, 'channel')}, of which {free:,} may go."
    )
    least = top(graph, np.ones(graph.units), smallest_widths(graph))
    told = [f"Kept whole: {name} ({why})." for name, why in graph.frozen.items()]
    told += [f"Now: {_cost(cost_of(full(graph)))}."]
    told += [f"The least, one channel of each group that may go: {_cost(cost_of(least))}."]
    sys.stdout.write(text(first, [_groups(graph)], told) + "\n")
    return 0


def _cost(cost: Cost) -> str:
    counts = (cost.params, "parameter"), (cost.macs, "MAC"), (cost.bytes, "byte")
    return ", ".join(many(*count) for count in counts)


def _groups(graph: Graph) -> Grid:
    """A row a group, with what each of its channels costs while all others are there."""
    rows = tuple(_row(graph, number, axis) for number, axis in enumerate(graph.axes))
    columns = ("group", "channels", "written by", "params a channel", "MACs a channel", "may go")
    return Grid("Groups of channels", columns, rows)


def _row(graph: Graph, number: int, axis: Axis) -> tuple[str, ...]:
    fewer = graph.sizes
    fewer[number] -= 1
    saved = (form(graph.sizes) - form(fewer) for form in (graph.params, graph.macs))
    writers = listed(axis.layers, len(axis.layers))
    may = "no" if axis.frozen else "yes"
    return (axis.name, f"{axis.size:,}", writers, *(f"{cost:,}" for cost in saved), may)
