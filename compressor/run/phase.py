"""The base class of phases: what a phase says of itself, and what it means where it says nothing.

A phase has `run`. Everything else has a meaning when it is left out, always the careful one: what
does not say what it lowers lowers nothing, so that no cap is left to it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from numbers import Integral
from typing import TYPE_CHECKING, Any

from compressor.budget import RESOURCES
from compressor.graph.graph import Weight
from compressor.inputs.losses import Distill
from compressor.network import Network
from compressor.run.later import EntryBits, Later
from compressor.run.lesson import Lesson

if TYPE_CHECKING:
    from compressor.run.compression import Compression
    from compressor.run.training import Training

KEYS = frozenset(RESOURCES)
"""The keys of a budget, which a phase can lower."""


class _Unsaid(frozenset[str]):
    """An empty set that is told from any other by identity."""


UNSAID: frozenset[str] = _Unsaid()
"""The default of `lowers`: nothing, as nothing is said."""


class Phase(Later, ABC):
    """One step of a schedule: frozen settings that say what to do and in how many parts.

    `fit` runs every part of every phase in order and may write a checkpoint after each, so a phase
    keeps no state of its own between parts: what lasts lives in `Training` and its session. A
    subclass says what is otherwise than here, by attributes of the class or by properties.

    Attributes:
        length: Number of its parts; a checkpoint is written after each.
        cuts: It removes units or rows, which is impossible after single filters.
        leaves_uncut: It leaves a model that cannot be cut any more.
        trains: It makes steps of an optimiser, given data.
        epochs: Passes over the data, for messages.
        lr: Learning rate that it trains with; None where it is found, or there is none.
        weight_decay: Its weight decay: an optimiser is made with both before anything is run.
        finds_rate: It looks for a learning rate, around that of the dense training.
        trains_dense: It trains the dense network that others learn from.
        select: It returns the epoch with the best `val`.
        needs: The part that cannot be done without data, such as "Int8 chooses scales".
        final: No weight can change after it.
        fixed: Its settings alone say how much it removes, and not the caps.
        stores_network: It leaves a network of its own, which exists to be stored.
        makes_zeros: It sets single weights to zero.
        divides_bytes: It divides the bytes between width, density and bits.
        rounds_weights: It rounds weights to the bits that were chosen for them.
        measures_gradients: It measures units by gradients of the loss, given data.
        distill: What it learns from the dense network's outputs, where it trains.
    """

    lowers: frozenset[str] = UNSAID
    length: int = 1
    cuts: bool = False
    leaves_uncut: bool = False
    trains: bool = False
    epochs: int | None = None
    lr: float | None = None
    weight_decay: float | None = None
    finds_rate: bool = False
    trains_dense: bool = False
    select: bool = False
    needs: str = ""
    final: bool = False
    fixed: bool = False
    stores_network: bool = False
    makes_zeros: bool = False
    divides_bytes: bool = False
    rounds_weights: bool = False
    measures_gradients: bool = False
    distill: Distill | None = None

    @property
    def undeclared(self) -> bool:
        """True if it does not say what it lowers."""
        return self.lowers is UNSAID

    @property
    def passes(self) -> int:
        """Epochs of training in it, as far as is known before."""
        return (self.epochs or 0) if self.trains else 0

    @property
    def batches_in_train_mode(self) -> float:
        """Number of batches that it runs through BatchNorm in train mode, given data."""
        return math.inf if self.trains else 0

    @abstractmethod
    def run(self, training: Training, part: int) -> None:
        """Do part number `part`, counted from 0."""

    def check(self, session: Compression, earlier: Sequence[Phase]) -> None:
        """Find out, before anything is trained, whether it can do what it will be asked for.

        Args:
            session: Nothing has been removed yet; its `later` are the phases that follow.
            earlier: The phases that come before.

        Raises:
            BudgetError: If it cannot.
        """

    def redo(self, session: Compression, change: Any) -> None:
        """Make a change of structure again that it recorded by `session.record`.

        A resumed run calls it, on the model as it was before; tensors are filled in afterwards.
        """


class Teaching(Phase):
    """A phase that trains, and leaves it to others how: to `fit`, or to a loop of one's own."""

    @abstractmethod
    def lessons(self, training: Training, part: int) -> Iterator[Lesson]:
        """Do part number `part`, and say what has to be trained in the middle of it, if anything.

        Whoever asks for the next lesson has given the one before.
        """

    def run(self, training: Training, part: int) -> None:
        """Do part number `part`, counted from 0."""
        for lesson in self.lessons(training, part):
            training.give(lesson)


def lessons_of(phase: Phase, training: Training, part: int) -> Iterator[Lesson]:
    """Do a part of a phase, and say what has to be trained in the middle of it, if anything.

    One with a `run` of its own does all of it there, the training included.
    """
    if isinstance(phase, Teaching) and type(phase).run is Teaching.run:
        yield from phase.lessons(training, part)
    else:
        phase.run(training, part)


class Adapted(Phase):
    """A phase that is no subclass of `Phase`: what it says of itself is read here, and only here.

    Attributes:
        own: The phase as it was written, with `length` and `run`.
    """

    def __init__(self, own: Any) -> None:
        self.own = own
        for name in _SAID:
            said = getattr(own, name, None)
            setattr(self, name, getattr(Phase, name) if said is None else said)
        self.makes_zeros = hasattr(own, "keeps")
        self.stores_network = hasattr(own, "dry")

    def run(self, training: Training, part: int) -> None:
        """Do its own part."""
        self.own.run(training, part)

    def check(self, session: Compression, earlier: Sequence[Phase]) -> None:
        """Its own check, if it has one that can be called, given phases as they were written."""
        if callable(getattr(self.own, "check", None)):
            self.own.check(session, tuple(map(as_written, earlier)))

    def redo(self, session: Compression, change: Any) -> None:
        """Its own."""
        self.own.redo(session, change)

    def network_after(self, network: Network, bits: Mapping[str, int]) -> Network:
        """The network that its `dry` makes."""
        return self.own.dry(network, bits) if hasattr(self.own, "dry") else network

    def bits_after(self, network: Network) -> EntryBits:
        """Those that its `stores` says."""
        has = hasattr(self.own, "stores")
        return self.own.stores(network) if has else super().bits_after(network)

    def density_after(self, weight: Weight) -> Fraction:
        """The share that its `keeps` says."""
        return self.own.keeps(weight) if hasattr(self.own, "keeps") else Fraction(1)


_SAID = (
    "length", "lowers", "settles", "cuts", "trains", "epochs", "lr", "weight_decay", "select",
    "needs", "final", "fixed",
)  # fmt: skip
"""Attributes that mean the same on both sides."""

_BEFORE = {"dry": "network_after", "stores": "bits_after", "keeps": "density_after"}
"""Methods that plan a file, as they were named before."""


def is_phase(value: object) -> bool:
    """True for a phase, and for anything that has what one must have."""
    has = hasattr(value, "length") and callable(getattr(value, "run", None))
    return isinstance(value, Phase) or (has and not isinstance(value, type))


def adapted(value: Any) -> Phase:
    """A phase as the library asks it, what it says of itself checked.

    Raises:
        ValueError: If what it says that it lowers are no keys of a budget, its length is no number
            of parts, or it derives from `Phase` and plans its file under the names of before.
    """
    phase = value if isinstance(value, Phase) else Adapted(value)
    length: object = phase.length
    if not isinstance(length, Integral) or int(length) < 0:
        raise ValueError(
            f"{name_of(phase)}.length is {length!r}, and must be its number of parts: a whole "
            "number, 1 for one call of run"
        )
    for before, now in _BEFORE.items() if isinstance(value, Phase) else ():
        if callable(getattr(value, before, None)):  # and not a setting of that name
            raise ValueError(
                f"{name_of(phase)}.{before} is not read of what derives from Phase: name it {now}"
            )
    for name, said in {"lowers": phase.lowers, "settles": phase.settles}.items():
        listed: object = said
        if isinstance(listed, (frozenset, set, tuple, list)) and KEYS.issuperset(said):
            continue
        raise ValueError(
            f"{name_of(phase)}.{name} is {said!r}, and must be a set of keys of a budget: of "
            f"{', '.join(sorted(KEYS))}, for instance frozenset({{'nonzero'}})"
        )
    return phase


def as_written(phase: Phase) -> Any:
    """The phase as the caller wrote it into the schedule."""
    return phase.own if isinstance(phase, Adapted) else phase


def name_of(phase: Phase) -> str:
    """The name of a phase in messages: its class."""
    return type(as_written(phase)).__name__
