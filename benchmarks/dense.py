"""Train the dense networks that the other benchmarks compress, on ESC-50.

Folds 1 to 3 train, fold 4 validates, fold 5 is not read here. Every run is kept under `runs/dense`:

    python -m benchmarks.dense --net A --seed 0

Nets: A is `BCResNetASC` with 32 channels (60,498 parameters, 11 million MACs), B is `ResidualCNN`
(324,130 parameters, 57 million MACs), both for 64 mels x 126 frames and 50 classes.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from compressor.storage import write_bytes
from models import BCResNetASC, ResidualCNN
from recipes.data.cache import waveforms
from recipes.data.esc50 import FORMAT, read_esc50
from recipes.features.logmel import MelSettings, log_mels
from recipes.training.epochs import Epochs
from recipes.training.loop import accuracy, train
from recipes.training.training_plans import Training

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "runs" / "dense"
TRAIN_FOLDS, VALIDATION_FOLDS, TEST_FOLDS = (1, 2, 3), (4,), (5,)
CLASSES = 50


@dataclass(frozen=True)
class Net:
    """One dense network of the benchmark and how it trains."""

    build: Callable[[], nn.Module]
    epochs: int
    training: Training


NETS = {
    # Underfits with masks; the 2021 paper, too, masks for its large network only (section 3.1).
    "A": Net(
        lambda: BCResNetASC(32, num_classes=CLASSES, mels=64, frames=126),
        epochs=75,
        training=Training(lr=6e-3, bands=0, frames=0),
    ),
    "B": Net(lambda: ResidualCNN(num_classes=CLASSES), epochs=80, training=Training()),
}


def data_root() -> Path:
    """The folder of real audio: `COMPRESSOR_DATA`, else `../shared/data` beside the project."""
    given = os.environ.get("COMPRESSOR_DATA")
    return Path(given) if given else ROOT.parent / "shared" / "data"


@cache
def features(folds: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Log-mels (clips, 1, 64, 126) and labels (clips,) of some folds of ESC-50, computed once."""
    listing = read_esc50(data_root() / "esc50", folds)
    clips = waveforms(listing.paths, FORMAT, ROOT / "runs" / "cache").audio[:, 0]
    audio = torch.from_numpy(np.array(clips))
    x = log_mels(audio, MelSettings(), torch.device("cpu"))
    return x, torch.from_numpy(listing.labels)


def fit(
    model: nn.Module,
    epochs: int,
    settings: Training,
    *,
    seed: int,
    on_epoch: Callable[[int, float], None] | None = None,
) -> None:
    """Train a network in place on the training folds; `seed` is that of order and augmentation."""
    torch.manual_seed(seed)
    batches = Epochs(*features(TRAIN_FOLDS), CLASSES, settings, seed=seed)
    train(model, batches, epochs, on_epoch=on_epoch)


def path(net: str, seed: int) -> Path:
    """Where the weights of one run lie; its record has the suffix `.json`."""
    return RUNS / f"{net}-seed{seed}.safetensors"


def load(net: str, seed: int) -> nn.Module:
    """One trained dense network, in evaluation mode.

    Raises:
        FileNotFoundError: If it was not trained yet.
    """
    file = path(net, seed)
    if not file.is_file():
        msg = f"There is no {file}. Run: python -m benchmarks.dense --net {net} --seed {seed}"
        raise FileNotFoundError(msg)
    model = NETS[net].build()
    model.load_state_dict(load_file(file))
    return model.eval()


def run(net: str, seed: int, epochs: int | None = None) -> dict[str, object]:
    """Train one dense network, keep its weights and record, and return the record."""
    epochs = epochs or NETS[net].epochs
    settings = NETS[net].training
    torch.manual_seed(seed)
    model = NETS[net].build()
    cpu, wall = time.process_time(), time.time()
    console = Console()
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"net {net}, seed {seed}", total=epochs)

        def watch(epoch: int, mean_loss: float) -> None:
            progress.update(task, completed=epoch)
            if not console.is_terminal and epoch % 5 == 0:
                spent = time.process_time() - cpu
                print(
                    f"{net}{seed} epoch {epoch} loss {mean_loss:.3f} {spent:.0f} CPU s", flush=True
                )

        fit(model, epochs, settings, seed=seed, on_epoch=watch)
    record: dict[str, object] = {
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
    _save(model, record, path(net, seed))
    return record


def _save(model: nn.Module, record: dict[str, object], file: Path) -> None:
    """Write weights, then the record, each whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, part)
    part.replace(file)
    write_bytes(file.with_suffix(".json"), json.dumps(record, indent=2).encode() + b"\n")


def main() -> None:
    """Train the runs that the command line names, skipping those already kept."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--net", choices=sorted(NETS), required=True)
    parser.add_argument("--seed", type=int, nargs="+", required=True)
    parser.add_argument("--epochs", type=int, help="passes over the training folds")
    parser.add_argument("--again", action="store_true", help="train even if the run is kept")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for seed in arguments.seed:
        kept = path(arguments.net, seed).with_suffix(".json")
        if kept.is_file() and not arguments.again:
            print(kept.read_text())
        else:
            print(json.dumps(run(arguments.net, seed, arguments.epochs), indent=2), flush=True)


if __name__ == "__main__":
    main()
