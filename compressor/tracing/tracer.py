"""From a model to its graph of coupled axes: export, walk, number, count, probe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

from torch import nn

from compressor.counting.exported import multiply_accumulates as by_shapes
from compressor.counting.measuring import multiply_accumulates
from compressor.errors import TraceError
from compressor.graph.graph import Graph
from compressor.graph.keep import named, names_of, released
from compressor.graph.own import described, operations_of
from compressor.graph.program import Program, example_of, export
from compressor.graph.signature import Operation
from compressor.inputs import randomness
from compressor.inputs.copies import private_copy
from compressor.inputs.example import Example, Inputs
from compressor.surgery.attention import open_attention
from compressor.tracing.axes import Tensors, assemble, number
from compressor.tracing.choices import Refused
from compressor.tracing.fixed import hold, hold_tables, untrained
from compressor.tracing.flow import Flow
from compressor.tracing.lines import remembered_lines
from compressor.tracing.pictures import smaller
from compressor.tracing.readings import Reading, lively, surviving
from compressor.tracing.trial import freeze
from compressor.tracing.walk import propagate
from compressor.tracing.ways import Trials
from compressor.tracing.written import blaming_numbers


def trace(
    model: nn.Module,
    example: Example | None = None,
    *,
    keep: Iterable[str] = (),
    release: Iterable[str] = (),
    check: bool = True,
    operations: Sequence[Operation] = (),
) -> Graph:
    """Write a model as a graph of coupled axes.

    Args:
        model: Any module that `torch.export` can export; traced in eval mode, left untouched.
        example: A tensor or tuple of tensors, batch first, for instance (1, channel, frequency,
            time); default `model.example_input_array`. The graph holds for this input shape (any
            batch size).
        keep: Names of layers (or of modules around them) that lose no channel.
        release: Names of layers (or of modules around them) that may shrink although their weights
            are not trained (``requires_grad=False``). Else such a layer stays whole, inputs and
            outputs; its bias and normalisation follow it. Where no parameter of the model is
            trained, nothing is held for that. Of a layer whose weight is a buffer the outputs stay.
        check: Try the graph on the model's own code (`compressor.tracing.trial`). Without, a
            reshape or slice of fixed size goes unnoticed.
        operations: Operators of one's own in the model (`compressor.Operation`). Any other that
            the library does not know holds what it touches.

    Returns:
        The graph. Axes that cannot be proven safe are frozen, with the reason in `Graph.frozen`.

    Raises:
        TraceError: If the model does not export, or its MACs do not add up.
        CountError: If an operation's MACs cannot be counted.
        ValueError: If there is no usable example, `keep` or `release` names no layer, or one of
            `operations` is not as its signature says.
    """
    inputs, operations = example_of(model, example), operations_of(operations)
    _refuse_aliases(model)
    with randomness.preserved():
        opened = _shell(model)
        open_attention(opened)
        program = described(export(opened, inputs), operations)
        rest = partial(_uncounted, model, inputs, operations, check=check)
        release = names_of(release, "release")
        with remembered_lines(program, model, inputs) as lines:
            return lines.told(_traced(model, program, inputs, keep, release, rest, check=check))


def _traced(
    model: nn.Module,
    program: Program,
    inputs: Inputs,
    keep: Iterable[str],
    release: Iterable[str],
    uncounted: Callable[[Flow, Graph], int],
    *,
    check: bool,
) -> Graph:
    tensors, keep, release = Tensors.of(model), names_of(keep), tuple(release)
    fixed = {tensors.first[name] for name in untrained(model)}
    buffers = tensors.by_name.keys() - tensors.trainable

    def read(refused: Refused) -> Reading:
        flow = propagate(program, tensors.shapes, refused)
        layers = {use.weight: use.module for use in flow.uses}
        let = released(fixed | buffers, layers, release)
        hold(flow, fixed - let)
        hold_tables(flow, buffers - let)
        numbering = number(flow)
        return Reading(flow, numbering, assemble(flow, tensors, numbering))

    reading = lively(read)
    rest = uncounted(reading.flow, reading.graph)

    def ready(graph: Graph) -> Graph:
        asked = dict.fromkeys(named(graph.axes, keep, graph.frozen), "asked for by keep=")
        return freeze(replace(graph, const_macs=rest), asked)

    if not check:
        return ready(reading.graph)
    trials = Trials(model, inputs, smaller(program, inputs))
    graph, tried = surviving(trials, read, reading, ready)
    tried = freeze(tried, blaming_numbers(graph, tried))
    return _blaming_autocast(graph, tried) if program.autocast else tried


def _shell(model: nn.Module) -> nn.Module:
    """A copy with the model's own numbers behind its parameters, to be exported.

    The export runs it on tensors that have no values, so that nothing can write into them.
    """
    own = {id(p): p for p in model.parameters() if type(p) is nn.Parameter}
    return private_copy(
        model, {n: nn.Parameter(p.detach(), requires_grad=p.requires_grad) for n, p in own.items()}
    )


def _blaming_autocast(graph: Graph, tried: Graph) -> Graph:
    """Say where comparing failed that it may be the rounding of an autocast in `forward`."""
    advice = "forward runs under autocast, whose rounding may be all of it: move autocast out of it"
    pairs = enumerate(zip(graph.axes, tried.axes, strict=True))
    failed = {n: after.frozen for n, (before, after) in pairs if not before.frozen and after.frozen}
    return freeze(tried, {number: f"{why} ({advice})" for number, why in failed.items()})


def _refuse_aliases(model: nn.Module) -> None:
    """Two parameters in one place of memory are neither tied nor separate."""
    seen: dict[tuple[int, int], str] = {}
    for name, parameter in model.named_parameters():
        if parameter.device.type == "meta" or not parameter.numel():
            continue
        place = (parameter.untyped_storage().data_ptr(), int(parameter.storage_offset()))
        other = seen.setdefault(place, name)
        if other != name:
            raise TraceError(
                f"{other!r} and {name!r} are two parameters in the same memory, so that one cannot "
                "be cut without the other, nor be counted once: tie them by assigning the same "
                "nn.Parameter, or give one a copy"
            )


def _uncounted(
    model: nn.Module,
    inputs: Inputs,
    operations: Sequence[Operation],
    flow: Flow,
    graph: Graph,
    *,
    check: bool,
) -> int:
    """MACs of the operations that no site describes: what the counter sees beyond the sites.

    Where the exported operations say theirs themselves, nothing is run: that they are those of the
    model is what the trial finds out, and a smaller model is counted by running it.
    """
    counted = by_shapes(flow.program) if check and not operations else None
    if counted is None:
        counted = multiply_accumulates(model, tuple(inputs), operations)
    known = graph.macs(graph.sizes)
    rest = counted - known
    if rest < 0 or (rest > 0 and not flow.uncounted):
        raise TraceError(
            f"the layers of {type(model).__name__} add up to {known:,} MACs, but running it costs "
            f"{counted:,}: its graph is not complete, so no budget can be proven. Please report "
            "this model"
        )
    return rest
