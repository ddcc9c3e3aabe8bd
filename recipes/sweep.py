"""Try settings of a recipe: every combination of lists, or a study by Optuna, on Ray.

    python -m recipes.sweep dcase2021 --data DIR --over train.lr=0.01,0.035 seed=0,1,2
    python -m recipes.sweep dcase2022 --data DIR --over train.lr=1e-3:0.1:log seed=0,1 --study 30
    python -m recipes.sweep dcase2022 --over train.lr=0.01,0.05 --fast    # generated scenes

Every trial is a run of the recipe in a folder of its own, `runs/sweeps/<name>/<trial>/`, and is
judged on its validation part; nothing here looks at the test list. A trial whose process dies is
made again and goes on from its checkpoint. The same command given again reads what is finished and
goes on with the rest; lists of a grid may have become longer. It writes `sweep.md`, a table in
which points beaten in accuracy, MACs and bytes are marked, and `fronts.png`.

Trials run on this machine, as many at once as it has processors, or on a Ray cluster, `--address`,
whose machines see this checkout and the folder of the sweep under the same paths. Without Ray they
run one after the other, and a line says so.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from compressor.commands.parser import Parser
from compressor.reports.sweeps.plan import folder_name
from recipes.running.command import STOPPED, check_folder, leave, one_sentence_errors, usable
from recipes.running.overrides import override
from recipes.running.scene_data import ROOT
from recipes.sweeps.pareto import markdown
from recipes.sweeps.runner import Sweep, run
from recipes.sweeps.search import dimensions
from recipes.sweeps.trial import Job, settings_of
from recipes.sweeps.workers import here, several

RECIPES = ("dcase2020", "dcase2021", "dcase2022", "baselines")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument(
        "--over", action="extend", nargs="+", required=True,
        metavar="name=a,b,c | name=low:high",
    )  # fmt: skip
    parser.add_argument("--study", type=int, metavar="N", help="let Optuna choose N points")
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="name=value",
        help="for all trials",
    )  # fmt: skip
    parser.add_argument("--data", type=Path, help="the data set's folder; else generated scenes")
    parser.add_argument("--variant", help="other settings of the recipe")
    parser.add_argument("--fast", action="store_true", help="the settings of minutes")
    parser.add_argument("--paper", action="store_true", help="full settings on generated scenes")
    parser.add_argument("--name", help="name of the folder below runs/sweeps/")
    parser.add_argument("--out", type=Path, help="the folder itself")
    parser.add_argument("--address", help="a Ray cluster; without, Ray on this machine")
    parser.add_argument("--serial", action="store_true", help="one after the other, without Ray")
    parser.add_argument("--cpus", type=float, default=1, help="processors a trial takes")
    parser.add_argument("--gpus", type=float, help="GPUs a trial takes, or a share")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--again", action="store_true", help="make failed trials again")
    return parser


def _sweep(options: argparse.Namespace) -> Sweep:
    """The sweep that the command line asks for."""
    if options.study is not None and options.study < 1:
        raise ValueError(f"--study {options.study}: Optuna is to choose at least one point.")
    check_folder(options.data)
    job = Job(
        module=f"recipes.{options.recipe}",
        variant=options.variant,
        fast=options.fast or (options.data is None and not options.paper),
        data=None if options.data is None else str(options.data.absolute()),
        device=options.device,
        fixed=tuple(options.set),
    )
    config = settings_of(importlib.import_module(job.module), job.variant, fast=job.fast)
    found = dimensions(override(config, job.fixed), options.over)
    both = {one.name for one in found} & {text.partition("=")[0] for text in job.fixed}
    if both:
        raise ValueError(f"--set and --over both say {', '.join(sorted(both))}: leave one out.")
    kind = "fast" if job.fast else "paper"
    words = [options.recipe, options.variant or kind, *job.fixed, *options.over]
    folder = options.out or ROOT / "runs" / "sweeps" / (options.name or folder_name(words))
    return Sweep(folder.absolute(), job, found, options.study, options.again)


def main() -> None:
    """Read the command line and run a sweep."""
    options = _parser().parse_args()
    torch.set_num_threads(1)
    try:
        with one_sentence_errors(options.device):
            usable(options.device)
            sweep = _sweep(options)
            gpus = float(options.device != "cpu") if options.gpus is None else options.gpus
            console = Console()
            told = partial(console.print, markup=False)
            workers = here if options.serial else several(options.address, options.cpus, gpus, told)
            found = run(sweep, workers, console)
    except KeyboardInterrupt:
        leave("Stopped. The same command goes on from here.", STOPPED)
    print(f"\n{markdown(found.candidates)}\n{sweep.folder / 'sweep.md'} and fronts.png")
    sys.exit("\n".join(found.missing) or 0)


if __name__ == "__main__":
    main()
