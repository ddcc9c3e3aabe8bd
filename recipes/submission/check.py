"""Checks the meta file of a DCASE Task 1 submission, field by field.

The check is a table: the place of every field, and a function that says what is wrong with a value.
It is stricter than the official validators, which look for the fields and leave most values alone.
"""

from __future__ import annotations

import math
import re
import reprlib
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from compressor.rules import of_year
from recipes.submission.forms import Form
from recipes.submission.yaml_reader import UnreadableError, read_plain

Check = Callable[[object], str]
"""Says what a value must be, or nothing if it is."""

Place = tuple[str | int, ...]
"""Keys and positions that lead to a field."""

LONGEST_ABBREVIATION = 10
"""Characters of a submission's short name (official validators)."""

SHORTENED = reprlib.Repr()
"""Values as messages show them: however large, some lines at most."""
SHORTENED.maxstring = SHORTENED.maxother = 80
SHORTENED.maxlevel = 2


def check_meta(path: Path, form: Form) -> tuple[str, ...]:
    """Everything that is wrong with a meta file, field by field; empty if nothing is."""
    path = Path(path)
    try:
        content = read_plain(path)
    except UnreadableError as error:
        return (f"{path}: cannot be read as YAML ({error})",)
    problems = meta_problems(content, form)
    label = _found(content, ("submission", "label"))
    if label is not _MISSING and path.name != f"{label}.meta.yaml":
        problems.append(
            f"submission.label is {SHORTENED.repr(label)} and the file is called {path.name}"
        )
    return tuple(f"{path}: {problem}" for problem in problems)


def check_label(label: object, form: Form) -> str:
    """Complaint about a submission's label; empty if there is none."""
    # Dots would end the label in a file's name, underscores separate its four parts.
    pattern = rf"([^\W_]|-)+_([^\W_]|-)+_{form.task}_[1-4]"
    if isinstance(label, str) and re.fullmatch(pattern, label):
        return ""
    return f"must be Author_INST_{form.task}_N, N from 1 to 4, with three underscores and no dots"


def fields(content: object, form: Form) -> Iterator[tuple[Place, Check]]:
    """The place of every field that the form asks for, with its check.

    The content of a meta file says how many authors and external data sets there are.
    """
    yield ("submission", "label"), lambda value: check_label(value, form)
    yield ("submission", "name"), _text
    yield ("submission", "abbreviation"), _abbreviation
    yield ("submission", "authors"), _authors
    for author in _entries(content, ("submission", "authors")):
        for name in ("lastname", "firstname"):
            yield (*author, name), _text
        yield (*author, "email"), _email
        for name in ("abbreviation", "institute", "location"):
            yield (*author, "affiliation", name), _text
    for name in form.description:
        yield ("system", "description", name), _DESCRIPTION.get(name, _text_or_null)
    for name in form.complexity:
        yield ("system", "complexity", name), _positive if name == "model_size" else _count
    yield from _fields_of_some_years(form)
    yield ("system", "external_datasets"), _list_or_null
    for data in _entries(content, ("system", "external_datasets")):
        yield (*data, "name"), _text
        yield (*data, "url"), _text
        yield (*data, "total_audio_length"), _positive
    yield ("system", "source_code"), _text_or_null
    for part in form.parts:
        yield from _result_fields(_part_place(part), form)


def _fields_of_some_years(form: Form) -> Iterator[tuple[Place, Check]]:
    if form.energy:
        for name in ("training", "inference", "baseline_inference"):
            yield ("system", "energy_consumption", name), _positive
    if form.inference_code:
        yield ("system", "inference_code"), _text


def _result_fields(place: Place, form: Form) -> Iterator[tuple[Place, Check]]:
    groups = [("class_wise", name) for name in form.classes]
    groups += [("device_wise", name) for name in form.devices]
    yield (*place, "overall", "accuracy"), _overall_percentage
    yield (*place, "overall", "logloss"), _loss
    for group in groups:
        yield (*place, *group, "accuracy"), _percentage
        yield (*place, *group, "logloss"), _loss


def _part_place(part: str) -> Place:
    return ("results", "development_dataset", *filter(None, (part,)))


def _entries(content: object, place: Place) -> list[Place]:
    found = _found(content, place)
    return [(*place, i) for i in range(len(found))] if isinstance(found, list) else []


_MISSING = object()


def _found(content: object, place: Place) -> object:
    """Value at a place, or `_MISSING`."""
    for key in place:
        listed = isinstance(content, list) and isinstance(key, int)
        if not listed and not (isinstance(content, Mapping) and key in content):
            return _MISSING
        content = content[key]
    return content


def meta_problems(content: object, form: Form) -> list[str]:
    """Everything that is wrong with the content of a meta file; empty if nothing is."""
    problems: list[str] = []
    for place, check in fields(content, form):
        value = _found(content, place)
        if value is _MISSING:
            problems.append(f"{_named(place)} is missing")
        elif complaint := check(value):
            problems.append(f"{_named(place)} is {SHORTENED.repr(value)}: {complaint}")
    return [*problems, *_exceeded(content, form), *_strangers(content, form)]


def _exceeded(content: object, form: Form) -> Iterator[str]:
    budget = of_year(form.year).budget
    alive = ("system", "complexity", "total_parameters_non_zero")
    stored = _number(_found(content, ("system", "complexity", "total_parameters")))
    caps = {
        "total_parameters": budget.params,
        "total_parameters_non_zero": budget.nonzero,
        "macs": budget.macs,
        "total_model_size": budget.bytes,
        "model_size": budget.bytes and budget.bytes / 1024,
    }
    for name, cap in caps.items():
        spent = _number(_found(content, ("system", "complexity", name)))
        if name in form.complexity and cap is not None and spent > cap:
            allowed = f"the rule of {form.year} allows {cap:,}"
            yield f"system.complexity.{name} is {_amount(spent)}: {allowed}"
    if _number(_found(content, alive)) > stored:
        yield f"{_named(alive)} is more than total_parameters, {_amount(stored)}"


def _strangers(content: object, form: Form) -> Iterator[str]:
    known = {"class_wise": form.classes, "device_wise": form.devices}
    for part in form.parts:
        for group, names in known.items():
            place = (*_part_place(part), group)
            found = _found(content, place)
            for name in found if isinstance(found, Mapping) else ():
                if name not in names:
                    yield f"{_named(place)}.{_name(name)} is unknown: there are {', '.join(names)}"


def _amount(number: float) -> str:
    """A number of at most 15 digits in full."""
    return f"{number:,}" if number < 1e15 else SHORTENED.repr(number)


def _name(key: object) -> str:
    """A key that a file has and the form has not."""
    return textwrap.shorten(str(key), 80)


def _named(place: Place) -> str:
    """A place as people write it: submission.authors[0].email."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)[1:]


# What a value must be


def _number(value: object) -> float:
    """The value if it is a number, else not-a-number, of which every comparison is false."""
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if plain else math.nan


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _must(complaint: str, right: Callable[[Any], bool]) -> Check:
    return lambda value: "" if right(value) else f"must be {complaint}"


_text = _must("text", _is_text)
_text_or_null = _must("text, or null if none applies", lambda v: v is None or _is_text(v))
_list_or_null = _must("a list, or null for none", lambda v: v is None or isinstance(v, list))
_email = _must(
    "an address with one @",
    lambda v: isinstance(v, str) and re.fullmatch(r"[^@\s]+@[^@\s]+", v) is not None,
)
_abbreviation = _must(
    f"text of at most {LONGEST_ABBREVIATION} characters",
    lambda v: _is_text(v) and len(v) <= LONGEST_ABBREVIATION,
)
_count = _must("an integer above 0", _is_count)
_count_or_null = _must("an integer above 0, or null", lambda v: v is None or _is_count(v))
_positive = _must("a number above 0", lambda v: 0 < _number(v) < math.inf)
_loss = _must("a number, 0 or above", lambda v: 0 <= _number(v) < math.inf)
_percentage = _must("a percentage, 0 to 100", lambda v: 0 <= _number(v) <= 100)


def _overall_percentage(value: object) -> str:
    share = 0 < _number(value) <= 1
    return "must be a percentage and looks like a share" if share else _percentage(value)


def _authors(value: object) -> str:
    if not isinstance(value, list) or not value:
        return "must be a list of authors"
    corresponding = sum(_found(author, ("corresponding",)) is True for author in value)
    return "" if corresponding == 1 else f"has {corresponding} corresponding authors, not one"


_DESCRIPTION: Mapping[str, Check] = {
    "input_sampling_rate": _text,
    "acoustic_features": _text,
    "machine_learning_method": _text,
    "ensemble_method_subsystem_count": _count_or_null,
    "device_information": _text,
    "num_models_at_inference": _count,
    "model_weight_sharing": _text,
}
