"""DCASE Task 1 of 2022 to 2025 with a network of one's own, from audio files to the submission.

    python -m recipes.scenes --model net.py:Net --year 2024 --data TAU-urban-acoustic-scenes-2022-..
    python -m recipes.scenes --model models:BCResNetASC --with channels=40 --year 2024 --data DIR
    python -m recipes.scenes --model net.py:Net --year 2024 --split 5 --data DIR lists=LISTS
    python -m recipes.scenes --model net.py:Net --year 2025 --fast --data DIR   # all of it, minutes
    python -m recipes.scenes --model net.py:Net --year 2024        # the same on generated scenes

The network is a class or a function that takes the number of classes (`num_classes`, `classes`, or
its first argument) and makes a torch module: log-mels (batch, 1, mels, frames) in, logits (batch,
classes) out. It is built and tried before any sound is read. The year says the front end (256
log-mels of 32 kHz, 65 frames, from 2024 on; 40 of 44.1 kHz before: `--front-end`, `mels.*`), the
lists (5 to 100 % in 2024, 25 % in 2025), the caps and how they are counted, and what is handed in.
Training is that of the official baseline of 2024 (`train.*`), with a teacher's logits from a file
(`--teacher`), with microphones' responses (`responses=DIR`). A network that is too large is pruned
until the caps hold; then it is trained on, and stored in 8 bits, or 16 (`bits=16`). In 2025 every
device of the training list gets a copy that is trained on its clips, and the submission is a Python
package with the organisers' four functions, imported and compared in another process.

A killed run goes on when the command is given again. On TAU: not run, as the data are not here.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import compressor
from recipes.generated.scenes import SCENES
from recipes.running.command import Options, RunContext, run
from recipes.running.conclusion import Outcome, Row, finish, judge, judged
from recipes.running.run_folder import RunFolder
from recipes.running.scene_data import Scenes
from recipes.running.splits import Trained, conclude
from recipes.running.year_caps import cost_by_rule, not_rounded, told
from recipes.scenes.course import (
    STAGES,
    budget_of,
    by_device,
    check_reachable,
    compress,
    device_systems,
    other_devices,
    shares_by_device,
)
from recipes.scenes.data import check_lists, listed, scenes_of, tell_lists
from recipes.scenes.entry import facts_of, form_of, table, with_devices, without_package
from recipes.scenes.network import FORM, Source
from recipes.scenes.package import hand_in
from recipes.scenes.settings import FRONT_ENDS, YEARS, Config, fast, of
from recipes.submission.inference import YEAR as PACKAGED
from recipes.training.teacher import read_logits


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of an entry."""
    parser.prog = "python -m recipes.scenes"
    parser.add_argument("--model", required=True, help=f"the network: {FORM}")
    parser.add_argument(
        "--with", action="extend", nargs="+", default=[], metavar="name=value", dest="given",
        help="further arguments of its constructor",
    )  # fmt: skip
    parser.add_argument("--year", type=int, default=YEARS[-1], help="of the challenge")
    parser.add_argument(
        "--front-end", default="", metavar="YEAR",
        help=f"that of another year's baseline: {', '.join(FRONT_ENDS)}",
    )  # fmt: skip
    parser.add_argument(
        "--split", type=percentage, nargs="+", default=[], metavar="PERCENT",
        help="parts of the training list: 5 10 25 50 100",
    )  # fmt: skip
    parser.add_argument("--teacher", default="", help="a teacher's logits, .safetensors or .npy")


def percentage(text: str) -> int:
    """A whole number, for the parser; a setting is told where to stand."""
    if text.isdecimal():
        return int(text)
    where = "settings of the run, name=value, stand before --split" if "=" in text else "write 5"
    raise argparse.ArgumentTypeError(f"{text!r} is no percentage: {where}")


def chosen(config: Config, options: argparse.Namespace) -> Config:
    """Settings with the options of an entry."""
    del config
    source = Source(options.model, tuple(options.given))
    made = of(source, options.year, options.front_end, tuple(options.split))
    return replace(made, teacher=options.teacher)


def word(config: Config) -> str:
    """Network and year."""
    return "-".join([Path(config.source.name).name, *config.source.given, str(config.year)])


def check(context: RunContext[Config]) -> int:
    """Refuse what can be refused before sound is decoded for hours; return the number of classes.

    The lists, the network, its caps, the teacher's clips and the responses are looked at.
    """
    config = context.config
    check_lists(context)
    lists = [listed(context, percent) for percent in config.splits]
    classes = len(SCENES) if lists[0] is None else len(lists[0].classes)
    model = config.source.tried(classes, config.mels.mels, config.frames)
    budget = budget_of(config, model)
    check_reachable(model, budget)
    context.console.print(
        f"{config.source.name}: {compressor.measure(model)}. Year {config.year}: {budget}.",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    floating = not_rounded(model) if config.bits == 8 else {}
    if floating:
        context.console.print(
            f"{told(floating)} cannot be rounded to 8 bits and stays in floating point: the whole "
            "file is held below the year's bytes. bits=16 holds all of it in half precision.",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
    tell_lists(context)
    other_devices(config)  # its files are read
    for one in lists if config.teacher else ():
        if one is not None:
            read_logits(Path(config.teacher), one.table["file"].tolist(), one.classes)
    return classes


def train(context: RunContext[Config], percent: int, classes: int) -> Trained | None:
    """The entry at a percentage; None in a process that writes no files."""
    config = context.config
    if len(config.splits) > 1:
        context.console.rule(f"{percent} % of the training list")
        folder = RunFolder(context.folder.path / f"split_{percent}")
        context = replace(context, folder=folder)
    scenes = scenes_of(context, percent, classes)
    context.begin(scenes.digest)
    result = compress(context, scenes)
    networks = by_device(context, scenes) if config.devices else {}
    if not context.first:
        return None
    cost = cost_by_rule(config.year, config.budget, context.folder, result, bits=config.bits)
    outcome = judge(context, scenes, [result], STAGES)
    rows, facts = table(outcome, config, percent, cost), facts_of(config, outcome, cost)
    if config.year == PACKAGED:
        heard = heard_by_device(outcome, scenes, networks)
        package = hand_in(context.folder, outcome, heard, networks, facts, cost)
        told = f"`{package.relative_to(context.folder.path)}`, its authors placeholders"
        rows = [*with_devices(rows, outcome, heard), Row("submission", "", told)]
    else:
        rows = without_package(rows, config, scenes.train.listing)
    finish(context, outcome, rows, facts, config.year)
    missing = form_of(config, scenes.classes)[1] if len(config.splits) == 1 else ""
    if config.year != PACKAGED and missing:
        line = f"No submission was written: {missing}."
        context.console.print(line, markup=False, highlight=False, soft_wrap=True)
    return Trained(percent, outcome, facts)


def heard_by_device(
    outcome: Outcome, scenes: Scenes, networks: dict[str, compressor.Result]
) -> Outcome:
    """The outcome where the network of a clip's device answers."""
    systems = device_systems(outcome.system, networks)
    devices = scenes.test.listing.table["device"].tolist()
    shares = shares_by_device(outcome.probabilities, systems, scenes.test, devices)
    return replace(outcome, probabilities=shares, final=judged(scenes.test, shares))


def main(context: RunContext[Config]) -> None:
    """Every percentage, and one submission of all."""
    config = context.config
    classes = check(context)
    trained = [train(context, percent, classes) for percent in config.splits]
    found = [one for one in trained if one is not None]
    if len(found) > 1:
        missing = form_of(config, found[0].outcome.scenes.classes)[1]
        conclude(context, config.year, found, missing)


OWN = Options(add_options, chosen, word)

if __name__ == "__main__":
    run(__doc__, "scenes", Config(), fast, main, own=OWN)
