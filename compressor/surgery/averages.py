"""Copies of a model that a loop averages: they shrink with it, or stop the shrink.

    ema = session.average(AveragedModel(session.model, multi_avg_fn=get_ema_multi_avg_fn()))
    ...
    session.model.load_state_dict(ema.module.state_dict())  # to return the average
    result = session.finish()

An average (EMA, SWA) has the model's own shapes. When the model loses channels, its average has to
lose the same ones: the average of what stays is what stays of the average, entry by entry, so that
cutting it is exact. A session cuts those that it is told of. An `AveragedModel` that it was not
told of would crash in torch at the next update; it is found by a mark that deep copies carry, and
refused before anything is cut. A module that is merely copied may be a snapshot, which must stay
as it is: who averages into one says `session.average(copy)`.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import TypeVar

from torch import nn
from torch.optim.swa_utils import AveragedModel

from compressor.graph.graph import Graph
from compressor.graph.structure import Structure
from compressor.inputs.tensors import all_tensors
from compressor.surgery.cutting import cut

Averaged = TypeVar("Averaged", bound=nn.Module)

MARK = "_averaged_from"
"""Under which name a session's model holds its mark, until the session is over."""


class Mark:
    """Says which session's model a module is, or was copied from.

    Attributes:
        copied: Something with this mark was copied, as all that is averaged has been.
    """

    copied: bool = False

    def __deepcopy__(self, memo: dict[int, object]) -> Mark:
        """The same mark, so that a copy can be told from a look-alike."""
        self.copied = True
        return self


class Averages:
    """The averaged copies of one session's model."""

    def __init__(self, model: nn.Module) -> None:
        self._mark = Mark()
        self._copies: dict[int, tuple[nn.Module, nn.Module]] = {}  # as given, and the copy in it
        vars(model)[MARK] = self._mark

    @property
    def any(self) -> bool:
        """True if there is a copy."""
        return bool(self._copies)

    def add(self, averaged: nn.Module, model: nn.Module) -> None:
        """Let `averaged` follow, a copy of `model` as it is now, or a module that has one inside.

        Raises ValueError if it is no such thing, as `AveragedModel` is.
        """
        if not isinstance(averaged, nn.Module):
            raise ValueError(
                f"session.average({averaged!r}): pass a module, such as "
                "torch.optim.swa_utils.AveragedModel(session.model), or a copy of session.model"
            )
        shapes = _shapes(model)
        found = [module for module in averaged.modules() if _shapes(module) == shapes]
        if not found:
            raise ValueError(
                f"session.average got a {type(averaged).__name__} that is no copy of the model as "
                f"it is now: {_difference(averaged, shapes)}. Make the copy of session.model, "
                "after the shrinks so far"
            )
        mine = {id(tensor) for tensor in model.parameters()}
        if any(id(tensor) in mine for tensor in found[0].parameters()):
            raise ValueError(
                f"session.average got a {type(averaged).__name__} that holds the model's own "
                "parameters, and an average needs some of its own: copy session.model"
            )
        self._copies.setdefault(id(averaged), (averaged, found[0]))

    def check(self) -> None:
        """Refuse a shrink that would leave an `AveragedModel` behind."""
        # All objects of the process are looked at, unless there was no copy.
        found = self._averaged() if self._mark.copied else ()
        left = [module for module in found if id(module) not in self._copies]
        if left:
            raise ValueError(
                f"the model is to lose channels, and {len(left)} AveragedModel of it would keep "
                "them, so that its next update would fail: say session.average(averaged) once "
                "after making it, and it shrinks with the model; or delete it, if it is over"
            )

    def cut(self, graph: Graph, structure: Structure) -> None:
        """Take from every copy what a structure takes from the model."""
        for _, module in self._copies.values():
            cut(module, graph, structure)

    def end(self, model: nn.Module, *, replaced: bool = False) -> None:
        """Take the mark away: what is returned is the user's module and nothing else.

        Raises ValueError if another module takes the model's place and there are copies.
        """
        if replaced and self._copies:
            raise ValueError(
                "the model is replaced by another module, which an average of its parameters "
                "cannot follow: begin to average afterwards"
            )
        vars(model).pop(MARK, None)

    def _averaged(self) -> Iterator[AveragedModel]:
        """All that live and were made of the session's model."""
        for found in gc.get_objects():
            if issubclass(type(found), AveragedModel) and any(
                vars(module).get(MARK) is self._mark for module in found.modules()
            ):
                yield found


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in all_tensors(module).items()}


def _difference(averaged: nn.Module, wanted: dict[str, tuple[int, ...]]) -> str:
    """Find where the module that is most like the model differs from it."""

    def wrong(found: dict[str, tuple[int, ...]]) -> list[str]:
        return [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]

    best = min((_shapes(module) for module in averaged.modules()), key=lambda s: len(wrong(s)))
    name = wrong(best)[0]
    here, there = best.get(name, "missing"), wanted.get(name, "missing")
    return f"{name} is {here} there and {there} in the model"
