"""Operators of one's own: those that a user describes, found among those that PyTorch has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

import torch
from torch._ops import OpOverload, OpOverloadPacket
from torch.fx import Node

from compressor.graph.kinds import Kind
from compressor.graph.operations import operation_of
from compressor.graph.program import Program
from compressor.graph.signature import Operation, call
from compressor.wording import brief


def operations_of(given: Iterable[Operation]) -> tuple[Operation, ...]:
    """The operators given as ``operations=``; a ValueError if one is none, or is given twice."""
    listed = tuple(given) if isinstance(given, Iterable) else (given,)
    for operation in listed:
        if not isinstance(operation, Operation):
            raise ValueError(
                f"operations= holds {brief(operation)}: pass a list, "
                "operations=[compressor.Operation('namespace::operator', 'b c t -> b c t')]"
            )
    names = [operation.name for operation in listed]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ValueError(f"operations= holds {twice!r} twice: one signature is enough")
    return listed


def forms(operations: Sequence[Operation]) -> dict[OpOverload, Operation]:
    """Operators by their forms in PyTorch.

    Raises:
        ValueError: If PyTorch has none of a name, or it writes into what it is given, or the
            library itself knows better.
    """
    found: dict[OpOverload, Operation] = {}
    for operation in operations:
        packet = _packet(operation)
        for name in packet.overloads():
            op = getattr(packet, name)
            if op._schema.is_mutable:  # noqa: SLF001 - written nowhere else
                raise ValueError(
                    f"{operation}: this operator writes into a tensor that it is given, which no "
                    "signature can say: register one that returns what it makes"
                )
            if operation_of(op).kind not in (Kind.UNKNOWN, Kind.OPAQUE):
                raise ValueError(
                    f"{operation}: the library knows this operator itself; leave it out"
                )
            found[op] = operation
    return found


def described(program: Program, operations: Sequence[Operation]) -> Program:
    """A program with operators of one's own, every call of which fits its signature.

    Raises:
        ValueError: If one does not, or an operator is none.
    """
    own = forms(operations)
    for node in _calls(program, own):
        call(own[node.target], node)  # type: ignore[index]
    return replace(program, own=own) if own else program


def _calls(program: Program, own: Mapping[Any, Operation]) -> Iterator[Node]:
    return (node for node in program.graph.nodes if node.target in own)


def _packet(operation: Operation) -> OpOverloadPacket:
    """The operator of a name; PyTorch looks for it where it is registered."""
    space, _, name = operation.name.partition("::")
    found = getattr(getattr(torch.ops, space), name, None)
    if isinstance(found, OpOverloadPacket):
        return found
    known = [str(n) for n in torch._C._dispatch_get_all_op_names()]  # noqa: SLF001 - no other list
    close = get_close_matches(operation.name, known, n=3)
    raise ValueError(
        f"{operation}: PyTorch has no operator of this name; "
        f"{'the closest are ' + ', '.join(map(repr, close)) if close else 'it has none like it'}. "
        "Register it before (torch.library.custom_op), in the module that runs it, for instance"
    )
