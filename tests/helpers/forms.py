"""A filled-in submission for every year's form, and the fields that the official validators ask."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from compressor.budget import Cost
from recipes.judging.metrics import Evaluation, evaluate
from recipes.submission.forms import FORM2020, FORM2021, FORM2022, FORM2023, FORM2024, FORMS, Form
from recipes.submission.metadata import Affiliation, Author, Description, Energy, Submission

YEARS = [form.year for form in FORMS]

# main.py of the five repositories toni-heittola/dcase<year>_task1_submission_validator.
_SYSTEM = ["input_sampling_rate", "acoustic_features", "data_augmentation"]
_SYSTEM += ["machine_learning_method", "external_data_usage"]
_UNTIL_2023 = ["embeddings", "ensemble_method_subsystem_count", "decision_making"]
_SIZES = ["total_parameters", "total_parameters_non_zero"]
_TOOLS = ["complexity_management", "pipeline", "framework"]
OFFICIAL = {
    FORM2020: (
        [*_SYSTEM, *_UNTIL_2023, "complexity_management"],
        [*_SIZES, "model_size"],
        ["indoor", "outdoor", "transportation"],
        8_640,
    ),
    FORM2021: ([*_SYSTEM, *_UNTIL_2023], ["total_parameters"], None, 7_920),
    FORM2022: ([*_SYSTEM, *_UNTIL_2023, *_TOOLS], [*_SIZES, "memory_use", "macs"], None, 118_800),
    FORM2023: (
        [*_SYSTEM, *_UNTIL_2023, *_TOOLS],
        [*_SIZES, "total_model_size", "memory_use", "macs"],
        None,
        118_800,
    ),
    FORM2024: (
        [*_SYSTEM, *_TOOLS, "split_adaptations", "system_adaptations"],
        ["total_model_size", "total_parameters", "macs"],
        None,
        135_730,
    ),
}
"""By form: fields of the description, of the complexity, classes (None: the ten), clips."""

HOME = Affiliation(abbreviation="EX", institute="Example Institute", location="Nowhere")
FIRST = Author(lastname="Author", firstname="First", email="first@example.org", affiliation=HOME)
SECOND = replace(FIRST, lastname="Äuthör", firstname="Secönd", corresponding=True)


def evaluation(form: Form, seed: int = 0) -> Evaluation:
    """Random answers to two clips of every class and device."""
    devices = form.devices or ("a",)
    labels = np.repeat(np.arange(len(form.classes)), 2 * len(devices))
    shares = np.random.default_rng(seed).dirichlet(np.ones(len(form.classes)), len(labels))
    heard = [devices[i % len(devices)] for i in range(len(labels))]
    return evaluate(shares, labels, form.classes, devices=heard)


def submission(form: Form) -> Submission:
    """Everything that any year asks for."""
    return Submission(
        label=f"Author_EX_{form.task}_1",
        name="Small network",
        abbreviation="small",
        authors=(FIRST, SECOND),
        description=Description(
            input_sampling_rate="16kHz",
            acoustic_features="log-mel energies",
            machine_learning_method="CNN",
            complexity_management="pruning",
        ),
        cost=Cost(params=60_000, nonzero=50_000, macs=29_000_000, bytes=120_000),
        results=tuple(evaluation(form, seed) for seed in range(len(form.parts))),
        memory_use=65_280,
        energy=Energy(training=0.21, inference=0.068, baseline_inference=0.07),
    )
