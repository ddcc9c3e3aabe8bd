"""The meta file holds what the official validators ask, and every wrong field is named."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from compressor.budget import Cost
from compressor.rules import of_year
from recipes.submission.check import check_label, check_meta, fields, meta_problems
from recipes.submission.forms import (
    FORM2020,
    FORM2021,
    FORM2022,
    FORM2023,
    FORM2024,
    FORM2025,
    FORMS,
    Form,
)
from recipes.submission.metadata import Energy, ExternalDataset, meta, write_meta
from recipes.submission.yaml_reader import read_plain
from tests.helpers.forms import OFFICIAL, YEARS, evaluation, submission

each_form = pytest.mark.parametrize("form", FORMS, ids=YEARS)


def written(folder: Path, form: Form) -> tuple[Path, Any]:
    """A meta file and its content."""
    path = folder / f"{submission(form).label}.meta.yaml"
    write_meta(path, submission(form), form)
    return path, yaml.safe_load(path.read_text(encoding="utf-8"))


def broken(content: Any, place: tuple[str | int, ...], value: object) -> Any:
    """A copy with another value at a place; without the field for `...`."""
    content = copy.deepcopy(content)
    block = content
    for key in place[:-1]:
        block = block[key]
    if value is ...:
        del block[place[-1]]
    else:
        block[place[-1]] = value
    return content


@each_form
def test_a_written_file_passes_and_reads_back(tmp_path: Path, form: Form) -> None:
    path, content = written(tmp_path, form)
    assert check_meta(path, form) == ()
    assert content == meta(submission(form), form)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@each_form
def test_it_has_what_the_official_validator_asks(tmp_path: Path, form: Form) -> None:
    content = written(tmp_path, form)[1]
    description, complexity, classes, clips = OFFICIAL[form]
    assert {"label", "name", "abbreviation", "authors"} <= set(content["submission"])
    for author in content["submission"]["authors"]:
        assert {"lastname", "firstname", "email", "affiliation"} <= set(author)
    system = content["system"]
    assert {"description", "complexity", "external_datasets", "source_code"} <= set(system)
    assert set(description) <= set(system["description"])
    assert set(complexity) <= set(system["complexity"])
    assert ("energy_consumption" in system) == (form is FORM2023)
    results = content["results"]["development_dataset"]
    splits = (
        [results[f"split_{p}"] for p in (5, 10, 25, 50, 100)] if form is FORM2024 else [results]
    )
    scenes = "airport shopping_mall metro_station street_pedestrian public_square street_traffic "
    expected = set(classes or (scenes + "tram bus metro park").split())
    for part in splits:
        assert set(part["overall"]) == {"accuracy", "logloss"}
        assert set(part["class_wise"]) == expected == set(form.classes)
        if form is not FORM2020:
            assert list(part["device_wise"]) == ["a", "b", "c", "s1", "s2", "s3", "s4", "s5", "s6"]
    assert form.files[-1] == f"{clips - 1}.wav"
    assert len(form.files) == clips


def test_results_are_those_of_the_evaluation(tmp_path: Path) -> None:
    content = written(tmp_path, FORM2024)[1]
    found = evaluation(FORM2024, seed=4)  # the fifth split
    results = content["results"]["development_dataset"]["split_100"]
    assert results["overall"]["accuracy"] == 100 * found.accuracy
    assert results["overall"]["logloss"] == found.log_loss
    assert results["class_wise"]["tram"]["logloss"] == found.class_wise["tram"].log_loss
    assert results["device_wise"]["s6"]["accuracy"] == 100 * found.device_wise["s6"].accuracy


@pytest.mark.parametrize(
    ("form", "name", "amount"),
    [
        (FORM2021, "model_size", 120_000 / 1024),  # KB of 1024 bytes
        (FORM2022, "memory_use", 65_280),
        (FORM2023, "total_model_size", 120_000),
        (FORM2024, "macs", 29_000_000),
        (FORM2020, "total_parameters_non_zero", 50_000),
    ],
)
def test_complexity_is_the_cost(tmp_path: Path, form: Form, name: str, amount: float) -> None:
    assert written(tmp_path, form)[1]["system"]["complexity"][name] == amount


def test_the_form_of_2025_asks_for_both_results_and_the_networks(tmp_path: Path) -> None:
    """A form beside the others, read in a participant's: no validator is known."""
    plain = submission(FORM2025)
    lacking = meta_problems(meta(plain, FORM2025), FORM2025)
    assert len(lacking) == 4, "three fields of the description, and the package's address"
    described = replace(
        plain.description, device_information="none", num_models_at_inference=7,
        model_weight_sharing="fully device-specific",
    )  # fmt: skip
    filled = replace(plain, description=described, inference_code="https://example.org/package")
    path = tmp_path / f"{plain.label}.meta.yaml"
    write_meta(path, filled, FORM2025)
    assert check_meta(path, FORM2025) == ()
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    results = content["results"]["development_dataset"]
    assert [*results] == ["device_specific", "general"]
    assert results["general"]["overall"]["logloss"] == evaluation(FORM2025, seed=1).log_loss
    assert content["system"]["description"]["num_models_at_inference"] == 7
    over = broken(content, ("system", "complexity", "total_model_size"), 128_001)
    assert "the rule of 2025 allows 128,000" in meta_problems(over, FORM2025)[0]


PLACES = {
    (form, place)
    for form in FORMS
    for place, _ in fields(meta(submission(form), form), form)
    if form is not FORM2024 or "split_25" in place or "results" not in place
}


@pytest.mark.parametrize(
    ("form", "place"),
    sorted(PLACES, key=lambda pair: (pair[0].year, str(pair[1]))),
    ids=lambda value: str(value.year) if isinstance(value, Form) else ".".join(map(str, value)),
)
def test_every_field_that_lacks_or_is_wrong_is_named(
    form: Form, place: tuple[str | int, ...]
) -> None:
    content = meta(submission(form), form)
    name = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)[1:]
    assert meta_problems(content, form) == []
    missing = meta_problems(broken(content, place, ...), form)
    assert missing == [f"{name} is missing"]
    wrong = meta_problems(broken(content, place, {"no": "such thing"}), form)
    assert len(wrong) == 1
    assert wrong[0].startswith(f"{name} is {{'no': 'such thing'}}: ")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("submission.label", "Author_EX_task1", "three underscores"),
        ("submission.label", "Author_EX_task1_5", "N from 1 to 4"),
        ("submission.label", "Vir.tanen_TAU_task1_1", "no dots"),
        ("submission.label", "Author_EX_task1a_1", "Author_INST_task1_N"),
        ("submission.label", "../x_TAU_task1_1", "Author_INST_task1_N"),
        ("submission.name", "  ", "must be text"),
        ("submission.abbreviation", "eleven lett", "at most 10"),
        ("submission.authors", [], "a list of authors"),
        ("submission.authors.0.corresponding", True, "has 2 corresponding"),
        ("submission.authors.1.corresponding", False, "has 0 corresponding"),
        ("submission.authors.0.email", "nowhere", "one @"),
        ("system.description.ensemble_method_subsystem_count", 0, "integer above 0, or null"),
        ("system.description.acoustic_features", None, "must be text"),
        ("system.complexity.total_parameters_non_zero", 0, "integer above 0"),
        ("system.complexity.total_parameters", 60_000.5, "integer above 0"),
        ("system.complexity.total_parameters", True, "integer above 0"),
        ("system.complexity.total_parameters", 128_001, "allows 128,000"),
        ("system.complexity.total_parameters_non_zero", 60_001, "more than total_parameters"),
        ("system.complexity.macs", 30_000_001, "allows 30,000,000"),
        ("system.external_datasets", "AudioSet", "a list, or null"),
        ("system.external_datasets", [{"name": "x", "url": "y"}], "total_audio_length is missing"),
        ("results.development_dataset.overall.accuracy", 0.59, "looks like a share"),
        ("results.development_dataset.overall.accuracy", 100.1, "0 to 100"),
        ("results.development_dataset.overall.logloss", float("nan"), "0 or above"),
        ("results.development_dataset.overall.logloss", -0.1, "0 or above"),
        ("results.development_dataset.class_wise.bus.accuracy", None, "0 to 100"),
        ("results.development_dataset.device_wise.s1.logloss", float("inf"), "0 or above"),
        ("results.development_dataset.device_wise.s7", {}, "s7 is unknown: there are a, b"),
        ("results.development_dataset.class_wise.beach", {}, "beach is unknown: there are airport"),
    ],
)
def test_wrong_values_are_named(tmp_path: Path, place: str, value: object, message: str) -> None:
    keys = tuple(int(key) if key.isdigit() else key for key in place.split("."))
    path, content = written(tmp_path, FORM2022)
    path.write_text(yaml.safe_dump(broken(content, keys, value)), encoding="utf-8")
    problems = [text for text in check_meta(path, FORM2022) if "the file is called" not in text]
    assert len(problems) == 1
    assert problems[0].startswith(f"{path}: {'.'.join(map(str, keys[:2]))}")
    assert message in problems[0]


@pytest.mark.parametrize("form", [FORM2020, FORM2021], ids=[2020, 2021])
def test_size_is_held_to_the_cap_in_its_kilobytes(form: Form) -> None:
    cap = of_year(form.year).budget.caps["bytes"]
    content = meta(submission(form), form)
    place = ("system", "complexity", "model_size")
    assert meta_problems(broken(content, place, cap / 1024), form) == []
    assert "allows" in meta_problems(broken(content, place, cap / 1024 + 0.01), form)[0]


def test_all_problems_come_at_once() -> None:
    content = meta(submission(FORM2022), FORM2022)
    content["submission"] = None
    content["system"]["complexity"]["macs"] = 31_000_000
    content["results"]["development_dataset"]["device_wise"]["a"]["logloss"] = "low"
    problems = meta_problems(content, FORM2022)
    assert len(problems) == 6
    assert [text for text in problems if text.startswith("submission.")] == [
        f"submission.{name} is missing" for name in ("label", "name", "abbreviation", "authors")
    ]


def test_what_does_not_pass_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "Author_EX_task1_1.meta.yaml"
    large = replace(submission(FORM2024), cost=Cost(70_000, 70_000, 31_000_000, 140_000))
    with pytest.raises(ValueError, match=r"macs is 31,000,000.*\n.*total_model_size is 140,000"):
        write_meta(path, large, FORM2024)
    with pytest.raises(ValueError, match="memory_use is None: must be an integer"):
        write_meta(path, replace(submission(FORM2022), memory_use=None), FORM2022)
    with pytest.raises(ValueError, match=r"has 5 results; the form of 2022 takes 1: one for all"):
        write_meta(path, submission(FORM2024), FORM2022)
    foreign = replace(submission(FORM2022), results=(evaluation(FORM2020),))
    with pytest.raises(ValueError, match=r"class_wise\.airport\.accuracy is None"):
        write_meta(path, foreign, FORM2022)
    assert not list(tmp_path.iterdir())


def test_external_data_are_listed_and_checked() -> None:
    data = ExternalDataset(name="MicIRP", url="micirp.blogspot.com", total_audio_length=0.5)
    content = meta(replace(submission(FORM2022), external_datasets=(data,)), FORM2022)
    assert meta_problems(content, FORM2022) == []
    place = ("system", "external_datasets", 0, "url")
    assert meta_problems(broken(content, place, ""), FORM2022) == [
        "system.external_datasets[0].url is '': must be text"
    ]


@pytest.mark.parametrize("text", ["a: [1", "\x00", "- 1\n- 2\n", "", "just text"])
def test_files_that_are_no_meta_file_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.meta.yaml"
    path.write_text(text, encoding="utf-8")
    problems = check_meta(path, FORM2022)
    assert problems
    assert all(problem.startswith(f"{path}: ") for problem in problems)


@pytest.mark.parametrize(
    "text",
    [
        "name: 2022-13-45",
        *(f"a: !!{kind} foo" for kind in ("int", "float", "bool", "timestamp")),
        "a: !!python/object/apply:os.getcwd []",
        "a: " + "9" * 5_000,
        "a: !!int 0x" + "f" * 5_000,
        "[" * 5_000,
        "{a: " * 5_000,
        "a: &x 1",
        "a: &x [1]\nb: *x",
    ],
    ids=lambda text: text[:20],
)
def test_what_yaml_stumbles_over_is_one_problem(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.meta.yaml"
    path.write_text(text, encoding="utf-8")
    (problem,) = check_meta(path, FORM2022)
    assert problem.startswith(f"{path}: cannot be read as YAML (")
    assert len(problem) < len(str(path)) + 400


def test_aliases_are_refused_before_they_grow(tmp_path: Path) -> None:
    """Seven lines that stand for ten million texts."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 7)]
    path = tmp_path / "x.meta.yaml"
    path.write_text("\n".join([*lines, "submission: {name: *a6}"]), encoding="utf-8")
    (problem,) = check_meta(path, FORM2022)
    assert "an alias or anchor" in problem


@pytest.mark.parametrize("value", ["1:30", "010", "0x10", "0b11", "1_000"])
def test_numbers_must_be_decimal(tmp_path: Path, value: str) -> None:
    """YAML 1.1 reads 90, 8, 16, 3 and 1,000."""
    path, _ = written(tmp_path, FORM2022)
    lines = path.read_text(encoding="utf-8").replace("macs: 29000000", f"macs: {value}")
    path.write_text(lines, encoding="utf-8")
    assert isinstance(yaml.safe_load(lines)["system"]["complexity"]["macs"], int)
    (problem,) = check_meta(path, FORM2022)
    assert problem == f"{path}: system.complexity.macs is '{value}': must be an integer above 0"


@given(value=st.integers() | st.floats(allow_nan=False) | st.text() | st.booleans() | st.none())
def test_what_yaml_writes_reads_back(
    value: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "value.yaml"
    path.write_text(yaml.safe_dump([value], allow_unicode=True), encoding="utf-8")
    (found,) = read_plain(path)
    assert found == value
    assert type(found) is type(value)


def test_large_values_are_shown_in_short() -> None:
    content = meta(submission(FORM2022), FORM2022)
    content["submission"]["name"] = [["x" * 10_000] * 1_000] * 1_000
    content["submission"]["abbreviation"] = "x" * 10_000
    content["system"]["complexity"]["macs"] = 10**4_000
    content["results"]["development_dataset"]["class_wise"]["x" * 10_000] = {}
    problems = meta_problems(content, FORM2022)
    assert len(problems) == 4
    assert all(len(problem) < 4_000 for problem in problems)


def test_numbers_and_texts_of_numpy_are_taken(tmp_path: Path) -> None:
    plain = submission(FORM2023)
    theirs = replace(
        plain,
        name=np.str_(plain.name),
        cost=Cost(np.int64(60_000), np.int32(50_000), np.int64(29_000_000), np.int64(120_000)),
        memory_use=np.int64(65_280),
        energy=Energy(
            training=np.float64(0.21),
            inference=np.float32(0.068),
            baseline_inference=np.float16(0.07),
        ),
        authors=tuple(replace(a, corresponding=np.bool_(a.corresponding)) for a in plain.authors),
    )
    path = tmp_path / f"{plain.label}.meta.yaml"
    write_meta(path, theirs, FORM2023)
    assert check_meta(path, FORM2023) == ()
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content["system"]["complexity"] == meta(plain, FORM2023)["system"]["complexity"]


def test_a_missing_file_and_another_name_are_reported(tmp_path: Path) -> None:
    assert "cannot be read" in check_meta(tmp_path / "none.meta.yaml", FORM2022)[0]
    path, _ = written(tmp_path, FORM2022)
    other = path.rename(tmp_path / "Author_EX_task1_2.meta.yaml")
    assert "the file is called Author_EX_task1_2" in check_meta(other, FORM2022)[0]


def test_labels_of_public_submissions_pass() -> None:
    for label in ("Kim_QTI_task1a_2", "Koutini_CPJKU_task1a_3", "puy_vai_task1a_1"):
        assert check_label(label, FORM2021) == ""
    assert check_label("Martín-Morató_TAU_task1_1", FORM2022) == ""
    assert check_label("Farrugia_IMT-Atlantique_BRAIn_task1b_2", FORM2020)
