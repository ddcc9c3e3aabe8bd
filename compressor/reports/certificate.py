"""The end of a compression: the result counted anew, held to the caps, and reported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from compressor.budget import Budget, Cost
from compressor.counting.stored import floating
from compressor.errors import CountError, TraceError, VerificationError
from compressor.export.micro.arena import head, ram
from compressor.graph.structure import full
from compressor.inputs.finite import check_result
from compressor.inputs.tensors import named_tensors
from compressor.network import to_network
from compressor.network.counting import entries, multiply_accumulates
from compressor.network.file import container
from compressor.reports.arena import memory_of
from compressor.reports.facts import verdicts, versions
from compressor.reports.kept import Held, layers, told
from compressor.reports.report import Report
from compressor.reports.result import Result
from compressor.rules import Verdict, rule_of
from compressor.run.compression import Compression
from compressor.run.file_size import NoFile
from compressor.run.history import Epoch


def certified(
    session: Compression,
    log: Sequence[Epoch] = (),
    accuracy: tuple[float, float] | None = None,
) -> Result:
    """The result of a compression, with its report.

    Args:
        session: Nothing is left to be removed.
        log: The epochs of training.
        accuracy: Accuracy on `val` of the model given and of the result, where that is a loader.

    Raises:
        VerificationError: If the result's cost is not what was predicted or over a cap, or it holds
            or answers NaN or infinity where the model given did not.
    """
    dense, structure, name = session.dense, session.structure, type(session.given).__name__
    session.averages.end(session.model)
    contents = _files(session)
    sizes = None if isinstance(contents, NoFile) else (len(contents[0]), len(contents[1]))
    at_most = sizes is not None and bool(session.artefact.rounding) and session.unrounded is None
    if sizes is not None and at_most:
        sizes = sizes[0], session.artefact.bound(session.stored)
    expected = None if session.closed else session.predicted
    left = session.reported or structure
    program = None if session.budget.ram is None else session.program
    after = replace(_counted(session), ram=None if program is None else ram(program))
    fine = check_result(session.model, session.given, session.example)
    file, arena = sizes[1] if sizes else None, None if program is None else head(program)
    recount(after, name, expected, session.budget, file=file, arena=arena)
    if not isinstance(contents, NoFile) and session.artefact.sparse:
        _read_back(contents[1], after, name, whole=session.unrounded is None)
    verdict, unjudged = _judged(session)
    report = Report(
        model=name,
        budget=session.budget,
        before=session.before,
        after=after,
        files=sizes,
        to_come=session.artefact.rounding if at_most else "",
        accounted=_accounted(session),
        fileless=contents.why if isinstance(contents, NoFile) else "",
        verdict=verdict,
        unjudged=unjudged,
        stored=_kinds(session.model),
        floating=floating(session.model),
        layers=layers(
            session.given, full(session.whole), left, within=session.within, held=_held(session)
        ),
        accuracy=accuracy,
        told=told(session.given, full(session.whole), left, within=session.within),
        elsewhere=dense.const_macs,
        frozen=dict(dense.frozen),
        shrinks=tuple(session.shrinks),
        repairs=tuple(session.repairs),
        log=tuple(log),
        rates=tuple(session.rates),
        versions=versions(),
        memory=None if program is None else memory_of(program, session.budget.caps["ram"]),
        count=partial(verdicts, session.given, session.unrounded or session.model, session.example),
    )
    whole = not (session.closed or session.within)
    return Result(session.model, report, structure, session.example, whole, fine)


def _files(session: Compression) -> tuple[bytes, bytes] | NoFile:
    """The files of the model given and of the model now; none where bytes have no cap."""
    if session.budget.bytes is None or session.no_file is not None:
        return session.no_file or NoFile("")
    try:
        before = to_network(session.given, session.example)
        after = to_network(session.model, session.example)
    except TraceError as error:
        return NoFile(str(error))
    return session.artefact.content(before), session.artefact.content(after)


def _read_back(content: bytes, after: Cost, model: str, *, whole: bool) -> None:
    """Hold what a file holds, read and counted anew by another counter, to the report's cost.

    `whole` says that all parameters are in it as such; of integers only the weights are.
    """
    stored = container.unpack(content, memory=math.inf)  # our own, whatever it takes
    macs, (params, alive) = multiply_accumulates(stored), entries(stored)
    wrong = [f"{macs:,} MACs instead of {after.macs:,}"] if macs not in (None, after.macs) else []
    if (params, alive) != (after.params, after.nonzero) if whole else params > after.params:
        wrong.append(f"{params:,} parameters ({alive:,} non-zero) for {after}")
    if wrong:
        raise VerificationError(
            f"the file of the smaller {model} was read back and has {'; '.join(wrong)}. Nothing "
            "was returned. Please report the model"
        )


def _judged(session: Compression) -> tuple[Verdict | None, str]:
    """The verdict of the rule that the budget is, if it is one, or why there is none."""
    rule = session.budget.rule
    if rule is None:
        return None, ""
    try:
        return rule_of(rule).check(session.model, session.example), ""
    except CountError as error:  # nothing that was trained is lost over it
        return None, str(error)


def _kinds(model: nn.Module) -> str:
    """Kinds of the numbers of a model's weights; vectors, which may be others, are few."""
    kinds = {tensor.dtype for _, tensor in named_tensors(model) if tensor.ndim > 1}
    return " and ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))


def _held(session: Compression) -> dict[str, Held]:
    """What every module of the result holds of weights, by its name in the original."""
    found: dict[str, Held] = {}
    for name, tensor in named_tensors(session.model):
        if tensor.ndim < 2 or tensor.dtype not in _WEIGHTS:
            continue
        module = name.removeprefix(session.within).rpartition(".")[0]
        count, alive = tensor.numel(), int(tensor.count_nonzero())
        bits = count * min(8 * tensor.itemsize, session.bits.get(name, 64))
        old = found.get(module, Held(0, 0, 0))
        found[module] = Held(old.entries + count, old.nonzero + alive, old.bits + bits)
    return {name: held for name, held in found.items() if held.entries}


_WEIGHTS = (torch.int8, torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Kinds of numbers that weights are."""


def _accounted(session: Compression) -> tuple[int, int]:
    """Bytes of the non-zero entries, and of all entries, at the bits they are stored with.

    Of a network of integers its scales and biases count beside its weights; positions of zeros, and
    what a file needs beside its numbers, do not.
    """
    tensors = [p for _, p in session.model.named_parameters()]
    if session.unrounded is not None:
        numbers = {id(t): t for t in session.model.buffers() if t.dtype != torch.int64}
        tensors += list(numbers.values())
    names = {id(t): name for name, t in named_tensors(session.model)}
    bits = [min(8 * t.itemsize, session.bits.get(names.get(id(t), ""), 64)) for t in tensors]
    alive = sum(int(t.count_nonzero()) * b for t, b in zip(tensors, bits, strict=True))
    return -(-alive // 8), -(-sum(t.numel() * b for t, b in zip(tensors, bits, strict=True)) // 8)


def _counted(session: Compression) -> Cost:
    """The result counted anew; one of integers, whose layers hold no parameters, by its own."""
    found = session.measured(session.model)
    if session.unrounded is None:
        return found
    return rounded(session.model, session.measured(session.unrounded), found.macs)


def recount(
    after: Cost,
    model: str,
    predicted: Cost | None,
    budget: Budget,
    *,
    file: int | None = None,
    arena: int | None = None,
) -> Cost:
    """Hold a smaller model to its graph's prediction, if any, and to the caps.

    `after` is the cost that was measured, `predicted` that by the graph, if there is one. A cap on
    bytes counts those of the `file`, if there is one, and one on RAM those of the `arena` that a
    plan needs.

    Raises:
        VerificationError: If it costs anything but what was predicted, or more than allowed.
    """
    names = () if predicted is None else ("params", "macs", "bytes", "ram")
    pairs = {n: (getattr(predicted, n), getattr(after, n)) for n in names}
    known = {n: pair for n, pair in pairs.items() if None not in pair}
    # The writer takes less where it can: a layer that is left with one channel to read may pad by
    # its kernel, and a mean of a small plane needs no copy of it.
    less = {"ram"}
    differ = {n: (a, b) for n, (a, b) in known.items() if a != b and not (n in less and b < a)}
    wrong = [f"{n} {b:,} instead of {a:,}" for n, (a, b) in differ.items()]
    if wrong:
        raise VerificationError(
            f"the smaller {model} was counted anew and has {', '.join(wrong)}, "
            "which its graph predicted. Nothing was returned. Please report the model"
        )
    held = after if file is None else replace(after, bytes=file)
    held = held if arena is None else replace(held, ram=arena)
    over = [f"{n} {getattr(held, n):,} > {budget.caps[n]:,}" for n in budget.excess(held)]
    if over:
        raise VerificationError(
            f"the result was asked to meet {budget} and does not: {', '.join(over)}. "
            "End the schedule with a Prune phase, or call Session.shrink()"
        )
    return after


def rounded(model: nn.Module, before: Cost, macs: int) -> Cost:
    """Cost of a network of integers.

    Args:
        model: Its layers hold int8 weights, int32 biases and scales, all of them buffers.
        before: Its cost in floating point. Its parameters are those that count: normalisation
            has since gone into scales and biases, of which there are fewer.
        macs: As measured on the integers.
    """
    tensors = {id(t): t for _, t in named_tensors(model)}.values()
    weights = [t for t in tensors if t.dtype == torch.int8]
    zeros = sum(t.numel() - int(t.count_nonzero()) for t in weights)
    alive = before.params - zeros  # what is no weight may have become anything in training
    stored = sum(t.numel() * t.element_size() for t in tensors)
    return Cost(before.params, alive, macs, stored)
