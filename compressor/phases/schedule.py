"""Checks of a schedule: its form, what its phases need, and whether they can meet the caps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from torch import nn

from compressor.errors import BudgetError, TraceError
from compressor.inputs.losses import Loss
from compressor.inputs.unlabelled import Unlabelled
from compressor.phases.artefacts import check_artefact
from compressor.run.compression import Compression
from compressor.run.file_size import most_alive
from compressor.run.later import lowers
from compressor.run.optimizers import OptimizerFactory, check_factory
from compressor.run.phase import Phase, adapted, is_phase, name_of
from compressor.run.rate_range import FALLBACK
from compressor.run.working_memory import memory
from compressor.wording import brief, kind


def phases_of(
    schedule: Sequence[Phase] | None,
    default: Sequence[Phase],
    *,
    data: bool,
    val: bool,
    caller: str = "fit",
) -> tuple[Phase, ...]:
    """The phases, with the default resolved and their need of data and `val` checked.

    `default` is what None stands for; `data` and `val` say whether the `caller` was given them.

    Raises:
        ValueError: If it is no list of phases, or a phase lacks what it needs.
    """
    phases = tuple(default) if schedule is None else _listed(schedule)
    passed = "fit(model, loader)" if caller == "fit" else "data=loader"
    for phase in phases if not data else ():
        if phase.needs:
            raise ValueError(
                f"{phase.needs} on data and {caller} was given none: pass a loader, {passed}, or "
                "leave the phase out"
            )
        if phase.trains:
            raise ValueError(
                f"{name_of(phase)}(epochs={phase.epochs}) trains and needs data, and {caller} was "
                f"given none: pass a loader, {passed}, or epochs=0"
            )
    selects = next((phase for phase in phases if phase.select), None)
    if not val and selects is not None:
        raise ValueError(
            f"{name_of(selects)}(select=True) returns the epoch with the best val and {caller} "
            "was given none: pass val, a loader or a function of the model, or leave select out"
        )
    return phases


def check_labelled(phases: Sequence[Phase], loss: Loss) -> None:
    """Check that nothing is trained on inputs alone but by what the dense network says of them.

    Raises:
        ValueError: If something is.
    """
    if not isinstance(loss, Unlabelled):
        return
    for phase in phases:
        alone = phase.distill is not None and phase.distill.weight == 1
        if phase.trains and not alone:
            raise ValueError(
                f"{name_of(phase)} trains and the data hold inputs alone: pass batches (inputs, "
                "targets), or learn from the dense network's outputs, "
                f"{name_of(phase)}(distill=Distill(weight=1)), or leave the phase out"
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
        if phase.trains and weight_decay is not None:
            lr = FALLBACK if lr is None else lr  # found later
            factory = cast("OptimizerFactory", optimizer)
            check_factory(factory, model, lr=lr, weight_decay=weight_decay)
            return


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


def check_reachable(session: Compression, phases: Sequence[Phase]) -> None:
    """Find out before any training that the budget cannot be met at the end of it."""
    check_artefact(session, phases)
    _check_storable(session, phases)
    if session.budget.ram is not None:
        memory(replace(session.stored, later=phases))
    for number, phase in enumerate(phases):
        session.begin(number, phases[number + 1 :])
        phase.check(session, phases[:number])
    _check_fixed(session, phases)
    zeros = frozenset[str]() if session.artefact.sparse else frozenset({"bytes"})
    each = (lowers(phase) - zeros if phase.makes_zeros else lowers(phase) for phase in phases)
    able = frozenset[str]().union(*each)
    over = [name for name in session.budget.excess(session.cost) if name not in able]
    if over:
        raise BudgetError(_unable(session, phases, over))


def _check_storable(session: Compression, phases: Sequence[Phase]) -> None:
    """Find out that what a schedule leaves cannot be written to a file, where one is wanted.

    One is wanted where it has a cap, and where a phase leaves a network of its own, which exists
    to be stored. A model that is no network at all is another matter: under a cap its stored
    parameters are counted, and phases that need a network say so.
    """
    rounding = [phase for phase in phases if phase.stores_network]
    if session.budget.bytes is None and not rounding:
        return
    try:
        session.artefact.bound(replace(session.stored, later=phases))
    except TraceError:
        return
    except BudgetError:
        raise
    except ValueError as error:
        asked = f"{name_of(rounding[-1])}()" if rounding else f"{session.budget}"
        raise ValueError(
            f"{asked} was asked of a {type(session.given).__name__} of which no file can be "
            f"written: {error}"
        ) from error


def _check_fixed(session: Compression, phases: Sequence[Phase]) -> None:
    """Find out that phases which remove a fixed amount do not remove enough of it."""
    stored = replace(session.stored, later=phases)
    for name, cap in session.budget.caps.items():
        solvers = [p for p in phases if name in lowers(p)]
        known = name in ("bytes", "nonzero") and solvers
        if not known or not all(phase.fixed for phase in solvers):
            continue
        try:
            reached = session.artefact.bound(stored) if name == "bytes" else most_alive(stored)
        except TraceError:
            continue  # without a file the stored parameters are counted, at the end
        if reached > cap:
            amounts = [p for p in solvers if p.makes_zeros]
            other = f", or give {_names(amounts)} no amount" if amounts else ""
            raise BudgetError(
                f"{name} <= {cap:,} was asked of a {type(session.given).__name__}, and "
                f"{_names(solvers)} can leave up to {reached:,}: put Prune() before "
                f"{_names(solvers[:1])}{other}"
            )


def _unable(session: Compression, phases: Sequence[Phase], over: Sequence[str]) -> str:
    """The reason why a schedule cannot meet some caps, and what could."""
    name = type(session.original).__name__
    asked = f"{session.budget} was asked of a {name} with {session.cost}, "
    solvers = [phase for phase in phases if lowers(phase)]
    if not solvers:
        why = "and no phase of the schedule removes anything: put Prune() into it"
    else:
        zeros = " (zeros count)" if "params" in over else ""
        unmet = f"{' and '.join(over)}{zeros}: put Prune() before {_names(solvers[:1])}"
        why = f"and {_names(solvers)} cannot lower {unmet}"
    return asked + why + _undeclared(phases, over)


def _undeclared(phases: Sequence[Phase], over: Sequence[str]) -> str:
    """Advice on phases that do not say what they lower; empty where all do."""
    names = dict.fromkeys(name_of(phase) for phase in phases if phase.undeclared)
    if not names:
        return ""
    keys = ", ".join(map(repr, over))
    return (
        f". {', '.join(names)} {'says' if len(names) == 1 else 'say'} nothing of what is lowered, "
        f"so nothing is counted on: a phase that does lower it has to say lowers = "
        f"frozenset({{{keys}}})"
    )


def _names(phases: Sequence[Phase]) -> str:
    return ", ".join(dict.fromkeys(map(name_of, phases)))
