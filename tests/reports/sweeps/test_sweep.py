"""Tables and pictures of a sweep, of rows made up."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compressor import Sweep
from compressor.reports.grids import _escaped
from compressor.reports.sweeps.rows import EMPTY

VALUES = {
    ("", "dense"): [0.9, 0.9],
    ("half", "ours"): [0.8, 0.84],
    ("half", "theirs"): [0.7, 0.74],
    ("third", "ours"): [0.6, 0.64],
    ("third", "theirs"): [0.5, None],
}


def made(values: dict[Any, list[Any]] | None = None) -> Sweep:
    found: list[dict[str, Any]] = []
    for (budget, method), each in (VALUES if values is None else values).items():
        cost = {"": 100, "half": 50, "third": 33}[budget]
        for seed, value in enumerate(each):
            row = {**EMPTY, "budget": budget, "method": method, "seed": seed, "seconds": 1.0}
            row |= {"cap_macs": cost if budget else None}
            size = {"params": 7, "nonzero": 7, "macs": cost + (method == "theirs"), "bytes": 28}
            done = {"state": "done", "value": value, **size}
            found.append(row | (done if value is not None else {"state": "refused", "why": "no"}))
    return Sweep(tuple(found))


def test_the_table_has_means_errors_and_the_front() -> None:
    table = made().table()
    assert table["method"].tolist() == [method for _, method in VALUES]
    np.testing.assert_allclose(table["value"].astype(float), [0.9, 0.82, 0.72, 0.62, 0.5])
    errors = table["error"].astype(float).tolist()
    np.testing.assert_allclose(errors[:4], [0, 0.02, 0.02, 0.02], atol=1e-12)
    assert np.isnan(errors[4])
    assert table["front"].tolist() == [True, True, False, True, False]
    assert table["seeds"].tolist() == [2, 2, 2, 2, 1]
    assert table["refused"].tolist() == [0, 0, 0, 0, 1]
    assert table["why"].tolist() == ["", "", "", "", "no"]
    assert made().costs == ("macs",)
    assert len(made().frame()) == 10


def test_what_was_never_made_has_no_value_and_beats_nothing() -> None:
    found = made({("", "dense"): [0.9], ("half", "ours"): [None]})
    assert found.table()["front"].tolist() == [True, False]
    assert found.means()[1]["macs"] is None
    assert "ours at half: no" in str(found)
    assert "0 of 1" in str(found)
    assert repr(found) == "<Sweep of 2 rows, 1 refused>"


def test_a_reason_is_said_once_with_all_that_it_holds_for() -> None:
    found = made(
        {
            ("half", "ours"): [None], ("half", "theirs"): [None],
            ("third", "ours"): [None], ("third", "theirs"): [0.5],
        }
    )  # fmt: skip
    assert str(found).splitlines()[-1] == "ours, theirs at half; ours at third: no"
    assert str(found).count(": no") == 1


def test_csv_is_the_table(tmp_path: Path) -> None:
    made().csv(tmp_path / "a.csv")
    with (tmp_path / "a.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [row["method"] for row in read] == [method for _, method in VALUES]
    assert float(read[1]["value"]) == pytest.approx(0.82)
    assert (read[1]["front"], read[2]["front"], read[4]["error"]) == ("True", "False", "")


def test_for_people_and_notebooks() -> None:
    found = made()
    assert "| ours | half | 0.82 ± 0.02 | 7 | 50 | 2 | front |" in found.markdown()
    assert "0.82 ± 0.02" in str(found)
    assert "<td>ours</td>" in found._repr_html_()


def test_for_papers() -> None:
    lines = made().latex().splitlines()
    assert lines[:2] == [r"\begin{tabular}{lrrrrrr}", r"\toprule"]
    assert lines[3] == r"\midrule"
    assert lines[5] == r"ours & half & 0.82 $\pm$ 0.02 & 7 & 50 & 2 & front \\"
    assert lines[8] == r"theirs & third & 0.5 & 7 & 34 & 1 of 2 &  \\"
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]


def test_nothing_in_a_name_is_a_command_of_latex() -> None:
    rows = [{**row, "method": "[a_b], 5 %*"} for row in made().rows]
    line = Sweep(tuple(rows)).latex().splitlines()[4]
    assert line.startswith(r"{[}a\_b], 5 \%{*} & ")
    assert _escaped("<= | < {~} \\") == (r"$\le$ $|$ $<$ \{\textasciitilde{}\} \textbackslash{}")


@pytest.mark.parametrize("costs", [None, ["params"], ["params", "macs", "bytes"]])
def test_the_picture_is_drawn(tmp_path: Path, costs: list[str] | None) -> None:
    image = pytest.importorskip("PIL.Image")
    made().front(tmp_path / "a.png", costs)
    with image.open(tmp_path / "a.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    for colour in ((31, 119, 180), (255, 127, 14), (44, 160, 44)):  # of three methods
        assert (pixels == colour).all(1).any()


def test_no_picture_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"front\(costs=a list of 1.*some of params, nonzero"):
        made().front(tmp_path / "a.png", ["flops"])
    with pytest.raises(ValueError, match="some of params"):
        made().front(tmp_path / "a.png", "macs")
    with pytest.raises(ValueError, match=r"pass sweep\(..., evaluate=val\)"):
        made({("half", "ours"): [None]}).front(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
