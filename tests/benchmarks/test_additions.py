"""The table of additions: ten epochs in every row, differences paired by seed."""

from __future__ import annotations

import pytest

from benchmarks.accuracy.additions import ADDITIONS, EPOCHS, PLAIN, cells, report
from benchmarks.common.records import Record, Records
from compressor import FineTune, Prune


def record(addition: str, seed: int, validation: float) -> Record:
    key = {"net": "TC-ResNet", "budget": "deep", "addition": addition, "seed": seed}
    return {**key, "validation": validation}


@pytest.mark.parametrize("name", ADDITIONS)
def test_every_row_trains_as_long(name: str) -> None:
    prune, _, tune = ADDITIONS[name].schedule(4e-3)
    assert isinstance(prune, Prune)
    assert isinstance(tune, FineTune)
    rounds = ADDITIONS[name].rounds
    assert (prune.steps - 1) * prune.epochs + tune.epochs + rounds == EPOCHS
    assert (prune.lr, tune.lr) == (4e-3, 4e-3)
    assert prune.distill == tune.distill


def test_differences_are_paired_by_seed() -> None:
    found = [record(name, 0, 0.8) for name in ADDITIONS] + [record("teacher", 1, 0.9)]
    page = report(Records(tuple(found)))
    assert "| plain | 80.0, n = 1 |" in page
    assert "| teacher | +0.0 |" in page, "the seed without a plain fine-tune is left out"
    found += [record(PLAIN, 1, 0.86)]
    page = report(Records(tuple(found)))
    assert "| plain | 83.0 (3.0), n = 2 |" in page
    assert "| teacher | +2.0 (2.0) |" in page


def test_a_cell_is_shown_when_all_rows_are_there() -> None:
    found = [record(name, 0, 0.8) for name in ADDITIONS]
    assert cells(Records(tuple(found))) == [("TC-ResNet", "deep")]
    assert cells(Records(tuple(found[1:]))) == []
    assert "No records yet" in report(Records())
