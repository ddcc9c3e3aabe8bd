"""Content of the files of a DCASE Task 1 submission, 2020 to 2024, as data.

Read in the official validators, one a year: github.com/toni-heittola, repositories
dcase2020_task1_submission_validator to dcase2024_task1_submission_validator (main.py: the fields
and the number of evaluation clips; validators.py: how they are checked). They say which fields
there must be and not what is in them. Units were read in filled-in forms that participants made
public (2020: brain-bzh/dcase-2020-task1-subtaskB; 2021: valeoai/SP4ASC): accuracy in percent, and
`model_size` in KB of 1024 bytes. What is not established is said in `Form.note`.

In 2025 a Python package was handed in that is run on the evaluation clips
(`recipes.submission.inference`); its form was read in a participant's public package,
wa976/dcase2025_task1_inference, and stands apart from the others, which have output files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from recipes.data.tau import CLASS_OF_SCENE

SCENES = tuple(sorted(CLASS_OF_SCENE))
DEVICES = ("a", "b", "c", "s1", "s2", "s3", "s4", "s5", "s6")
"""Devices of the development set, for which results are asked."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """The form of one year.

    Attributes:
        year: Year of the challenge; `compressor.rules` has its caps.
        task: Third part of a submission's label.
        classes: Scene labels, also columns of the output file.
        devices: Devices with results of their own; none where all clips are of one.
        clips: Evaluation clips; they are called 0.wav, 1.wav and so on.
        description: Fields of `system.description`.
        complexity: Fields of `system.complexity`.
        energy: True where the energy consumed is asked for.
        splits: Percentages of the training list, each with an output file and results of its own.
        results: Names of the results, where they are of other parts than percentages.
        inference_code: True where the address of the code that infers is asked for.
        note: Facts that are not established, and what was chosen.
    """

    year: int
    task: str = "task1"
    classes: tuple[str, ...] = SCENES
    devices: tuple[str, ...] = DEVICES
    clips: int
    description: tuple[str, ...]
    complexity: tuple[str, ...]
    energy: bool = False
    splits: tuple[int, ...] = ()
    results: tuple[str, ...] = ()
    inference_code: bool = False
    note: str

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(f"{number}.wav" for number in range(self.clips))

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts with results of their own, such as "split_5", or one nameless whole."""
        return self.results or tuple(f"split_{percent}" for percent in self.splits) or ("",)

    def outputs(self, label: str) -> tuple[str, ...]:
        return tuple(".".join(filter(None, (label, "output", part, "csv"))) for part in self.parts)


FORM2021 = Form(
    year=2021,
    task="task1a",
    clips=7_920,
    description=(
        "input_sampling_rate", "acoustic_features", "embeddings", "data_augmentation",
        "machine_learning_method", "ensemble_method_subsystem_count", "decision_making",
        "external_data_usage", "complexity_management",
    ),
    complexity=("total_parameters", "total_parameters_non_zero", "model_size"),
    note="Subtask A. The validator asks for total_parameters alone of the complexity, and not for "
    "complexity_management; the participants' form has them, and the year's cap is on the size.",
)  # fmt: skip
FORM2020 = replace(
    FORM2021,
    year=2020,
    task="task1b",
    classes=tuple(sorted(set(CLASS_OF_SCENE.values()))),
    devices=(),
    clips=8_640,
    note="Subtask B: three classes, one device. All fields are those of the validator.",
)
FORM2022 = replace(
    FORM2021,
    year=2022,
    task="task1",
    clips=118_800,
    description=(*FORM2021.description, "pipeline", "framework"),
    complexity=("total_parameters", "total_parameters_non_zero", "memory_use", "macs"),
    note="Units are not established: accuracy is taken to be in percent, as in 2021, memory_use "
    "in bytes and macs in single operations.",
)
FORM2023 = replace(
    FORM2022,
    year=2023,
    complexity=("total_model_size", *FORM2022.complexity),
    energy=True,
    note="As 2022; total_model_size is taken to be in bytes, energy in kWh, the unit of "
    "codecarbon, with which the baseline measures it.",
)
FORM2024 = Form(
    year=2024,
    clips=135_730,
    description=(
        "input_sampling_rate", "acoustic_features", "data_augmentation", "machine_learning_method",
        "external_data_usage", "complexity_management", "pipeline", "framework",
        "split_adaptations", "system_adaptations",
    ),
    complexity=("total_model_size", "total_parameters", "macs"),
    splits=(5, 10, 25, 50, 100),
    note="Units as in 2023, likewise not established. total_model_size in bytes is what the "
    "baseline's own counter prints and compares with 128,000.",
)  # fmt: skip
FORM2025 = replace(
    FORM2024,
    year=2025,
    description=(
        *FORM2024.description[:-2],
        "device_information", "num_models_at_inference", "model_weight_sharing",
    ),
    splits=(),
    results=("device_specific", "general"),
    inference_code=True,
    note="Units as in 2024. That there are as many evaluation clips as in 2024 is concluded from "
    "the printed intervals of the results.",
)  # fmt: skip
FORMS = (FORM2020, FORM2021, FORM2022, FORM2023, FORM2024)
