"""The files of a DCASE Task 1 submission: output tables and the folder that holds all.

An output file is a table separated by tabs, although called csv, with a header and a row a clip:
`filename`, `scene_label`, and a column a class with its probability. The official validators of
2020 to 2024 (`recipes.submission.forms`) take the columns in any order and look at names, labels
and whether numbers are numbers. `check_output` is stricter: rows must be distributions, and a label
the most probable class.

A package is `task1/<label>/` with `<label>.meta.yaml` and `<label>.output.csv`, or in 2024 the five
files `<label>.output.split_5.csv` to `..._100.csv`; zipped, it is what is handed in. The validators
of 2020 and 2021 look for it one folder deeper, below a folder of any name.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from compressor.storage import write_bytes
from recipes.judging.metrics import checked_distributions
from recipes.submission.check import check_label, check_meta
from recipes.submission.forms import Form
from recipes.submission.metadata import Submission, write_meta

ROUNDED = 0.01
"""Difference of a row's sum from 1 that is accepted: ten numbers written with three digits."""

RESERVED = ("filename", "scene_label")
"""The columns before those of the classes."""

NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
"""Numbers as every program writes them; Python alone reads 1_0e-1 and other digits too."""

MOST_SHOWN = 20
"""Problems that an error lists; the checks return all."""


def write_output(
    path: Path, files: Sequence[str], probabilities: np.ndarray, classes: Sequence[str]
) -> None:
    """Write an output file, in one step; numbers keep their last bit.

    Args:
        path: File to write.
        files: Names of the clips; folders are left out, as in the official examples.
        probabilities: (clips, classes), each row summing to 1 within 0.001; an entry that rounding
            put above 1 is written as 1. The most probable class, the first of equals, is the label.
        classes: Names of the classes.

    Raises:
        ValueError: If a row is no distribution, a name does not end in .wav or comes twice, or a
            class or name cannot stand in a table.
    """
    classes = tuple(classes)
    shares = checked_distributions(probabilities, classes)
    reserved = [name for name in classes if name in RESERVED or not _fits(name)]
    if reserved:
        raise ValueError(
            f"{path} cannot have a class called {reserved[0]!r}: a column's name has no tab, line "
            f"break or broken character and is none of {', '.join(RESERVED)}. Rename the class."
        )
    names = [PurePosixPath(name).name for name in files]
    wrong = [name for name in names if not name.endswith(".wav") or not _fits(name)]
    if len(names) != len(shares) or len(set(names)) != len(names) or wrong:
        raise ValueError(
            f"{path} needs a name of its own, in UTF-8 and ending in .wav, for each of "
            f"{len(shares)} clips: got {len(names)} names, {len(set(names))} different, "
            f"{len(wrong)} not so"
            f"{f', the first {wrong[0]!r}' if wrong else ''}."
        )
    lines = ["\t".join((*RESERVED, *classes))]
    for name, row in zip(names, shares.tolist(), strict=True):
        lines.append("\t".join((name, classes[row.index(max(row))], *map(repr, row))))
    write_bytes(Path(path), ("\n".join(lines) + "\n").encode())


def check_output(
    path: Path, classes: Sequence[str], files: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Everything that is wrong with an output file, each with file and line; empty if nothing is.

    It should have these classes and clips; any clips when `files` is not given.
    """
    path, classes = Path(path), tuple(classes)
    try:
        # "-sig": with or without the mark that some editors put in front
        lines = path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        return (f"{path}: cannot be read as UTF-8 text ({error})",)
    header = lines[0].split("\t")
    problems = [f"{path}:1: {problem}" for problem in _header_problems(header, classes)]
    if problems:
        return tuple(problems)
    seen: dict[str, int] = {}
    for number, line in enumerate(lines[1:], 2):
        values = line.split("\t")
        row = dict(zip(header, values, strict=False))
        # Without folders, which the official validators ignore too.
        row["filename"] = name = PurePosixPath(row.get("filename", "")).name
        fits = len(values) == len(header)
        count = f"there are {len(values)} fields, not {len(header)}"
        found = _row_problems(row, classes) if fits else [count]
        if name in seen:
            found.append(f"filename {name!r} stands in line {seen[name]} already")
        seen.setdefault(name, number)
        problems += [f"{path}:{number}: {problem}" for problem in found]
    return (*problems, *(f"{path}: {problem}" for problem in _file_problems(seen, files)))


def write_package(
    root: Path,
    submission: Submission,
    form: Form,
    probabilities: Sequence[np.ndarray],
    files: Sequence[str] | None = None,
) -> Path:
    """Write a package, checked, which appears when all is written and right, or not at all.

    Args:
        root: Folder that holds `task1`.
        submission: Content of the meta file.
        form: The year's form.
        probabilities: (clips, classes in the order of the form), for each of `form.parts`.
        files: Names of the clips; those of the official evaluation set when not given.

    Returns:
        The folder `task1/<label>`.

    Raises:
        FileExistsError: If there is such a folder.
        ValueError: If the package would not pass `check_package`.
    """
    label, names = submission.label, form.files if files is None else files
    complaint = check_label(label, form)  # before it names a folder
    if complaint or len(probabilities) != len(form.parts):
        raise ValueError(
            f"{label!r} with {len(probabilities)} outputs is no submission of {form.year}: "
            f"{complaint or f'{len(form.parts)} outputs are handed in'}."
        )
    folder, part = Path(root) / "task1" / label, Path(root) / f".{label}.part"
    if folder.exists():
        raise FileExistsError(
            f"{folder} exists already. Count up the label's last number, or delete the folder."
        )
    shutil.rmtree(part, ignore_errors=True)
    try:
        scratch = part / label
        write_meta(scratch / f"{label}.meta.yaml", submission, form)
        for name, shares in zip(form.outputs(label), probabilities, strict=True):
            write_output(scratch / name, names, shares, form.classes)
        problems = check_package(scratch, form, files)
        if problems:
            raise _refusal(problems)
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch.replace(folder)
    except ValueError as error:  # about files that will be gone: name those that they would become
        raise ValueError(str(error).replace(str(scratch), str(folder))) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def check_package(folder: Path, form: Form, files: Sequence[str] | None = None) -> tuple[str, ...]:
    """Everything that is wrong with a package `task1/<label>`; empty if nothing is.

    Its clips are `files`; those of the official evaluation set when not given.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return (f"{folder}: there is no such folder",)
    label, names = folder.name, form.files if files is None else files
    meta, outputs = f"{label}.meta.yaml", form.outputs(label)
    complaint = check_label(label, form)
    problems = [f"{folder}: the folder's name {complaint}"] if complaint else []
    found = {path.name for path in folder.iterdir()}
    problems += [f"{folder}: {name} is missing" for name in (meta, *outputs) if name not in found]
    strange = sorted(found - {meta, *outputs})
    problems += [f"{folder}: {name} does not belong to the form of {form.year}" for name in strange]
    if meta in found:
        problems += check_meta(folder / meta, form)
    for name in outputs:
        if name in found:
            problems += check_output(folder / name, form.classes, names)
    return tuple(problems)


def _header_problems(header: list[str], classes: tuple[str, ...]) -> list[str]:
    expected = (*RESERVED, *classes)
    found = f"found {len(header)} columns separated by tabs"
    problems = [f"column {name} is missing; {found}" for name in expected if name not in header]
    strange = sorted(set(header) - set(expected))
    problems += [f"column {name!r} is unknown" for name in strange]
    twice = sorted({name for name in header if header.count(name) > 1})
    return problems + [f"column {name!r} comes twice" for name in twice]


def _file_problems(seen: dict[str, int], files: Sequence[str] | None) -> list[str]:
    if files is None:
        return [] if seen else ["there is no row"]
    expected = {PurePosixPath(name).name: None for name in files}  # a set that keeps the order
    missing = [name for name in expected if name not in seen]
    strange = [(name, number) for name, number in seen.items() if name not in expected]
    problems = [
        f"line {number}: filename {name!r} is none of the clips" for name, number in strange
    ]
    if missing:
        problems.append(f"{len(missing)} of {len(expected)} clips are missing, first {missing[0]}")
    return problems


def _row_problems(row: dict[str, str], classes: tuple[str, ...]) -> list[str]:
    label = row["scene_label"]
    problems = [] if label in classes else [f"scene_label {label!r} is no class"]
    if not row["filename"].endswith(".wav"):
        problems.append(f"filename {row['filename']!r} does not end in .wav")
    wrong = [name for name in classes if not _is_probability(row[name])]
    problems += [f"{name} {row[name]!r} is no probability" for name in wrong]
    if problems:
        return problems
    shares = {name: float(row[name]) for name in classes}
    best, total = max(classes, key=shares.__getitem__), sum(shares.values())
    if shares[label] < shares[best]:
        problems.append(f"scene_label {label} has {shares[label]:g} and {best} {shares[best]:g}")
    if abs(total - 1) > ROUNDED:
        problems.append(f"the probabilities sum to {total:g}, not 1")
    return problems


def _is_probability(text: str) -> bool:
    return NUMBER.fullmatch(text) is not None and 0 <= float(text) <= 1


def _fits(name: str) -> bool:
    """True of a name that a field can hold in UTF-8, without lone surrogates."""
    return not set(name) & set("\t\r\n") and not any("\ud800" <= sign <= "\udfff" for sign in name)


def _refusal(problems: Sequence[str]) -> ValueError:
    shown = "\n".join(f"  {problem}" for problem in problems[:MOST_SHOWN])
    more = len(problems) - MOST_SHOWN
    rest = f"\n  and {more} more" if more > 0 else ""
    return ValueError(f"{len(problems)} things must be corrected:\n{shown}{rest}")
