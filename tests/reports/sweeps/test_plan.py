"""What is compared: names, order, and what is none."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from torch import nn

from compressor import Budget, FineTune, Prune, importance, rules
from compressor.reports.sweeps.plan import Point, folder_name, grid_of, is_cut, phases_of
from tests.helpers.tiny import tiny

ONE = [Budget(macs="50%")]


def cut(model: nn.Module, budget: Budget, factor: int = 1) -> nn.Module:
    del budget, factor
    return model


def test_things_without_names_get_some() -> None:
    methods = [None, Prune(), [Prune(), FineTune(epochs=1)], cut]
    grid = grid_of([Budget(macs="50%"), rules.DCASE2022], methods, range(2))
    assert [*grid.methods] == ["fit", "Prune", "Prune, FineTune", "cut"]
    assert [*grid.budgets] == ["macs <= 50%", str(rules.DCASE2022.budget)] or len(grid.budgets) == 2
    assert grid.seeds == (0, 1)
    assert all(isinstance(budget, Budget) for budget in grid.budgets.values())


def test_every_combination_comes_once_and_a_seed_whole() -> None:
    grid = grid_of({"a": Budget(macs=1), "b": Budget(macs=2)}, {"x": None, "y": cut}, [3, 1, 3])
    keys = [(p.budget, p.method, p.seed) for p in grid.points]
    assert len(keys) == len(set(keys)) == 2 * (2 * 2 + 1)
    assert [p.seed for p in grid.points] == [3] * 5 + [1] * 5
    assert keys[0] == ("", "dense", 3)


def test_a_number_of_seeds_is_so_many() -> None:
    assert grid_of(ONE, [None], 3).seeds == grid_of(ONE, [None], range(3)).seeds == (0, 1, 2)


def test_a_phase_and_another_pruner_are_followed_by_the_same() -> None:
    then = (FineTune(epochs=2),)
    assert phases_of(None, then) is None
    assert phases_of(Prune(), then) == (Prune(), *then)
    assert phases_of([Prune()], then) == (Prune(),)
    assert phases_of(cut, then) == then
    assert [is_cut(m) for m in (None, Prune(), [Prune()], cut)] == [False, False, False, True]


def test_what_a_name_stands_for_is_told_apart() -> None:
    def asked(method: Any, budget: Budget = ONE[0]) -> dict[str, str]:
        return grid_of({"b": budget}, {"m": method}, [0]).asked(Point("b", "m", 0))

    ways = [
        None, Prune(), Prune(importance=importance.l1), [Prune()], cut, partial(cut, factor=2),
        lambda model, _: model, lambda _, __: None,
    ]  # fmt: skip
    texts = [asked(way)["how"] for way in ways]
    assert len(set(texts)) == len(ways) - 1  # a list of one phase is the phase
    assert asked(cut) == asked(cut)
    assert asked(cut) != asked(cut, Budget(macs="25%"))


@pytest.mark.parametrize(
    ("budgets", "methods", "seeds", "match"),
    [
        (Budget(macs=1), [None], [0], r"sweep\(budgets=a Budget\): give several"),
        (rules.DCASE2022, [None], [0], r"sweep\(budgets=.*: give several"),
        ("50%", [None], [0], r"sweep\(budgets='50%'\): give several"),
        ([], [None], [0], r"sweep\(budgets=.*: there is none"),
        ([Budget(macs=1), Budget(macs=1)], [None], [0], r"two of them are called 'macs <= 1'"),
        (["50%"], [None], [0], "sweep needs a budget and got '50%'"),
        (ONE, Prune(), [0], r"sweep\(methods=a Prune\): give several"),
        (ONE, tiny(), [0], r"sweep\(methods=a Tiny\): give several"),
        (ONE, None, [0], r"sweep\(methods=None\): give several"),
        (ONE, [Prune(), Prune(steps=2, epochs=1)], [0], "two of them are called 'Prune'"),
        (ONE, [Prune], [0], r"make one, Prune\(\)"),
        (ONE, [3], [0], r"'int': 3\}\): a method is a phase"),
        (ONE, [[Prune(), 3]], [0], "a method is a phase, a list of phases"),
        (ONE, {"dense": None}, [0], "'dense' is the network given"),
        (ONE, [None], 3.0, r"seeds=3.0\): give how many, 3, or which"),
        (ONE, [None], True, r"seeds=True\): give how many"),
        (ONE, [None], 0, r"give at least one"),
        (ONE, [None], -2, r"give at least one"),
        (ONE, [lambda model: model], [0], r"<lambda>\}\) must be f\(model, budget\) ->"),
        (ONE, [None], [], "give at least one"),
        (ONE, [None], [-1], "must be a whole number"),
        (ONE, [None], [0.5], "must be a whole number"),
    ],
)  # fmt: skip
def test_what_is_none_is_refused(budgets: Any, methods: Any, seeds: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        grid_of(budgets, methods, seeds)


def test_names_of_folders_are_read_by_people_and_never_shared() -> None:
    assert folder_name(["lr=0.1", "seed=0"]) == "lr=0.1-seed=0"
    odd = [["a=(1,2)"], ["a=(1", "2)"], ["a=[1,2]"], ["a=" + "1" * 200], ["a=" + "1" * 201]]
    names = [folder_name(words) for words in odd]
    assert len(set(names)) == len(names)
    assert all(len(name) < 140 and "/" not in name for name in names)
    assert folder_name([], "paper") == "paper"
