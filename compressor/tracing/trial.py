"""Try a traced graph before anyone relies on it: remove some of everything and compare.

`x.view(b, 16, -1)` and `x.view(b, c // 2, -1)` look alike in a program. So a third of every axis is
removed from a copy with random weights (fresh models have zeros and ones that would hide mistakes),
which is compared with its masked original. Axes that fail are found by bisection and frozen with
the reason; what is left has been seen to work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, partial

import numpy as np
from torch import nn

from compressor.errors import VerificationError
from compressor.graph.graph import Graph
from compressor.graph.structure import Structure
from compressor.inputs.copies import private_copy
from compressor.inputs.example import Inputs
from compressor.surgery.comparison import CONSTANT, Attempt
from compressor.surgery.cutting import shrink
from compressor.surgery.proof import attempts, batch_of, compare, lively_attempts
from compressor.surgery.weightings import positive, randomised
from compressor.tracing.blame import blamed
from compressor.tracing.bystanders import needed
from compressor.tracing.modes import failure_in_training, looks_at_mode, warn_of_other_code

__all__ = ["freeze", "probe", "randomised"]


def probe(model: nn.Module, graph: Graph, example: Inputs) -> Graph:
    """Freeze every axis whose removal the model's own code does not survive, with the reason.

    The model stays as it is; `example` has the traced shape, batch of one.
    """
    random = randomised(model)
    trains = looks_at_mode(model) and failure_in_training(random, batch_of(example)) is None
    if trains:
        warn_of_other_code(random, batch_of(example))
    trials = Trials(model, random, example, trains=trains)
    free = [number for number, axis in enumerate(graph.axes) if not axis.frozen]
    # What an operator of one's own does with an entry is said by its user: all of them are tried.
    shares = SHARES if graph.program is not None and graph.program.own else 1
    turns = [(0, 1)] if _guesses(graph) else []
    for trials.share, trials.turn in [*((share, 0) for share in range(shares)), *turns]:
        while reasons := _failing(trials, graph, free):
            graph = freeze(graph, reasons)
            free = [number for number in free if number not in reasons]
    trials.share = trials.turn = 0
    if not free:
        return graph
    return needed(model, graph, lambda one: trials.attempt(one, trials.thinned(one, free)))


def _guesses(graph: Graph) -> bool:
    """True if numbers in the code were taken for sizes of channels: of heads, or remembered ones.

    Two of them may be mistaken for one another as long as they are equal, which they are by chance
    where axes lose equally many units. Twice in a row they hardly are.
    """
    dims = (dim for weight in graph.weights.values() for dim in weight.dims)
    return bool(graph.remembered) or any(dim.also is not None for dim in dims)


def freeze(graph: Graph, reasons: dict[int, str]) -> Graph:
    """The graph with these axes frozen (axis number -> reason)."""
    axes = [replace(a, frozen=reasons.get(n, a.frozen)) for n, a in enumerate(graph.axes)]
    layers = {layer: why for n, why in reasons.items() for layer in graph.axes[n].layers}
    return replace(graph, axes=tuple(axes), frozen={**graph.frozen, **layers})


def _failing(trials: Trials, graph: Graph, axes: list[int]) -> dict[int, str]:
    """Axes to freeze, with what went wrong; none if all of them can be thinned together.

    The parts of the network that go wrong say which axes those are; where they do not, and for
    those that may have been named wrongly, a search does.
    """
    if not axes or trials.attempt(graph, trials.thinned(graph, axes)) is None:
        return {}
    model, items = trials.ways[0].model, next(trials.ways[0].attempts(trials.example)).items
    reasons, unsure = blamed(model, graph, items[:1], axes, trials.thinned)
    if not reasons:  # what a batch of one hides, one of two may show
        reasons, unsure = blamed(model, graph, items, axes, trials.thinned)
    if not reasons:
        return _culprits(trials, graph, axes)
    sure = {number: reason for number, reason in reasons.items() if number not in unsure}
    left = [number for number in axes if number in unsure]
    found = sure | _culprits(trials, freeze(graph, sure), left)
    return found or _culprits(trials, graph, axes)  # those that were named were innocent


SEARCH = 48
"""Most trials of one search. One axis among thousands takes half of them; where dozens fail that
nothing tells apart, each would take as many, and each trial runs the network six times."""


def _culprits(trials: Trials, graph: Graph, axes: list[int]) -> dict[int, str]:
    """Axes that fail, with what went wrong, found by halving."""
    found = trials.attempt(graph, trials.thinned(graph, axes)) if axes else None
    return {} if found is None else _within(trials, graph, axes, found, SEARCH)


def _within(trials: Trials, graph: Graph, axes: list[int], found: str, most: int) -> dict[int, str]:
    """Axes that fail among some that do together.

    A set that only fails together is named whole, and so is one that is left after the `most`
    trials that may be made.
    """
    if len(axes) == 1:
        return {axes[0]: f"removing channels breaks the forward pass: {found}"}
    together = f"removing channels here together breaks the forward pass: {found}"
    whole = dict.fromkeys(axes, together)
    if most < 2:
        return whole
    half = len(axes) // 2
    halves = (axes[:half], axes[half:])
    tried = [(some, trials.attempt(graph, trials.thinned(graph, some))) for some in halves]
    failing = [(some, what) for some, what in tried if what is not None]
    inner: dict[int, str] = {}
    for some, what in failing:
        inner |= _within(trials, graph, some, what, (most - 2) // len(failing))
    return inner or whole


@dataclass
class Way:
    """Weights to try structures on, made when they are needed, and the inputs that suit them."""

    make: Callable[[], nn.Module]
    attempts: Callable[[Inputs], Iterator[Attempt]]

    @cached_property
    def model(self) -> nn.Module:
        """The model with these weights."""
        return self.make()


class Trials:
    """Tries structures of a model, on weights that show something.

    Attributes:
        ways: The model with weights that are random, with positive ones, and as given, those first
            that have shown something before: a logarithm may want no negative weights, and one
            channel a layer with a ReLU says nothing half of the time.
        share: The share of the units that is removed now.
        turn: How often the axes have lost numbers of units of another pattern before.
    """

    def __init__(
        self, model: nn.Module, random: nn.Module, example: Inputs, *, trains: bool
    ) -> None:
        """With `trains` a forward pass in train mode has to survive, too."""
        self.example, self.trains, self.share = example, trains, 0
        self.turn = 0
        self.ways = [
            Way(lambda: random, attempts),
            Way(partial(positive, model), lively_attempts),
            Way(partial(private_copy, model), attempts),
        ]

    def attempt(self, graph: Graph, structure: Structure) -> str | None:
        """Say what goes wrong with a structure, if anything.

        Raises:
            VerificationError: If the model gives no finite output with any of the weights.
        """
        constant, unfit = False, list[VerificationError]()
        for way in list(self.ways):
            model, tries = way.model, way.attempts(self.example)
            try:
                smaller = shrink(model, graph, structure)
            except (RuntimeError, AttributeError, KeyError) as error:
                return f"its tensors cannot be sliced ({error})"
            try:
                found = compare(model, graph, structure, smaller, tries, quick=True)
            except VerificationError as error:
                unfit.append(error)
                continue
            if found != CONSTANT:
                self.ways.sort(key=lambda other: other is not way)
                return found if isinstance(found, str) else self._in_training(smaller)
            constant = True
        if not constant:
            raise unfit[-1]
        return CONSTANT

    def thinned(self, graph: Graph, axes: list[int]) -> Structure:
        """The share that is tried now of the units of these axes removed."""
        return _thinned(graph, axes, share=self.share, turn=self.turn)

    def _in_training(self, smaller: nn.Module) -> str | None:
        failure = failure_in_training(smaller, batch_of(self.example)) if self.trains else None
        return None if failure is None else f"in training it does not run ({failure})"


GOLDEN = 0.618
"""The fractions of its multiples lie apart, however many there are."""

SHARES = 3
"""Shares of an axis that are removed one after another: every unit has been missing once."""


def _thinned(graph: Graph, axes: list[int], *, share: int = 0, turn: int = 0) -> Structure:
    """About a third of the units of these axes removed, seeded, at least one kept and removed.

    The first `share` is the least; the two others divide what it leaves. Of axes of one size not
    equally many, so that code that takes one size for the other shows; those that lose equal parts
    of theirs do not in the next turn.
    """
    keep, alike = np.ones(graph.units, dtype=bool), Counter[Fraction]()
    for number in axes:
        axis, random = graph.axes[number], np.random.default_rng(number)
        count = min(axis.size - 1, max(1, axis.size // 3) + number % (1 + axis.size // 4))
        if turn:
            part = Fraction(count, axis.size)
            alike[part] += 1
            count = 1 + int((0.5 + (alike[part] - 1) * GOLDEN) % 1 * (axis.size - 1))
        order, half = random.permutation(axis.size), (axis.size - count + 1) // 2
        cuts = (0, count, count + half, axis.size)
        keep[axis.first + order[cuts[share] : cuts[share + 1]]] = False
    return Structure(graph, keep)
