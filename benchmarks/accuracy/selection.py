"""Selection of rows of a spectrogram: ADMM, one-shot scores and learned masks, measured alike.

On spectrograms of noise with planted bands (`benchmarks.accuracy.planted`): how many of the bands
that matter are found. On ESC-50 (256 mel bands, folds 1 to 3 train): accuracy with 64, 128 and 192
of the bands, at the same network, epochs and learning rate, the rows removed physically. What is
chosen (the default of `FrequencyMask`, settings of masks) is chosen on fold 4; fold 5 is reported.

    python -m benchmarks.accuracy.selection --run  # about 40 minutes; a killed call goes on
    python -m benchmarks.accuracy.selection        # the tables, into selection.md
    python -m benchmarks.accuracy.selection --try  # all of it in minutes, too short to say anything
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from time import process_time

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.accuracy import planted
from benchmarks.accuracy.dense import TRAIN_FOLDS
from benchmarks.accuracy.masks_to_learn import DecayedMask, L1Mask, TopKMask
from benchmarks.common import weights
from benchmarks.common.command import device, recording, run_or_report, started
from benchmarks.common.records import Record, Records, Run, every, make, read
from benchmarks.common.sound import CLASSES, RUNS, esc50
from benchmarks.common.tables import listed, page, table, versions, with_deviation
from compressor import Budget, fit
from compressor.phases.frequency import AdmmMask, fisher, taylor
from compressor.phases.frequency.phase import FrequencyMask
from models import BCResNetASC
from recipes.features.logmel import MELS_2021, log_mels
from recipes.training.epochs import Epochs
from recipes.training.loop import accuracy, train
from recipes.training.training_plans import Training

MELS = replace(MELS_2021, hop=0.200)
"""256 bands and the window of the papers, 26 frames of a clip: short, as bands are the question."""
PLAN = Training(lr=6e-3, bands=0, frames=0)
ALL = 256
HIDDEN = ("rows", "log")
"""What is too long to print of a run."""

READING = (
    "Read with care: neighbouring bands of ESC-50 say nearly the same, so that rows at random do "
    "as well as any that were chosen, and the differences are those of seeds. The default is "
    "Fisher: level with the best here, and it finds planted bands, which chance does not. ADMM is "
    "not ahead of it anywhere; with the metric and with its rows removed once its mask has settled "
    "it is no longer clearly behind either, as the method is that is printed."
)


@dataclass(frozen=True)
class Size:
    """Size of the runs: epochs, most clips of a fold, and numbers of 256 rows to keep.

    Epochs on planted bands are those before selection, of it and after it.
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


@cache
def features(folds: tuple[int, ...], clips: int) -> tuple[Tensor, Tensor]:
    """Log-mels (clips, 1, 256, 26) and labels (clips,) of some folds of ESC-50."""
    heard = [esc50((fold,)) for fold in folds]
    mels = [log_mels(audio[:clips], MELS, torch.device("cpu")) for audio, _ in heard]
    return torch.cat(mels), torch.cat([labels[:clips] for _, labels in heard])


def build(size: Size) -> nn.Module:
    """The network: all of its layers after the first norm mix bands."""
    return BCResNetASC(size.channels, CLASSES, mels=ALL, frames=26)


def loader(size: Size, seed: int, device: torch.device) -> Epochs:
    """The training folds."""
    x, y = (values.to(device) for values in features(TRAIN_FOLDS, size.clips))
    return Epochs(x, y, CLASSES, PLAN, seed=seed)


def trained(size: Size, seed: int, device: torch.device, folder: Path) -> nn.Module:
    """The network trained on all bands, once a seed for all methods."""
    file = folder / f"dense-{size.channels}-{size.dense}-seed{seed}.safetensors"
    if not file.exists():
        torch.manual_seed(seed)
        model = build(size).to(device)
        train(model, loader(size, seed, device), size.dense)
        weights.keep(model, file)
    return weights.filled(build(size), file).to(device)


def real(
    method: str, keep: int, seed: int, size: Size, device: torch.device, folder: Path
) -> Record:
    """Select rows of the dense network, fine-tune, and hear folds 4 and 5."""
    model = trained(size, seed, device, folder)
    began = process_time()
    phase = METHODS[method](seed) if method in METHODS else FrequencyMask()
    result = fit(
        model, loader(size, 100 + seed, device), budget=Budget(macs="1G"),
        schedule=[replace(phase, keep=keep, batches=8)], seed=seed, verify=False, progress=False,
    )  # fmt: skip
    spent = process_time() - began
    return {
        "fold 4": percent(result.model, (4,), size, device),
        "fold 5": percent(result.model, (5,), size, device),
        "dense fold 4": percent(model, (4,), size, device),
        "dense fold 5": percent(model, (5,), size, device),
        "macs": result.report.after.macs,
        "rows": getattr(result.model, "rows", torch.arange(ALL)).tolist(),
        "log": [dict(epoch.extra) for epoch in result.report.log],
        "CPU seconds": round(spent, 1),
        "torch": torch.__version__,
    }


def percent(model: nn.Module, folds: tuple[int, ...], size: Size, device: torch.device) -> float:
    """Accuracy of a network on some folds."""
    x, y = (values.to(device) for values in features(folds, size.clips))
    return 100 * accuracy(model.to(device), x, y)


def runs(
    size: Size, seeds: Sequence[int], device: torch.device, models: Path, only: str
) -> list[Run]:
    """Every run with `only` in its name, the quick ones first, then seed by seed."""

    def bands(net: str, method: str, seed: int) -> Record:
        return dict(planted.run(net, PLANTED[method](seed), seed, epochs=size.planted))

    rows = partial(real, size=size, device=device, folder=models)
    found = [
        *every(bands, seeds, net=planted.NETS, method=PLANTED),
        *every(rows, seeds, method=["all rows"], keep=[ALL]),
        *every(rows, seeds, method=METHODS, keep=size.counts),
    ]
    return [run for run in found if only in f"{'planted ' * ('net' in run.key)}{run.name}"]


def planted_table(found: Records) -> str:
    """Found bands and accuracy, a row a method."""

    def cell(net: str, method: str) -> str:
        share = with_deviation(found.values("found", net=net, method=method), ".2f")
        return f"{share}, {with_deviation(found.values('accuracy', net=net, method=method))}"

    head = ["", *(f"{net}: found, accuracy" for net in planted.NETS)]
    return table(head, ([m, *(cell(net, m) for net in planted.NETS)] for m in PLANTED))


def real_table(found: Records, size: Size, fold: str, *, against: str = "") -> str:
    """Accuracy on a fold, or its difference from another method paired by seed; a row a method."""

    def column(method: str, count: int) -> np.ndarray:
        values = found.values(fold, method=method, keep=count)
        if not against:
            return values
        other = found.values(fold, method=against, keep=count)
        return values - other if len(values) == len(other) else np.array([])

    def row(method: str) -> list[str]:
        columns = [column(method, count) for count in size.counts]
        whole = len({len(c) for c in columns}) == 1 and len(columns[0])
        mean = np.mean(columns, axis=0) if whole else np.array([])
        form = "+.1f" if against else ".1f"
        return [method, *(with_deviation(c, form) for c in (*columns, mean))]

    head = ["", *(f"{count} of {ALL} rows" for count in size.counts), "mean"]
    return table(head, (row(method) for method in METHODS if method != against))


def report(found: Records, size: Size = Size()) -> str:
    """Both tables, from the records."""
    whole = found.of(method="all rows", keep=ALL)
    before, after = (
        with_deviation([r[fold] for r in whole]) for fold in ("dense fold 5", "fold 5")
    )
    kept = {"all rows": whole} | {n: found.of(method="Fisher", keep=n) for n in size.counts}
    macs = [f"{records[0]['macs'] / 1e6:.2f} with {rows}" for rows, records in kept.items()]
    about = versions(threads="one CPU thread", pytorch=whole[0]["torch"])
    select, tune = FrequencyMask().epochs, FrequencyMask().fine_tune
    return page(
        "# Which rows of a spectrogram to keep",
        f"{about}; mean ± standard deviation over seeds {listed(r['seed'] for r in whole)}. Every "
        "method trains for as many epochs at the same rates: a mask that is learned for some of "
        "them, with the rows removed, for the rest; a method that measures removes the rows first. "
        "ADMM removes them once its mask has settled (`settle`), the other learned masks and the "
        "method as printed after all epochs of learning.",
        "## Planted bands",
        f"{planted.TRUE} of {planted.BANDS} bands say which of {planted.CLASSES} classes it is, "
        f"{planted.PROXIES} say the same at 0.3 of the strength. Share of the {planted.TRUE} among "
        f"{planted.TRUE} chosen (by chance {planted.TRUE / planted.BANDS:.2f}), and accuracy in "
        "percent.",
        planted_table(found),
        "## ESC-50",
        f"BC-ResNet-ASC with {size.channels} channels, {ALL} bands x 26 frames, trained for "
        f"{size.dense} epochs on folds 1 to 3, then {select} + {tune} epochs of selection; "
        f"million MACs: {listed(macs)}. Fold 5, reported: {before} % before, {after} % after "
        f"{select + tune} more epochs with all rows.",
        real_table(found, size, "fold 5"),
        "Fold 4, by which the default was chosen:",
        real_table(found, size, "fold 4"),
        READING,
        "Fold 5 in points against Fisher, paired by seed:",
        real_table(found, size, "fold 5", against="Fisher"),
    )


def main() -> None:
    """Run, or print the tables."""
    parser = device(recording(__doc__))
    parser.add_argument("--try", dest="small", action="store_true", help="all of it, very short")
    parser.add_argument("--only", default="", help="runs whose name contains this")
    options = started(parser)
    if options.small:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "small.jsonl"
            make(file, runs(SMALL, (0,), options.device, file.parent, options.only), HIDDEN)
            print(report(read(file), SMALL))
        return
    every = runs(Size(), options.seed, options.device, RUNS / "selection", options.only)
    run_or_report(__file__, options, every, report, HIDDEN)


if __name__ == "__main__":
    main()
