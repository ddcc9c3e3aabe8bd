"""A trained audio CNN under 128,000 parameters and 30 million MACs at once, on ESC-50.

    python -m recipes.esc50 --seeds 0 1 2 --control    # the result in the README
    python -m recipes.esc50 --demo                     # the same road in minutes (`make demo`)

The road: five-second clips -> log-mel spectrograms -> a dense residual CNN (324,130 parameters, 57
million MACs) trained on folds 1-4 -> `compressor.fit` -> the held-out fold 5. All settings were
chosen on fold 4 with networks trained on folds 1-3 (`benchmarks/`); fold 5 is only reported.

Without `--data` the recipe looks for ESC-50 below `COMPRESSOR_DATA`, then `../shared/data`. If
there is none it generates scenes in the layout of the TAU data sets and says so: the numbers are
then about generated sounds. What a run leaves in `--out`: the dense weights, a checkpoint, the
compressed model, `report.md`, `report.json`, `layers.png`. A killed run goes on when called again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import compressor
from compressor import Budget, Distill, FineTune, Prune, Recalibrate
from compressor.storage import read_json, sealed, write_bytes
from models import BCResNetASC, ResidualCNN
from recipes.audio import AudioFormat
from recipes.cache import OnBadFile, waveforms
from recipes.command import usable
from recipes.epochs import Epochs
from recipes.esc50_data import FORMAT as ESC50_FORMAT
from recipes.esc50_data import read_esc50
from recipes.features import MelSettings, log_mels
from recipes.listing import Listing
from recipes.plans import Training
from recipes.scenes import SceneSettings, write_scenes
from recipes.tau_data import read_tau
from recipes.training import accuracy, train

ROOT = Path(__file__).resolve().parents[1]
BUDGET = Budget(params=128e3, macs=30e6)
"""The caps of DCASE 2022-2023 Task 1, here for a clip of five seconds."""

MELS = {
    # 16 kHz, frames of 64 ms every 40 ms: 64 bands x 126 frames for five seconds.
    "esc50": MelSettings(hop=0.040),
    # One-second clips get as many frames from a shorter hop, so that the network costs the same.
    "scenes": MelSettings(hop=0.008),
}
SCENES_FORMAT = AudioFormat(seconds=1)
MODELS: dict[str, Callable[[int], nn.Module]] = {
    "residual": ResidualCNN,
    "bcresnet": lambda classes: BCResNetASC(80, num_classes=classes, mels=64, frames=126),
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """One run.

    Attributes:
        model: Which network, a key of `MODELS`.
        epochs: Passes over the data for the dense network.
        fine_tune: Passes over the data for the small one.
        dense: How the dense network is trained.
        small: How the small network's batches are made, and its peak learning rate.
        distill: What the small network learns from the dense one, or None. For this network at
            such a budget it brought 1.7 points on fold 4 (`benchmarks/accuracy/finetune.md`).
        seed: Of initial weights, order, augmentation.
    """

    model: str = "residual"
    epochs: int = 50
    fine_tune: int = 30
    dense: Training = field(default_factory=Training)
    small: Training = field(default_factory=lambda: Training(lr=1e-3))
    distill: Distill | None = field(default_factory=Distill)
    seed: int = 0


def demo(config: Config) -> Config:
    """A run of a few minutes: everything as in the full one but for the number of epochs."""
    return replace(config, epochs=12, fine_tune=6)


@dataclass(frozen=True)
class Data:
    """Log-mels (clips, 1, 64, 126) and labels (clips,) for training and for the held-out part."""

    name: str
    train: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]
    classes: int

    @cached_property
    def digest(self) -> str:
        """Of every clip and label: names the files of a run, which other data must not find."""
        tensors = [tensor.cpu().contiguous() for part in self.parts for tensor in part]
        found = hashlib.sha256(f"{self.name} {self.classes}".encode())
        for tensor in tensors:
            found.update(str(tuple(tensor.shape)).encode())
            found.update(tensor.numpy())
        return found.hexdigest()[:8]

    @property
    def parts(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Training and held-out part."""
        return self.train, self.held_out


# ---------------------------------------------------------------------------------------- features


def find_esc50(given: Path | None) -> Path | None:
    """The folder of ESC-50: the one given, else below `COMPRESSOR_DATA`, else `../shared/data`."""
    if given is not None:
        return given
    base = os.environ.get("COMPRESSOR_DATA")
    root = Path(base) if base else ROOT.parent / "shared" / "data"
    return next((p for p in (root / "esc50", root) if (p / "meta" / "esc50.csv").exists()), None)


@dataclass(frozen=True)
class Decoding:
    """Where decoded clips are kept, and what becomes of files missing or damaged."""

    cache: Path = ROOT / "runs" / "cache"
    on_bad_file: OnBadFile = "refuse"


def decoded(listing: Listing, wanted: AudioFormat, decoding: Decoding) -> tuple[Tensor, Tensor]:
    """Mono waveforms, int16 (clips, samples), and labels (clips,) of the files that are good."""
    clips = waveforms(listing.paths, wanted, decoding.cache, on_bad_file=decoding.on_bad_file)
    audio = clips.audio[:, 0] if clips.valid.all() else clips.audio[clips.valid, 0]
    return torch.from_numpy(np.array(audio)), torch.from_numpy(listing.labels[clips.valid])


def load_esc50(root: Path, device: torch.device, decoding: Decoding | None = None) -> Data:
    """Folds 1-4 to train on, fold 5 held out."""
    decoding, parts = decoding or Decoding(), list[tuple[Tensor, Tensor]]()
    for folds in ((1, 2, 3, 4), (5,)):
        listing = read_esc50(root, folds, missing=decoding.on_bad_file)
        audio, labels = decoded(listing, ESC50_FORMAT, decoding)
        parts.append((log_mels(audio, MELS["esc50"], device), labels.to(device)))
    return Data("ESC-50", parts[0], parts[1], classes=50)


def load_scenes(root: Path, device: torch.device, decoding: Decoding | None = None) -> Data:
    """Generated scenes, written once as wav files in the TAU layout."""
    if not root.exists():
        write_scenes(root, SceneSettings(train_recordings=50))
    parts: list[tuple[Tensor, Tensor]] = []
    for part in ("train", "test"):
        audio, labels = decoded(read_tau(root, part), SCENES_FORMAT, decoding or Decoding())
        x = log_mels(audio, MELS["scenes"], device)[..., :126]
        parts.append((x.contiguous(), labels.to(device)))
    return Data("generated scenes", parts[0], parts[1], classes=10)


def load(
    given: Path | None, out: Path, device: torch.device, console: Console, decoding: Decoding
) -> Data:
    """ESC-50 where it is, else generated scenes; says loudly which."""
    root = find_esc50(given)
    if root is not None:
        console.rule(f"[bold]real audio: ESC-50 from {root}")
        return load_esc50(root, device, decoding)
    console.rule(
        "[bold red]no ESC-50 found: GENERATED SCENES, the numbers are not about real audio"
    )
    console.print(
        "Real clips: run `python -m recipes.download esc50 --to DIR` and pass --data DIR/esc50."
    )
    return load_scenes(out / "scenes", device, decoding)


# ------------------------------------------------------------------------------- dense, then small


def train_dense(
    data: Data, config: Config, folder: Path, console: Console
) -> tuple[nn.Module, float]:
    """Train the dense network, or take the one of an earlier call with this config and data.

    Returns:
        The network in eval mode, and the CPU seconds that its training took.
    """
    torch.manual_seed(config.seed)
    model = MODELS[config.model](data.classes).to(data.train[0].device)
    file = folder / f"dense-{config.epochs}-epochs-{data.digest}.safetensors"
    if file.exists():
        try:
            model.load_state_dict(load_file(file))
        except (SafetensorError, RuntimeError) as error:
            message = f"{file} does not hold this network ({error}): delete it to train anew"
            raise ValueError(message) from error
        with safe_open(file, framework="pt") as opened:
            return model.eval(), float((opened.metadata() or {}).get("cpu_seconds", "nan"))
    start = time.process_time()
    epochs = Epochs(*data.train, data.classes, config.dense, seed=config.seed)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("train the dense network", total=config.epochs)

        def show(epoch: int, loss: float) -> None:
            bar.update(task, completed=epoch)
            if not console.is_terminal and epoch % max(1, config.epochs // 4) == 0:
                console.print(f"dense network: epoch {epoch} of {config.epochs}, loss {loss:.3f}")

        train(model, epochs, config.epochs, on_epoch=show)
    seconds = time.process_time() - start
    folder.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, part, metadata={"cpu_seconds": f"{seconds:.1f}"})
    part.replace(file)
    return model, seconds


def compress(
    model: nn.Module, data: Data, config: Config, checkpoint: Path, budget: Budget = BUDGET
) -> compressor.Result:
    """The one call this library is about."""
    batches = Epochs(*data.train, data.classes, config.small, seed=1000 + config.seed)
    tune = FineTune(epochs=config.fine_tune, lr=config.small.lr, distill=config.distill)
    return compressor.fit(
        model,
        batches,
        budget=budget,
        schedule=[Prune(), Recalibrate(), tune],
        checkpoint=checkpoint,
        seed=config.seed,
    )


def train_on(model: nn.Module, data: Data, config: Config, checkpoint: Path) -> nn.Module:
    """The control: the dense network trained on as the small one is, under caps it meets already.

    Without it, what compression costs and what more training brings cannot be told apart.
    """
    cost = compressor.measure(model)
    enough = Budget(params=cost.params, macs=cost.macs)
    return compress(model, data, config, checkpoint, enough).model


def earlier_seconds(folder: Path, kind: dict[str, object]) -> float:
    """CPU seconds of `fit` in an earlier call for the same run; this one only read its end."""
    file = folder / "result.json"
    if not file.exists():
        return 0.0
    earlier = read_json(file)
    try:
        same = all(earlier.get(key) == json.loads(json.dumps(v)) for key, v in kind.items())
        return float(earlier["fit CPU seconds"]) if same else 0.0
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f"{file} is damaged ({type(error).__name__}: {error}): delete it, and the run goes on"
        ) from error


def run(
    data: Data, config: Config, folder: Path, console: Console, *, control: bool = False
) -> dict[str, float]:
    """One seed: train, compress, evaluate, write."""
    began = time.perf_counter()
    model, dense_seconds = train_dense(data, config, folder, console)
    length = f"{config.epochs}-{config.fine_tune}-{data.digest}"
    start = time.process_time()
    result = compress(model, data, config, folder / f"checkpoint-{length}")
    seconds = time.process_time() - start
    kind = {"data": data.name, "digest": data.digest, "config": asdict(config)}
    seconds = max(seconds, earlier_seconds(folder, kind))
    result.save(folder)
    result.report.plot(folder / "layers.png")
    before, after = result.report.before, result.report.after
    record = {
        "dense accuracy": 100 * accuracy(model, *data.held_out),
        "compressed accuracy": 100 * accuracy(result.model, *data.held_out),
        "dense params": before.params,
        "params": after.params,
        "dense macs": before.macs,
        "macs": after.macs,
        "dense CPU seconds": dense_seconds,
        "fit CPU seconds": seconds,
        "wall seconds": time.perf_counter() - began,
    }
    if control:
        longer = train_on(model, data, config, folder / f"control-{length}")
        record["dense, trained on"] = 100 * accuracy(longer, *data.held_out)
    write_bytes(folder / "result.json", sealed({**kind, **record}))
    console.print(str(result.report), markup=False, highlight=False, soft_wrap=True)
    return record


# ------------------------------------------------------------------------------------------ report


def mean(values: Sequence[float]) -> str:
    """Mean, and the standard error where there are several values."""
    if len(values) == 1:
        return f"{values[0]:,.1f}"
    error = statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.mean(values):,.1f} +- {error:.1f}"


def summary(records: Sequence[dict[str, float]], data: Data, folder: Path) -> str:
    """What the README quotes."""
    held_out, first = len(data.held_out[0]), records[0]
    names = list(records[0])
    lines = [f"{name:>20}: {mean([r[name] for r in records])}" for name in names]
    return (
        f"{data.name}, {held_out} held-out clips, {len(records)} seed(s)\n"
        + "\n".join(lines)
        + f"\n{'caps':>20}: {BUDGET} -> "
        + ("met" if first["params"] <= 128_000 and first["macs"] <= 30_000_000 else "NOT MET")
        + f"\n{'files':>20}: {folder}"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", type=Path, help="ESC-50's folder, with meta/ and audio/ in it")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "esc50")
    parser.add_argument("--model", choices=sorted(MODELS), default="residual")
    parser.add_argument("--demo", action="store_true", help="few epochs: minutes, not half an hour")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--control", action="store_true", help="train the dense network on, too")
    parser.add_argument("--cache", type=Path, default=Decoding.cache, help="decoded clips")
    parser.add_argument(
        "--on-bad-file",
        choices=get_args(OnBadFile),
        default="refuse",
        help="what to do about files that are missing or cannot be decoded",
    )
    options = parser.parse_args()
    console = Console()
    out: Path = options.out / "demo" if options.demo else options.out
    decoding = Decoding(options.cache, options.on_bad_file)
    try:
        data = load(options.data, out, usable(options.device), console, decoding)
    except (OSError, ValueError) as error:  # what is wrong with the files, and what to do
        sys.exit(str(error))
    config = Config(model=options.model)
    config = demo(config) if options.demo else config
    records: list[dict[str, float]] = []
    folder = out
    for seed in options.seeds:
        folder = out / f"{options.model}-seed{seed}"
        one = replace(config, seed=seed)
        records.append(run(data, one, folder, console, control=options.control))
    console.rule("[bold]result")
    console.print(summary(records, data, folder), markup=False, highlight=False)


if __name__ == "__main__":
    main()
