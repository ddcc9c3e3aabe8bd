"""ESC-50 over five folds: dense, and under 128,000 parameters and 30 or 143 million MACs.

What `python -m recipes.esc50 --folds 1 2 3 4 5` makes (`recipes.folds` says how), with a record of
every network in this repository. Networks lie in `runs/esc50/folds`, the same folder: what one
command has trained, the other finds. On a machine where the folder is empty a network whose record
is here is not made again; one that needs a dense network which is not there trains that first.

    python -m benchmarks.accuracy.folds --run              # a day; a killed call goes on
    python -m benchmarks.accuracy.folds --run --fold 1 2   # beside another one with --fold 3 4 5
    python -m benchmarks.accuracy.folds --expected         # CPU minutes of every piece, measured
    python -m benchmarks.accuracy.folds                    # the table, into folds.md
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property, partial
from time import process_time

import torch
from rich.console import Console

import compressor
from benchmarks.common.command import recording, run_or_report, started
from benchmarks.common.records import Record, Records, every
from benchmarks.common.sound import RUNS, data_root
from benchmarks.common.tables import listed, page, table, versions
from compressor.inputs.losses import cross_entropy
from recipes.folds.clips import Folds, read_folds
from recipes.folds.command import Wanted
from recipes.folds.settings import CLASSES, CONTROL, DENSE, FOLDS, STAGES, FoldSettings
from recipes.folds.summary import HEAD, rows
from recipes.training.sound_batches import SoundBatches

SEEDS = (0,)
OUT = RUNS / "esc50" / "folds"


@dataclass(frozen=True)
class Sound:
    """All five folds, read when the first piece needs them."""

    @cached_property
    def folds(self) -> Folds:
        """Of the data beside the project."""
        return read_folds(data_root() / "esc50", RUNS / "cache")


def run(stage: str, fold: int, seed: int, *, sound: Sound) -> Record:
    """One network of one fold."""
    wanted = Wanted(folds=(fold,), seeds=(seed,), out=OUT)
    return wanted.fold(fold, seed, sound.folds, Console()).kept(stage)


def expected(settings: FoldSettings, sound: Sound, batches: int = 3) -> str:
    """CPU minutes of every stage of a fold, from a few batches of the dense network.

    Those of small networks are by their share of its multiply-accumulates; rounding is extra.
    """
    (clips, labels), _ = sound.folds.split(FOLDS[0])
    loader = SoundBatches(clips, labels, CLASSES, settings.hearing, seed=0)
    model = settings.network().train()
    optimizer = torch.optim.AdamW(model.parameters(), settings.lr)
    source, spent = iter(loader), []
    for _ in range(batches + 1):
        start = process_time()
        cross_entropy(model, next(source)).backward()
        optimizer.step()
        optimizer.zero_grad()
        spent.append(process_time() - start)
    epoch = len(loader) * sum(spent[1:]) / batches
    macs = compressor.measure(model).macs
    said = [f"An epoch of {len(clips):,} clips: {epoch:.1f} CPU s."]
    for stage in STAGES:
        passes = epoch * settings.epochs_of(stage) / 60
        share = 1.0 if stage in (DENSE, CONTROL) else (settings.budget(stage).macs or macs) / macs
        teacher = 0.0 if stage == DENSE else 1 / 3  # a forward pass beside both ways
        said.append(f"{stage}: {passes * (share + teacher):.0f} CPU minutes a fold.")
    return "\n".join(said)


def report(found: Records) -> str:
    """The page."""
    by_stage = {stage: found.of(stage=stage) for stage in STAGES}
    there = {s: [n for n in FOLDS if found.of(stage=s, fold=n)] for s in STAGES}
    missing = [
        f"{stage}: folds {listed(n for n in FOLDS if n not in folds)}"
        for stage, folds in there.items()
        if len(folds) < len(FOLDS)
    ]
    settings = FoldSettings()
    about = (
        f"{versions()}. ESC-50, five folds of 400 clips, each held out once; the last epoch counts "
        "and nothing was chosen on a fold that is tested on. The dense network learns for "
        f"{settings.epochs} epochs from crops of "
        f"{settings.hearing.crops.samples / settings.hearing.mels.sample_rate:g} s, mixed as "
        "waveforms in a ratio that it is asked for; small ones and the control "
        f"{settings.tune} more with it as a teacher. Two crops decide at 30 million MACs, three "
        "elsewhere; MACs are those of all of them. Accuracy over all clips of the folds that have "
        "records; parameters, MACs and bytes are the greatest of any fold."
    )
    count = sum(map(len, there.values()))
    state = f"{count} of {len(STAGES) * len(FOLDS)} records." + (
        f" Missing: {'; '.join(missing)}." if missing else ""
    )
    lines = rows(by_stage)
    return page(
        "# ESC-50 over five folds", about, state, table(HEAD, lines) if lines else "No records yet."
    )


def main() -> None:
    """Run, say how long it takes, or print the table."""
    parser = recording(__doc__, stage=STAGES)
    parser.add_argument("--fold", nargs="+", type=int, choices=FOLDS, default=list(FOLDS))
    parser.add_argument("--expected", action="store_true", help="CPU minutes, from a few batches")
    parser.set_defaults(seed=list(SEEDS))
    options, sound = started(parser), Sound()
    try:
        if options.expected:
            print(expected(FoldSettings(), sound))
            return
        if options.run:
            _ = sound.folds  # what is missing is said before hours are spent
        runs = every(
            partial(run, sound=sound), options.seed, stage=options.stage, fold=options.fold
        )
        run_or_report(__file__, options, runs, report, seeds=SEEDS)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
