"""A model as a straight list of tensor operations, exported by `torch.export`."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stderr, suppress
from dataclasses import dataclass, field
from io import StringIO
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.export import ExportedProgram, ShapesCollection
from torch.fx import Graph as FxGraph
from torch.fx import Node
from torch.fx.experimental import symbolic_shapes

from compressor.errors import TraceError
from compressor.graph.attributes import sizes_of
from compressor.graph.causality import unseen_masks
from compressor.graph.failures import failure, without_result
from compressor.graph.inline import inlined, rounds
from compressor.graph.operations import given
from compressor.graph.signature import Operation
from compressor.inputs.evaluation import evaluating
from compressor.inputs.example import Example, one_input
from compressor.inputs.forms import check_own_code
from compressor.inputs.functions import foreign
from compressor.inputs.process import exclusive
from compressor.inputs.tensors import first_names, named_tensors

_lazy_graph_module: Any = None
with suppress(ImportError):
    from torch.fx import _lazy_graph_module


@dataclass(frozen=True)
class Program:
    """The exported operations of one model for inputs of one shape.

    Attributes:
        graph: The operations, in order; every node carries its output's shape.
        weights: Placeholder node name -> name of the parameter or buffer it stands for (the first
            name when several are tied).
        constants: Placeholder node name -> tensor that the export lifted out of the code.
        inputs: Names of the placeholder nodes of the user's inputs, in order.
        parameters: Names of those of the weights that are parameters.
        sizes: Whole numbers among the attributes of every module, by name of the module; see
            `compressor.graph.attributes`.
        foreign: Names of the modules whose class is PyTorch's own.
        autocast: True if the model itself runs some of them in lower precision than these say.
        own: Those that the library does not know and their user describes, by their form.
    """

    graph: FxGraph
    weights: Mapping[str, str]
    constants: Mapping[str, Any]
    inputs: tuple[str, ...]
    parameters: frozenset[str] = frozenset()
    sizes: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    foreign: frozenset[str] = frozenset()
    autocast: bool = False
    own: Mapping[object, Operation] = field(default_factory=dict[object, Operation])


def example_of(model: nn.Module, example: Example | None) -> tuple[Tensor, ...]:
    """The example as positional arguments with a batch of one, on the model's device.

    Arguments, result and errors are those of `compressor.inputs.example.one_input`: what is
    traced is what is counted; besides, a model on the meta device has no values and is refused.
    """
    inputs = one_input(model, example)
    check_own_code(model)
    empty = [name for name, tensor in named_tensors(model) if tensor.is_meta]
    if empty:
        raise ValueError(
            f"{len(empty)} tensors of the {type(model).__name__} are on the meta device (the "
            f"first is {empty[0]!r}), where they have shapes and no values: build the model on a "
            "real device, or model.to_empty(device='cpu') and load its weights"
        )
    device = next((p.device for p in model.parameters()), inputs[0].device)
    return tuple(x.detach().to(device) for x in inputs)


def export(model: nn.Module, example: tuple[Tensor, ...]) -> Program:
    """Export a model in eval mode with `torch.export` (non-strict: Python runs as it is).

    A TraceError names the module that stopped it.
    """
    try:
        program = exported(model, example)
    except Exception as error:
        raise TraceError(failure(model, example, error)) from error
    refuse_vmap(model, program.graph_module)
    if not any(isinstance(result, str) for result in program.graph_signature.user_outputs):
        raise TraceError(without_result(model, example))
    first, signature = first_names(model), program.graph_signature
    weights = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    lifted = signature.inputs_to_lifted_tensor_constants
    return Program(
        autocast=rounds(program.graph_module),  # before the blocks that say so are inlined
        graph=_late(inlined(program.graph_module), weights),
        weights={str(node): first[name] for node, name in weights.items()},
        parameters=frozenset(first[name] for name in signature.inputs_to_parameters.values()),
        constants={node: program.constants[name] for node, name in lifted.items()},
        inputs=tuple(str(name) for name in signature.user_inputs),
        sizes={path: sizes_of(module) for path, module in model.named_modules()},
        foreign=frozenset(
            path for path, module in model.named_modules() if foreign(type(module).__module__)
        ),
    )


def _late(graph: FxGraph, weights: Mapping[Any, str]) -> FxGraph:
    """The same with every weight where it is used first: no run has to hold them all at once."""
    place = {node: number for number, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        if node.op == "placeholder" and node.name in weights and node.users:
            min(node.users, key=place.__getitem__).prepend(node)
    return graph


def exported(
    model: nn.Module, inputs: tuple[Tensor, ...], sizes: ShapesCollection | None = None
) -> ExportedProgram:
    """The program that `torch.export` makes of a model in eval mode; errors are PyTorch's own.

    `sizes` says which dimensions of the inputs stay open; None for none.
    """
    open_sizes: Any = sizes  # which PyTorch's signature forgets
    quiet = warnings.catch_warnings()
    with exclusive(), evaluating(model), torch.no_grad(), _bare(), unseen_masks(), quiet, _silent():
        # A forward that keeps a tensor on the module (nn.GRU does) keeps it on a copy here.
        warnings.filterwarnings("ignore", message=".*assigned during export.*")
        return torch.export.export(model, inputs, strict=False, dynamic_shapes=open_sizes)


def refuse_vmap(model: nn.Module, program: torch.fx.GraphModule) -> None:
    """Refuse operations inside a vmap, which see other shapes than the tensors have."""
    if any("_vmap_" in str(node.target) for node in program.graph.nodes):
        raise TraceError(
            f"{type(model).__name__} uses torch.vmap, inside which channels cannot be followed: "
            "write that part for whole batches"
        )


@contextmanager
def _silent() -> Generator[None]:
    """Keep back what PyTorch prints of an export that fails: the error says it with the line.

    What a forward that succeeds writes is passed on.
    """
    logger = logging.getLogger(symbolic_shapes.__name__)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stderr(StringIO()) as printed:
            yield
    finally:
        logger.setLevel(before)
    sys.stderr.write(printed.getvalue())


@contextmanager
def _bare() -> Generator[None]:
    """Spare what nobody reads and what takes a third of the time: stacks and generated Python.

    Switches that a version of PyTorch may lack; it then takes its time.
    """
    config: Any = getattr(torch.fx, "config", SimpleNamespace())
    lazy: Any = getattr(_lazy_graph_module, "_use_lazy_graph_module", nullcontext)
    before = getattr(config, "do_not_emit_stack_traces", False)
    config.do_not_emit_stack_traces = True
    try:
        with lazy(True):  # noqa: FBT003 - PyTorch's own signature
            yield
    finally:
        config.do_not_emit_stack_traces = before


def module_of(node: Node) -> str:
    """Name of the innermost module that ran this operation (empty at the top)."""
    stack = node.meta.get("nn_module_stack") or {"": ("", None)}
    return str(list(stack.values())[-1][0])


def shape_of(node: object) -> tuple[int, ...]:
    """Shape of a node's output (of a single tensor)."""
    value: Any = node.meta.get("val") if isinstance(node, Node) else None
    return tuple(int(n) for n in value.shape) if isinstance(value, Tensor) else ()


def packet_of(node: Node) -> Any:
    """The operation of a node, whatever its form."""
    return node.target.overloadpacket if isinstance(node.target, OpOverload) else None


def argument(node: Node, name: str, default: Any = None) -> Any:
    """An argument of an operation by the name it has in the operation's schema."""
    if name in node.kwargs:
        return node.kwargs[name]
    schema: Any = node.target._schema  # type: ignore[union-attr]  # noqa: SLF001
    return given(schema, node.args, name, default)


def dims_of(node: Node, rank: int) -> set[int]:
    """The dimensions that an operation names; all of them where it names none."""
    dims = argument(node, "dims", argument(node, "dim"))
    listed = [dims] if isinstance(dims, int) else list(dims or range(rank))
    return {int(d) % rank for d in listed}


def in_place(node: Node) -> bool:
    """True if an operation writes into a tensor that exists before it."""
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable  # noqa: SLF001
