"""Results side by side."""

from __future__ import annotations

import pytest

from compressor import Budget, Report, compare, fit
from tests.helpers.tiny import tiny

SMALL, SMALLER = (fit(tiny(), budget=Budget(params=cap)) for cap in (1000, 700))


def test_results_are_named_after_their_budgets() -> None:
    text = str(compare([SMALL, SMALLER]))
    assert "params <= 1,000" in text
    assert f"{SMALLER.report.after.params:,} of 1,492" in text


def test_two_of_one_budget_are_numbered() -> None:
    names = list(compare([SMALL, SMALL.report]).reports)
    assert names == ["1: params <= 1,000", "2: params <= 1,000"]


def test_a_frame_has_a_row_each() -> None:
    again = Report.from_json(SMALLER.report.json())
    frame = compare({"a": SMALL, "b": again}).frame()
    assert list(frame["name"]) == ["a", "b"]
    assert list(frame["params_after"]) == [SMALL.report.after.params, SMALLER.report.after.params]
    assert list(frame["cap_params"]) == [1000, 700]


def test_every_form_has_all_names() -> None:
    found = compare({"one <b>": SMALL, "other": SMALLER})
    assert "| one &lt;b> |" in found.markdown()
    assert "one &lt;b&gt;" in found._repr_html_()
    assert repr(found) == "<Comparison of one <b>, other>"


@pytest.mark.parametrize("given", [[], {}, [3], {"a": "report.json"}])
def test_what_is_no_result_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match="compare"):
        compare(given)


def test_names_are_no_markup() -> None:
    text = str(compare({"run [dense]": SMALL, "a[/b]": SMALL, 3: SMALLER, ":100: x": SMALLER}))
    assert "run [dense]" in text
    assert "a[/b]" in text
    assert ":100: x" in text
    table = compare({"<i>one\ntwo|three": SMALL}).markdown()
    assert "| &lt;i>one two\\|three |" in table
    assert len(table.splitlines()) == 3


@pytest.mark.parametrize("given", [SMALL, SMALL.report, None, 3])
def test_a_single_result_is_refused_in_a_sentence(given: object) -> None:
    with pytest.raises(ValueError, match=r"compare\(\[one, another\]\)"):
        compare(given)
