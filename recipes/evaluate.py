"""Score what a run left, again, in a process that knows nothing of how it was made.

    python -m recipes.evaluate runs/dcase2021/paper --data TAU-urban-acoustic-scenes-2020-...
    python -m recipes.evaluate runs/dcase2021/paper --data DIR --onnx    # the ONNX files instead
    python -m recipes.evaluate runs/dcase2021/fast                       # a run on generated scenes

Decodes the clips that the run was judged on, with the front end that `system.json` names, runs the
containers, and compares every figure with `evaluation.json`. A container gives equal figures where
the run was judged on the same device; ONNX Runtime adds up in another order, so that a sum next to
the middle of two int8 steps may round the other way.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from compressor.commands.parser import Parser
from compressor.storage import read_json
from recipes.judging.metrics import Evaluation
from recipes.judging.system import read
from recipes.running.command import one_sentence_errors, usable
from recipes.running.conclusion import EVALUATION, FINAL, TEST_LIST, judged
from recipes.running.scene_data import CACHE, DataSpec, load_test

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Asked:
    """Request to score a run.

    Attributes:
        run: Folder of the run.
        data: Folder of the data set; None for generated scenes.
        onnx: Take the ONNX files.
        every: Take every clip of the data set's test list, and compare with nothing.
        device: Device on which the containers compute.
        cache: Folder of decoded clips.
    """

    run: Path
    data: Path | None
    onnx: bool = False
    every: bool = False
    device: torch.device = CPU
    cache: Path = CACHE


def recorded(folder: Path) -> dict[str, Any]:
    """Figures of a run that is over, from its `evaluation.json`; ValueError if that is damaged."""
    file = folder / EVALUATION
    if not file.is_file():
        raise FileNotFoundError(
            f"{folder} has no {EVALUATION}: the run in it has not come to its end. Give the "
            "recipe's command, which goes on where it was."
        )
    try:
        said = read_json(file)
        known = {"generated", "data", "validation", FINAL} <= said.keys()
        known = known and isinstance(said[FINAL].get("overall", {}), dict)
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{file} is damaged ({error}): run the recipe again") from error
    if not known:
        raise ValueError(f"{file} is damaged: it lacks figures. Run the recipe again.")
    return said


def score(asked: Asked, console: Console) -> tuple[Evaluation, bool | None]:
    """Judge a run's system anew, and say what differs from the run's figures.

    Returns:
        Evaluation, and whether it equals the run's; None where nothing was compared.

    Raises:
        FileNotFoundError: If the run is not over, or files of it or of the data set are missing.
        ValueError: If files are damaged, or the data set is another one.
    """
    system = read(asked.run, onnx=asked.onnx, device=asked.device)
    stated = None if asked.every else recorded(asked.run)
    if stated is not None and asked.data is None and not stated["generated"]:
        raise ValueError(
            f"{asked.run} was judged on {stated['data']}: pass its folder with --data."
        )
    spec = DataSpec(
        audio=system.audio, mels=system.mels, frames=system.frames,
        classes=len(system.classes), crop=True,
    )  # fmt: skip
    names = None
    if stated is not None:
        names = _judged_clips(asked.run, stated[FINAL].get("overall", {}).get("clips"))
    part = load_test(asked.data, spec, names, asked.device, console, cache=asked.cache)
    if part.listing.classes != system.classes:
        raise ValueError(
            f"The system of {asked.run} knows {', '.join(system.classes)}, and the data set's "
            f"classes are {', '.join(part.listing.classes)}: pass that of its year."
        )
    found = judged(part, system.probabilities(part.x))
    console.print(str(found), markup=False, highlight=False, soft_wrap=True)
    if stated is None:
        return found, None
    text = difference(found, stated[FINAL], asked.run / EVALUATION)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    return found, found.data() == stated[FINAL]


def difference(found: Evaluation, stated: Mapping[str, Any], file: Path) -> str:
    """One sentence on whether figures are those of a file; ValueError if the file's are none."""
    if found.data() == stated:
        return f"Equal to {file} in every figure."
    try:
        accuracy = 100 * (found.accuracy - stated["macro"]["accuracy"])
        loss = found.log_loss - stated["overall"]["log_loss"]
        moved = np.abs(found.confusion - np.array(stated["confusion"], np.int64)).sum() // 2
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"{file} is damaged ({error!r}): run the recipe again") from error
    return (
        f"Not equal to {file}: accuracy {accuracy:+.2f} points, log loss {loss:+.2g}, at least "
        f"{moved} of {found.overall.clips:,} clips answered otherwise."
    )


def _judged_clips(folder: Path, expected: int) -> list[str]:
    """Names of the clips that a run was judged on, as many as it says."""
    file = folder / TEST_LIST
    if not file.is_file():
        raise FileNotFoundError(
            f"{folder} has no {TEST_LIST}, so which clips its figures are of is not known. Run the "
            "recipe again, or judge every clip of the test list with --all."
        )
    try:
        names = [line for line in file.read_text("utf-8").splitlines() if line]
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} is damaged ({error}). Run the recipe again, or take --all."
        ) from error
    if not names:
        raise ValueError(f"{file} is empty. Run the recipe again, or take --all.")
    if len(names) != expected or len(set(names)) != expected:
        raise ValueError(
            f"{file} names {len(set(names))} clips in {len(names)} lines and the run was judged on "
            f"{expected}: it is damaged. Run the recipe again, or take --all."
        )
    return names


def main() -> None:
    """Read the command line, score, and end with 1 where --same asks for equal figures in vain."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--data", type=Path, help="the data set's folder")
    parser.add_argument("--onnx", action="store_true", help="score the ONNX files")
    parser.add_argument("--all", action="store_true", help="every clip of the data's test list")
    parser.add_argument("--same", action="store_true", help="fail unless every figure is equal")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    if options.all and options.same:
        parser.error("--all judges other clips than the run, which --same compares with: take one")
    torch.set_num_threads(1)
    with one_sentence_errors(options.device):
        asked = Asked(options.run, options.data, options.onnx, options.all, usable(options.device))
        _, equal = score(asked, Console())
    if options.same and not equal:
        sys.exit(1)


if __name__ == "__main__":
    main()
