"""From a model to its graph of coupled axes: export, walk, number, count, probe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor, nn

from compressor import randomness
from compressor.copies import private_copy
from compressor.errors import TraceError
from compressor.graph import Graph
from compressor.keep import named, names_of, released
from compressor.measure import multiply_accumulates
from compressor.probe import freeze, probe
from compressor.tracing.assemble import Numbering, Tensors, assemble, number
from compressor.tracing.choices import Choice, Choices
from compressor.tracing.fixed import hold, untrained
from compressor.tracing.flow import Flow
from compressor.tracing.program import Example, example_of, export, first_names, named_tensors
from compressor.tracing.propagate import propagate

Inputs = tuple[Tensor, ...]


def trace(
    model: nn.Module,
    example: Example | None = None,
    *,
    keep: Iterable[str] = (),
    release: Iterable[str] = (),
    check: bool = True,
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
            trained, nothing is held for that.
        check: Try the graph on the model's own code (`compressor.probe`). Without, a reshape or
            slice of fixed size goes unnoticed.

    Returns:
        The graph. Axes that cannot be proven safe are frozen, with the reason in `Graph.frozen`.

    Raises:
        TraceError: If the model does not export, or its MACs do not add up.
        CountError: If an operation's MACs cannot be counted.
        ValueError: If there is no usable example, or `keep` or `release` names no layer.
    """
    inputs = example_of(model, example)
    _refuse_aliases(model)
    with randomness.preserved():
        return _traced(model, inputs, keep, names_of(release, "release"), check=check)


def _traced(
    model: nn.Module, inputs: Inputs, keep: Iterable[str], release: Iterable[str], *, check: bool
) -> Graph:
    program = export(private_copy(model), inputs)
    tensors = dict(reversed(list(named_tensors(model))))
    first = first_names(model)
    distinct = {name: tensors[name] for name in dict.fromkeys(first.values())}
    facts, keep, release = _facts(model, distinct, first), names_of(keep), tuple(release)
    fixed = {first[name] for name in untrained(model)}
    refused: dict[str, frozenset[int]] = {}
    tries: list[Graph] = []
    for _ in range(READINGS):
        flow = propagate(program, distinct, refused)
        layers = {use.weight: use.module for use in flow.uses}
        hold(flow, fixed - released(fixed, layers, release))
        numbering = number(flow)
        graph = assemble(flow, facts, numbering)
        rest = tries[0].const_macs if tries else _uncounted(model, flow, graph, inputs)
        graph = replace(graph, const_macs=rest)
        asked = dict.fromkeys(named(graph.axes, keep, graph.frozen), "asked for by keep=")
        graph = freeze(graph, asked)
        tried = probe(model, graph, inputs) if check else graph
        tries.append(_blaming_autocast(graph, tried) if program.autocast else tried)
        failed = _failed(flow.choices, numbering, graph, tried)
        if not failed:
            break
        for choice in failed:
            refused[choice.node] = refused.get(choice.node, frozenset()) | {choice.option}
    return min(tries, key=_least)


READINGS = 4
"""How often a program is read before the code's refusals are taken for final."""


def _failed(choices: Choices, numbering: Numbering, graph: Graph, tried: Graph) -> list[Choice]:
    """Choices on axes that the code did not survive, where something else could be chosen."""
    pairs = enumerate(zip(graph.axes, tried.axes, strict=True))
    broken = [number for number, (before, after) in pairs if after.frozen and not before.frozen]

    def concerns(choice: Choice) -> bool:
        units = numbering.unit_of[choice.ids]
        return bool(np.isin(graph.axis_of[units[units >= 0]], broken).any())

    return [choice for choice in choices.made if not choice.last and concerns(choice)]


def _least(graph: Graph) -> tuple[int, int]:
    """What one unit an axis costs, and how few units there are to choose from."""
    least = np.array([axis.size if axis.frozen else 1 for axis in graph.axes], dtype=np.int64)
    free = sum(axis.size for axis in graph.axes if not axis.frozen)
    return graph.params(least), -free


def _blaming_autocast(graph: Graph, tried: Graph) -> Graph:
    """Say where comparing failed that it may be the rounding of an autocast in `forward`."""
    advice = "forward runs under autocast, whose rounding may be all of it: move autocast out of it"
    return freeze(
        tried,
        {
            number: f"{axis.frozen} ({advice})"
            for number, axis in enumerate(tried.axes)
            if axis.frozen and not graph.axes[number].frozen
        },
    )


def _refuse_aliases(model: nn.Module) -> None:
    """Two parameters in one place of memory are neither tied nor separate.

    Raises:
        TraceError: Names them.
    """
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
    counted, known = multiply_accumulates(model, tuple(inputs)), graph.macs(graph.sizes)
    rest = counted - known
    if rest < 0 or (rest > 0 and not flow.uncounted):
        raise TraceError(
            f"the layers of {type(model).__name__} add up to {known:,} MACs, but running it costs "
            f"{counted:,}: its graph is not complete, so no budget can be proven. Please report "
            "this model"
        )
    return rest
