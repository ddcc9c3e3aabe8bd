"""Settings of a recipe changed from the command line: `train.epochs=100 seed=1`.

A recipe's settings are a frozen dataclass, some of whose fields are dataclasses again. A name with
dots leads to a field; its value is read as the type of what stands there.
"""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from compressor.budget import Budget, File

Config = TypeVar("Config")
WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a word",
    tuple: "numbers with commas",
    NoneType: "none",
}
"""Names of the kinds of settings, in messages."""


def override(config: Config, texts: Sequence[str]) -> Config:
    """Settings, a frozen dataclass, with some of them changed.

    Texts are such as ``seed=1``, ``train.lr=0.03``, ``residual_norm=none``, ``budget.macs=20e6``.

    Raises:
        ValueError: If a text is no `name=value`, there is no such setting, or its value is of
            another kind or refused.
    """
    changes: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise ValueError(
                f"{text!r} changes no setting: write name=value, such as seed=1; --settings of the "
                "recipe lists them."
            )
        if name in changes:
            raise ValueError(f"{text}: {name} stands there twice: leave one out.")
        changes[name] = value
    known = list(names(config))
    for name in changes:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
            guess = f" Did you mean {', '.join(near)}?" * bool(near)
            raise ValueError(
                f"There is no setting {name!r}.{guess} --settings of the recipe lists all."
            )
    return cast("Config", _changed(config, "", changes))


def names(config: object) -> Iterator[str]:
    """Every setting that can be changed, dotted."""
    for before, _, own in parts(config):
        yield from (before + name for name in own)


def parts(config: object, before: str = "") -> Iterator[tuple[str, object, list[str]]]:
    """Settings and the settings in them: what names begin with, the part, names in it alone."""
    values = {field.name: getattr(config, field.name) for field in fields(cast("Any", config))}
    inside = {name: value for name, value in values.items() if is_dataclass(value)}
    own = [name for name in values if name not in inside]
    texts = [n for n in own if not callable(values[n]) and not _made(config, n, values[n])]
    yield before, config, texts
    for name, value in inside.items():
        yield from parts(value, f"{before}{name}.")


def _made(part: object, field: str, old: object) -> bool:
    """True if a field holds an object of the library's, which no text is."""
    kinds = _kinds(part, field, old)
    return any(isinstance(kind, type) and issubclass(kind, File) for kind in kinds)


def _changed(part: object, before: str, changes: Mapping[str, str]) -> object:
    """A part with all of its changes at once, as one alone may be refused."""
    new: dict[str, object] = {}
    for field in fields(cast("Any", part)):
        old, name = getattr(part, field.name), before + field.name
        if is_dataclass(old):
            if any(change.startswith(f"{name}.") for change in changes):
                new[field.name] = _changed(old, f"{name}.", changes)
        elif name in changes:
            new[field.name] = _value(old, changes[name], name, part)
    return replace(cast("Any", part), **new)


def _value(old: object, text: str, name: str, part: object) -> object:
    """The text as what the setting is declared to be."""
    kinds = _kinds(part, name.rpartition(".")[2], old)
    if kinds == {str}:
        return text
    value = literal(text)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = _number(value, kinds)
    if tuple in kinds and not isinstance(value, tuple):
        value = (value,)
    if type(value) not in kinds:
        takes = " or ".join(sorted(WORDS[kind] for kind in kinds if kind in WORDS))
        raise ValueError(
            f"{name}={text}: {name} is {old!r}, and takes {takes or 'nothing else from here'}."
        )
    return value


def _kinds(part: object, field: str, old: object) -> set[object]:
    """Types that a field is declared to hold; `Budget` makes numbers of texts and fractions."""
    try:
        hint = get_type_hints(type(part))[field]
    except (NameError, KeyError):  # a type that is imported for the checker alone
        return {type(old)}
    union = isinstance(hint, UnionType) or get_origin(hint) is Union
    kinds = {get_origin(one) or one for one in (get_args(hint) if union else (hint,))}
    return kinds | {int, float, str} if isinstance(part, Budget) else kinds


def literal(text: str) -> object:
    """Python's reading of a text, which is a text where it has none; none, true and false too."""
    words: dict[str, object] = {"none": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _number(value: float, kinds: Collection[object]) -> object:
    """A number as the kind that is declared, where that loses nothing: 20e6 is a whole number."""
    if not math.isfinite(value):
        return str(value)
    if int in kinds and value == int(value):
        return int(value)
    return float(value) if float in kinds else value
