"""A cap that nothing in a schedule can lower is refused before anything is trained."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
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
    Recalibrate,
    Train,
    Unstructured,
    fit,
    trace,
)
from compressor.errors import BudgetError
from compressor.graph.graph import Weight
from compressor.inputs.batches import Batch
from compressor.inputs.losses import cross_entropy
from compressor.network import Network, to_network
from compressor.phases import Phase
from compressor.phases.half import halved
from compressor.run.compression import Compression
from compressor.run.later import lowers
from compressor.run.phase import KEYS, adapted
from compressor.run.training import Training
from recipes import baselines, dcase2020, dcase2021, dcase2022, dcase_next
from recipes.running.run_folder import RunFolder
from recipes.running.stages import Stage
from tests.helpers.tiny import equal, loader, refuses, tiny


@dataclass(frozen=True)
class Look:
    """A phase of a user's own that says nothing of itself."""

    length: int = 1
    check: bool = True  # a setting, which is no method of a solver

    def run(self, training: Training, part: int) -> None:
        pass


@dataclass(frozen=True)
class Zeros:
    """One that makes zeros, and has no `check`, `settles` or `redo`."""

    length = 1
    lowers = frozenset({"nonzero"})

    def run(self, training: Training, part: int) -> None:
        del part
        for name, weight in training.session.model.named_parameters():
            training.session.masks[name] = torch.zeros_like(weight, dtype=torch.bool)
        training.session.masks.hold(training.session.model)


class Steps:
    """Cross entropy that counts the steps of training: calls with a model in train mode."""

    def __init__(self) -> None:
        self.trained = 0

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        self.trained += model.training
        return cross_entropy(model, batch)


def refused(schedule: Sequence[Phase], **caps: Any) -> str:
    """What is said of a schedule that cannot meet some caps; fails where anything was trained."""
    loss = Steps()
    with pytest.raises(BudgetError) as error:
        fit(tiny(), loader(), budget=Budget(**caps), schedule=schedule, loss=loss, val=loader())
    assert loss.trained == 0
    return str(error.value)


SILENT: list[Callable[[Path], Any]] = [
    lambda _: Look(),
    lambda folder: Stage("dense", folder, 2022),
    lambda _: Recalibrate(),
    lambda _: Zeros(),
]
TOO_SMALL = [  # what the phases beside a silent one can lower is something else, or nothing
    ([FineTune(2), Half()], {"macs": 10}),
    ([FineTune(2), Int8(epochs=1)], {"params": 10}),
    ([Train(2), Unstructured(), FineTune(1)], {"nonzero": 500, "macs": 10}),
    ([Train(2), FrequencyMask(keep=4, epochs=0, fine_tune=1)], {"params": 10}),
    ([Train(2)], {"bytes": 10}),
]


@pytest.mark.parametrize(("schedule", "caps"), TOO_SMALL)
@pytest.mark.parametrize("other", SILENT)
def test_no_phase_beside_them_switches_the_refusal_off(
    other: Callable[[Path], Phase], schedule: list[Phase], caps: dict[str, int], tmp_path: Path
) -> None:
    text = refused([schedule[0], other(tmp_path), *schedule[1:]], **caps)
    assert ("Look says nothing of what is lowered" in text) == isinstance(other(tmp_path), Look)


def test_the_sentence_says_what_to_declare() -> None:
    text = refused([FineTune(2), Look(), Half()], macs=10)
    assert "Half cannot lower macs: put Prune() before Half." in text
    assert text.endswith("has to say lowers = frozenset({'macs'})")
    assert "no phase of the schedule removes anything" in refused([Look()], params=10)


def test_a_subclass_that_does_not_declare_is_named_too() -> None:
    @dataclass(frozen=True)
    class Silent(Phase):
        def run(self, training: Training, part: int) -> None:
            pass

    assert "Silent says nothing of what is lowered" in refused([Silent()], macs=10)


def test_one_that_declares_is_counted_on() -> None:
    result = fit(tiny(), budget=Budget(nonzero=100), schedule=[Look(), Zeros()])
    assert result.report.after.nonzero == 0


def test_what_a_phase_settles_it_lowers() -> None:
    @dataclass(frozen=True)
    class Settles(Look):
        settles = frozenset({"nonzero"})

    settles = adapted(Settles())
    assert lowers(settles) == settles.settles == {"nonzero"}
    assert settles.undeclared
    assert not FineTune().undeclared
    assert lowers(adapted(Look())) == lowers(FineTune()) == frozenset()


@pytest.mark.parametrize("said", ["params", frozenset({"parameters"}), 3, (None,)])
def test_what_is_no_set_of_caps_is_refused(said: object) -> None:
    @dataclass(frozen=True)
    class Wrong(Look):
        lowers: Any = said  # type: ignore[misc]

    with refuses(r"Wrong\.lowers is .* must be a set of keys of a budget"):
        fit(tiny(), budget=Budget(params=10), schedule=[Wrong()])


@pytest.mark.parametrize("said", ["3", -1, 1.0])
def test_a_length_that_is_no_number_of_parts_is_refused(said: object) -> None:
    @dataclass(frozen=True)
    class Wrong(Phase):
        length: Any = said  # type: ignore[misc]

        def run(self, training: Training, part: int) -> None:
            pass

    for phase in (Wrong(), Look(length=said)):  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"\.length is .*, and must be its number of parts"):
            adapted(phase)


@pytest.mark.parametrize("name", ["dry", "stores", "keeps"])
def test_a_subclass_that_plans_its_file_under_a_former_name_is_told_the_name(name: str) -> None:
    wrong = type("Wrong", (Phase,), {"run": print, name: lambda *_: None})
    with refuses(rf"Wrong\.{name} is not read .*: name it (network|bits|density)_after"):
        fit(tiny(), budget=Budget(params=10), schedule=[wrong()])


def test_a_check_is_given_the_phases_before_it_as_they_were_written() -> None:
    class Asks(Zeros):
        def check(self, session: Compression, earlier: Sequence[object]) -> None:
            del session
            assert list(map(type, earlier)) == [Look, Prune]

    fit(tiny(), budget=Budget(nonzero=100, macs=5_000), schedule=[Look(), Prune(), Asks()])


def test_the_base_of_phases_that_lower_nothing() -> None:
    @dataclass(frozen=True)
    class Mine(Phase):
        def run(self, training: Training, part: int) -> None:
            pass

    assert "no phase of the schedule removes anything: put Prune() into it" in refused(
        [FineTune(1), Mine()], params=10
    )
    dense = fit(tiny(), budget=Budget(params=10_000), schedule=[Mine()])
    assert dense.report.before == dense.report.after


@dataclass(frozen=True)
class Sixteen:
    """`Half` as it was written before there was a base class."""

    length = 1
    lowers = frozenset({"bytes"})
    settles = frozenset[str]()
    final = fixed = True

    def check(self, session: Compression, earlier: Sequence[Phase]) -> None:
        del earlier
        to_network(session.model, session.example)

    def dry(self, whole: Network, _: object) -> Network:
        return halved(whole)

    def stores(self, whole: Network) -> Any:
        del whole
        return lambda _, bits: min(bits, Fraction(16))

    def run(self, training: Training, part: int) -> None:
        del part
        training.session.record({})
        self.redo(training.session, {})
        training.refresh()

    def redo(self, session: Compression, change: Any) -> None:
        del change
        session.replace(halved(to_network(session.model, session.example)), settled="16 bits")


def test_phases_that_derive_from_nothing_are_taken_as_they_are(tmp_path: Path) -> None:
    caps = Budget(bytes=2_500)
    theirs = fit(tiny(), budget=caps, schedule=[Prune(), Sixteen()], checkpoint=tmp_path)
    again = fit(tiny(), budget=caps, schedule=[Prune(), Sixteen()], checkpoint=tmp_path)
    ours = fit(tiny(), budget=caps, schedule=[Prune(), Half()])
    assert theirs.report.files == ours.report.files == again.report.files
    assert equal(theirs.model, ours.model)
    with refuses("Sixteen.* after which no weight can change"):
        fit(tiny(), budget=caps, schedule=[Sixteen(), Prune()])


def test_what_they_leave_of_a_weight_is_counted_on() -> None:
    class Third(Look):
        def keeps(self, weight: Weight) -> Fraction:
            return Fraction(1, 3) if weight.trainable else Fraction(1)

    weight = next(iter(trace(tiny()).weights.values()))
    assert adapted(Third()).density_after(weight) == Fraction(1, 3)
    assert adapted(Third()).makes_zeros
    assert adapted(Look()).density_after(weight) == 1
    assert adapted(Look()).bits_after(to_network(tiny(), (torch.zeros(1, 1, 8, 8),)))(
        weight, Fraction(7)
    ) == Fraction(7)


def recipes() -> dict[str, Callable[[RunFolder], Sequence[Phase]]]:
    """The schedule of every recipe, with the settings of its `--fast`."""
    found: dict[str, Callable[[RunFolder], Sequence[Phase]]] = {
        "2020": partial(dcase2020.schedule, dcase2020.fast(dcase2020.Config())),
        "2021": partial(dcase2021.schedule, dcase2021.fast(dcase2021.Config())),
        "esc50": lambda _: [Prune(), Recalibrate(), FineTune(epochs=1)],
    }
    systems = {
        "2022": dcase2022.fast(dcase2022.Config()),
        "next": dcase_next.fast(dcase_next.Config()).system,
    }
    for name, config in systems.items():
        rows = replace(config.rows, keep=4)
        found[name] = partial(dcase2022.schedule, replace(config, rows=rows))
    for year, published in baselines.BASELINES.items():
        found[f"baseline {year}"] = lambda run, year=year, last=published.phases: [
            Train(epochs=1), Stage("dense", run.stages, year), *last,
        ]  # fmt: skip
    return found


@pytest.mark.parametrize(
    "key", ["macs", *(pytest.param(k, marks=pytest.mark.slow) for k in sorted(KEYS - {"macs"}))]
)
@pytest.mark.parametrize("name", recipes())
def test_every_recipe_refuses_a_cap_that_it_cannot_meet(
    name: str, key: str, tmp_path: Path
) -> None:
    schedule = recipes()[name](RunFolder(tmp_path))
    refused(schedule, **{key: 3})
    assert not list(tmp_path.iterdir()), "no stage was come to"


@pytest.mark.parametrize("solver", [Prune(), FilterPruning("admm")])
def test_a_solver_that_lowers_everything_refuses_what_no_structure_meets(solver: Phase) -> None:
    refused([FineTune(1), Look(), solver], macs=3)


SOURCES = sorted((Path(__file__).parents[2] / "compressor").rglob("*.py"))
PHASES = {"phase", "phases", "solver", "solvers", "following"}
"""What phases are called where they are asked."""


def asks(tree: ast.AST) -> Iterator[str]:
    """Where a phase is asked by `hasattr`, `getattr`, or the name of its class."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="hasattr" | "getattr"), args=[asked, *_]):
                pass
            case ast.Attribute(
                value=ast.Call(func=ast.Name(id="type"), args=[asked]), attr="__name__"
            ):
                pass
            case _:
                continue
        if ast.unparse(asked).partition("[")[0] in PHASES:
            yield f"{node.lineno}: {ast.unparse(node)}"


def test_no_phase_is_asked_by_name() -> None:
    found = {path.name: list(asks(ast.parse(path.read_text()))) for path in SOURCES}
    assert {name: places for name, places in found.items() if places} == {}
    assert list(asks(ast.parse("getattr(phase, 'x'), type(phases[0]).__name__"))) != []
