"""The meta file of a DCASE Task 1 submission: who, how, how large and how good.

The fields of a year are those of its form (`recipes.submission.forms`); `recipes.submission.check`
checks a file.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from compressor.budget import Cost
from compressor.storage import write_bytes
from recipes.judging.metrics import Evaluation, Score
from recipes.submission.check import meta_problems
from recipes.submission.forms import Form


@dataclass(frozen=True, kw_only=True)
class Affiliation:
    """Workplace of an author; the department may be left out."""

    abbreviation: str
    institute: str
    location: str
    department: str | None = None


@dataclass(frozen=True, kw_only=True)
class Author:
    """An author; exactly one of a submission is the corresponding one."""

    lastname: str
    firstname: str
    email: str
    affiliation: Affiliation
    corresponding: bool = False


PLACEHOLDER = Author(
    lastname="Lastname",
    firstname="Firstname",
    email="name@example.org",
    affiliation=Affiliation(abbreviation="INST", institute="Institute", location="City, Country"),
    corresponding=True,
)
"""To be replaced by those who hand in."""


@dataclass(frozen=True, kw_only=True)
class ExternalDataset:
    """Data beside the development set; the unit of its length is not established."""

    name: str
    url: str
    total_audio_length: float


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Energy consumed, in kWh (2023)."""

    training: float
    inference: float
    baseline_inference: float


@dataclass(frozen=True, kw_only=True)
class Description:
    """The system in general tags, several separated by commas; None where one does not apply.

    A year's form has some of these. The first three are always needed.
    """

    input_sampling_rate: str
    acoustic_features: str
    machine_learning_method: str
    data_augmentation: str | None = None
    embeddings: str | None = None
    ensemble_method_subsystem_count: int | None = None
    decision_making: str | None = None
    external_data_usage: str | None = None
    complexity_management: str | None = None
    pipeline: str | None = None
    framework: str | None = None
    split_adaptations: str | None = None
    system_adaptations: str | None = None
    device_information: str | None = None
    num_models_at_inference: int | None = None
    model_weight_sharing: str | None = None


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Content of a meta file.

    Attributes:
        name: As in the tables of results.
        abbreviation: Short name, ten characters at most.
        description: The system.
        cost: Counted by the year's rule, `compressor.rules.of_year(year).count(model)`, or as the
            authors counted by it.
        form: Form of the year; None where there is none, and so no package.
        label: Author_INST_task1_1: last name of the corresponding author, abbreviation of the
            institute, task and number of the submission, 1 to 4. It indexes all files.
        authors: In order.
        results: On the development set, one for each of the form's `parts`.
        memory_use: Peak memory of an inference, in bytes (2022, 2023).
        energy: Energy consumed (2023).
        external_datasets: Data beside the development set.
        source_code: Address of the code.
        inference_code: Address of the package that infers (2025).
    """

    name: str
    abbreviation: str
    description: Description
    cost: Cost
    form: Form | None = None
    label: str = ""
    authors: tuple[Author, ...] = (PLACEHOLDER,)
    results: tuple[Evaluation, ...] = ()
    memory_use: int | None = None
    energy: Energy | None = None
    external_datasets: tuple[ExternalDataset, ...] = ()
    source_code: str | None = None
    inference_code: str | None = None


def write_meta(path: Path, submission: Submission, form: Form) -> None:
    """Write the meta file, in one step; ValueError says all by which `check_meta` would fail."""
    content = meta(submission, form)
    problems = meta_problems(content, form)
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise ValueError(f"{path} would not fit the form of {form.year}:\n{listed}")
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    write_bytes(Path(path), text.encode())


def meta(submission: Submission, form: Form) -> dict[str, Any]:
    """The content of the meta file as plain data; ValueError without a result for each part."""
    if len(submission.results) != len(form.parts):
        raise ValueError(
            f"{submission.label} has {len(submission.results)} results; the form of {form.year} "
            f"takes {len(form.parts)}: {', '.join(form.parts).strip() or 'one for all'}."
        )
    description = asdict(submission.description)
    system = {
        "description": {name: description[name] for name in form.description},
        "complexity": _complexity(submission, form),
        "external_datasets": [asdict(data) for data in submission.external_datasets] or None,
        "source_code": submission.source_code,
    }
    if form.inference_code:
        system["inference_code"] = submission.inference_code
    if form.energy:
        system["energy_consumption"] = submission.energy and asdict(submission.energy)
    results = [_results(evaluation, form) for evaluation in submission.results]
    by_split = dict(zip(form.parts, results, strict=True))
    content = {
        "submission": {
            "label": submission.label,
            "name": submission.name,
            "abbreviation": submission.abbreviation,
            "authors": [asdict(author) for author in submission.authors],
        },
        "system": system,
        "results": {"development_dataset": by_split if len(results) > 1 else results[0]},
    }
    return _plain(content)


def _plain(value: Any) -> Any:
    """With Python's numbers and texts in the place of numpy's, which YAML does not know."""
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value.item() if isinstance(value, np.generic) else value


def _complexity(submission: Submission, form: Form) -> dict[str, float | None]:
    cost = submission.cost
    fields = {
        "total_parameters": cost.params,
        "total_parameters_non_zero": cost.nonzero,
        "model_size": cost.bytes / 1024,
        "total_model_size": cost.bytes,
        "memory_use": submission.memory_use,
        "macs": cost.macs,
    }
    return {name: fields[name] for name in form.complexity}


def _results(evaluation: Evaluation, form: Form) -> dict[str, Any]:
    """Scores; null for a class or a device that was not evaluated."""
    classes, devices = evaluation.class_wise, evaluation.device_wise
    overall = {"accuracy": 100 * evaluation.accuracy, "logloss": evaluation.log_loss}
    results = {
        "overall": overall,
        "class_wise": {name: _score(classes.get(name)) for name in form.classes},
    }
    if form.devices:
        results["device_wise"] = {name: _score(devices.get(name)) for name in form.devices}
    return results


def _score(score: Score | None) -> dict[str, float | None]:
    if score is None or not score.clips:
        return {"accuracy": None, "logloss": None}
    return {"accuracy": 100 * score.accuracy, "logloss": score.log_loss}
