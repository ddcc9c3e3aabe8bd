"""A network as plain data and tensors, and back, without the user's class and without pickle.

The data is what JSON can hold, kept short: names of results are given anew in order, the module of
a step is left out where its weight says it, an argument where it is the default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from compressor.inputs.tensors import first_names, named_tensors
from compressor.network.core import Guard, Network, batch_dimensions
from compressor.network.file.guard import rehearse
from compressor.network.file.kinds import KINDS, kind_of
from compressor.network.file.step_lines import lines, steps_of
from compressor.network.file.values import read, type_of, written
from compressor.network.steps import Value
from compressor.network.tree import Holder, branch, plant
from compressor.wording import line

Plain = Any
"""Anything that JSON can hold."""

_DEEPEST = 64
"""Branches that a tensor may lie in."""

_LONGEST = 4096
"""Characters of a branch's name."""

_SHOWN = 60
"""Characters of a wrong value that an error shows."""

_PARAMETER, _FROZEN, _BUFFER, _TEMPORARY = range(4)
"""Kinds of a tensor: a parameter, one without gradient, a buffer, one no `state_dict` has."""


def to_plain(network: Network) -> tuple[dict[str, Plain], list[Tensor]]:
    """A network as plain data and the tensors that it speaks of by number.

    Raises ValueError if it runs, calls or has for an argument what cannot be stored.
    """
    tensors = dict(named_tensors(network))
    first = first_names(network)
    tree: dict[str, Plain] = {}
    for name in dict.fromkeys(first.values()):
        _put(tree, name, _role(network, name))
    names = [name for name, _ in _walk(tree)]
    position = {name: number for number, name in enumerate(names)}
    numbers = {name: position[to] for name, to in first.items()}
    modules = list(dict.fromkeys(s.op for s in network.steps if isinstance(s.op, str)))
    results = (*network.inputs, *(step.name for step in network.steps))
    place = {name: n for n, name in enumerate(results)}
    data: dict[str, Plain] = {
        "inputs": _inputs(network),
        "tensors": tree,
        "ties": [[name, numbers[to]] for name, to in first.items() if name != to],
        "modules": [[name, *_settings(network, name)] for name in modules],
        "steps": list(lines(network.steps, modules, place, numbers)),
        "outputs": _output(network.outputs, place, numbers),
    }
    return {key: value for key, value in data.items() if value != []}, [tensors[n] for n in names]


def from_plain(
    data: Mapping[str, Plain], tensors: Sequence[Tensor], limit: float | None = None
) -> Network:
    """The network that `to_plain` was given, in eval mode, with these tensors as its own.

    Args:
        data: From JSON.
        tensors: In the order of their numbers.
        limit: Bytes that results of the example may take where the data comes from a file; its
            steps are then rehearsed (see `compressor.network.file.guard`), here and before they run
            on an input of another shape.

    Raises:
        ValueError: If the data is damaged, names an operation, a function or a kind of module that
            is not among those a stored network may have, or cannot run on its own example.
    """
    try:
        guard = None if limit is None else partial(rehearse, most=limit)
        made = _network(data, tensors, guard).eval()
        if guard is not None:
            guard(made, made.example)
    except (LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
        text = f"{type(error).__name__}: {line(error)}"
        raise ValueError(f"its structure makes no network ({text})") from error
    return made


def _network(data: Mapping[str, Plain], tensors: Sequence[Tensor], guard: Guard | None) -> Network:
    roles = list(_walk(data["tensors"]))
    names = [name for name, _ in roles]
    modules: list[list[Plain]] = data.get("modules", [])
    tree = _grown(names, {str(name): rest for name, *rest in modules})
    held = [
        nn.Parameter(t, requires_grad=role == _PARAMETER) if role in {_PARAMETER, _FROZEN} else t
        for t, (_, role) in zip(tensors, roles, strict=True)
    ]
    for name, number in (*zip(names, range(len(names)), strict=True), *data.get("ties", [])):
        _hold(tree, name, held[number], persistent=roles[number][1] != _TEMPORARY)
    inputs = [str(name) for name, *_ in data["inputs"]]
    steps = steps_of(data["steps"], inputs, names, [str(name) for name, *_ in modules])
    results = [*inputs, *(step.name for step in steps)]
    # Of the example only shape and type count: it has no memory here.
    shaped = [(shape, type_of(kind), rest) for _, shape, kind, *rest in data["inputs"]]
    example = tuple(torch.empty(shape, dtype=kind, device="meta") for shape, kind, _ in shaped)
    usual = batch_dimensions(example)
    opened = [
        _open(shape, *rest) if rest else dims
        for (shape, _, rest), dims in zip(shaped, usual, strict=True)
    ]
    outputs = _returned(data["outputs"], results, names)
    return Network(steps, inputs, outputs, tree, example, opened, guard)


def _open(shape: Sequence[int], dims: Plain) -> list[int]:
    """The open dimensions of an input, checked: each of them once, in order."""
    listed = cast("list[Plain]", dims) if isinstance(dims, list) else [None]
    whole = [d for d in listed if type(d) is int and 0 <= d < len(shape)]
    if len(whole) < len(listed) or sorted(set(whole)) != whole:
        raise ValueError(
            f"an input of {len(shape)} dimensions leaves {str(dims)[:_SHOWN]} open, which are none "
            "of its dimensions, each once and in order"
        )
    return whole


def _grown(names: Sequence[str], calls: Mapping[str, list[Plain]]) -> Holder:
    """Branches and called modules, in the order in which tensors name them, as they once were."""
    tree = Holder()
    # The names of what a branch holds lie together, so that few prefixes are looked at twice.
    paths = dict.fromkeys(prefix for name in names for prefix in _prefixes(name))
    for path in dict.fromkeys((*paths, *calls)):
        inside = any(prefix in calls for prefix in _prefixes(path))
        owner, _, leaf = path.rpartition(".")
        if path in calls:
            branch(tree, owner).add_module(leaf, _made(*calls[path]))
        elif not inside:
            branch(tree, path)
    return tree


def _prefixes(name: str) -> list[str]:
    """The names of all branches that a name lies in, the outermost first."""
    if name.count(".") > _DEEPEST:
        raise ValueError(f"a tensor lies {name.count('.')} branches deep; {_DEEPEST} may be")
    return [name[:end] for end, letter in enumerate(name) if letter == "."]


def _inputs(network: Network) -> list[Plain]:
    example, found = network.example, list[Plain]()
    usual = batch_dimensions(example)
    for name, x, dims, batch in zip(network.inputs, example, network.open, usual, strict=True):
        found.append([name, list(x.shape), str(x.dtype).removeprefix("torch.")])
        found[-1] += [] if dims == batch else [list(dims)]
    return found


def _put(tree: dict[str, Plain], name: str, role: int) -> None:
    *path, leaf = name.split(".")
    for part in path:
        tree = tree.setdefault(part, {})
    tree[leaf] = role


def _walk(tree: Mapping[str, Plain], prefix: str = "") -> Iterator[tuple[str, int]]:
    """Dotted names and roles, in the order in which tensors are numbered."""
    for part, below in tree.items():
        if isinstance(below, Mapping):
            if len(prefix) > _LONGEST:
                raise ValueError(f"a tensor's name has more than {_LONGEST:,} characters")
            yield from _walk(cast("Mapping[str, Plain]", below), f"{prefix}{part}.")
        else:
            yield f"{prefix}{part}", below


def _role(network: Network, name: str) -> int:
    owner, _, leaf = name.rpartition(".")
    tensor = network.tensor(name)
    if isinstance(tensor, nn.Parameter):
        return _PARAMETER if tensor.requires_grad else _FROZEN
    temporary = network.get_submodule(owner)._non_persistent_buffers_set  # noqa: SLF001
    return _TEMPORARY if leaf in temporary else _BUFFER


def _hold(tree: nn.Module, name: str, tensor: Tensor, *, persistent: bool) -> None:
    """Register a tensor; one that a called module has already gives way."""
    owner, _, leaf = name.rpartition(".")
    place = tree
    for part in owner.split(".") if owner else ():
        below = place._modules.get(part)  # noqa: SLF001 - absent is no error here
        inner = isinstance(place, Holder) and isinstance(below, Holder | None)
        place = branch(place, part) if inner else place.get_submodule(part)
    for held in (place._parameters, place._buffers):  # noqa: SLF001 - delattr asks for a value
        held.pop(leaf, None)
    plant(place, leaf, tensor, persistent=persistent)


def _settings(network: Network, name: str) -> list[Plain]:
    module = network.get_submodule(name)
    kind = kind_of(module, name)
    settings = KINDS[kind].plain(module)
    return [kind, settings] if settings else [kind]


def _made(kind: str, settings: dict[str, Plain] | None = None) -> nn.Module:
    if kind not in KINDS:
        raise ValueError(
            f"it calls a module of the kind {kind!r}; known are {', '.join(KINDS)}: it was written "
            "by a newer version, or by something else"
        )
    return KINDS[kind].made(settings or {})


def _output(value: Value, place: Mapping[str, int], numbers: Mapping[str, int]) -> Plain:
    """Outputs as JSON, with containers by name: JSON knows no tuple."""
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Value]", value).items()
        return {"dict": [[key, _output(item, place, numbers)] for key, item in items]}
    if isinstance(value, list | tuple):
        listed = cast("Sequence[Value]", value)
        return {type(value).__name__: [_output(item, place, numbers) for item in listed]}
    return written(value, place, len(place), numbers)


def _returned(data: Plain, results: Sequence[str], names: Sequence[str]) -> Value:
    if not isinstance(data, dict):
        return read(data, results, names)
    ((kind, content),) = cast("dict[str, Plain]", data).items()
    if kind == "dict":
        return {key: _returned(item, results, names) for key, item in content}
    listed = [_returned(item, results, names) for item in content]
    return listed if kind == "list" else tuple(listed)
