"""Copies of a model that a loop averages: they follow all that is done to it, or stop it.

    ema = session.follow(AveragedModel(session.model, multi_avg_fn=get_ema_multi_avg_fn()))
    ...
    session.model.load_state_dict(ema.module.state_dict())  # to return the average
    result = session.finish()

An average (EMA, SWA) has the model's own shapes. When the model loses channels, its average has to
lose the same ones: the average of what stays is what stays of the average, entry by entry, so that
cutting it is exact. What is masked in the model is zero in its averages. Where another module takes
the model's place, as a network with quantisers does when int8 training begins, another takes the
place of the copy inside of its `AveragedModel`, with the copy's weights and the model's scales.

A session does that to those that it is told of. An `AveragedModel` that it was not told of would
crash in torch at the next update; it is found by a mark that deep copies carry, and refused before
anything is cut. A module that is merely copied may be a snapshot, which must stay as it is: who
averages into one says `session.follow(copy)`.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import TypeVar

from torch import nn
from torch.optim.swa_utils import AveragedModel

from compressor.graph.graph import Graph
from compressor.graph.structure import Structure
from compressor.inputs.copies import private_copy
from compressor.inputs.tensors import all_tensors, fill
from compressor.surgery.cutting import cut
from compressor.surgery.masks import Masks

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
        self._begin(model)
        self._copies: dict[int, tuple[nn.Module, nn.Module]] = {}  # as given, and the copy in it

    @property
    def any(self) -> bool:
        """True if there is a copy."""
        return bool(self._copies)

    def __iter__(self) -> Iterator[nn.Module]:
        """All copies, as they were given."""
        return (averaged for averaged, _ in self._copies.values())

    def _begin(self, model: nn.Module) -> None:
        self._mark = vars(model)[MARK] = Mark()

    def add(self, averaged: nn.Module, model: nn.Module) -> None:
        """Let `averaged` follow, a copy of `model` as it is now, or a module that has one inside.

        Raises ValueError if it is no such thing, as `AveragedModel` is.
        """
        if not isinstance(averaged, nn.Module):
            raise ValueError(
                f"session.follow({averaged!r}): pass a module, such as "
                "torch.optim.swa_utils.AveragedModel(session.model), or a copy of session.model"
            )
        shapes = _shapes(model)
        found = [module for module in averaged.modules() if _shapes(module) == shapes]
        if not found:
            raise ValueError(
                f"session.follow got a {type(averaged).__name__} that is no copy of the model as "
                f"it is now: {_difference(averaged, shapes)}. Make the copy of session.model, "
                "after the shrinks so far"
            )
        mine = {id(tensor) for tensor in model.parameters()}
        if any(id(tensor) in mine for tensor in found[0].parameters()):
            raise ValueError(
                f"session.follow got a {type(averaged).__name__} that holds the model's own "
                "parameters, and an average needs some of its own: copy session.model"
            )
        self._copies.setdefault(id(averaged), (averaged, found[0]))

    def check(self, what: str = "the model is to lose channels") -> None:
        """Refuse to do what would leave an `AveragedModel` behind."""
        # All objects of the process are looked at, unless there was no copy.
        found = self._averaged() if self._mark.copied else ()
        left = [module for module in found if id(module) not in self._copies]
        if left:
            raise ValueError(
                f"{what}, and {len(left)} AveragedModel of it would stay as it is, so that its "
                "next update would fail: say session.follow(averaged) once after making it, and it "
                "follows the model; or delete it, if it is over"
            )

    def cut(self, graph: Graph, structure: Structure) -> None:
        """Take from every copy what a structure takes from the model."""
        for _, module in self._copies.values():
            cut(module, graph, structure)

    def hold(self, masks: Masks) -> None:
        """Set what is masked to zero in every copy."""
        for _, module in self._copies.values():
            masks.hold(module)

    def become(
        self, old: nn.Module, new: nn.Module, change: Callable[[nn.Module], nn.Module] | None = None
    ) -> None:
        """Follow a model whose place another takes; where that one does not train, it is over.

        Args:
            old: The model before.
            new: The one that takes its place.
            change: Makes of a copy of `old` one of `new`; without, it is a copy of `new` with the
                tensors of the copy of `old`, of which `new` has to have all parameters.

        Raises:
            ValueError: If a copy cannot follow, or nobody said that it shall.
        """
        trains = any(p.requires_grad for p in new.parameters())
        if trains:
            self.check("another module is to take the model's place")
        self.end(old)
        copies = self._copies if trains else {}
        self._copies = {}
        self._begin(new)
        for averaged, module in copies.values():
            twin = _filled(new, module) if change is None else change(module)
            twin.train(module.training)
            _put(averaged, module, twin)
            self._copies[id(averaged)] = (averaged, twin)

    def end(self, model: nn.Module) -> None:
        """Take the mark away: what is returned is the user's module and nothing else."""
        vars(model).pop(MARK, None)

    def _averaged(self) -> Iterator[AveragedModel]:
        """All that live and were made of the session's model."""
        for found in gc.get_objects():
            if issubclass(type(found), AveragedModel) and any(
                vars(module).get(MARK) is self._mark for module in found.modules()
            ):
                yield found


def _filled(new: nn.Module, module: nn.Module) -> nn.Module:
    """A copy of the model's successor with the tensors of a copy of the model."""
    twin = private_copy(new)
    own, given = all_tensors(twin), all_tensors(module)
    shapes = {name: tensor.shape for name, tensor in own.items()}
    lost = [n for n, p in module.named_parameters() if shapes.get(n) != p.shape]
    if lost:
        raise ValueError(
            f"the model is replaced by another module, which has no {lost[0]!r} as before, so that "
            "an average of its parameters cannot follow: begin to average afterwards"
        )
    fill(twin, own | {name: tensor for name, tensor in given.items() if name in own})
    return twin


def _put(averaged: nn.Module, module: nn.Module, twin: nn.Module) -> None:
    """Put a module in the place of another inside of what holds it."""
    place = next((name for name, found in averaged.named_modules() if found is module), "")
    if not place:
        raise ValueError(
            f"the model is replaced by another module, and a {type(averaged).__name__} that is "
            "itself the copy cannot become another one: let a module that holds it follow, such as "
            "torch.optim.swa_utils.AveragedModel(session.model)"
        )
    owner, _, leaf = place.rpartition(".")
    setattr(averaged.get_submodule(owner), leaf, twin)


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
