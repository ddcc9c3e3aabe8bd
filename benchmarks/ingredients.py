"""What the papers' ingredients bring on real sound that unseen devices recorded.

ESC-50 heard as TAU is: nine devices, of which training knows six and has few clips of five. Device
a is the recording as it is; the others are microphones of MicIRP, s1 to s6 with dynamic range
compression after them, as TAU's were made. The makers of s4 to s6 do not occur in training. Folds
1 to 4 train, fold 5 is recorded by all nine devices and reported. The settings are the papers',
scaled to 64 bands and fewer epochs. Epochs, hop and the scale of the features were changed, for all
rows alike, after first results on fold 5 had been seen: the runs had been too short to learn.

    python -m benchmarks.ingredients --run              # every run is kept, a killed call goes on
    python -m benchmarks.ingredients                    # the table, into benchmarks/ingredients.md
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from time import process_time

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.dense import CLASSES, ROOT, data_root
from compressor import Distill
from compressor.inputs.losses import cross_entropy
from compressor.storage import write_bytes
from models import BCResNetASC, SharedResNet
from recipes.data.cache import waveforms
from recipes.data.esc50 import FORMAT, read_esc50
from recipes.features.logmel import LEVEL, MELS_2021, SPREAD, LogMel, MelSettings
from recipes.features.responses import Responses, read_responses, split
from recipes.scenes.devices import Device, record, reference
from recipes.training.epochs import Epochs
from recipes.training.loop import accuracy, train
from recipes.training.paper_plans import Training2020, Training2021

RUNS = ROOT / "benchmarks" / "records" / "ingredients"
TEACHERS = ROOT / "runs" / "ingredients"
TABLE = Path(__file__).with_suffix(".md")
SEEDS = (0, 1, 2)
RATE = 16_000
NATS = replace(MELS_2021, hop=0.100, mels=64)
"""The 2021 paper's window; a quarter of its bands and a third of its frames: 64 x 51 a clip."""
SCALED = replace(NATS, level=LEVEL, spread=SPREAD)
"""The same with mean about 0 and variance about 1."""

SEEN, UNSEEN = ("b", "c", "s1", "s2", "s3"), ("s4", "s5", "s6")
DEVICES = ("a", *SEEN, *UNSEEN)
COPIES = 80
"""Training clips that each of `SEEN` recorded: 5 % of device a's, as in TAU 2020 (750 of 10,215
are 7 %)."""

PLAN_2021 = Training2021(epochs=60, hop=NATS.hop)
PLAN_2020 = Training2020(epochs=80, lr=1e-3, last=1e-5)
"""Ten times the report's learning rate for a quarter of its epochs."""

COLUMNS = ("overall", "a", "seen", "unseen", "a - unseen")


@dataclass(frozen=True)
class Row:
    """One way to build and train a network.

    Attributes:
        build: Makes the network.
        plan: How it is trained.
        mels: What it hears.
        distilled: Whether it learns from the teacher too.
    """

    build: Callable[[], nn.Module]
    plan: Training2020 | Training2021
    mels: MelSettings = NATS
    distilled: bool = False


def asc(channels: int = 10, **options: float | bool | None) -> Callable[[], nn.Module]:
    """BC-ResNet-ASC for this data; 10 channels are the paper's ASC-1."""
    return partial(BCResNetASC, channels, CLASSES, mels=64, frames=51, **options)


def shared() -> nn.Module:
    """Shared-ResNet with a quarter of its channels, for one microphone."""
    return SharedResNet(16, CLASSES, in_channels=1, mels=64, frames=51)


TEACHER = Row(asc(20), PLAN_2021)
ROWS = {
    "ASC-1, no ResidualNorm": Row(asc(residual_norm=None), PLAN_2021),
    "ASC-1": Row(asc(), PLAN_2021),
    "ASC-1, ResidualNorm at the input only": Row(asc(inside=False), PLAN_2021),
    "ASC-1, no mixup": Row(asc(), replace(PLAN_2021, mixup=0.0)),
    # The paper's 40 of 256 bands and 80 of 334 frames.
    "ASC-1, SpecAugment": Row(asc(), replace(PLAN_2021, bands=10, frames=12)),
    "ASC-1, distilled from ASC with 20 channels": Row(asc(), PLAN_2021, distilled=True),
    "Shared-ResNet, neither": Row(shared, replace(PLAN_2020, freqmix=0.0, mixup=0.0), SCALED),
    "Shared-ResNet, mixup": Row(shared, replace(PLAN_2020, freqmix=0.0), SCALED),
    "Shared-ResNet, FreqMix": Row(shared, replace(PLAN_2020, mixup=0.0), SCALED),
    "Shared-ResNet, FreqMix and mixup": Row(shared, PLAN_2020, SCALED),
}
AGAINST = {name: "ASC-1" if name.startswith("ASC") else "Shared-ResNet, neither" for name in ROWS}


# ------------------------------------------------------------------------------------------- data


def devices() -> dict[str, Device]:
    """The nine devices, the same in every run."""
    rng = np.random.default_rng(0)
    training, unheard = split(read_responses(data_root() / "micirp", RATE), seed=0)
    made = {"a": reference()}
    for names, responses in ((SEEN, training), (UNSEEN, unheard)):
        chosen = rng.choice(len(responses), len(names), replace=False)
        made |= {
            name: _device(responses, row, rng, compresses=name.startswith("s"))
            for name, row in zip(names, chosen, strict=True)
        }
    return made


def _device(
    responses: Responses, row: int, rng: np.random.Generator, *, compresses: bool
) -> Device:
    """A microphone, and a compressor behind it where it stands for a simulated device."""
    threshold, ratio = rng.uniform(-40, -25), rng.uniform(1.5, 4)
    return Device(
        response=responses.taps[row].numpy(),
        threshold=threshold,
        ratio=ratio if compresses else 1.0,
        noise=-75.0,
    )


def audio(folds: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Waveforms (clips, 80000) in [-1, 1) and labels (clips,) of some folds."""
    listing = read_esc50(data_root() / "esc50", folds)
    clips = waveforms(listing.paths, FORMAT, ROOT / "runs" / "cache").audio[:, 0]
    return clips.astype(np.float32) / 32_768, listing.labels


def log_mels(clips: np.ndarray, device: Device, mels: MelSettings, seed: int) -> Tensor:
    """What a device makes of waveforms (clips, samples): (clips, 1, 64, 51)."""
    front_end, rng = LogMel(mels), np.random.default_rng(seed)
    heard = (record(clip, device, RATE, rng).astype(np.float32)[None] for clip in clips)
    return torch.cat([front_end(torch.from_numpy(clip)) for clip in heard])


@cache
def training(mels: MelSettings) -> tuple[Tensor, Tensor]:
    """All clips of folds 1 to 4 by device a, and `COPIES` of them by each other device seen."""
    clips, labels = audio((1, 2, 3, 4))
    parts, targets = [log_mels(clips, reference(), mels, 0)], [labels]
    for number, name in enumerate(SEEN):
        rows = np.random.default_rng([1, number]).choice(len(clips), COPIES, replace=False)
        parts.append(log_mels(clips[rows], devices()[name], mels, number))
        targets.append(labels[rows])
    return torch.cat(parts), torch.from_numpy(np.concatenate(targets))


@cache
def test(mels: MelSettings) -> dict[str, tuple[Tensor, Tensor]]:
    """Fold 5 by every device."""
    clips, labels = audio((5,))
    return {
        name: (log_mels(clips, device, mels, 100 + number), torch.from_numpy(labels))
        for number, (name, device) in enumerate(devices().items())
    }


# ------------------------------------------------------------------------------------------- runs


def trained(
    row: Row, seed: int, device: torch.device, teacher: nn.Module | None = None
) -> nn.Module:
    """A network from scratch."""
    torch.manual_seed(seed)
    model = row.build().to(device)
    loss = cross_entropy if teacher is None else Distill().of(cross_entropy, teacher)
    x, y = training(row.mels)
    batches = Epochs(x.to(device), y.to(device), CLASSES, row.plan, seed=seed)
    train(model, batches, row.plan.epochs, loss=loss)
    return model


def teacher(device: torch.device) -> nn.Module:
    """The wider network, trained once, with seed 0, for all students."""
    file = TEACHERS / "teacher-seed0.safetensors"
    if not file.exists():
        tensors = trained(TEACHER, 0, device).state_dict()
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: t.contiguous() for name, t in tensors.items()}, file.with_suffix(".part"))
        file.with_suffix(".part").replace(file)
    model = TEACHER.build()
    model.load_state_dict(load_file(file))
    return model.to(device).eval()


def run(row: Row, seed: int, device: torch.device) -> dict[str, object]:
    """Train one network and hear the test fold through every device."""
    distiller = teacher(device) if row.distilled else None
    training(row.mels)
    start = process_time()
    model = trained(row, seed, device, distiller)
    spent = process_time() - start
    found = {
        name: 100 * accuracy(model, x.to(device), y.to(device))
        for name, (x, y) in test(row.mels).items()
    }
    return {
        "accuracy": found,
        "parameters": sum(p.numel() for p in model.parameters()),
        "train CPU seconds": round(spent),
        "epochs": row.plan.epochs,
        "torch": torch.__version__,
    }


def file(name: str, seed: int) -> Path:
    """Where the record of one run lies."""
    return RUNS / f"{name.replace(',', '').replace(' ', '-')}-seed{seed}.json"


def run_all(names: list[str], seeds: list[int], device: torch.device) -> None:
    """Make every run that has no record yet."""
    left = [(s, n) for s in seeds for n in names if not file(n, s).exists()]
    console = Console()
    bar = track(left, "Training", console=console, disable=not console.is_terminal)
    for seed, name in bar:
        found = run(ROWS[name], seed, device)
        write_bytes(file(name, seed), json.dumps(found, indent=2).encode() + b"\n")
        print(name, seed, found, flush=True)


# ------------------------------------------------------------------------------------------ report


def steps(name: str) -> np.ndarray:
    """The columns of the table, one row a seed: (seeds, 5)."""
    rows: list[list[float]] = []
    for seed in SEEDS:
        by = json.loads(file(name, seed).read_text())["accuracy"]
        groups = (DEVICES, ("a",), SEEN, UNSEEN)
        means = [float(np.mean([by[device] for device in group])) for group in groups]
        rows.append([*means, means[1] - means[3]])
    return np.array(rows)


def cells(values: np.ndarray, form: str) -> str:
    """Mean and standard deviation over the seeds, a column a group of devices."""
    means, spreads = values.mean(axis=0), values.std(axis=0, ddof=1)
    return " | ".join(f"{m:{form}} ± {s:.1f}" for m, s in zip(means, spreads, strict=True))


def table(form: str, value: Callable[[str], np.ndarray | None]) -> str:
    """One row a way of training."""
    lines = [f"| | {' | '.join(COLUMNS)} |", "|---" * (1 + len(COLUMNS)) + "|"]
    for name in ROWS:
        found = value(name)
        if found is not None:
            lines.append(f"| {name} | {cells(found, form)} |")
    return "\n".join(lines)


def difference(name: str) -> np.ndarray | None:
    """Points above the row that this one varies, seed by seed; None for that row itself."""
    return None if AGAINST[name] == name else steps(name) - steps(AGAINST[name])


def report() -> str:
    """The two tables, from the records."""
    record = json.loads(file("ASC-1", 0).read_text())
    return (
        "# What the papers' ingredients bring to unseen devices\n\n"
        f"torch {record['torch']}, Python {platform.python_version()}, one CPU thread, "
        f"{PLAN_2021.epochs} epochs (Shared-ResNet {PLAN_2020.epochs}) of "
        f"{1600 + len(SEEN) * COPIES:,} clips, 64 bands x 51 frames. "
        "Accuracy in percent on fold 5 of ESC-50 as 50 classes, recorded by nine devices, mean ± "
        f"standard deviation over seeds {', '.join(map(str, SEEDS))}: over all devices, device a, "
        f"the other devices of training ({', '.join(SEEN)}), and those that training has not heard "
        f"({', '.join(UNSEEN)}); last, how far these are behind device a. "
        "Epochs, hop and the scale of the features were changed, for all rows alike, after first "
        "results on fold 5 had been seen.\n\n"
        f"{table('.1f', steps)}\n\n"
        'In points against "ASC-1" or "Shared-ResNet, neither", paired by seed:\n\n'
        f"{table('+.1f', difference)}\n"
    )


def main() -> None:
    """Run, or print the tables."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--run", action="store_true", help="make the runs that are missing")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--seed", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.run:
        chosen = [name for name in ROWS if options.only in name]
        run_all(chosen, options.seed, options.device)
        return
    text = report()
    write_bytes(TABLE, text.encode())
    print(text)


if __name__ == "__main__":
    main()
