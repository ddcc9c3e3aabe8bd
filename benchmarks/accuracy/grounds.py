"""Four dense networks on two grounds, converged: what the benchmarks of choices compress.

Speech commands, twelve classes, split by speakers (`benchmarks.accuracy.keywords`): TC-ResNet8 of
1.5 times its width, and BC-ResNet-2. ESC-50, folds 1 to 3 to train on, fold 4 to validate, fold 5
to test: networks A and B of `benchmarks.accuracy.dense`. All but the first hear the means of two
frames, half of the work. A network counts as converged if ten epochs more, at the usual rate of a
fine-tuning or at its own, bring less than half a point on the validation part: what more training
brings would be booked as repair's or pruning's.

Trained weights lie in `converged` beside this file; where they are missing they are trained anew.

    python -m benchmarks.accuracy.grounds --run --net TC-ResNet  # a killed call goes on
    python -m benchmarks.accuracy.grounds                        # the table, into grounds.md
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from time import process_time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.accuracy import dense, keywords
from benchmarks.accuracy.keywords import ANYTHING, Hearing
from benchmarks.common.command import recording, run_or_report, started
from benchmarks.common.records import Record, Records, every
from benchmarks.common.sound import CLASSES, KEYWORDS, RUNS
from benchmarks.common.tables import page, table, versions, with_error
from benchmarks.common.weights import filled, keep
from compressor import FineTune, Train, fit, measure
from models import BCResNet, BCResNetASC, ResidualCNN, TCResNet
from recipes.training.epochs import Epochs
from recipes.training.loop import accuracy
from recipes.training.training_plans import Plan, Training

FOLDER = RUNS / "grounds"
"""Where training goes on if it was killed."""
WEIGHTS = Path(__file__).parent / "converged"
"""Trained weights. Those of less than a megabyte are part of the records: whatever is compressed
later, on whatever machine, begins with the very networks of which the records are."""
CALIBRATION = 256
"""Training clips for whatever is measured on a network."""
FOLDS = {"train": (1, 2, 3), "validation": (4,), "test": (5,)}
"""Of ESC-50."""
USUAL = 1e-3
"""Rate at which `fit` fine-tuned whatever the network, until it looked for one."""

Part = tuple[Tensor, Tensor]
"""Log-mels (clips, 1, mels, frames) and labels (clips,)."""


def halved(x: Tensor) -> Tensor:
    """Means of two frames each."""
    return functional.avg_pool2d(x, (1, 2))


@cache
def speech(part: str) -> Part:
    """Speech commands: 40 bands x 50 frames."""
    x, y = keywords.clips(part)
    return halved(x), y


@cache
def sounds(part: str) -> Part:
    """ESC-50: 64 bands x 63 frames."""
    x, y = dense.features(FOLDS[part])
    return halved(x), y


@dataclass(frozen=True)
class Net:
    """One dense network, what it hears, and how it trains.

    Attributes:
        build: Makes it, untrained.
        hears: Gives the clips of a part: "train", "validation" or "test".
        classes: Number of them.
        plan: Batch and augmentation.
        training: Epochs and rates of the dense training.
        seeds: Those of the dense networks that are compressed.
    """

    build: Callable[[], nn.Module]
    hears: Callable[[str], Part]
    classes: int
    plan: Plan
    training: Train
    seeds: tuple[int, ...] = (0,)


NETS = {
    "TC-ResNet": Net(
        partial(TCResNet, KEYWORDS), keywords.clips, KEYWORDS,
        Hearing(), Train(epochs=100, lr=4e-3, warmup=5), seeds=(0, 1, 2),
    ),
    "BC-ResNet": Net(
        partial(BCResNet, 2, KEYWORDS, 5, mels=40, frames=50), speech, KEYWORDS,
        Hearing(roll=5, bands=4, frames=8), Train(epochs=50, lr=6e-3, warmup=3),
    ),
    "ESC-50 B": Net(
        partial(ResidualCNN, CLASSES, frames=63), sounds, CLASSES,
        Training(frames=8), Train(epochs=200, lr=3e-3, weight_decay=0.02, warmup=8),
    ),
    "ESC-50 A": Net(
        partial(BCResNetASC, 32, CLASSES, mels=64, frames=63), sounds, CLASSES,
        dense.NETS["A"].training, Train(epochs=100, lr=6e-3, weight_decay=0.02, warmup=8),
    ),
}  # fmt: skip


def loader(net: str, seed: int) -> Epochs:
    """Training clips of a network, in an order and with an augmentation of their own."""
    one = NETS[net]
    return Epochs(*one.hears("train"), one.classes, one.plan, seed=seed)


def labelled(net: str, seed: int, count: int = CALIBRATION) -> list[Part]:
    """Clean training batches of 64, drawn by the seed."""
    x, y = NETS[net].hears("train")
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:count]
    return [(x[rows], y[rows]) for rows in order.split(64)]


def inputs(net: str, seed: int, count: int = CALIBRATION) -> list[Tensor]:
    """The same batches without their labels."""
    return [x for x, _ in labelled(net, seed, count)]


def judged(model: nn.Module, net: str) -> dict[str, float]:
    """Accuracy on the validation and the test part."""
    return {part: accuracy(model, *NETS[net].hears(part)) for part in ("validation", "test")}


def file_of(net: str, seed: int) -> Path:
    """The weights of a dense network."""
    return WEIGHTS / f"{net.replace(' ', '-')}-seed{seed}.safetensors"


def dense_seed(net: str, seed: int) -> int:
    """The seed of the dense network that a run with some seed compresses."""
    return NETS[net].seeds[seed % len(NETS[net].seeds)]


def place_of(net: str, seed: int) -> Path:
    """Where the training of a dense network goes on."""
    return FOLDER / f"{net.replace(' ', '-')}-seed{seed}"


def load(net: str, seed: int) -> nn.Module:
    """A dense network in evaluation mode, trained first where its weights are not at hand."""
    file = file_of(net, seed)
    return (filled(NETS[net].build(), file) if file.is_file() else trained(net, seed)).eval()


def trained(net: str, seed: int) -> nn.Module:
    """Train a dense network and keep its weights; a killed call goes on."""
    torch.manual_seed(seed)
    result = fit(
        NETS[net].build().train(), loader(net, seed), budget=ANYTHING,
        schedule=[NETS[net].training], checkpoint=place_of(net, seed), seed=seed,
    )  # fmt: skip
    keep(result.model, file_of(net, seed))
    return result.model


def trained_on(net: str, seed: int, rate: float) -> nn.Module:
    """The dense network after ten epochs more."""
    tune = FineTune(epochs=10, lr=rate)
    return fit(
        load(net, seed).train(), loader(net, 100 + seed), budget=ANYTHING, schedule=[tune],
        seed=100 + seed,
    ).model  # fmt: skip


WAYS = ("dense", "trained on, usual rate", "trained on, own rate")


def run(net: str, way: str, seed: int) -> Record:
    """Train a network, or train it on."""
    start, one = process_time(), NETS[net]
    begun = way == "dense" and place_of(net, seed).exists()  # its seconds are not all seen here
    if way == "dense":
        model, epochs, rate = trained(net, seed), one.training.epochs, one.training.lr
    else:
        epochs, rate = 10, USUAL if way.endswith("usual rate") else one.training.lr
        model = trained_on(net, seed, rate)
    cost = measure(one.build())
    return {
        "params": cost.params,
        "macs": cost.macs,
        "epochs": epochs,
        "lr": rate,
        "train": accuracy(model, *one.hears("train")),
        **judged(model, net),
        "CPU seconds": None if begun else round(process_time() - start),
        "torch": torch.__version__,
    }


def _seconds(records: Sequence[Record]) -> list[int]:
    """CPU seconds where all of them were seen."""
    return [record["CPU seconds"] for record in records if record["CPU seconds"] is not None]


HEAD = (
    "network", "parameters", "MACs", "epochs, rate", "train", "validation", "test",
    "ten epochs more, validation: usual rate", "own rate", "test: usual rate", "own rate",
    "CPU seconds",
)  # fmt: skip


def row(net: str, found: Records) -> list[str]:
    """One network: its level, and what ten epochs more bring."""
    whole = found.of(net=net, way="dense")
    seeds = {record["seed"] for record in whole}

    def gain(part: str, way: str) -> str:
        pairs = [(r, r["seed"]) for r in found.of(net=net, way=way) if r["seed"] in seeds]
        before = [found.values(part, net=net, way="dense", seed=seed)[0] for _, seed in pairs]
        return with_error([100 * (r[part] - b) for (r, _), b in zip(pairs, before, strict=True)])

    percent = (
        with_error([100 * r[part] for r in whole], ".1f")
        for part in ("train", "validation", "test")
    )
    return [
        f"{net} ({len(whole)})",
        f"{whole[0]['params']:,}",
        f"{whole[0]['macs']:,}",
        f"{whole[0]['epochs']}, {whole[0]['lr']:g}",
        *percent,
        *(gain(part, way) for part in ("validation", "test") for way in WAYS[1:]),
        f"{np.mean(seconds):,.0f}" if (seconds := _seconds(whole)) else "-",
    ]


def report(found: Records) -> str:
    """The page."""
    about = (
        f"{versions()}. Accuracy in percent, in brackets the number of seeds, then standard errors "
        "where there are several. Gains in points, paired by seed: ten epochs more with "
        f"`FineTune`, at {USUAL:g} (usual) and at the rate of the dense training (own). Speech "
        "commands: 2,922 clips to train on, 970 to validate and 998 to test on, of other speakers "
        "each; ESC-50: folds 1 to 3, 4, and 5. An accuracy over so many clips has a standard error "
        "of about one point, over the 400 of a fold of two. CPU seconds of the dense training, on "
        "a busy machine, where it was trained in one piece."
    )
    whole = [net for net in NETS if found.of(net=net, way="dense")]
    rows = (row(net, found) for net in whole)
    return page("# Four dense networks on two grounds", about, table(HEAD, rows))


def main() -> None:
    """Train, or print the table."""
    options = recording(__doc__, net=NETS, way=WAYS)
    given = started(options)
    runs = every(run, given.seed, net=given.net, way=given.way)
    run_or_report(__file__, given, runs, report, hidden=("test",))


if __name__ == "__main__":
    main()
