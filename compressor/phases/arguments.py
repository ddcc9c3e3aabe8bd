"""What is checked about the arguments of `fit` and `Session` before anything is run."""

from __future__ import annotations

import inspect
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import nn

from compressor.budget import Budget
from compressor.inputs.models import check_model, check_own_code
from compressor.inputs.settings import check_whole
from compressor.network import Network
from compressor.phases.prune import Prune
from compressor.run.optimizers import OptimizerFactory, check_factory
from compressor.run.phase import Phase, adapted, is_phase, name_of
from compressor.wording import brief, kind

SEEDS = 2**64
"""How many seeds torch's generators take."""


def check_functions(on_epoch: object, compiler: object, val: object = None) -> None:
    """Check that the watcher of epochs, the compiler and a function `val` can be called.

    Raises:
        ValueError: If one cannot.
    """
    functions = {"on_epoch": on_epoch, "compiler": compiler, "val": val}
    for name, function in functions.items():
        if not takes_one(function):
            raise ValueError(
                f"{name}={brief(function)} does not take one argument, and fit calls it with "
                f"{_GIVEN[name]} alone: functools.partial fills in the others"
            )
    if on_epoch is not None and not callable(on_epoch):
        raise ValueError(
            f"on_epoch={brief(on_epoch)} is a {type(on_epoch).__name__}: pass a function of the "
            "log, a sequence of compressor.reports.report.Epoch"
        )
    if compiler is not None and not callable(compiler):
        raise ValueError(
            f"compiler={brief(compiler)} is a {type(compiler).__name__}: pass a function of the "
            "network that returns a faster one, such as torch.compile"
        )


_GIVEN = {"on_epoch": "the log", "compiler": "the network", "val": "the model"}
"""What functions that are passed to `fit` are called with."""


def takes_one(function: object) -> bool:
    """Whether something can be called with one argument, as far as its signature is known."""
    if isinstance(function, type) or not callable(function):
        return True  # another matter
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:  # it has no signature, as some that are written in C
        return True
    return True


def check_optimizer(optimizer: object, model: nn.Module, phases: Sequence[Phase]) -> None:
    """Check that an optimiser's factory makes one that can train, if a phase trains.

    Raises:
        ValueError: If it does not.
    """
    if not callable(optimizer):
        raise ValueError(
            f"optimizer is a {type(optimizer).__name__}, and fit makes a fresh optimiser for every "
            "phase: pass what makes one, torch.optim.SGD or "
            "functools.partial(torch.optim.SGD, momentum=0.9)"
        )
    for phase in phases:
        lr, weight_decay = phase.lr, phase.weight_decay
        if phase.trains and lr is not None and weight_decay is not None:
            factory = cast("OptimizerFactory", optimizer)
            check_factory(factory, model, lr=lr, weight_decay=weight_decay)
            return


def check_follower(optimizer: object) -> None:
    """Check that the optimiser given to a session is one, or None.

    Raises:
        ValueError: If it is not.
    """
    made = hasattr(optimizer, "param_groups") and not isinstance(optimizer, type)
    if optimizer is not None and not made:
        raise ValueError(
            f"Session(optimizer={brief(optimizer)}): must be an optimiser built on the model "
            "given, such as torch.optim.SGD(model.parameters(), lr=0.1), or None"
        )


def check_session(
    model: nn.Module, prune: object, every: int | None, optimizer: object, fabric: object
) -> None:
    """Check the arguments of a `Session` that need nothing else.

    Raises:
        ValueError: If one is out of range or of the wrong kind.
    """
    if every is not None:
        check_whole("Session", 1, every=every)
    if prune is not None and not isinstance(prune, Prune):
        raise ValueError(
            f"Session(prune={brief(prune)}): must be Prune(...), or None; a schedule of several "
            "phases goes to fit(..., schedule=[...])"
        )
    check_given(model)
    check_fabric(fabric)
    check_follower(optimizer)


def check_stored(model: nn.Module, budget: object, bits: int | None, *, alone: bool) -> None:
    """Check that who caps the bytes of a `Session` knows what they count.

    `fit` divides bytes and rounds weights; a session rounds nothing, so that the same cap leaves a
    quarter of the weights.

    Args:
        model: As given.
        budget: Its caps.
        bits: Those that a weight is said to be stored in; None where nothing is said.
        alone: Whether the session itself removes units, and not `fit`.

    Raises:
        ValueError: If weights are stored in other bits than those.
    """
    kinds = {p.dtype: 8 * p.element_size() for p in model.parameters()}
    names = " and ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
    rounded = "compressor.fit(..., schedule=[Prune(), Int8()]) prunes for a file of 8-bit weights"
    if bits is not None and {bits} != set(kinds.values()):
        raise ValueError(
            f"Session(weight_bits={bits!r}): the weights of this {type(model).__name__} are {names}"
            f" and stay so, as a session rounds nothing; {rounded}"
        )
    cap = budget.bytes if isinstance(budget, Budget) else None
    if cap is not None and bits is None and alone:
        warnings.warn(
            f"Session(budget={budget}) counts a file of {names} weights, as a session rounds "
            f"nothing: {rounded}. If that is what is wanted, say "
            f"weight_bits={max(kinds.values(), default=32)}",
            stacklevel=3,
        )


def check_fabric(fabric: object) -> None:
    """Check that `fabric=` is one, or None.

    Raises:
        ValueError: If it is not.
    """
    known = all(hasattr(fabric, name) for name in ("to_device", "setup", "backward", "autocast"))
    if fabric is not None and (isinstance(fabric, type) or not known):
        raise ValueError(
            f"fabric={brief(fabric)} is no Fabric: pass lightning_fabric.Fabric(...), or "
            "None; it comes with pip install 'compressor-nn[fabric]'"
        )


def check_seed(seed: object) -> None:
    """Check that a seed is one.

    Raises:
        ValueError: If it is no whole number from 0 to 2**64 - 1.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < SEEDS:
        raise ValueError(f"fit(seed={brief(seed)}): must be a whole number from 0 to 2**64 - 1")


def check_directory(path: str | os.PathLike[str]) -> None:
    """Make sure that `checkpoint=` is a directory that files can be written to.

    Raises:
        ValueError: If it is empty, a file, or below a file, or nothing can be written there.
    """
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise ValueError(f"checkpoint={path!r} names no directory: pass one, or None for none")
    folder = Path(path)
    try:
        _check_no_file(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"checkpoint={str(folder)!r} cannot be written to ({error.strerror or error}): pass "
            "another path, or None for no checkpoint"
        ) from error


def _check_no_file(folder: Path) -> None:
    for place in (folder, *folder.parents):
        if place.is_dir():
            return
        if place.exists() or place.is_symlink():
            below = "" if place == folder else f" lies below {str(place)!r}, which"
            raise ValueError(
                f"checkpoint={str(folder)!r}{below} is a file, and a checkpoint is a directory of "
                "several: pass another path"
            )


def phases_of(
    schedule: Sequence[Phase] | None, default: Sequence[Phase], *, data: bool, val: bool
) -> tuple[Phase, ...]:
    """The phases, with the default resolved and their need of data and `val` checked.

    Args:
        schedule: As given to `fit`.
        default: What None stands for.
        data: Whether there is data.
        val: Whether there is something to validate with.

    Raises:
        ValueError: If it is no list of phases, or a phase lacks what it needs.
    """
    phases = tuple(default) if schedule is None else _listed(schedule)
    for phase in phases if not data else ():
        if phase.needs:
            raise ValueError(
                f"{phase.needs} on data and fit was given none: pass a loader as the second "
                "argument, or leave the phase out"
            )
        if phase.trains:
            raise ValueError(
                f"{name_of(phase)}(epochs={phase.epochs}) trains and needs data, and fit was given "
                "none: pass a loader as the second argument, or epochs=0"
            )
    selects = next((phase for phase in phases if phase.select), None)
    if not val and selects is not None:
        raise ValueError(
            f"{name_of(selects)}(select=True) returns the epoch with the best val and fit "
            "was given none: pass val, a loader or a function of the model, or leave select out"
        )
    return phases


def check_given(model: object) -> None:
    """Check that there is a model which can be compressed, as far as its kind says it.

    Raises:
        ValueError: If it is no model, one that torch has compiled or packed, or compressed already.
        CountError: If it has lazy parameters.
    """
    check_model(model)
    check_own_code(cast("nn.Module", model))
    check_unfinished(cast("nn.Module", model))


def check_unfinished(model: nn.Module) -> None:
    """Check that a model's weights are numbers that can still change.

    Raises:
        ValueError: If it is what `Int8` or `Half` has made.
    """
    if not isinstance(model, Network):
        return
    integers = any(t.dtype == torch.int8 for t in model.buffers())
    halves = any(p.dtype == torch.float16 and not p.requires_grad for p in model.parameters())
    if integers or halves:
        what, who = ("8-bit integers", "Int8") if integers else ("stored in 16 bits", "Half")
        raise ValueError(
            f"this network is compressed already: its weights are {what}, made by {who}(), after "
            "which nothing can change them. Compress the model that it was made from, with all "
            "phases in one schedule"
        )


def check_trainable(model: nn.Module, phases: Sequence[Phase]) -> None:
    """Check that phases which train have something to train.

    Raises:
        ValueError: If no parameter requires a gradient.
    """
    training = [phase for phase in phases if phase.trains]
    if training and not any(p.requires_grad for p in model.parameters()):
        raise ValueError(
            f"{name_of(training[0])} trains and no parameter of the {type(model).__name__} "
            "requires a gradient: call model.requires_grad_(True), or leave the phase out"
        )


def _listed(schedule: object) -> tuple[Phase, ...]:
    """The schedule as a tuple, every item checked to be a phase."""
    example = "schedule=[Prune(), Recalibrate(), FineTune(epochs=30)]"
    if not isinstance(schedule, (list, tuple)):
        text = isinstance(schedule, (str, int, float))
        what = (
            f"={brief(schedule)}, a {type(schedule).__name__}," if text else f" is {kind(schedule)}"
        )
        one = f"={type(schedule).__name__}(...) is a single phase" if is_phase(schedule) else what
        fix = f"schedule=[{type(schedule).__name__}()]" if is_phase(schedule) else example
        raise ValueError(f"schedule{one} and must be a list of phases: pass {fix}")
    items = cast("list[object]", schedule)
    for number, phase in enumerate(items):
        if isinstance(phase, type):
            raise ValueError(
                f"schedule[{number}] is the class {phase.__name__}: make one, {phase.__name__}()"
            )
        if not is_phase(phase):
            raise ValueError(
                f"schedule[{number}] is {brief(phase)}, no phase: a phase has length and "
                f"run(training, part). Pass for instance {example}"
            )
    return tuple(map(adapted, items))
