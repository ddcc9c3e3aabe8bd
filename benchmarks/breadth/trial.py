"""One network given to one tool: to half of both costs, and then with planted dead channels."""

from __future__ import annotations

import multiprocessing
import resource
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from multiprocessing.connection import Connection
from time import process_time
from typing import Any

import torch
from torch import nn

from benchmarks.breadth.case import Case, Inputs
from benchmarks.breadth.kinds import NETWORKS
from benchmarks.breadth.planting import equal, lively, outputs, plant
from benchmarks.breadth.tools import depgraph, kirigami, ours
from benchmarks.breadth.tools.common import (
    Caps,
    HeldError,
    RefusedError,
    Shrunk,
    copied,
    counted,
    within,
)
from benchmarks.common.command import one_thread

TOOLS: dict[str, Callable[[nn.Module, Inputs, Caps], Shrunk]] = {
    "ours": ours.shrink,
    "Torch-Pruning": depgraph.shrink,
    "torch-kirigami": kirigami.shrink,
}
SECONDS = 60
"""Limit of one trial, in seconds of its process."""
USED = 0.75
"""Part of the planted entries that a tool is asked to remove: others need not go."""
SLOW_TO_LOAD = ("torch._dynamo", "torch._export.non_strict_utils", "torch._inductor.codecache")
"""What torch loads at the first count or export, in seconds: loaded once for all trials."""

Record = dict[str, Any]


class Outcome(StrEnum):
    """End of a trial."""

    DONE = "done"
    HELD = "held"
    REFUSED = "refused"
    CRASHED = "crashed"
    WRONG = "wrong"
    SLOW = "slow"


class Check(StrEnum):
    """What the planted channels showed."""

    EQUAL = "equal"
    DIFFERS = "differs"
    ELSEWHERE = "others went"
    FAILED = "failed"
    NONE = "none planted"
    UNASKED = "-"


def attempt(name: str, tool: str, limit: int = SECONDS) -> Record:
    """The record of a trial in a process of its own, which ends at the limit."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *SLOW_TO_LOAD])
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_attempt, args=(name, tool, limit, there), daemon=True)
    process.start()
    there.close()
    record: Record = {}
    with suppress(EOFError):
        while True:
            record = here.recv()
    process.join()
    if "outcome" not in record:
        slow = process.exitcode in {-signal.SIGKILL, -signal.SIGXCPU}
        record["outcome"] = Outcome.SLOW if slow else Outcome.CRASHED
        record["reason"] = f"over {limit} s" if slow else "the process died"
    return record


def _attempt(name: str, tool: str, limit: int, answers: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    one_thread()
    case = NETWORKS[name]
    warnings.simplefilter("ignore")
    full = counted(*made(case))
    answers.send({"params": full[0], "macs": full[1], "check": Check.UNASKED})
    record = halved(case, tool)
    answers.send(record)
    if record["outcome"] == Outcome.DONE:
        check = planted(case, tool)
        wrong = {"outcome": Outcome.WRONG} if check == Check.DIFFERS else {}
        answers.send({**record, "check": check, **wrong})


def made(case: Case) -> tuple[nn.Module, Inputs]:
    """A network with seeded weights, in eval mode, and an input."""
    torch.manual_seed(0)
    model = case.build()
    return lively(model).eval(), case.example()


def halved(case: Case, tool: str) -> Record:
    """Bring a network to half of its parameters and half of its multiply-accumulates."""
    model, inputs = made(case)
    full = counted(model, inputs)
    caps = Caps(full[0] // 2, full[1] // 2)
    record: Record = {"params": full[0], "macs": full[1], "check": Check.UNASKED}
    start = end = process_time()
    try:
        found = TOOLS[tool](made(case)[0], inputs, caps)
        end = process_time()
        record |= _judged(found.model, model, inputs, caps)
        record |= {"whole": dict(found.whole)} if found.whole else {}
    except Exception as error:  # noqa: BLE001 - whatever a tool raises is its result
        end = process_time()
        record |= _failure(error, caps)
    return record | {"seconds": round(end - start, 2)}


def _failure(error: Exception, caps: Caps) -> Record:
    outcome = Outcome.CRASHED
    if isinstance(error, HeldError):
        outcome = Outcome.HELD
    elif isinstance(error, RefusedError):
        outcome = Outcome.REFUSED
    words = str(error) if outcome != Outcome.CRASHED else f"{type(error).__name__}: {error}"
    least = error.least if isinstance(error, HeldError) else None
    return {"outcome": outcome, "reason": words[:2000], **_shares(least, caps)}


def _judged(smaller: nn.Module, model: nn.Module, inputs: Inputs, caps: Caps) -> Record:
    cost = counted(smaller, inputs)
    shares = _shares(cost, caps)
    there, here = outputs(smaller, inputs), outputs(model, inputs)
    if [x.shape for x in there] != [x.shape for x in here]:
        shapes = f"{[tuple(x.shape) for x in here]} became {[tuple(x.shape) for x in there]}"
        return {"outcome": Outcome.WRONG, "reason": f"outputs of {shapes}", **shares}
    if not within(cost, caps):
        return {"outcome": Outcome.WRONG, "reason": f"{cost} is over the caps", **shares}
    return {"outcome": Outcome.DONE, "reason": "", **shares}


def _shares(cost: tuple[int, int] | None, caps: Caps) -> Record:
    if cost is None:
        return {}
    return {
        "params used": round(cost[0] / max(caps.params, 1), 4),
        "macs used": round(cost[1] / max(caps.macs or 1, 1), 4),
    }


def planted(case: Case, tool: str) -> Check:
    """Compare a network without planted dead channels with the same that still has them."""
    model, inputs = made(case)
    found = plant(model, inputs)
    if not found.zeroed:
        return Check.NONE
    total = counted(found.model, inputs)[0]
    caps = Caps(total - max(1, int(USED * found.params)), None)
    try:
        smaller = TOOLS[tool](copied(found.model, inputs), inputs, caps).model
        there = outputs(smaller, inputs)
    except Exception:  # noqa: BLE001 - whatever a tool raises is its result
        return Check.FAILED
    if equal(outputs(found.model, inputs), there):
        return Check.EQUAL
    sizes = {name: p.numel() for name, p in smaller.named_parameters()}
    for name, parameter in found.model.named_parameters():
        silenced = int(found.zeroed[name].sum()) if name in found.zeroed else 0
        if parameter.numel() - sizes.get(name, 0) > silenced:
            return Check.ELSEWHERE
    return Check.DIFFERS
