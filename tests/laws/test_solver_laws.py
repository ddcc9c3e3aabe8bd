"""The laws that every solver keeps, alone and together with every other.

A solver of your own: add it to `CASES` (see docs/adding-a-solver.md).
"""

from __future__ import annotations

import copy
import dataclasses
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from itertools import cycle, permutations
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressor import (
    Budget,
    FilterPruning,
    FineTune,
    FrequencyMask,
    Half,
    Int8,
    Prune,
    Result,
    Unstructured,
    fit,
    measure,
)
from compressor.errors import BudgetError
from compressor.importance import frobenius
from compressor.inputs.batches import Batch
from compressor.inputs.losses import cross_entropy
from compressor.network.file import container
from compressor.phases import Phase
from compressor.phases.frequency.masks import AdmmMask
from compressor.quantization.presets import TFLM
from compressor.run.later import lowers
from tests.helpers.cases import PROFILE
from tests.helpers.tiny import equal, loader, tiny

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-solver.md"


def documented() -> Any:
    """The solver that docs/adding-a-solver.md builds."""
    code = PAGE.read_text().split("```python\n")[1].split("```")[0]
    module = ModuleType("adding_a_solver")
    sys.modules[module.__name__] = module  # where a dataclass looks for its annotations
    exec(compile(code, str(PAGE), "exec"), vars(module))  # noqa: S102 - our own page
    return module.RandomWeights


DENSE = {name: n for name, n in dataclasses.asdict(measure(tiny())).items() if n is not None}


@dataclass(frozen=True)
class Case:
    """A solver, what it lowers here, and to which share of the dense cost.

    Attributes:
        solver: The phase.
        key: Key of the budget.
        share: Share of the dense cost that it can reach.
        once: Whether it decides at once, without training.
        last: Whether it has to be the last phase.
        cuts: Whether channels can be removed after it.
    """

    solver: Phase
    key: str
    share: float = 0.6
    once: bool = True
    last: bool = False
    cuts: bool = True

    def schedule(self, training: Phase) -> list[Phase]:
        """The solver and some training, in the order that is possible."""
        return [training, self.solver] if self.last else [self.solver, training]

    def caps(self, share: float | None = None) -> dict[str, float]:
        return {self.key: (share or self.share) * DENSE[self.key]}


CASES = {
    "prune": Case(Prune(), "params"),
    "prune-macs": Case(Prune(method="dual"), "macs"),
    "uniform": Case(Prune(method="uniform", importance=frobenius), "macs"),
    "gradual": Case(Prune(steps=2, epochs=1), "params", once=False),
    "unstructured": Case(Unstructured(), "nonzero", 0.5),
    "unstructured-by-layer": Case(Unstructured(per_layer=True), "nonzero", 0.5),
    "unstructured-gradual": Case(Unstructured(steps=2, epochs=1), "nonzero", 0.5, once=False),
    "filters": Case(FilterPruning(), "params", cuts=False),
    "filters-threshold": Case(FilterPruning(allocator="threshold"), "macs", cuts=False),
    "admm-filters": Case(
        FilterPruning("admm", "filters", "threshold", epochs=1), "macs", once=False, cuts=False
    ),
    "rows": Case(FrequencyMask(epochs=0, fine_tune=0), "macs"),
    "rows-admm": Case(FrequencyMask(by=AdmmMask(), epochs=1, fine_tune=1), "macs", once=False),
    "of-the-page": Case(documented()(amount=0.8), "nonzero"),
    "half": Case(Half(), "bytes", 0.8, last=True),
    "int8": Case(Int8(epochs=1), "bytes", 0.6, once=False, last=True),
    "int8-tflm": Case(Int8(epochs=1, preset=TFLM), "bytes", 0.6, once=False, last=True),
    "int8-at-once": Case(Int8(epochs=0), "bytes", 0.6, last=True),
}
AGAIN = [name for name, case in CASES.items() if case.once and not case.last]
QUICK = {"uniform", "unstructured", "unstructured-gradual", "filters-threshold", "of-the-page"}


def quick(names: Iterable[str]) -> list[Any]:
    """Names for `parametrize`; those not in `QUICK` run with the slow tests."""
    return [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in names]


PAIRS = [
    (a, b)
    for a, b in permutations(CASES, 2)
    if not CASES[a].last and (CASES[a].cuts or not getattr(CASES[b].solver, "cuts", False))
]


def tried() -> list[tuple[str, str]]:
    """Every kind before every kind, whose cases take turns; in `make explore` all pairs."""
    kinds: dict[tuple[type[Phase], type[Phase]], list[tuple[str, str]]] = {}
    for pair in PAIRS:
        one, other = (type(CASES[name].solver) for name in pair)
        kinds.setdefault((one, other), []).append(pair)
    if PROFILE == "explore":
        return PAIRS
    found = [turns[(3 * at) % len(turns)] for at, turns in enumerate(kinds.values())]
    left = {name for pair in PAIRS for name in pair} - {name for pair in found for name in pair}
    return found + [next(pair for pair in PAIRS if name in pair) for name in sorted(left)]


def stopped() -> list[Any]:
    """Every solver, stopped early or late in turn; in `make explore` both."""
    turns = zip(CASES, cycle((0.3, 0.9, 0.9)))
    both = [(name, late) for name in CASES for late in (0.3, 0.9)]
    return [
        pytest.param(name, late, marks=[] if name in QUICK else pytest.mark.slow)
        for name, late in (both if PROFILE == "explore" else turns)
    ]


def run(schedule: list[Phase], model: nn.Module | None = None, **caps: float) -> Result:
    return fit(model or tiny(), loader(), budget=Budget(**caps), schedule=schedule)


def cost(result: Result, key: str) -> int:
    """What the cap counts: for bytes those of the file, written anew."""
    if key == "bytes" and result.report.files:
        return len(container.pack(result.network))
    return getattr(result.report.after, key)


def zeros(model: nn.Module) -> int:
    return sum(int((p == 0).sum()) for p in model.parameters())


@dataclass(frozen=True)
class Ran:
    """A solver that ran alone, for several tests.

    Attributes:
        case: The solver.
        before: A copy of the model, made before.
        given: The model that it was given.
        result: What came of it.
    """

    case: Case
    before: nn.Module
    given: nn.Module
    result: Result


@cache
def ran(name: str) -> Ran:
    case, model = CASES[name], tiny()
    return Ran(case, copy.deepcopy(model), model, run([case.solver], model, **case.caps()))


@pytest.fixture(scope="module", params=quick(CASES))
def alone(request: pytest.FixtureRequest) -> Ran:
    return ran(request.param)


@pytest.fixture(scope="module", params=quick(AGAIN))
def again(request: pytest.FixtureRequest) -> Ran:
    return ran(request.param)


def test_the_budget_is_met_on_the_recount(alone: Ran) -> None:
    case, result = alone.case, alone.result
    assert cost(result, case.key) <= case.caps()[case.key]
    assert all(getattr(result.report.after, key) <= DENSE[key] for key in DENSE)


def test_the_model_given_is_not_touched(alone: Ran) -> None:
    assert equal(alone.before, alone.given)
    modes = [[m.training for m in model.modules()] for model in (alone.before, alone.given)]
    assert modes[0] == modes[1]


def test_once_more_changes_nothing(again: Ran) -> None:
    case, first = again.case, again.result.model
    assert equal(first, run([case.solver], first, **case.caps()).model)


def test_a_looser_budget_keeps_no_less(again: Ran) -> None:
    case = again.case
    looser = [run([case.solver], **case.caps(share)) for share in (0.7, 0.8, 0.95)]
    costs = [cost(result, case.key) for result in (again.result, *looser)]
    assert costs == sorted(costs)
    assert costs[0] < costs[-1] or "amount" in vars(case.solver)


class Stop(Exception):  # noqa: N818 - no error: somebody pulled the plug
    pass


def untrained(model: nn.Module, batch: Batch) -> Tensor:
    """A loss for what may be looked at, in eval mode, and not trained."""
    if model.training:
        raise Stop
    return cross_entropy(model, batch)


def stopping(after: int) -> Callable[[nn.Module, Batch], Tensor]:
    left = after

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        nonlocal left
        left -= 1
        if left < 0:
            raise Stop
        return cross_entropy(model, batch)

    return loss


@pytest.mark.hypothesis
@pytest.mark.parametrize(("name", "late"), stopped())
def test_a_stopped_run_ends_in_the_same_bits(name: str, late: float, tmp_path: Path) -> None:
    case = CASES[name]
    calls = 0

    def counting(model: nn.Module, batch: Batch) -> Tensor:
        nonlocal calls
        calls += 1
        return cross_entropy(model, batch)

    def call(loss: Callable[[nn.Module, Batch], Tensor], at: Path | None) -> Result:
        return fit(
            tiny(), loader(), budget=Budget(**case.caps()), loss=Named(loss), checkpoint=at,
            schedule=case.schedule(FineTune(epochs=2)),
        )  # fmt: skip

    whole = call(counting, None)
    with pytest.raises(Stop):
        call(stopping(int(late * calls)), tmp_path)
    again = call(cross_entropy, tmp_path)
    assert equal(whole.model, again.model)
    assert whole.report.after == again.report.after


class Named:
    """A loss that a checkpoint takes for the same whatever is inside."""

    def __init__(self, loss: Callable[[nn.Module, Batch], Tensor]) -> None:
        self._inside = [loss]

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        return self._inside[0](model, batch)

    def __repr__(self) -> str:
        return "Named"


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.cuts])
def test_no_channel_is_removed_after_single_filters(name: str) -> None:
    case = CASES[name]
    with pytest.raises(ValueError, match=r"can(not)? be cut"):
        run([case.solver, Prune()], **case.caps())


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.last])
def test_nothing_comes_after_the_last(name: str) -> None:
    case = CASES[name]
    with pytest.raises(ValueError, match=r"put .* at the end"):
        run([case.solver, Prune()], **case.caps())


@pytest.mark.parametrize("last", ["half", "int8-at-once"])
@pytest.mark.parametrize("more", [Half(), Int8(epochs=0), Prune(), Unstructured(amount=0.5)])
def test_what_is_compressed_to_the_end_is_refused(last: str, more: Phase) -> None:
    done = ran(last).result.model
    with pytest.raises(ValueError, match="compressed already"):
        run([more], done, bytes=10**6)


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize(("first", "second"), tried())
def test_no_solver_undoes_another(first: str, second: str) -> None:
    a, b = CASES[first], CASES[second]
    caps = a.caps() | b.caps()
    result = run([a.solver, *b.schedule(FineTune(epochs=1))], **caps)
    for key, cap in caps.items():
        assert cost(result, key) <= cap
    assert torch.isfinite(result.model(torch.randn(2, 1, 8, 8))).all()


@pytest.mark.parametrize("name", quick(CASES))
def test_a_cap_that_it_does_not_lower_is_refused_before_anything_is_trained(name: str) -> None:
    case = CASES[name]
    others = {"params", "nonzero", "macs", "bytes"} - lowers(case.solver)
    for key in others:
        with pytest.raises(BudgetError):
            fit(
                tiny(), loader(), budget=Budget(**{key: 3}), loss=untrained,
                schedule=case.schedule(FineTune(epochs=2)),
            )  # fmt: skip
