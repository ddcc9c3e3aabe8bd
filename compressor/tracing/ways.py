"""Weights and inputs on which structures of a model are tried.

Fresh models have zeros and ones that would hide mistakes; a network may give numbers for some
inputs only. What was found out about them is kept from one trial to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial

import torch
from torch import Tensor, nn

from compressor.errors import VerificationError
from compressor.graph.graph import Graph
from compressor.graph.structure import Structure
from compressor.inputs.copies import private_copy
from compressor.inputs.evaluation import evaluating
from compressor.inputs.example import Inputs
from compressor.surgery.comparison import CONSTANT, Attempt, compare_twice, difference, outputs_of
from compressor.surgery.cutting import shrink
from compressor.surgery.proof import attempts, batch_of, compare, lively_attempts, suitable
from compressor.surgery.weightings import positive, randomised
from compressor.tracing.blame import Where, blamed, odd_parts, suspected
from compressor.tracing.modes import failure_in_training, looks_at_mode, warn_of_other_code
from compressor.tracing.thinning import thinned


@dataclass
class Way:
    """Weights to try structures on, made when they are needed, and the inputs that suit them."""

    make: Callable[[], nn.Module]
    draw: Callable[[], Iterator[Attempt]]
    suited: dict[int, bool] = field(default_factory=dict[int, bool])
    odd: dict[int, frozenset[Where]] = field(default_factory=dict[int, frozenset[Where]])

    @cached_property
    def model(self) -> nn.Module:
        """The model with these weights."""
        return self.make()

    @cached_property
    def attempts(self) -> list[Attempt]:
        """The inputs."""
        return list(self.draw())

    def odd_parts(self, graph: Graph, items: int) -> frozenset[Where]:
        """Parts that say nothing about a batch of so many inputs, asked for once."""
        if items not in self.odd:
            self.odd[items] = odd_parts(self.model, graph, self.attempts[0].items[:items])
        return self.odd[items]

    def suits(self, graph: Graph, attempt: Attempt) -> bool:
        """True if the model makes sense of these inputs, asked of it once."""
        number = next(n for n, other in enumerate(self.attempts) if other is attempt)
        if number not in self.suited:
            self.suited[number] = suitable(self.model, graph, attempt)
        return self.suited[number]


class Trials:
    """Tries structures of a model, on weights that show something.

    Attributes:
        model: The model, as it was given.
        ways: The model with weights that are random, with positive ones, and as given, those first
            that have shown something before: a logarithm may want no negative weights, and one
            channel a layer with a ReLU says nothing half of the time.
        share: The share of the units that is removed now.
        counts: How many units every axis loses now; None for the usual numbers.
    """

    def __init__(self, model: nn.Module, example: Inputs, quick: Inputs | None = None) -> None:
        """Of a model that stays as it is; `example` has the traced shape, batch of one.

        Where its code looks at the mode, a forward pass in train mode has to survive, too. What
        survives on `quick` inputs is not tried on others.
        """
        random, both = randomised(model), batch_of(example)
        self.model, self.example, self.share = model, example, 0
        self.counts: Sequence[int] | None = None
        self.trains = looks_at_mode(model) and failure_in_training(random, both) is None
        if self.trains:
            warn_of_other_code(random, both)
        self.quick = None if quick is None else next(attempts(quick))
        self.ways = [
            Way(lambda: random, partial(attempts, example)),
            Way(partial(positive, model), partial(lively_attempts, example)),
            Way(partial(private_copy, model), partial(attempts, example)),
        ]

    def attempt(self, graph: Graph, structure: Structure) -> str | None:
        """Say what goes wrong with a structure, if anything.

        Raises:
            VerificationError: If the model gives no finite output with any of the weights.
        """
        if self.quick is not None and self._survives(self.quick, graph, structure):
            return None
        self.quick = None  # now that something goes wrong
        constant, unfit = False, list[VerificationError]()
        for way in list(self.ways):
            model, tries, suits = way.model, way.attempts, partial(way.suits, graph)
            try:
                smaller = shrink(model, graph, structure)
            except (RuntimeError, AttributeError, KeyError) as error:
                return f"its tensors cannot be sliced ({error})"
            try:
                found = compare(model, graph, structure, smaller, tries, quick=True, suits=suits)
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

    def _survives(self, attempt: Attempt, graph: Graph, structure: Structure) -> bool:
        """True if the smaller model computes the same on some inputs, with random weights.

        It has to run on those of the traced shape as well, whatever it computes of them.
        """
        model = self.ways[0].model
        try:
            smaller = shrink(model, graph, structure)
        except (RuntimeError, AttributeError, KeyError):
            return False
        once = partial(difference, model, graph, structure, attempt=attempt)
        found = compare_twice(once, smaller, quick=True)
        return not found.failure and self._runs(smaller) and self._in_training(smaller) is None

    def runs(self, graph: Graph, axes: list[int]) -> bool:
        """True if the model runs with some of these axes removed, whatever it computes."""
        model = self.ways[0].model
        try:
            smaller = shrink(model, graph, self.thinned(graph, axes))
        except Exception:  # noqa: BLE001 - any failure of user code is the answer here
            return False
        return self._runs(smaller)

    def _runs(self, smaller: nn.Module) -> bool:
        """True if a smaller model runs on the example."""
        try:
            with evaluating(smaller), torch.no_grad():
                smaller(*(x.clone() for x in self.example))
        except Exception:  # noqa: BLE001 - any failure of user code is the answer here
            return False
        return True

    def same_as(self, graph: Graph, axes: list[int]) -> Callable[[Graph], bool]:
        """Judge other graphs by what the smaller model of one, that was tried, puts out.

        The others tell its attributes less: all weights are the same, and so are the outputs, bit
        for bit, where the code does not look at what it was not told.
        """
        structure, way = self.thinned(graph, axes), self.ways[0]

        def made(one: Graph, attempt: Attempt) -> list[list[Tensor]] | None:
            smaller = shrink(way.model, one, replace(structure, graph=one))
            try:
                found = outputs_of(smaller, attempt.items, one, joint=attempt.joint)
            except Exception:  # noqa: BLE001 - any failure of user code is the answer here
                return None
            return None if self._in_training(smaller) else found

        @cache
        def wanted() -> tuple[Attempt, list[list[Tensor]]]:
            found = ((attempt, made(graph, attempt)) for attempt in way.attempts)
            return next((x, outputs) for x, outputs in found if outputs and _says(outputs))

        def same(one: Graph) -> bool:
            attempt, before = wanted()
            after = made(one, attempt)
            return after is not None and _equal(before, after)

        return same

    def blamed(self, graph: Graph, axes: list[int]) -> tuple[dict[int, str], list[int]]:
        """Axes that the parts that go wrong speak against, and those that may be innocent."""
        for model, items, odd in self._batches(graph):
            found = blamed(model, graph, items, axes, self.thinned, odd=odd)
            if found[0]:
                return found
        return {}, []

    def suspected(self, graph: Graph, axes: list[int]) -> list[tuple[int, ...]]:
        """The axes that every part that goes wrong works on, the nearest first."""
        for model, items, odd in self._batches(graph):
            found = suspected(model, graph, items, axes, self.thinned, odd)
            if any(found):
                return found
        return []

    def _batches(
        self, graph: Graph
    ) -> Iterator[tuple[nn.Module, Sequence[Inputs], frozenset[Where]]]:
        """The model and its inputs: what a batch of one hides, one of two may show."""
        way = self.ways[0]
        for size in (1, 2):
            yield way.model, way.attempts[0].items[:size], way.odd_parts(graph, size)

    def thinned(self, graph: Graph, axes: list[int]) -> Structure:
        """The share that is tried now of the units of these axes removed."""
        return thinned(graph, axes, share=self.share, counts=self.counts)

    def _in_training(self, smaller: nn.Module) -> str | None:
        failure = failure_in_training(smaller, batch_of(self.example)) if self.trains else None
        return None if failure is None else f"in training it does not run ({failure})"


def _says(outputs: list[list[Tensor]]) -> bool:
    """True if every output has a number in it."""
    return all(bool(torch.isfinite(x).any()) for tensors in outputs for x in tensors)


def _equal(first: list[list[Tensor]], second: list[list[Tensor]]) -> bool:
    """True if outputs are the same, bit for bit, or both no number."""
    pairs = [(a, b) for x, y in zip(first, second, strict=True) for a, b in zip(x, y, strict=True)]
    return all(a.shape == b.shape and torch.allclose(a, b, 0, 0, equal_nan=True) for a, b in pairs)
