"""Gain of the papers' ingredients on real sound that unseen devices recorded.

ESC-50 heard as TAU is, by nine devices, of which training knows six and has few clips of five.
Device a is the recording as it is; the others are microphones of MicIRP, s1 to s6 with dynamic
range compression after them, as TAU's were made; the makers of s4 to s6 do not occur in training.
Folds 1 to 4 train, fold 5 by all nine is reported. The settings are the papers', scaled to 64 bands
and fewer epochs. Epochs, hop and the scale of the features were changed, for all rows alike, after
first results on fold 5 had been seen: the runs had been too short to learn.

    python -m benchmarks.accuracy.ingredients --run  # a killed call goes on
    python -m benchmarks.accuracy.ingredients        # the table, into ingredients.md
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from time import process_time

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.common.command import device, recording, run_or_report, started
from benchmarks.common.records import SEEDS, Record, Records, every
from benchmarks.common.sound import CLASSES, RATE, RUNS, data_root, esc50
from benchmarks.common.tables import listed, page, table, versions, with_deviation
from benchmarks.common.weights import filled, keep
from compressor import Distill
from compressor.inputs.losses import cross_entropy
from models import BCResNetASC, SharedResNet
from recipes.features.logmel import LEVEL, MELS_2021, SPREAD, LogMel, MelSettings
from recipes.features.responses import read_responses, split
from recipes.generated.devices import Device, record, reference
from recipes.training.epochs import Epochs
from recipes.training.loop import accuracy, train
from recipes.training.paper_plans import Training2020, Training2021

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
    """One way to build and train a network, on what it hears, and perhaps from the teacher too."""

    build: Callable[[], nn.Module]
    plan: Training2020 | Training2021
    mels: MelSettings = NATS
    distilled: bool = False


def asc(channels: int = 10, **options: float | bool | None) -> Callable[[], nn.Module]:
    """BC-ResNet-ASC for this data; 10 channels are the paper's ASC-1."""
    return partial(BCResNetASC, channels, CLASSES, mels=64, frames=51, **options)


shared = partial(SharedResNet, 16, CLASSES, in_channels=1, mels=64, frames=51)
"""Shared-ResNet with a quarter of its channels, for one microphone."""
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


def devices() -> dict[str, Device]:
    """The nine devices, the same in every run: microphones, some with a compressor behind."""
    rng = np.random.default_rng(0)
    training, unheard = split(read_responses(data_root() / "micirp", RATE), seed=0)
    made = {"a": reference()}
    for names, responses in ((SEEN, training), (UNSEEN, unheard)):
        chosen = rng.choice(len(responses), len(names), replace=False)
        for name, row in zip(names, chosen, strict=True):
            threshold, ratio = rng.uniform(-40, -25), rng.uniform(1.5, 4)
            ratio = ratio if name.startswith("s") else 1.0
            made[name] = Device(responses.taps[row].numpy(), threshold, ratio, noise=-75.0)
    return made


def audio(folds: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Waveforms (clips, 80000) in [-1, 1) and labels (clips,) of some folds."""
    clips, labels = esc50(folds)
    return clips.numpy().astype(np.float32) / 32_768, labels.numpy()


def log_mels(clips: np.ndarray, device: Device, mels: MelSettings, seed: int) -> Tensor:
    """Compute log-mels of waveforms (clips, samples) as a device hears them: (clips, 1, 64, 51)."""
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
    file = RUNS / "ingredients" / "teacher-seed0.safetensors"
    if not file.exists():
        keep(trained(TEACHER, 0, device), file)
    return filled(TEACHER.build(), file).to(device).eval()


def run(row: str, seed: int, device: torch.device) -> Record:
    """Train one network and hear the test fold through every device."""
    way = ROWS[row]
    distiller = teacher(device) if way.distilled else None
    training(way.mels)
    start = process_time()
    model = trained(way, seed, device, distiller)
    spent = process_time() - start
    heard = {name: [t.to(device) for t in clips] for name, clips in test(way.mels).items()}
    return {
        "accuracy": {name: 100 * accuracy(model, *clips) for name, clips in heard.items()},
        "parameters": sum(p.numel() for p in model.parameters()),
        "train CPU seconds": round(spent),
        "epochs": way.plan.epochs,
        "torch": torch.__version__,
    }


def steps(records: list[Record]) -> np.ndarray:
    """The columns of the table, one row a seed: (seeds, 5)."""
    groups = (DEVICES, ("a",), SEEN, UNSEEN)
    heard = [record["accuracy"] for record in records]
    means = np.array([[np.mean([by[name] for name in group]) for group in groups] for by in heard])
    return np.column_stack([means, means[:, 1] - means[:, 3]])


def report(found: Records) -> str:
    """The two tables, from the records."""
    levels = {name: steps(found.of(row=name)) for name in ROWS}
    paired = {name: levels[name] - levels[base] for name, base in AGAINST.items() if base != name}

    def rows(values: dict[str, np.ndarray], form: str) -> str:
        cells = ([name, *(with_deviation(c, form) for c in of.T)] for name, of in values.items())
        return table(("", *COLUMNS), cells)

    about = versions(threads="one CPU thread", pytorch=found.of(row="ASC-1")[0]["torch"])
    return page(
        "# What the papers' ingredients bring to unseen devices",
        f"{about}, {PLAN_2021.epochs} epochs (Shared-ResNet "
        f"{PLAN_2020.epochs}) of {1600 + len(SEEN) * COPIES:,} clips, 64 bands x 51 frames. "
        "Accuracy in percent on fold 5 of ESC-50 as 50 classes, recorded by nine devices, mean ± "
        f"standard deviation over seeds {listed(SEEDS)}: over all devices, device a, the other "
        f"devices of training ({listed(SEEN)}), and those that training has not heard "
        f"({listed(UNSEEN)}); last, how far these are behind device a. Epochs, hop and the scale "
        "of the features were changed, for all rows alike, after first results on fold 5 had been "
        "seen.",
        rows(levels, ".1f"),
        'In points against "ASC-1" or "Shared-ResNet, neither", paired by seed:',
        rows(paired, "+.1f"),
    )


def main() -> None:
    """Run, or print the tables."""
    parser = device(recording(__doc__))
    parser.add_argument("--only", default="", help="rows whose name contains this")
    options = started(parser)
    chosen = [name for name in ROWS if options.only in name]
    runs = every(partial(run, device=options.device), options.seed, row=chosen)
    run_or_report(__file__, options, runs, report)


if __name__ == "__main__":
    main()
