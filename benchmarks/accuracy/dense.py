"""Train the dense networks that the other benchmarks compress, on ESC-50.

Folds 1 to 3 train, fold 4 validates, fold 5 is not read here. Every run is kept under `runs/dense`:

    python -m benchmarks.accuracy.dense --net A --seed 0

Nets: A is `BCResNetASC` with 32 channels (60,498 parameters, 11 million MACs), B is `ResidualCNN`
(324,130 parameters, 57 million MACs), both for 64 mels x 126 frames and 50 classes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.common.command import parser, started
from benchmarks.common.sound import CLASSES, RUNS, esc50
from benchmarks.common.weights import filled, keep
from compressor.storage import write_bytes
from models import BCResNetASC, ResidualCNN
from recipes.features.logmel import MelSettings, log_mels
from recipes.training.epochs import Epochs
from recipes.training.loop import accuracy, train
from recipes.training.training_plans import Training

Watch = Callable[[int, float], None]
"""Is told the number of an epoch and its mean loss."""
TRAIN_FOLDS, VALIDATION_FOLDS, TEST_FOLDS = (1, 2, 3), (4,), (5,)


@dataclass(frozen=True)
class Net:
    """One dense network of the benchmark and how it trains."""

    build: Callable[[], nn.Module]
    epochs: int
    training: Training


NETS = {
    # Underfits with masks; the 2021 paper, too, masks for its large network only (section 3.1).
    "A": Net(
        partial(BCResNetASC, 32, num_classes=CLASSES, mels=64, frames=126), 75,
        Training(lr=6e-3, bands=0, frames=0),
    ),
    "B": Net(partial(ResidualCNN, num_classes=CLASSES), 80, Training()),
}  # fmt: skip


@cache
def features(folds: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Log-mels (clips, 1, 64, 126) and labels (clips,) of some folds of ESC-50, computed once."""
    audio, labels = esc50(folds)
    return log_mels(audio, MelSettings(), torch.device("cpu")), labels


def fit(
    model: nn.Module, epochs: int, settings: Training, *, seed: int, on_epoch: Watch | None = None
) -> None:
    """Train a network in place on the training folds; `seed` is that of order and augmentation."""
    torch.manual_seed(seed)
    batches = Epochs(*features(TRAIN_FOLDS), CLASSES, settings, seed=seed)
    train(model, batches, epochs, on_epoch=on_epoch)


def path(net: str, seed: int) -> Path:
    """Path of the weights of one run; its record has the suffix `.json`."""
    return RUNS / "dense" / f"{net}-seed{seed}.safetensors"


def load(net: str, seed: int) -> nn.Module:
    """One trained dense network, in evaluation mode."""
    file = path(net, seed)
    if not file.is_file():
        command = f"python -m benchmarks.accuracy.dense --net {net} --seed {seed}"
        raise FileNotFoundError(f"There is no {file}. Run: {command}")
    return filled(NETS[net].build(), file).eval()


def run(net: str, seed: int, epochs: int | None = None) -> None:
    """Train one dense network, and keep its weights and record."""
    epochs, settings = epochs or NETS[net].epochs, NETS[net].training
    torch.manual_seed(seed)
    model = NETS[net].build()
    cpu, wall = time.process_time(), time.time()

    def watch(epoch: int, mean_loss: float) -> None:
        if epoch % 5 == 0:
            spent = time.process_time() - cpu
            said = f"{net}{seed} epoch {epoch} loss {mean_loss:.3f} {spent:.0f} CPU s"
            print(said, flush=True)

    fit(model, epochs, settings, seed=seed, on_epoch=watch)
    record = {
        "net": net,
        "seed": seed,
        "epochs": epochs,
        "training": asdict(settings),
        "train_accuracy": accuracy(model, *features(TRAIN_FOLDS)),
        "validation_accuracy": accuracy(model, *features(VALIDATION_FOLDS)),
        "cpu_seconds": round(time.process_time() - cpu),
        "wall_seconds": round(time.time() - wall),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    keep(model, path(net, seed))
    write_bytes(path(net, seed).with_suffix(".json"), json.dumps(record, indent=2).encode() + b"\n")


def main() -> None:
    """Train the runs that the command line names, skipping those already kept."""
    options = parser(__doc__)
    options.add_argument("--net", choices=sorted(NETS), required=True)
    options.add_argument("--seed", type=int, nargs="+", required=True)
    options.add_argument("--epochs", type=int, help="passes over the training folds")
    options.add_argument("--again", action="store_true", help="train even if the run is kept")
    given = started(options)
    for seed in given.seed:
        kept = path(given.net, seed).with_suffix(".json")
        if given.again or not kept.is_file():
            run(given.net, seed, given.epochs)
        print(kept.read_text(), flush=True)


if __name__ == "__main__":
    main()
