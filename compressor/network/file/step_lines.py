"""Steps as lines of JSON: ``[operation, arguments, keyword arguments?, module?]``.

An operation is its name (``conv2d``, ``add.Tensor``), a Python function its name behind a ``!``, a
call of a submodule that one's number.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch._ops import OpOverload

from compressor.network.file.operations import name_of, operation
from compressor.network.file.values import read, written
from compressor.network.operators import OPERATORS
from compressor.network.steps import Step, Value, schema

Line = list[Any]


def lines(
    steps: Sequence[Step],
    modules: Sequence[str],
    place: Mapping[str, int],
    numbers: Mapping[str, int],
) -> Iterator[Line]:
    """Every step as a line; ValueError if one cannot be stored.

    `modules` are called by their place in the list, `place` is the number of every input and
    result, in order, `numbers` that of every tensor.
    """
    before = ""
    for step in steps:
        here = place[step.name]
        args = [written(arg, place, here, numbers) for arg in _shortened(step)]
        kwargs = written(step.kwargs, place, here, numbers)
        line: Line = [_operation(step, modules), args]
        line += [kwargs] if kwargs else []
        line += [step.module] if step.module != _module(step, before) else []
        before = step.module
        yield line


def steps_of(
    stored: Sequence[Line], inputs: Sequence[str], names: Sequence[str], modules: Sequence[str]
) -> list[Step]:
    """The steps that `lines` was given, under names of their own; `names` are of the tensors."""
    results, steps, counts = list(inputs), list[Step](), dict[str, int]()
    before, taken = "", set(inputs)
    for op, args, *more in stored:
        if not isinstance(args, list):
            raise ValueError(f"the arguments of step {len(steps)} are no list")
        given = read(args, results, names)
        kwargs = next((read(m, results, names) for m in more if isinstance(m, dict)), {})
        name = _fresh(op, taken, counts)
        step = Step(name, _meant(op, modules), given, kwargs)
        before = next((m for m in more if isinstance(m, str)), _module(step, before))
        steps.append(replace(step, module=before))
        results.append(name)
        taken.add(name)
    return steps


def _operation(step: Step, modules: Sequence[str]) -> str | int:
    if isinstance(step.op, str):
        return modules.index(step.op)
    if isinstance(step.op, OpOverload):
        return name_of(step.op)
    for name, function in OPERATORS.items():
        if function is step.op:
            return f"!{name}"
    raise ValueError(f"step {step.name!r} runs {step.op!r}, which cannot be stored")


def _meant(op: str | int, modules: Sequence[str]) -> Any:
    if isinstance(op, int):
        if not 0 <= op < len(modules):
            raise ValueError(f"a step calls submodule {op} of {len(modules)}")
        return modules[op]
    if not op.startswith("!"):
        return operation(op)
    if op[1:] not in OPERATORS:
        raise ValueError(f"a step runs {op[1:]!r}, which is not among the functions of sizes")
    return OPERATORS[op[1:]]


def _shortened(step: Step) -> tuple[Value, ...]:
    """The positional arguments without those at the end that are defaults."""
    args = step.args
    if not isinstance(step.op, OpOverload):
        return args
    declared = schema(step).arguments
    while args:
        last = declared[len(args) - 1]
        default = last.default_value if last.has_default_value() else args
        if type(args[-1]) is not type(default) or args[-1] != default:
            break
        args = args[:-1]
    return args


def _module(step: Step, before: str) -> str:
    """The module that most likely ran a step: owner of its weight, or the one before it."""
    if isinstance(step.op, str):
        return step.op.rpartition(".")[0]
    return step.weights[0].rpartition(".")[0] if step.weights else before


def _fresh(op: str | int, taken: Container[str], counts: dict[str, int]) -> str:
    """A name as the export gives them: the operation's, with a number from the second on."""
    base = f"module{op}" if isinstance(op, int) else op.lstrip("!").partition(".")[0]
    number = counts.get(base, 0)
    name = f"{base}_{number}" if number else base
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    counts[base] = number + 1
    return name
