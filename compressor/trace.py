"""From a model to its graph of coupled axes: export, walk, number, count, probe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from torch import Tensor, nn

from compressor.errors import TraceError
from compressor.graph import Graph
from compressor.keep import named
from compressor.measure import measure
from compressor.probe import freeze, probe
from compressor.tracing.assemble import Tensors, assemble
from compressor.tracing.flow import Flow
from compressor.tracing.program import Example, example_of, export, first_names, named_tensors
from compressor.tracing.propagate import propagate


def trace(model: nn.Module, example: Example | None = None, *, keep: Iterable[str] = ()) -> Graph:
    """Write a model as a graph of coupled axes.

    Args:
        model: Any module that `torch.export` can export; traced in eval mode, left untouched.
        example: A tensor or tuple of tensors, batch first, for instance (1, channel, frequency,
            time); default `model.example_input_array`. The graph holds for this input shape (any
            batch size).
        keep: Names of layers (or of modules around them) that lose no channel.

    Returns:
        The graph. Axes that cannot be proven safe are frozen, with the reason in `Graph.frozen`.

    Raises:
        TraceError: If the model does not export, or its MACs do not add up.
        CountError: If an operation's MACs cannot be counted.
        ValueError: If there is no usable example, or `keep` names no layer.
    """
    inputs = example_of(model, example)
    program = export(model, inputs)
    tensors = dict(reversed(list(named_tensors(model))))
    first = first_names(model)
    distinct = {name: tensors[name] for name in dict.fromkeys(first.values())}
    flow = propagate(program, distinct)
    graph = assemble(flow, _facts(model, distinct, first))
    graph = replace(graph, const_macs=_uncounted(model, flow, graph, inputs))
    asked = dict.fromkeys(named(graph.axes, keep, graph.frozen), "asked for by keep=")
    return probe(model, freeze(graph, asked), inputs)


def _facts(
    model: nn.Module, tensors: dict[str, Tensor], first: dict[str, str]
) -> dict[str, Tensors]:
    trainable = {name for name, _ in model.named_parameters()}
    return {
        name: Tensors(
            itemsize=tensor.element_size(),
            trainable=name in trainable,
            aliases=tuple(a for a, f in first.items() if f == name and a != name),
        )
        for name, tensor in tensors.items()
    }


def _uncounted(model: nn.Module, flow: Flow, graph: Graph, inputs: Sequence[Tensor]) -> int:
    """MACs of the operations that no site describes: what the counter sees beyond the sites."""
    counted, known = measure(model, tuple(inputs)).macs, graph.macs(graph.sizes)
    rest = counted - known
    if rest < 0 or (rest > 0 and not flow.uncounted):
        raise TraceError(
            f"the layers of {type(model).__name__} add up to {known:,} MACs, but running it costs "
            f"{counted:,}: its graph is not complete, so no budget can be proven. Please report "
            "this model"
        )
    return rest
