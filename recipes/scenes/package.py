"""The package of 2025: from what a run has to what is handed in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from compressor import Result
from compressor.budget import Cost
from recipes.running.conclusion import Outcome, label_of
from recipes.running.run_folder import RunFolder
from recipes.running.scene_data import Part
from recipes.submission.inference import Entry, Trial, write_inference
from recipes.submission.inference_module import GENERAL
from recipes.submission.metadata import Submission

TASK = "task1"


def hand_in(
    folder: RunFolder,
    heard: Outcome,
    networks: Mapping[str, Result],
    facts: Submission,
    cost: Cost,
) -> Path:
    """Write the package, with a clip of every device of the test list to try it on.

    Args:
        folder: Folder of the run, with the general network in `model.safetensors`.
        heard: Outcome where each clip's device has its own network.
        networks: Results of the devices that have one.
        facts: The authors.
        cost: Cost of each network by the year's rule.
    """
    files = {GENERAL: folder.path / "model.safetensors"}
    for device, result in networks.items():
        files[device] = folder.path / f"device-{device}" / "model.safetensors"
        result.write(files[device])
    entry = Entry(label_of(facts, TASK), heard.system, files, cost)
    test = heard.scenes.test
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
