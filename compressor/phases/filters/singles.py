"""The single filters of a session: chosen by one threshold, removed by slim layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from compressor.allocation.request import Form
from compressor.budget import Budget, Cost
from compressor.counting.cost import cost_of
from compressor.errors import BudgetError, VerificationError
from compressor.graph.graph import Graph
from compressor.graph.structure import Structure
from compressor.importance import Evidence, frobenius
from compressor.inputs.copies import private_copy
from compressor.phases.filters.least import Least
from compressor.phases.filters.masking import verify
from compressor.phases.filters.one_threshold import threshold, within
from compressor.phases.filters.ranking import Ranking, fixed, ranks, reachable_norms
from compressor.phases.filters.reach import Reach
from compressor.phases.filters.slimming import slim
from compressor.phases.filters.uncoupled import Split, split
from compressor.run.choice import WidthChoice
from compressor.run.file_size import Captured
from compressor.run.history import Shrink
from compressor.run.scoring import agreed, scores_of

if TYPE_CHECKING:
    from compressor.run.compression import Compression
    from compressor.run.training import Training

SETTLED = (
    "single filters were removed, and the layers are narrower than the channels between them: "
    "put Prune() before FilterPruning(), or in its place"
)
"""Why nothing more can be cut after single filters."""


@dataclass(frozen=True)
class Filters:
    """Single filters: one threshold with reachability, removal by slim layers.

    Attributes:
        session: Whose model it is.
        choice: Settings of the importance.
        uniform: True if filters are compared by their place in their own layer, which makes one
            width factor of the threshold, and not by their norms.
        raw: True if the one-shot choice goes by norms over the inputs still reachable.
    """

    session: Compression
    choice: WidthChoice
    uniform: bool
    raw: bool

    @property
    def graph(self) -> Graph:
        """The split one."""
        return self.split.graph

    @property
    def caps(self) -> Budget:
        """Caps to be met; a BudgetError where one is on a `.tflite`."""
        if self.session.caps_due.ram is not None or not self.session.artefact.gathers:
            raise BudgetError(
                f"{self.session.budget} was asked, and single filters leave layers that look their "
                "channels up by number, which no .tflite file does: use Prune()"
            )
        return self.session.caps_due

    @cached_property
    def split(self) -> Split:
        """The session's model as filters; traced anew if it lost channels before."""
        session = self.session
        graph = session.graph
        if graph.program is None:
            # What was found out about the first graph holds for what is left of it; how views
            # and cuts are to be read is found out anew.
            whole = [name for axis in graph.axes if axis.frozen for name in axis.layers]
            graph = session.traced(session.model, keep=whole)
        return split(session.model, graph)

    @cached_property
    def least(self) -> Least:
        """Least that no layer may be without."""
        return Least(Reach(self.split), self.choice.floor)

    def first(self) -> Structure:
        """The threshold on the importance of the present weights."""
        return self._fitted(self._importance())[0]

    def nearest(self, tensors: Mapping[str, Tensor]) -> Structure:
        """The threshold on the norms of other tensors; `holds` says whether the file fits."""
        return self._threshold(self._norms(tensors), self._extra)

    def holds(self, structure: Structure) -> bool:
        """True if the file of what it leaves is within its cap."""
        return self.form is None or self._file(structure) <= self.caps.caps["bytes"]

    def check(self) -> None:
        """Find out whether the caps can be met at all, at whatever weights.

        Raises:
            BudgetError: If one filter a layer is too much.
        """
        self._smallest()

    def smaller(self, structure: Structure) -> nn.Module:
        """With slim layers where the trunk stays wider."""
        small = private_copy(self.session.model)
        slim(small, self.split, structure)
        return small

    def remove(self, training: Training, structure: Structure, name: str) -> None:
        """Put the slim model in the place of the session's, if anything goes."""
        session, reached = self.session, self._price(structure)
        difference = None
        if not structure.keep.all():
            difference = self._replace(structure, check=session.checked)
            session.record({"keep": torch.from_numpy(structure.keep.copy())})
        kept = int(structure.keep[self.split.free].sum())
        caps = self.caps
        session.removed(
            Shrink(
                caps=caps.caps,
                reached={cap: getattr(reached, cap) for cap in caps.caps},
                method=f"{name}, single filters",
                value=float(kept),
                unused={n: 1 - getattr(reached, n) / cap for n, cap in caps.caps.items()},
                difference=difference,
            )
        )
        training.refresh()

    def redo(self, change: Mapping[str, Any]) -> None:
        """Remove the same filters again; tensors are filled in afterwards."""
        keep = change["keep"].cpu().numpy().astype(bool)
        self._replace(Structure(self.graph, keep), check=False)

    def _replace(self, structure: Structure, *, check: bool) -> float | None:
        session = self.session
        small = private_copy(session.model)
        names = {id(p): name for name, p in small.named_parameters()}
        cuts = slim(small, self.split, structure)
        difference = None
        if check:
            difference = verify(session.model, self.split, structure, small, session.example)
            _recounted(small, structure, session.measured(small))
        session.masks.cut(names, cuts)
        session.replace(small, settled=SETTLED, left=structure)
        # Nothing is left of a mask under which everything lives.
        for name in [name for name, live in session.masks.items() if bool(live.all())]:
            del session.masks[name]
        return difference

    @cached_property
    def form(self) -> Form | None:
        """Bytes of the file, where there is a cap on them."""
        if not self.session.costs():
            return None
        stored = replace(self.session.stored, graph=self.graph)
        return self.session.artefact.form(stored)

    def _price(self, structure: Structure, extra: int = 0) -> Cost:
        """Cost of a structure, where its file holds `extra` bytes more than its form says."""
        found, form = cost_of(structure), self.form
        if form is None:
            return found
        return replace(found, bytes=-(-form(structure.widths) // form.unit) + extra)

    def _threshold(self, ranking: Ranking, extra: int) -> Structure:
        try:
            return threshold(self.least, ranking, self.caps, partial(self._price, extra=extra))[0]
        except BudgetError:
            # What the file of one structure says of its channels, that of another may not.
            return self._smallest()

    def _smallest(self) -> Structure:
        """One of the smallest structures, which meets the caps with its real file."""

        def price(structure: Structure) -> Cost:
            found = cost_of(structure)
            return found if self.form is None else replace(found, bytes=self._file(structure))

        return within(self.least, self.caps, price)

    def _fitted(self, ranking: Ranking) -> tuple[Structure, int]:
        """The survivors; under a cap on the file's bytes again, until the slim model's file fits.

        What a file says of the channels that are gathered and spread is in no form of cost.
        """
        extra = 0
        while True:
            found = self._threshold(ranking, extra)
            over = 0 if self.form is None else self._file(found) - self.caps.caps["bytes"]
            if over <= 0 or found.keep.all():
                return found, extra
            extra += over

    @cached_property
    def _extra(self) -> int:
        """Bytes to be left for that, by the present weights."""
        weights = dict(self.session.model.named_parameters())
        return 0 if self.form is None else self._fitted(self._norms(weights))[1]

    def _file(self, structure: Structure) -> int:
        """Most bytes that the file of what a structure leaves can have in the end."""
        # How many of the zeros are among what goes is not known.
        small = self.smaller(structure)
        left = replace(self.session.stored, model=small, masks={}, captured=Captured())
        return self.session.artefact.bound(left)

    def _importance(self) -> Ranking:
        session = self.session
        if self.raw:
            return self._norms(dict(session.model.named_parameters()))
        batches = [] if session.data is None else list(islice(session.data, self.choice.batches))
        measured = Evidence(
            session.model, batches, session.loss, clips=self.choice.clips,
            inputs=self.choice.inputs,
        )  # fmt: skip
        importance = self.choice.scored_by(data=session.data is not None)
        tensors = {name: p.detach() for name, p in session.model.named_parameters()}
        found = scores_of(importance, self.graph, tensors, measured, data=bool(batches))
        scores = agreed(session.fabric, found)
        return fixed(self.split, ranks(self.split, scores) if self.uniform else scores)

    def _norms(self, tensors: Mapping[str, Tensor]) -> Ranking:
        if not self.uniform:
            return reachable_norms(self.split, tensors)
        norms = frobenius(self.graph, tensors, normalise=False)
        return fixed(self.split, ranks(self.split, norms))


def _recounted(small: nn.Module, structure: Structure, found: Cost) -> None:
    """Hold a slim model to its graph's prediction."""
    predicted = cost_of(structure)
    if (predicted.params, predicted.macs) != (found.params, found.macs):
        raise VerificationError(
            f"the slim {type(small).__name__} was counted anew and has {found}, where its graph "
            f"predicted {predicted}. Nothing was returned. Please report the model"
        )
