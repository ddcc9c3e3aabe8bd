"""From a user's model to a network: exported for any batch size, and held against the model."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from torch import Tensor, nn
from torch._ops import OpOverload
from torch.export import Dim, ExportedProgram, ShapesCollection
from torch.export.graph_signature import OutputKind
from torch.fx import Node
from torch.nn.modules.batchnorm import _BatchNorm  # the one class of all BatchNorm layers
from torch.utils import _pytree as pytree  # the structure of what a model returns

from compressor.errors import TraceError
from compressor.graph.failures import failure
from compressor.graph.inline import inlined, rounds
from compressor.graph.kinds import Kind
from compressor.graph.operations import operation_of
from compressor.graph.program import example_of, exported, module_of, refuse_vmap
from compressor.inputs import randomness
from compressor.inputs.copies import private_copy
from compressor.inputs.example import Example
from compressor.inputs.tensors import first_names
from compressor.network.batch import Batch, explain_fixed, hold_against, hold_longer, runs
from compressor.network.core import Network
from compressor.network.follow import aten
from compressor.network.inplace import without_writing
from compressor.network.operators import OPERATORS
from compressor.network.steps import Ref, Step, Value, Weight, packet
from compressor.network.tree import Holder, branch, holders, plant
from compressor.wording import line

Varying = Sequence[int] | Mapping[int, Sequence[int]]
"""Dimensions of the first input, or of inputs by their number."""

_CHECKS = ("_assert", "_guard", "sym_constrain")
"""Operations that only look; what they make sure of held for the example."""


def to_network(
    model: nn.Module, example: Example | None = None, varying: Varying | None = None
) -> Network:
    """Write a model as a network: the same results, parameter names and modes, as data.

    Args:
        model: Any module that `torch.export` can export in eval mode; not touched.
        example: A tensor or tuple of tensors, batch first, for instance (1, channel, frequency,
            time); default `model.example_input_array`. An input that is not as long as the first
            has no batch.
        varying: Dimensions that may have any size beside the batch: of the first input, ``(3,)``
            for time, or by number of the input, ``{0: (3,), 1: (1,)}``. The example should have at
            least two entries there. The network equals the model with one more entry and with twice
            as many, where the model takes these (tried).

    Returns:
        A network of its own tensors, on the model's device, each module in its own mode, that takes
        any batch size. It equals the model in evaluation for batches of one and three (tried).

    Raises:
        TraceError: If the model does not export, works for one batch size only, runs part of its
            forward under autocast, returns something else than tensors in tuples, lists and
            dictionaries, or gives another result than the network.
        CountError: If the model cannot be copied.
        ValueError: If there is no usable example.
    """
    if isinstance(model, Network):
        _check_made(model, varying)
        return cast("Network", private_copy(model))
    twin = private_copy(model)
    with randomness.preserved(), warnings.catch_warnings():
        # Of a trial; the caller's own runs warn. As errors they would be taken for what fails.
        warnings.simplefilter("ignore")
        batch = _batch(twin, example_of(model, example), _batched(model, example), varying)
        made = _written(twin, batch)
        hold_against(twin, made, batch)
        if batch.varying:
            hold_longer(twin, made, batch)
    return made


def _batch(
    model: nn.Module, one: tuple[Tensor, ...], batched: tuple[bool, ...], varying: Varying | None
) -> Batch:
    """Batches of any size from the example.

    Where the example is a batch of one, a further input that begins with a one may have no batch:
    it has none if the model runs on a batch of two only when that input is left as it is.
    """
    alone = (True, *[False] * (len(one) - 1))
    if batched != alone and not runs(model, Batch(one, batched), 2):
        batched = alone if runs(model, Batch(one, alone), 2) else batched
    return Batch(one, batched, _varying(one, batched, varying))


def _varying(
    one: tuple[Tensor, ...], batched: tuple[bool, ...], given: Varying | None
) -> tuple[tuple[int, ...], ...]:
    """The dimensions that vary, for every input; empty if none does."""
    named = given if isinstance(given, Mapping) else {0: given or ()}
    for number, dims in named.items():
        if number not in range(len(one)):
            raise ValueError(
                f"varying={given!r}: there is no input {number!r}; the model has {len(one)}"
            )
        shape = tuple(one[number].shape)
        first = 1 if batched[number] else 0
        for d in dims:
            if d not in range(first, len(shape)) or shape[d] < 2:
                raise ValueError(
                    f"varying={given!r}: dimension {d!r} of the input {shape} cannot vary: it has "
                    f"to be one of {first} to {len(shape) - 1}, with two entries or more in the "
                    "example (the batch varies anyway)"
                )
    return tuple(tuple(named.get(n, ())) for n in range(len(one))) if any(named.values()) else ()


def _check_made(made: Network, varying: Varying | None) -> None:
    """Refuse to open what a network has closed: it was made for one size, as integers are."""
    named = varying if isinstance(varying, Mapping) else {0: varying or ()}
    for number, dims in named.items():
        if not set(dims) <= set(made.open[number] if number in range(len(made.open)) else ()):
            raise ValueError(
                f"varying={varying!r}: this is a network already (integers, or a file that was "
                "read), made for one size there, as its pools and views are: train with an example "
                "of the size that is wanted, or export without Int8()"
            )


def _written(model: nn.Module, batch: Batch, only: int = 0) -> Network:
    """A network that shares the tensors of `model`, not yet held against it.

    `only` is the one batch size that it will take; 0 for any.
    """
    program = _exported(model, batch, only)
    tree = holders(model)
    names = _tensor_names(model, program, tree)
    graph = inlined(program.graph_module)
    looks = {n for n in graph.nodes if any(part in str(n.target) for part in _CHECKS)}
    nodes = [n for n in graph.nodes if n.op != "call_function" or n not in looks]
    _refuse_hidden(model, nodes)
    steps = [_step(model, node, names) for node in nodes if node.op == "call_function"]
    results = nodes[-1].args[0]
    outputs = _outputs(model, program, [_value(result, names) for result in results])
    inputs = tuple(str(name) for name in program.graph_signature.user_inputs)
    values = {node.name: node.meta.get("val") for node in nodes}
    types = {name: value.dtype for name, value in values.items() if isinstance(value, Tensor)}
    steps, outputs = without_writing(steps, outputs, types)
    return Network(steps, inputs, outputs, tree, batch.one, batch.open)


def _batched(model: nn.Module, example: Example | None) -> tuple[bool, ...]:
    """True for inputs that begin with the batch: those that are as long as the first."""
    given: Any = model.example_input_array if example is None else example
    tensors = cast("tuple[Tensor, ...]", given if isinstance(given, tuple) else (given,))
    return tuple(x.dim() > 0 and x.shape[:1] == tensors[0].shape[:1] for x in tensors)


def _exported(model: nn.Module, batch: Batch, only: int) -> ExportedProgram:
    """Export in eval mode with the batch as the one size that is open (or none)."""
    inputs = batch.of(only or 2)  # with a batch of one, the one would be taken for a fact
    sizes = ShapesCollection()
    for tensor, opened in zip(inputs, batch.open, strict=True):
        sizes[tensor] = dict.fromkeys(opened, Dim.DYNAMIC) if opened and not only else None
    try:
        program = exported(model, inputs, sizes)
    except Exception as error:
        if batch.varying and not only:
            raise TraceError(_fixed_size(model, batch, error)) from error
        if not only:
            explain_fixed(model, partial(_written, model, batch), batch)
        raise TraceError(failure(model, inputs, error)) from error
    refuse_vmap(model, program.graph_module)
    if rounds(program.graph_module):
        raise TraceError(
            f"{type(model).__name__} runs part of its forward under autocast, which a network "
            "cannot hold: move autocast out of the model, around the call"
        )
    return program


def _fixed_size(model: nn.Module, batch: Batch, error: Exception) -> str:
    shapes = ", ".join(str(tuple(x.shape)) for x in batch.one)
    text = line(error) or type(error).__name__
    return (
        f"{type(model).__name__} does not export for any size along the dimensions "
        f"{batch.varying} of inputs {shapes}, which were to vary (varying=...): {text} "
        "Something computes with that size as a number, or flattens it into features: write it "
        "with x.shape, or leave the dimension out of varying"
    )


def _tensor_names(model: nn.Module, program: ExportedProgram, tree: Holder) -> dict[str, str]:
    """Placeholder -> name of its tensor; constants of the code become buffers of the tree."""
    first, signature = first_names(model), program.graph_signature
    known = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    names = {str(node): first[name] for node, name in known.items()}
    for node, name in signature.inputs_to_lifted_tensor_constants.items():
        owner, _, leaf = name.rpartition(".")
        place = branch(tree, owner)
        while hasattr(place, leaf):
            leaf += "_"
        constant: Any = program.constants[name]
        plant(place, leaf, constant.detach().clone(), persistent=False)
        names[str(node)] = f"{owner}.{leaf}".lstrip(".")
    return names


def _refuse_hidden(model: nn.Module, nodes: list[Node]) -> None:
    """Refuse a part of the network that the export keeps as a block of its own."""
    for node in nodes:
        if node.op == "get_attr":
            users = ", ".join(f"{user.target} in module {module_of(user)!r}" for user in node.users)
            raise TraceError(
                f"{users} of {type(model).__name__} hides a part of the network from the export "
                "(torch.cond and the like do): write it as plain operations"
            )


def _step(model: nn.Module, node: Node, names: Mapping[str, str]) -> Step:
    op: Any = node.target
    if not isinstance(op, OpOverload) and op not in OPERATORS.values():
        raise TraceError(
            f"{type(model).__name__} runs {op} in module {module_of(node)!r}, which is neither an "
            "operation of PyTorch on tensors nor arithmetic of sizes: write it with these"
        )
    args = tuple(_value(arg, names) for arg in node.args)
    kwargs = {key: _value(arg, names) for key, arg in node.kwargs.items()}
    op = aten.reshape.default if _views_attention(node) else op
    step = Step(node.name, op, args, kwargs, module_of(node))
    return replace(step, args=(*args[:6], None, *args[7:])) if _averages(model, step) else step


def _views_attention(node: Node) -> bool:
    """True for a view of what attention made, which lies in memory as its device has it.

    Where it lay in order as the model was exported, the copy that another needs is left out.
    """
    found: Any = node.args[0] if node.target is aten.view.default else None
    while isinstance(found, Node) and operation_of(found.target).kind is Kind.MOVES:
        found = found.args[0]
    return isinstance(found, Node) and operation_of(found.target).kind is Kind.ATTENTION


def _value(value: Any, names: Mapping[str, str]) -> Value:
    if isinstance(value, Node):
        return Weight(names[value.name]) if value.name in names else Ref(value.name)
    if isinstance(value, list | tuple):
        return tuple(_value(item, names) for item in cast("list[Any]", value))
    return value


def _averages(model: nn.Module, step: Step) -> bool:
    """True if it is a batch normalisation with ``momentum=None``, which exports as a zero."""
    running = step.argument("running_mean") if packet(step) is aten.batch_norm else None
    if not isinstance(running, Weight):
        return False
    owner = model.get_submodule(running.name.rpartition(".")[0])
    return isinstance(owner, _BatchNorm) and owner.momentum is None


def _outputs(model: nn.Module, program: ExportedProgram, results: list[Value]) -> Value:
    """The model's outputs, with a `Ref` in the place of every tensor."""
    kinds = program.graph_signature.output_specs
    mine = [r for r, s in zip(results, kinds, strict=True) if s.kind is OutputKind.USER_OUTPUT]
    structure: Any = program.call_spec.out_spec
    outputs = pytree.tree_unflatten(mine, structure)
    odd = next((kind for kind in _kinds(outputs) if kind not in (tuple, list, dict)), None)
    if odd is not None:
        raise TraceError(
            f"{type(model).__name__} returns a {odd.__name__}; a network returns tensors in "
            "tuples, lists and dictionaries: make it return one of these"
        )
    return outputs


def _kinds(value: Value) -> Iterator[type]:
    """The types of nested containers, and of leaves that no network returns."""
    if not isinstance(value, Ref | Weight | int | float | None):
        yield type(value)
    if isinstance(value, Mapping | tuple | list):
        listed = value.values() if isinstance(value, Mapping) else value
        for item in cast("Iterable[Value]", listed):
            yield from _kinds(item)
