"""Rules that read each kind of operation, and the walk through a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from torch.fx import Node

from compressor.graph.graph import OUTPUT
from compressor.graph.kinds import Kind
from compressor.graph.operations import operation_of
from compressor.graph.program import Program
from compressor.tracing import (
    contraction,
    cuts,
    data,
    embeddings,
    indexing,
    layers,
    lookups,
    stacks,
)
from compressor.tracing.apart import beside
from compressor.tracing.assigns import assigned
from compressor.tracing.choices import Choices, Refused
from compressor.tracing.columns import opened
from compressor.tracing.data import Rule
from compressor.tracing.einsums import einsum
from compressor.tracing.flow import Flow, Labels, place
from compressor.tracing.lines import mark_of
from compressor.tracing.numbers import sized
from compressor.tracing.own import signed
from compressor.tracing.pairs import paired
from compressor.tracing.pointwise import convolved
from compressor.tracing.projection import projected
from compressor.tracing.recurrent import recurrence
from compressor.tracing.transforms import transformed

RULES: Mapping[Kind, Rule] = {
    **dict.fromkeys((Kind.POINTWISE, Kind.DROPOUT), data.pointwise),
    Kind.COPIES: data.copied,
    Kind.MAKES: data.unlabelled,
    Kind.SHAPED: data.shaped_alike,
    **dict.fromkeys((Kind.VIEWS, Kind.MOVES), data.movement),
    Kind.REINTERPRETS: data.unknown_form,
    Kind.SHUFFLES: data.shuffled,
    Kind.JOINS: data.concatenate,
    Kind.STACKS: stacks.stacked,
    Kind.ASSIGNS: assigned,
    Kind.APART: beside,
    Kind.INDEXES: indexing.indexed,
    Kind.APPENDS: lookups.appended,
    Kind.COLUMNS: opened,
    Kind.PAIRS: paired,
    Kind.SAMPLES: lookups.sampled,
    Kind.SEARCHES: lookups.looked_up,
    Kind.COMPARES: lookups.compared,
    Kind.EMBEDDING: embeddings.embedded,
    Kind.BAGS: embeddings.bagged,
    Kind.CUTS: cuts.cutting,
    Kind.SELECTS: cuts.selecting,
    Kind.PICKS: data.opaque_across,
    Kind.GATES: data.gated,
    Kind.PADS: data.padding,
    Kind.WINDOWS: data.pooling,
    Kind.REDUCES: data.reduction,
    Kind.RANKS: data.ranked,
    Kind.SCANS: data.along_one,
    Kind.TRANSFORMS: transformed,
    Kind.LAYER_NORM: layers.layer_norm,
    **dict.fromkeys((Kind.GROUP_NORM, Kind.BATCH_NORM), layers.channel_norm),
    Kind.PRELU: layers.prelu,
    Kind.CONVOLUTION: convolved,
    Kind.TRANSPOSED: partial(layers.convolution, transposed=True),
    Kind.LINEAR: layers.linear,
    Kind.PRODUCT: layers.matmul,
    Kind.BATCHED: contraction.batched,
    Kind.EINSUM: einsum,
    Kind.OUTER: contraction.outer,
    Kind.ATTENTION: contraction.attention,
    Kind.WEIGHT_NORM: layers.weight_norm,
    Kind.RECURRENT: recurrence,
}
"""The rule of every kind; what is of another is opaque."""

WHOLE = frozenset(
    {Kind.CONVOLUTION, Kind.TRANSPOSED, Kind.LINEAR, Kind.PRODUCT, Kind.BATCHED, Kind.EINSUM}
    | {Kind.ATTENTION, Kind.LAYER_NORM, Kind.GROUP_NORM, Kind.BATCH_NORM, Kind.PRELU}
    | {Kind.WEIGHT_NORM, Kind.SHAPED, Kind.OUTER}
)
"""Kinds whose rules look at all labels of a tensor; those of others look at one at a time."""

SINGLE = frozenset({Kind.RECURRENT, Kind.EMBEDDING, Kind.BAGS, Kind.BILINEAR})
"""Kinds whose rules know activations with one label, and read the weights among their operands."""

CHECKS = ("_assert", "_guard", "sym_")
"""Operations without a tensor result that do not touch data."""


def propagate(
    program: Program, shapes: Mapping[str, tuple[int, ...]], refused: Refused | None = None
) -> Flow:
    """Walk through the program and label every activation and weight.

    Shapes are those of parameters and buffers, by their first names; `refused` are readings of
    operations that the model's code did not survive.
    """
    flow = Flow(program, dict(shapes), choices=Choices(refused or {}))
    blocks: list[Node] = []
    for node in program.graph.nodes:
        if node.op == "call_function":
            flow.couplings.at = place(node)
            flow.labels[node.name] = _labels(flow, node)
            flow.note(node)
            if operation_of(node.target).kind is Kind.POINTWISE:
                sized(flow, node)
        elif node.op == "get_attr":
            blocks.append(node)
        elif node.op == "output":
            _hold_outputs(flow, node.all_input_nodes)
    for block in blocks:
        users = ", ".join(place(user) for user in block.users)
        flow.couplings.freeze_all(f"{users} hides a part of the network from the tracer")
    return flow


def _hold_outputs(flow: Flow, results: Sequence[Node]) -> None:
    """Keep what the model returns whole; where that is several results, each says its line."""
    count = sum(bool(flow.labels_of(result)) for result in results)
    for result in results:
        several = f", one of {count}{mark_of(result)}" if count > 1 else ""
        flow.hold(result, OUTPUT + several)


def _labels(flow: Flow, node: Node) -> Labels:
    """The labels of an operation's output; a form of it that no rule foresees is opaque.

    Of an entry that nobody reads (``w[0].numel()`` leaves one) only the size was asked for.
    """
    if not node.users and operation_of(node.target).kind is Kind.SELECTS:
        return None
    try:
        rule, kind = _rule(flow, node), operation_of(node.target).kind
        own = node.target in flow.program.own
        if (kind in SINGLE or own) and any(_several(flow, x) for x in node.all_input_nodes):
            return data.opaque(flow, node, "takes no tensor that shrinks in several dimensions")
        whole = own or kind in WHOLE | SINGLE
        found = rule(flow, node) if whole else projected(rule, flow, node)
    except Exception:  # noqa: BLE001 - whatever it is, what it touches stays whole
        flow.focus = {}
        return data.unknown_form(flow, node)
    return found if data.fits(found, node.meta.get("val")) else data.unknown_form(flow, node)


def _several(flow: Flow, node: Node) -> bool:
    return not flow.weighs(node) and len(flow.labels_of(node)) > 1


def _rule(flow: Flow, node: Node) -> Rule:
    if node.target in flow.program.own:
        return partial(signed, operation=flow.program.own[node.target])
    if node.target is data.GETITEM:
        return data.item
    if any(part in str(node.target) for part in CHECKS):
        return data.unlabelled
    return RULES.get(operation_of(node.target).kind, data.opaque)
