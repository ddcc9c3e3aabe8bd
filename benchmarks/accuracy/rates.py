"""Does a trial of a few steps find the learning rate of a fine-tune? Every rate, and the one found.

Two networks on speech commands, divided by speakers: a one-dimensional residual network in the form
of TC-ResNet (S. Choi et al., Interspeech 2019) and a plain two-dimensional one. They are pruned by
`fit` and fine-tuned at six rates; beside them stands what `compressor.rate_of` takes, with the rate
of the dense training known and without.

    python -m benchmarks.accuracy.rates --run  # a killed call goes on
    python -m benchmarks.accuracy.rates        # the table, into rates.md
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from time import process_time

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.accuracy.keywords import ANYTHING, clips
from benchmarks.common.command import recording, run_or_report, started
from benchmarks.common.records import Record, Records, every
from benchmarks.common.sound import KEYWORDS, RUNS
from benchmarks.common.tables import page, table, versions
from benchmarks.common.weights import filled, keep
from compressor import Budget, FineTune, Prune, Recalibrate, Train, fit, measure, rate_of
from models import ResidualCNN
from recipes.training.augment import Augmentation, Roll, SpecAugment
from recipes.training.epochs import Epochs
from recipes.training.loop import accuracy
from recipes.training.training_plans import Plan

FOLDER = RUNS / "rates"
DENSE = Train(epochs=25, lr=4e-3, warmup=3)
EPOCHS = 10
RATES = ("0.0005", "0.001", "0.002", "0.004", "0.008", "0.016")
BUDGETS = {"deep": (0.15, 0.2), "mild": (0.4, 0.4)}
"""Caps as shares of the dense network's parameters and MACs."""


class Block(nn.Module):
    """Two convolutions over time and a shortcut, at half of the frames."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = _conv(inputs, outputs, 9, 2)
        self.second = _conv(outputs, outputs, 9)
        self.shortcut = _conv(inputs, outputs, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(clips, inputs, frames) -> (clips, outputs, half of the frames)."""
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


class TemporalCNN(nn.Module):
    """Mel bands as channels, convolutions over time; 1.5 times the width of TC-ResNet8."""

    def __init__(self, widths: tuple[int, ...] = (24, 36, 48, 72)) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv(40, widths[0], 3), nn.ReLU())
        pairs = pairwise(widths)
        self.blocks = nn.Sequential(*(Block(inputs, outputs) for inputs, outputs in pairs))
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(widths[-1], KEYWORDS)
        self.example_input_array = torch.zeros(1, 1, 40, 101)

    def forward(self, x: Tensor) -> Tensor:
        """Log-mels (clips, 1, 40, frames) -> logits (clips, classes)."""
        x = self.blocks(self.stem(x.squeeze(1)))
        return self.classifier(self.dropout(x.mean(2)))


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv1d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm1d(outputs))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "1-D": TemporalCNN,
    "2-D": partial(ResidualCNN, KEYWORDS, (16, 24, 32), (1, 1, 1), mels=40, frames=101),
}
FOUND = {"found": None, "found around 4e-3": DENSE.lr}
"""What is said of the rate of the dense training."""
WAYS = ("dense", *RATES, *FOUND)


@dataclass(frozen=True)
class Hearing(Plan):
    """Batches of 64 clips, shifted by up to 100 ms and masked; rates are those of `fit`."""

    batch: int = 64
    lr: float = 1e-3

    def augmentations(self) -> tuple[Augmentation, ...]:
        return (Roll(10), SpecAugment(6, 12, fill=0.0))


def batches(seed: int) -> Epochs:
    """Training clips, in an order and with an augmentation of their own."""
    return Epochs(*clips("train"), KEYWORDS, Hearing(), seed=seed)


def dense(network: str, seed: int) -> nn.Module:
    """The dense network, trained where that has not been done."""
    file = FOLDER / f"{network}-seed{seed}.safetensors"
    torch.manual_seed(seed)
    model = NETWORKS[network]().train()
    if file.is_file():
        return filled(model, file)
    trained = fit(model, batches(seed), budget=ANYTHING, schedule=[DENSE], seed=seed).model
    keep(trained, file)
    return trained


def small(network: str, budget: str, seed: int) -> nn.Module:
    """The pruned network, in training mode."""
    model = dense(network, seed)
    cost, (params, macs) = measure(model), BUDGETS[budget]
    caps = Budget(params=int(params * cost.params), macs=int(macs * cost.macs))
    data = batches(50 + seed)
    return fit(model, data, budget=caps, schedule=[Prune(), Recalibrate()], seed=seed).model.train()


def run(network: str, budget: str, way: str, seed: int) -> Record:
    """One fine-tune, one dense network, or one search."""
    if way == "dense":
        model = dense(network, seed).eval()
        return {
            "validation": accuracy(model, *clips("validation")),
            "params": measure(model).params,
        }
    model, data, start = small(network, budget, seed), batches(100 + seed), process_time()
    if way in FOUND:
        found = rate_of(model, data, lr=FOUND[way], seed=seed)
        seconds = round(process_time() - start, 1)
        return {"rate": found.lr, "tried": found.tried, "CPU seconds": seconds}
    tune = FineTune(EPOCHS, lr=float(way))
    tuned = fit(model, data, budget=ANYTHING, schedule=[tune], seed=seed).model.eval()
    return {
        "validation": accuracy(tuned, *clips("validation")),
        "CPU seconds": round(process_time() - start, 1),
    }


HEAD = ("", "budget", "seed", "dense", *RATES, *(f"{way}: rate, points behind" for way in FOUND),
        "epochs that it took")  # fmt: skip


def row(network: str, budget: str, seed: int, found: Records) -> list[str] | None:
    """One line of the table; None while runs are missing."""
    of = partial(found.of, network=network, budget=budget, seed=seed)
    if any(not of(way=way) for way in WAYS):
        return None
    points = {rate: 100 * of(way=rate)[0]["validation"] for rate in RATES}
    best = max(points.values())
    taken = [of(way=way)[0]["rate"] for way in FOUND]
    behind = [best - points[f"{rate:.3g}"] for rate in taken]
    epoch = np.mean([of(way=rate)[0]["CPU seconds"] for rate in RATES]) / EPOCHS
    return [
        network, budget, str(seed),
        f"{100 * of(way='dense')[0]['validation']:.1f}",
        *(f"**{p:.1f}**" if p == best else f"{p:.1f}" for p in points.values()),
        *(f"{rate:.3g}, {less:.1f}" for rate, less in zip(taken, behind, strict=True)),
        f"{of(way='found')[0]['CPU seconds'] / epoch:.1f}",
    ]  # fmt: skip


def report(found: Records) -> str:
    """The page."""
    about = (
        f"{versions()}. Accuracy in percent on 970 validation clips of speech commands, twelve "
        f"classes, other speakers than in training; one fine-tune of {EPOCHS} epochs a cell, at "
        "rates of AdamW with a warm-up and half a cosine. The standard error of an accuracy over "
        "970 clips is about a point. "
        f"Dense networks: {DENSE.epochs} epochs at {DENSE.lr:g}, which has not converged. Caps, of "
        "parameters and MACs: deep 15 / 20 %, mild 40 / 40 %. Found: by `compressor.rate_of`, with "
        "nothing known and around the rate of the dense training; points behind the best of the "
        "row; what the first took, in epochs of the fine-tune, by CPU seconds of a busy machine. "
        "The range and the share of the gain were chosen with these rows in sight: how far they "
        "carry is for other networks to say."
    )
    cells = [(n, b, seed) for n in NETWORKS for b in BUDGETS for seed in range(3)]
    rows = [line for cell in cells if (line := row(*cell, found)) is not None]
    return page("# The learning rate of a fine-tune", about, table(HEAD, rows))


def main() -> None:
    """Run, or print the table."""
    made = recording(__doc__, network=NETWORKS, budget=BUDGETS, way=WAYS)
    options = started(made)
    runs = every(run, options.seed, network=options.network, budget=options.budget, way=options.way)
    run_or_report(__file__, options, runs, report)


if __name__ == "__main__":
    main()
