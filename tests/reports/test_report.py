"""The report adds up, says the same in every form, and its recount is independent."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from compressor import Budget, FineTune, Prune, Tflite, Unstructured, fit, measure
from compressor.reports import render
from compressor.reports.facts import verdicts
from compressor.reports.report import Epoch, Report
from compressor.rules.counters import torchinfo_count
from tests.helpers.cases import some
from tests.helpers.tiny import Tied, Tiny, loader, tiny
from tests.zoo import TRICKY

CAPS = Budget(params=700, macs="30k")


@pytest.fixture(scope="module")
def report() -> Report:
    schedule = [Prune(method="dual", steps=2, epochs=1), FineTune(epochs=2)]
    return fit(tiny(), loader(), budget=CAPS, schedule=schedule, val=loader(32)).report


def test_costs_are_those_of_the_modules() -> None:
    model = tiny()
    result = fit(model, budget=CAPS)
    example = model.example_input_array
    assert result.report.before == measure(model, example)
    assert result.report.after == measure(result.model, example)
    assert result.report.unused["params"] == 1 - result.report.after.params / 700


@pytest.mark.hypothesis
@pytest.mark.parametrize("name", some(sorted(TRICKY), 8))
def test_layers_add_up_to_the_totals(name: str) -> None:
    model = TRICKY[name]()
    before = measure(model, model.example_input_array)
    report = fit(model, budget=Budget(params=before.params)).report
    assert report.before == before
    for n in (0, 1):
        assert sum(layer.params[n] for layer in report.layers) == before.params
        assert sum(layer.macs[n] for layer in report.layers) + report.elsewhere == before.macs


def test_attributes_that_were_told_a_size_are_listed_with_it() -> None:
    model = TRICKY["conv_lstm"]()
    caps = Budget(params=measure(model, model.example_input_array).params // 2)
    result = fit(model, budget=caps)
    now = result.model.cell.hidden
    assert result.report.told == {"cell.hidden": (8, now)}
    assert now == result.model.head.in_features < 8
    line = f"Attributes that were told their new size: cell.hidden 8 -> {now}."
    assert line in str(result.report)
    assert line in result.report.markdown()
    assert json.loads(result.report.json())["told"] == {"cell.hidden": [8, now]}
    layers = fit(TRICKY["gru_cell"](), budget=Budget(params=300)).report
    assert not layers.told  # those of PyTorch's own are the widths of its layers
    assert "Attributes" not in str(layers)


def test_layers_of_a_shrunk_model_add_up_and_name_its_widths(report: Report) -> None:
    assert sum(layer.params[1] for layer in report.layers) == report.after.params
    assert sum(layer.macs[1] for layer in report.layers) == report.after.macs
    rows = {layer.module: layer for layer in report.layers}
    assert rows["stem"].kind == "Conv2d"
    assert rows["norm"].channels == rows["stem"].channels
    assert rows["head"].channels == (4, 4)
    assert rows["down"].channels[1] < rows["down"].channels[0] == 16


def test_channels_are_those_of_the_modules() -> None:
    result = fit(tiny(), budget=CAPS)
    for layer in result.report.layers:
        module = result.model.get_submodule(layer.module)
        width = getattr(module, "out_channels", None) or module.weight.shape[0]
        assert layer.channels[1] == width
        assert layer.params[1] == sum(p.numel() for p in module.parameters(recurse=False))


def test_a_tied_weight_stands_once_and_its_macs_where_they_are_spent() -> None:
    report = fit(Tied(), budget=Budget(params=500)).report
    rows = {layer.module: layer for layer in report.layers}
    assert rows["first"].params[0] == 8 * 8 * 9
    assert rows["second"].params == (0, 0) if "second" in rows else True
    assert sum(layer.macs[1] for layer in report.layers) == report.after.macs


def test_text_is_ascii_where_there_is_no_terminal(report: Report) -> None:
    text = str(report)
    assert text.isascii()
    for word in ("params <= 700", f"{report.after.macs:,}", "stem", "FineTune", "torchinfo"):
        assert word in text
    assert "Checked: outputs" in text
    assert "head" in text.partition("Kept whole")[2]


def test_text_is_drawn_with_lines_on_a_terminal(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", Terminal())
    assert "\u2502" in str(report)


def test_markdown_has_a_table_per_section(report: Report) -> None:
    text = report.markdown()
    tables = [part for part in text.split("\n\n") if part.startswith("|")]
    assert len(tables) == 4
    for table in tables:
        assert len({line.replace("\\|", "").count("|") for line in table.splitlines()}) == 1
    assert f"| macs | {report.before.macs:,} | {report.after.macs:,} | 30,000 |" in text


def test_what_was_measured_elsewhere_stands_beside_the_costs(report: Report) -> None:
    scores = {"on speech": ("71.2 %", "70.8 %"), "latency": ("9 ms", "4 ms")}
    text = report.markdown(level=3, scores=scores)
    assert "; on speech 71.2 % -> 70.8 %; latency 9 ms -> 4 ms." in text.split("\n\n")[1]
    assert "| on speech | 71.2 % | 70.8 % | - | - | - |" in text
    plain = report.markdown()
    assert "speech" not in plain
    assert [line.count("#") for line in text.splitlines() if line.startswith("#")] == [
        line.count("#") + 2 for line in plain.splitlines() if line.startswith("#")
    ]


def test_a_saved_report_is_read_again_and_shows_its_picture(report: Report, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report.save(tmp_path / "new" / "folder", scores={"on speech": ("1", "2")})
    folder = tmp_path / "new" / "folder"
    assert {path.name for path in folder.iterdir()} == {"report.json", "report.md", "layers.png"}
    assert Report.from_json((folder / "report.json").read_bytes()).after == report.after
    text = (folder / "report.md").read_text("utf-8")
    assert text == report.markdown("layers.png", scores={"on speech": ("1", "2")})


def test_json_is_strict_and_complete(report: Report) -> None:
    def refuse(name: str) -> object:
        raise AssertionError(name)

    data = json.loads(report.json(), parse_constant=refuse)
    assert data["after"]["params"] == report.after.params
    assert data["budget"] == {"params": 700, "macs": 30000}
    assert len(data["layers"]) == len(report.layers)
    assert [e["phase"] for e in data["log"]] == ["Prune", "FineTune", "FineTune"]
    assert data["shrinks"][-1]["caps"] == {"params": 700, "macs": 30000}
    assert data["counters"]["torchinfo (NeSsi)"][1]["params"] == report.after.params
    odd = replace(report, shrinks=(replace(report.shrinks[0], bound=float("inf")),))
    assert json.loads(odd.json(), parse_constant=refuse)["shrinks"][0]["bound"] is None


def test_frame_holds_the_layers(report: Report) -> None:
    frame = report.frame()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame["module"]) == [layer.module for layer in report.layers]
    assert frame["params_after"].sum() == report.after.params
    assert frame["macs_before"].sum() == report.before.macs


def test_plot_is_a_png_that_shows_something(report: Report, tmp_path: Path) -> None:
    from matplotlib.image import imread  # noqa: PLC0415

    report.plot(tmp_path / "layers.png")
    content = (tmp_path / "layers.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    image = imread(tmp_path / "layers.png")
    assert image.shape[0] > 200
    assert np.unique(image.reshape(-1, image.shape[-1]), axis=0).shape[0] > 10
    assert [p.name for p in tmp_path.iterdir()] == ["layers.png"]


def test_proofs_are_reported(report: Report) -> None:
    last = report.shrinks[-1]
    assert last.bound >= last.value
    assert 0 <= last.gap < 1
    assert report.binding == last.binding
    assert report.difference == max(s.difference for s in report.shrinks)
    assert report.difference < 1e-9
    assert last.reached["params"] == report.after.params


def test_without_verification_no_difference_is_claimed() -> None:
    report = fit(tiny(), budget=CAPS, verify=False).report
    assert report.difference is None
    assert "Checked" not in str(report)


def test_other_counters_are_asked_of_both_models() -> None:
    model = tiny()
    result = fit(model, budget=CAPS)
    example = model.example_input_array
    before, after = result.report.counters["torchinfo (NeSsi)"]
    assert before == torchinfo_count(model, example)
    assert after == torchinfo_count(result.model, example)
    for name in ("thop", "fvcore"):
        pytest.importorskip(name)
        assert result.report.counters[name][1].params == result.report.after.params


def test_a_counter_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from compressor.reports import facts as module  # noqa: PLC0415

    def fails(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(module, "thop_count", fails)
    model = Tiny()
    assert "thop" not in verdicts(model, model, model.example_input_array)


def test_a_model_within_its_budget_is_reported_whole() -> None:
    model = tiny()
    report = fit(model, budget=Budget(params="1M")).report
    assert report.before == report.after
    assert all(a == b for layer in report.layers for a, b in (layer.params, layer.macs))
    assert report.binding == ()


def test_accuracy_before_and_after_stands_beside_the_caps(report: Report) -> None:
    before, after = report.accuracy
    assert after == report.log[-1].accuracy  # nothing has changed since the last epoch
    model = tiny().eval()
    hits = [int((model(x).argmax(1) == y).sum()) for x, y in loader(32)]
    assert before == sum(hits) / sum(len(y) for _, y in loader(32))
    assert f"val {before:.4g} -> {after:.4g}" in str(report).partition("\n")[0]
    assert f"| val | {before:.4g} | {after:.4g} |" in report.markdown()


def test_a_function_is_asked_once_an_epoch_and_no_more() -> None:
    calls = iter((0.1, 0.2))
    schedule = [Prune(), FineTune(epochs=2)]
    result = fit(tiny(), loader(), budget=CAPS, schedule=schedule, val=lambda _: next(calls))
    assert [epoch.accuracy for epoch in result.report.log] == [0.1, 0.2]
    assert result.report.accuracy is None
    assert "; val " not in str(result.report)


def test_norms_are_folded_into_the_layers_that_they_follow(report: Report) -> None:
    rows = {layer.module: layer for layer in report.layers}
    assert rows["norm"].follows == "stem"
    assert rows["norm2"].follows == "pointwise"
    assert not rows["down"].follows
    text = report.markdown()
    assert "| stem + norm | Conv2d |" in text
    before, after = (rows["stem"].params[n] + rows["norm"].params[n] for n in (0, 1))
    assert f"| {before:,}{f' -> {after:,}' if after != before else ''} |" in text
    assert "| norm |" not in text


def test_folded_layers_still_add_up() -> None:
    for name in some(sorted(TRICKY), 6):
        report = fit(TRICKY[name](), budget=Budget(params=10**6)).report
        rows = [layer for layer, _ in render.folded(report.layers)]
        assert sum(layer.params[1] for layer in rows) == report.after.params


def test_bits_and_zeros_of_every_layer_are_shown_where_they_differ() -> None:
    sparse = fit(
        tiny(), loader(), budget=Budget(nonzero=700),
        schedule=[Unstructured(), FineTune(epochs=1)],
    )  # fmt: skip
    rows = {layer.module: layer for layer in sparse.report.layers}
    weight = sparse.model.down.weight
    assert rows["down"].nonzero == int(weight.count_nonzero())
    assert rows["down"].density == int(weight.count_nonzero()) / weight.numel()
    assert rows["down"].bits == 32
    assert "not zero" in sparse.report.markdown()
    assert "not zero" not in fit(tiny(), budget=CAPS).report.markdown()
    coded = replace(sparse.report, layers=tuple(replace(row, bits=5.0) for row in rows.values()))
    assert "| 5 | " in coded.markdown()


def test_the_sentence_on_widths_says_how_near_the_best_and_what_limits_them(report: Report) -> None:
    shrink = report.shrinks[-1]
    line = next(text for text in str(report).splitlines() if text.startswith("Widths of removal 2"))
    assert f"{shrink.reached['params']:,} of 700 params" in line
    assert f"better by more than {100 * shrink.gap:.2g} %" in line or "no others are better" in line
    assert all(name in line.partition("what limits them")[2] for name in shrink.binding)
    for name, gain in shrink.gains.items():
        assert gain >= 0
        assert (gain > 0) == (shrink.prices[name] > 0)


def test_a_report_is_read_again_from_its_json(report: Report) -> None:
    again = Report.from_json(report.json())
    assert again.json() == report.json()
    assert str(again) == str(report)
    assert again.markdown() == report.markdown()
    assert again.row() == report.row()


def test_infinities_and_rules_survive_json() -> None:
    log = (Epoch("FrequencyMask", 1, float("inf"), None, 1.0, {"dual": float("inf")}),)
    ruled = fit(tiny(), budget=Budget.dcase(2022)).report
    odd = replace(ruled, log=log, accuracy=(0.5, float("nan")))
    again = Report.from_json(odd.json())
    assert again.json() == odd.json()
    assert again.verdict is not None
    assert again.verdict.met
    assert str(again).count("DCASE 2022") == str(odd).count("DCASE 2022") > 0


def test_a_cap_on_another_file_survives_json() -> None:
    caps = Budget(bytes=12000, file=Tflite())
    report = fit(tiny(), budget=caps).report
    again = Report.from_json(report.json())
    assert again.budget == caps
    assert str(again) == str(report)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"model": 3}', "null", b"\xff"])
def test_what_is_no_report_is_refused_in_a_sentence(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"not the JSON of a report .*Report\.json"):
        Report.from_json(text)


def test_notebooks_get_tables(report: Report) -> None:
    page = report._repr_html_()
    assert page.count("<table>") == page.count("</table>") == 4
    odd = replace(report, model="<script>")._repr_html_()
    assert "<script>" not in odd


def test_who_counts_what_is_one_table() -> None:
    text = fit(tiny(), budget=Budget.dcase(2022)).report.markdown()
    table = text.partition("## Who counts what")[2].partition("\n##")[0]
    assert "| this library |" in table
    assert "| DCASE 2022 |" in table
    assert "meets the rule" in table


def test_text_is_as_wide_as_the_terminal(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(len(line) for line in str(report).splitlines() if line[:1] in "+|") <= 110
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "64")
    assert max(len(line) for line in str(report).splitlines() if line[:1] in "╭│") <= 64


def test_names_of_modules_are_no_markup() -> None:
    model = nn.Sequential()
    model.add_module("conv[/x]", nn.Conv2d(1, 8, 3))
    model.add_module("pool", nn.AdaptiveAvgPool2d(1))
    model.add_module("flat", nn.Flatten())
    model.add_module("head", nn.Linear(8, 4))
    report = fit(model, budget=Budget(params=80), example=torch.zeros(1, 1, 8, 8)).report
    assert "conv[/x]" in str(report)


def test_rows_of_all_reports_have_the_same_keys(report: Report) -> None:
    other = fit(tiny(), budget=Budget(macs=20000)).report.row()
    assert list(other) == list(report.row())
    assert (other["cap_params"], other["cap_macs"]) == (None, 20000)


def test_the_verdict_is_computed(report: Report) -> None:
    assert "meets caps" in str(report)
    assert "exceeds caps" in str(replace(report, budget=Budget(params=10)))


def test_a_norm_beside_its_layer_is_named_by_its_last_name() -> None:
    block = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    model = nn.Sequential(
        nn.Sequential(block), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )
    report = fit(model, budget=Budget(params=90), example=torch.zeros(1, 1, 8, 8)).report
    assert "| 0.0.0 + 1 | Conv2d |" in report.markdown()
