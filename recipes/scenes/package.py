"""The package of 2025: from what a run has to what is handed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from compressor import Result
from compressor.budget import Cost
from recipes.running.conclusion import Outcome, label_of
from recipes.running.run_folder import RunFolder
from recipes.running.scene_data import Part
from recipes.submission.forms import FORM2025
from recipes.submission.inference import Entry, Trial, write_inference
from recipes.submission.inference_module import GENERAL
from recipes.submission.metadata import Submission

PLACE = "https://example.org/your-package"
"""Address of the package, to be replaced by those who hand in."""


def hand_in(
    folder: RunFolder,
    general: Outcome,
    heard: Outcome,
    networks: Mapping[str, Result],
    facts: Submission,
    cost: Cost,
) -> Path:
    """Write the package, with a clip of every device of the test list to try it on.

    Args:
        folder: Folder of the run, with the general network in `model.safetensors`.
        general: Outcome of the general network.
        heard: Outcome where each clip's device has its own network.
        networks: Results of the devices that have one.
        facts: The authors.
        cost: Cost of each network by the year's rule.
    """
    files = {GENERAL: folder.path / "model.safetensors"}
    for device, result in networks.items():
        files[device] = folder.path / f"device-{device}" / "model.safetensors"
        result.write(files[device])
    test, label = heard.scenes.test, label_of(facts, FORM2025.task)
    described = replace(
        facts.description,
        device_information="per-device end-to-end fine-tuning" if networks else "none",
        num_models_at_inference=len(files),
        model_weight_sharing="fully device-specific" if networks else "fully shared",
    )
    filled = replace(
        facts, label=label, description=described, results=(heard.final, general.final),
        inference_code=PLACE,
    )  # fmt: skip
    whole = heard.scenes.classes == FORM2025.classes
    entry = Entry(label, heard.system, files, cost, filled if whole else None)
    names = [Path(name).name for name in test.listing.table["file"]]
    place = folder.path / "submission"
    return write_inference(place, entry, trial_of(test), names, heard.probabilities)


def trial_of(test: Part) -> Trial:
    """The first clip of every device."""
    firsts = test.listing.table.drop_duplicates("device")
    rows = firsts.index.tolist()
    paths = test.listing.paths
    x = test.x[torch.tensor(rows, device=test.x.device)]
    return Trial([paths[row] for row in rows], firsts["device"].tolist(), x)
