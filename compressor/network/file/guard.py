"""Limits of a network from a file when it runs: arguments as declared, results of bounded size.

A stranger writes the steps, so nothing about their arguments is taken for granted. Before anything
is computed the steps are walked through on tensors that have a shape and no memory (PyTorch's meta
device): every argument is held to its operation's schema, every whole number to 63 bits, and every
tensor that would be made, inside an operation too, to a number of bytes. What cannot be seen so is
in `compressor.network.file.hazards`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from compressor.inputs.tensors import all_tensors, leaves
from compressor.network.file.hazards import (
    refuse_crowds,
    refuse_recurrence,
    refuse_weight_norm,
    repeats,
)
from compressor.network.steps import Ref, Step, Value, Weight, mapped
from compressor.wording import line

if TYPE_CHECKING:
    from compressor.network.core import Network

aten = torch.ops.aten

RESULTS = 1 << 30
"""Bytes of the results that a network from a file may hold at a time, for an input as large as its
example. Larger inputs, as of several examples, may have as many times more."""

LARGEST = 2**63 - 1
"""Whole numbers beyond it are no sizes."""

_OBJECT = 1 << 13
"""Bytes that are counted for a tensor itself, so that many empty ones are not free."""

_TEXT = 1000
"""Characters of a text argument; the longest equation of `einsum` has 300."""

_FAILURES = (
    *(RuntimeError, TypeError, ValueError, LookupError, ArithmeticError, MemoryError),
    *(AssertionError, AttributeError),
)
"""Errors that PyTorch raises of arguments which an operation cannot take."""


def rehearse(network: Network, inputs: Sequence[Tensor], most: float = RESULTS) -> None:
    """Walk through all steps of a network from a file on tensors without memory.

    Of `inputs` shape, strides and data type count; `most` are bytes of results, see `RESULTS`.

    Raises:
        ValueError: If an argument is not what its operation takes, a result would take more than
            `most` bytes, or a step cannot run.
    """
    with _disable_current_modes(), torch.no_grad(), _Sizes(most * _times(network, inputs)) as sizes:
        values: dict[str, Any] = {
            name: _twin(x) for name, x in zip(network.inputs, inputs, strict=True)
        }
        names = {name for step in network.steps for name in step.weights}
        weights = {name: _twin(network.tensor(name)) for name in names}

        def found(leaf: Value) -> Any:
            if isinstance(leaf, Ref):
                return values[leaf.name]
            return weights[leaf.name] if isinstance(leaf, Weight) else leaf

        known, total = dict[Any, Any](), sum(map(_bytes, inputs))
        for step, done in zip(network.steps, network.frees, strict=True):
            args, kwargs = mapped(step.args, found), mapped(step.kwargs, found)
            length = repeats(network, step)
            if length is not None:
                kwargs["output_size"] = length
            # Blocks repeat: what was walked through with equal arguments has an equal result.
            key = (step.op, _key(args), _key(kwargs))
            value = known.get(key, known)
            if value is known:
                value = _result(network, step, args, kwargs, sizes)
                if isinstance(value, Tensor):
                    known[key] = value
            values[step.name] = value
            total += _bytes(value)
            sizes.refuse(total, f"the results held after step {step.name!r}")
            total -= sum(_bytes(values.pop(name)) for name in done)


class _Sizes(TorchDispatchMode):
    """Sees every tensor that is made, those inside composite operations too.

    Attributes:
        most: Bytes that one may take.
        covered: True if what runs is an inverse transform, which looks whether its windows cover
            the signal; here are no numbers to find a gap in. No file can name what it asks by.
    """

    def __init__(self, most: float) -> None:
        super().__init__()
        self.most = most
        self.covered = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        if self.covered and func is aten.equal.default:
            return False
        result = func(*args, **(kwargs or {}))
        self.refuse(_bytes(result), f"one result of {func}")
        return result

    def refuse(self, size: int, what: str) -> None:
        if size > self.most:
            raise ValueError(
                f"{what} would take {size:,} bytes, and {int(self.most):,} may be taken for this "
                "input: if you trust the file, load it with a larger `memory`"
            )


def _times(network: Network, inputs: Sequence[Tensor]) -> int:
    """The inputs' entries as a multiple of the example's, at least one."""
    here, there = (sum(x.numel() for x in xs) for xs in (inputs, network.example))
    return max(1, math.ceil(here / max(1, there)))


def _key(value: Any) -> Any:
    """All that decides the shape of a result; equal keys only for arguments of equal types."""
    if isinstance(value, Tensor):
        return (value.shape, value.stride(), value.dtype)
    if isinstance(value, list | tuple):
        return tuple(map(_key, cast("list[Any]", value)))
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return tuple((name, _key(item)) for name, item in items)
    return (type(value), value)


def _result(
    network: Network, step: Step, args: tuple[Any, ...], kwargs: dict[str, Any], sizes: _Sizes
) -> Any:
    sizes.covered = step.op is aten.istft.default
    try:
        if isinstance(step.op, str):
            return _called(network.get_submodule(step.op), args, kwargs, sizes)
        if isinstance(step.op, OpOverload):
            return _operation(step.op, args, kwargs)
        return _function(step.op, args, kwargs)
    except _FAILURES as error:
        said = line(error) or type(error).__name__
        raise ValueError(f"step {step.name!r} cannot run: {said}") from error


def _operation(op: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    given = bound(op, args, kwargs)
    refuse_crowds(op, given)
    refuse_recurrence(op, given)
    refuse_weight_norm(op, given)
    names = list(_declared(op))
    if "device" in names:
        at = names.index("device")
        meta = torch.device("meta")
        args = (*args[:at], meta, *args[at + 1 :]) if len(args) > at else args
        kwargs = dict(kwargs) if len(args) > at else {**kwargs, "device": meta}
    return cast("Callable[..., Any]", op)(*args, **kwargs)


def bound(op: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by name; ValueError unless they are those the operation declares."""
    declared = _declared(op)
    if len(args) > len(declared):
        raise ValueError(f"{op} takes {len(declared)} arguments and is given {len(args)}")
    given = dict(zip(declared, args, strict=False))
    for name, value in kwargs.items():
        if name not in declared or name in given:
            raise ValueError(f"{op} has no argument {name!r} left to give")
        given[name] = value
    for name, (kind, has_default) in declared.items():
        if name not in given:
            if not has_default:
                raise ValueError(f"{op} is not given its {name!r}")
        elif not _fits(kind, given[name]):
            raise ValueError(f"{name!r} of {op} is a {kind} and not {_shown(given[name])}")
    return given


@cache
def _declared(op: OpOverload) -> dict[str, tuple[str, bool]]:
    """Type of every argument by name, as PyTorch writes it, and whether it may be left out."""
    return {
        argument.name: (str(argument.real_type), argument.has_default_value())
        for argument in op._schema.arguments  # noqa: SLF001 - written nowhere else
    }


def _fits(kind: str, value: Any) -> bool:
    """True if a value is of a declared type; a number passes for a tensor, as in ``x + 1``."""
    if kind.startswith("Optional["):
        return value is None or _fits(kind[9:-1], value)
    if kind.startswith("List["):
        one = kind[5:-1]
        if isinstance(value, list | tuple):
            return all(_fits(one, item) for item in cast("list[Any]", value))
        return one in {"int", "float"} and _fits(one, value)
    if kind == "Tensor":
        return isinstance(value, Tensor) or _is_number(value)
    return _PLAIN[kind](value) if kind in _PLAIN else False


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and -LARGEST <= value <= LARGEST


def _is_number(value: Any) -> bool:
    return _is_whole(value) or isinstance(value, float)


_PLAIN: Mapping[str, Callable[[Any], bool]] = {
    "int": _is_whole,
    "float": _is_number,
    "number": _is_number,
    "bool": lambda value: isinstance(value, bool),
    "str": lambda value: isinstance(value, str) and len(value) <= _TEXT,
    "ScalarType": lambda value: isinstance(value, torch.dtype),
    "Layout": lambda value: value is torch.strided,
    "MemoryFormat": lambda value: isinstance(value, torch.memory_format),
    "Device": lambda value: isinstance(value, torch.device),
}
"""Tests of a value's type; of other types only None is, where an argument may be left out."""


def _function(op: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    if kwargs:
        raise ValueError(f"{_name(op)} takes no arguments by name")
    if op.__name__ == "getitem":
        listed, at = args
        if not isinstance(listed, list | tuple) or not _is_whole(at):
            raise ValueError("an item is taken of what is no tuple, or by what is no whole number")
        return cast("Sequence[Any]", listed)[at]
    wrong = [value for value in args if not _is_number(value)]
    if wrong:
        raise ValueError(f"{_name(op)} takes numbers and not {_shown(wrong[0])}")
    result = op(*args)
    if not _is_number(result):
        raise ValueError(f"{_name(op)} gives a number of more than 63 bits")
    return result


def _called(
    module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], sizes: _Sizes
) -> Any:
    """The result of a submodule of the library's own, which asks what device it runs on."""
    wrong = [value for value in (*args, *kwargs.values()) if not isinstance(value, Tensor)]
    if wrong:
        raise ValueError(f"a {type(module).__name__} takes tensors and not {_shown(wrong[0])}")
    with FakeTensorMode() as fake:
        own: dict[str, Tensor] = {n: fake.from_tensor(t) for n, t in all_tensors(module).items()}
        real = partial(_twin, device="cpu")
        result = functional_call(module, own, mapped(args, real), mapped(kwargs, real))
    made = _twin(result)
    sizes.refuse(_bytes(made), f"the result of a {type(module).__name__}")
    return made


def _twin(x: Tensor, device: str = "meta") -> Tensor:
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=device)


def _bytes(value: Any) -> int:
    """Bytes of all tensors in a result, and of the objects that they are."""
    found = (x for x in leaves(value) if isinstance(x, Tensor))
    return sum(x.numel() * x.element_size() + _OBJECT for x in found)


def _name(op: Callable[..., Any]) -> str:
    return f"the function {op.__name__!r}"


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, int | float | str | torch.dtype | None) else ""
    return text if 0 < len(text) < 40 else f"a {type(value).__name__}"
