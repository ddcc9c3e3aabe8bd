"""Which rows of a spectrogram to keep: ADMM, one-shot scores and learned masks, measured alike.

Two tables. On spectrograms of noise with planted bands (`benchmarks.planted`): how many of the
bands that matter are found. On ESC-50 (256 mel bands, folds 1 to 3 train): accuracy with 64, 128
and 192 of the bands, every method with the same network, number of epochs and learning rate, the
rows removed physically. What is chosen, the default of `FrequencyMask` and the settings of masks,
is chosen on fold 4; fold 5 is reported.

    python -m benchmarks.selection --run     # about 40 minutes; a killed call goes on
    python -m benchmarks.selection           # the tables, into benchmarks/selection.md
    python -m benchmarks.selection --try     # all of it in minutes, too short to say anything
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from time import process_time

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks import planted
from benchmarks.dense import CLASSES, ROOT, TEST_FOLDS, TRAIN_FOLDS, VALIDATION_FOLDS, data_root
from benchmarks.masks_to_learn import DecayedMask, L1Mask, TopKMask
from compressor import Budget, fit
from compressor.phases.frequency import AdmmMask, fisher, taylor
from compressor.phases.frequency.phase import FrequencyMask
from compressor.storage import write_bytes
from models import BCResNetASC
from recipes.cache import waveforms
from recipes.epochs import Epochs
from recipes.esc50_data import FORMAT, read_esc50
from recipes.features import MELS_2021, log_mels
from recipes.plans import Training
from recipes.training import accuracy, train

RECORDS = ROOT / "benchmarks" / "records" / "selection"
DENSE = ROOT / "runs" / "selection"
TABLE = Path(__file__).with_suffix(".md")
SEEDS = (0, 1, 2)
MELS = replace(MELS_2021, hop=0.200)
"""256 bands and the window of the papers, 26 frames of a clip: short, as bands are the question."""
PLAN = Training(lr=6e-3, bands=0, frames=0)
ALL = 256

READING = (
    "Read with care: neighbouring bands of ESC-50 say nearly the same, so that rows at random do "
    "as well as any that were chosen, and the differences are those of seeds. The default is "
    "Fisher: level with the best here, and it finds planted bands, which chance does not. ADMM is "
    "not ahead of it anywhere; with the metric and with its rows removed once its mask has settled "
    "it is no longer clearly behind either, as the method is that is printed."
)


@dataclass(frozen=True)
class Size:
    """How long everything takes.

    Attributes:
        counts: How many of the 256 rows to keep.
        channels: Base width of the network.
        dense: Epochs on all bands.
        clips: Most clips of a fold.
        planted: Epochs on planted bands: before selection, of it and after it.
    """

    counts: tuple[int, ...] = (192, 128, 64)
    channels: int = 10
    dense: int = 40
    clips: int = 400
    planted: tuple[int, int, int] = (15, 10, 5)


SMALL = Size(counts=(64,), channels=4, dense=2, clips=40, planted=(2, 1, 1))


@dataclass(frozen=True)
class Drawn:
    """Rows at random, with a seed."""

    seed: int = 0

    def __call__(self, gradients: Tensor) -> Tensor:
        random = torch.Generator().manual_seed(self.seed)
        return torch.rand(gradients.shape[1], generator=random).to(gradients.device)


def spread(gradients: Tensor) -> Tensor:
    """Rows as evenly spaced as so many can be: those first whose number, read backwards, is small.

    (The van der Corput sequence in base 2: 0, 128, 64, 192, 32, ...)
    """
    rows = torch.arange(gradients.shape[1])
    bits = max(1, (len(rows) - 1).bit_length())
    reverse = sum(((rows >> bit) & 1) << (bits - 1 - bit) for bit in range(bits))
    return -torch.as_tensor(reverse).double()


METHODS: dict[str, Callable[[int], FrequencyMask]] = {
    "Fisher": lambda _: FrequencyMask(by=fisher),
    "Taylor": lambda _: FrequencyMask(by=taylor),
    "ADMM": lambda _: FrequencyMask(by=AdmmMask()),
    "ADMM as printed: no metric, on the input": lambda _: FrequencyMask(
        by=AdmmMask(metric=False), on_input=True, settle=None
    ),
    "magnitude of a decayed mask": lambda _: FrequencyMask(by=DecayedMask(), settle=None),
    "l1 on the mask": lambda _: FrequencyMask(by=L1Mask(), settle=None),
    "top-k, straight through": lambda _: FrequencyMask(by=TopKMask(), settle=None),
    "evenly spaced": lambda _: FrequencyMask(by=spread),
    "random": lambda seed: FrequencyMask(by=Drawn(seed)),
}
"""How rows are chosen, given a seed."""

PLANTED: dict[str, Callable[[int], FrequencyMask]] = {
    "oracle": lambda seed: FrequencyMask(by=planted.Oracle(seed)),
    **METHODS,
}


# --------------------------------------------------------------------------------------------- runs


@cache
def features(folds: tuple[int, ...], clips: int) -> tuple[Tensor, Tensor]:
    """Log-mels (clips, 1, 256, 26) and labels (clips,) of some folds of ESC-50."""
    parts: list[tuple[Tensor, Tensor]] = []
    for fold in folds:
        listing = read_esc50(data_root() / "esc50", (fold,))
        heard = waveforms(listing.paths, FORMAT, ROOT / "runs" / "cache").audio[:clips, 0]
        x = log_mels(torch.from_numpy(np.array(heard)), MELS, torch.device("cpu"))
        parts.append((x, torch.from_numpy(listing.labels[:clips])))
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


def build(size: Size) -> nn.Module:
    """The network: all of its layers after the first norm mix bands."""
    return BCResNetASC(size.channels, CLASSES, mels=ALL, frames=26)


def loader(size: Size, seed: int, device: torch.device) -> Epochs:
    """The training folds."""
    x, y = features(TRAIN_FOLDS, size.clips)
    return Epochs(x.to(device), y.to(device), CLASSES, PLAN, seed=seed)


def dense(size: Size, seed: int, device: torch.device, folder: Path) -> nn.Module:
    """The network trained on all bands, once a seed for all methods."""
    model, file = build(size), folder / f"dense-{size.channels}-{size.dense}-seed{seed}.safetensors"
    if file.exists():
        model.load_state_dict(load_file(file))
        return model.to(device)
    torch.manual_seed(seed)
    model = build(size).to(device)
    train(model, loader(size, seed, device), size.dense)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    save_file(tensors, file.with_suffix(".part"))
    file.with_suffix(".part").replace(file)
    return model


def real(
    method: str, count: int, seed: int, size: Size, device: torch.device, folder: Path
) -> dict[str, object]:
    """Select rows of the dense network, fine-tune, and hear folds 4 and 5."""
    model = dense(size, seed, device, folder)
    began = process_time()
    phase = METHODS[method](seed) if method in METHODS else FrequencyMask()
    result = fit(
        model, loader(size, 100 + seed, device), budget=Budget(macs="1G"),
        schedule=[replace(phase, keep=count, batches=8)], seed=seed, verify=False, progress=False,
    )  # fmt: skip
    spent = process_time() - began
    rows = getattr(result.model, "rows", torch.arange(ALL)).tolist()
    return {
        "fold 4": percent(result.model, VALIDATION_FOLDS, size, device),
        "fold 5": percent(result.model, TEST_FOLDS, size, device),
        "dense fold 4": percent(model, VALIDATION_FOLDS, size, device),
        "dense fold 5": percent(model, TEST_FOLDS, size, device),
        "macs": result.report.after.macs,
        "rows": rows,
        "log": [dict(epoch.extra) for epoch in result.report.log],
        "CPU seconds": round(spent, 1),
        "torch": torch.__version__,
    }


def percent(model: nn.Module, folds: tuple[int, ...], size: Size, device: torch.device) -> float:
    """Accuracy of a network on some folds."""
    x, y = features(folds, size.clips)
    return 100 * accuracy(model.to(device), x.to(device), y.to(device))


@dataclass(frozen=True)
class Run:
    """One run: what it is called, and what makes it."""

    name: str
    make: Callable[[], dict[str, object]]

    def file(self, folder: Path) -> Path:
        """Where its record lies."""
        return folder / f"{self.name.replace(',', '').replace(':', '').replace(' ', '-')}.json"


def runs(size: Size, seeds: Iterable[int], device: torch.device, models: Path) -> list[Run]:
    """Every run, the quick ones first, then seed by seed."""
    seeds = list(seeds)

    def make_planted(net: str, method: str, seed: int) -> Run:
        return Run(
            f"planted {net} {method} seed{seed}",
            lambda: dict(planted.run(net, PLANTED[method](seed), seed, epochs=size.planted)),
        )

    def make_real(method: str, count: int, seed: int) -> Run:
        return Run(
            f"{method} {count} seed{seed}",
            lambda: real(method, count, seed, size, device, models),
        )

    found = [make_planted(n, m, s) for s in seeds for n in planted.NETS for m in PLANTED]
    for seed in seeds:
        found.append(make_real("all rows", ALL, seed))
        found += [make_real(m, c, seed) for c in size.counts for m in METHODS]
    return found


def run_all(found: Sequence[Run], folder: Path) -> None:
    """Make every run that has no record yet."""
    left = [run for run in found if not run.file(folder).exists()]
    console = Console()
    for run in track(left, "Running", console=console, disable=not console.is_terminal):
        record = run.make()
        write_bytes(run.file(folder), json.dumps(record, indent=1).encode() + b"\n")
        shown = {k: v for k, v in record.items() if k not in ("rows", "log")}
        print(run.name, shown, flush=True)


# ------------------------------------------------------------------------------------------- report


def values(folder: Path, name: str, key: str, seeds: Sequence[int]) -> np.ndarray:
    """One number of the records of a run, seed by seed; those that are there."""
    files = [Run(f"{name} seed{seed}", dict).file(folder) for seed in seeds]
    return np.array([json.loads(f.read_text())[key] for f in files if f.exists()])


def cell(numbers: np.ndarray, form: str = ".1f") -> str:
    """Mean and standard deviation over the seeds."""
    if not len(numbers):
        return "-"
    spread = f" ± {numbers.std(ddof=1):{form.lstrip('+')}}" if len(numbers) > 1 else ""
    return f"{numbers.mean():{form}}{spread}"


def planted_table(folder: Path, seeds: Sequence[int]) -> str:
    """Found bands and accuracy, a row a method."""
    lines = [
        f"| | {' | '.join(f'{net}: found, accuracy' for net in planted.NETS)} |",
        "|---" * (1 + len(planted.NETS)) + "|",
    ]
    for method in PLANTED:
        cells: list[str] = []
        for net in planted.NETS:
            name = f"planted {net} {method}"
            share = cell(values(folder, name, "found", seeds), ".2f")
            cells.append(f"{share}, {cell(values(folder, name, 'accuracy', seeds))}")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def real_table(
    folder: Path, size: Size, seeds: Sequence[int], fold: str, *, against: str = ""
) -> str:
    """Accuracy on a fold, or its difference from another method paired by seed; a row a method."""
    lines = [
        f"| | {' | '.join(f'{c} of {ALL} rows' for c in size.counts)} | mean |",
        "|---" * (2 + len(size.counts)) + "|",
    ]
    for method in METHODS:
        if method == against:
            continue
        columns: list[np.ndarray] = []
        for count in size.counts:
            found = values(folder, f"{method} {count}", fold, seeds)
            if against:
                other = values(folder, f"{against} {count}", fold, seeds)
                found = found - other if len(found) == len(other) else np.array([])
            columns.append(found)
        whole = len({len(c) for c in columns}) == 1 and len(columns[0])
        mean = np.mean(columns, axis=0) if whole else np.array([])
        form = "+.1f" if against else ".1f"
        lines.append(f"| {method} | {' | '.join(cell(c, form) for c in (*columns, mean))} |")
    return "\n".join(lines)


def macs_of(folder: Path, size: Size, seeds: Sequence[int]) -> str:
    """MACs by number of rows."""
    parts = [f"{values(folder, 'all rows 256', 'macs', seeds)[0] / 1e6:.2f} with all rows"]
    parts += [
        f"{values(folder, f'Fisher {count}', 'macs', seeds)[0] / 1e6:.2f} with {count}"
        for count in size.counts
    ]
    return ", ".join(parts)


def report(folder: Path, size: Size, seeds: Sequence[int]) -> str:
    """Both tables, from the records."""
    record = json.loads(Run(f"all rows {ALL} seed{seeds[0]}", dict).file(folder).read_text())
    dense_5 = cell(values(folder, f"all rows {ALL}", "dense fold 5", seeds))
    tuned_5 = cell(values(folder, f"all rows {ALL}", "fold 5", seeds))
    select, after = FrequencyMask().epochs, FrequencyMask().fine_tune
    return (
        "# Which rows of a spectrogram to keep\n\n"
        f"torch {record['torch']}, Python {platform.python_version()}, one CPU thread; mean ± "
        f"standard deviation over seeds {', '.join(map(str, seeds))}. Every method trains for as "
        "many epochs at the same rates: a mask that is learned for some of them, with the rows "
        "removed, for the rest; a method that measures removes the rows first. ADMM removes them "
        "once its mask has settled (`settle`), the other learned masks and the method as printed "
        "after all epochs of learning.\n\n"
        "## Planted bands\n\n"
        f"{planted.TRUE} of {planted.BANDS} bands say which of {planted.CLASSES} classes it is, "
        f"{planted.PROXIES} say the same at 0.3 of the strength. Share of the {planted.TRUE} among "
        f"{planted.TRUE} chosen (by chance {planted.TRUE / planted.BANDS:.2f}), and accuracy in "
        "percent.\n\n"
        f"{planted_table(folder, seeds)}\n\n"
        "## ESC-50\n\n"
        f"BC-ResNet-ASC with {size.channels} channels, {ALL} bands x 26 frames, trained for "
        f"{size.dense} epochs on folds 1 to 3, then {select} + {after} epochs of selection; "
        f"million MACs: {macs_of(folder, size, seeds)}. Fold 5, reported: {dense_5} % before, "
        f"{tuned_5} % after {select + after} more epochs with all rows.\n\n"
        f"{real_table(folder, size, seeds, 'fold 5')}\n\n"
        "Fold 4, by which the default was chosen:\n\n"
        f"{real_table(folder, size, seeds, 'fold 4')}\n\n"
        f"{READING}\n\n"
        "Fold 5 in points against Fisher, paired by seed:\n\n"
        f"{real_table(folder, size, seeds, 'fold 5', against='Fisher')}\n"
    )


def main() -> None:
    """Run, or print the tables."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--run", action="store_true", help="make the runs that are missing")
    parser.add_argument("--try", dest="small", action="store_true", help="all of it, very short")
    parser.add_argument("--only", default="", help="runs whose name contains this")
    parser.add_argument("--seed", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.small:
        with tempfile.TemporaryDirectory() as folder:
            found = runs(SMALL, (0,), options.device, Path(folder))
            run_all([r for r in found if options.only in r.name], Path(folder))
            print(report(Path(folder), SMALL, (0,)))
        return
    if options.run:
        found = runs(Size(), options.seed, options.device, DENSE)
        run_all([r for r in found if options.only in r.name], RECORDS)
        return
    text = report(RECORDS, Size(), SEEDS)
    write_bytes(TABLE, text.encode())
    print(text)


if __name__ == "__main__":
    main()
