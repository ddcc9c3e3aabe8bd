"""A trained audio CNN under 128,000 parameters and 30 million MACs at once, on ESC-50.

    python -m recipes.esc50 --seeds 0 1 2 --control    # the result in the README
    python -m recipes.esc50 --demo                     # the same steps in minutes (`make demo`)
    python -m recipes.esc50 --folds 1 2 3 4 5          # as published systems are judged: days

The steps: five-second clips -> log-mel spectrograms -> a dense residual CNN (324,130 parameters, 57
million MACs) trained on folds 1-4 -> `compressor.fit` -> the held-out fold 5. All settings were
chosen on fold 4 with networks trained on folds 1-3 (`benchmarks/`); fold 5 is only reported.

`--folds` is another road, in `recipes.folds`: every fold is held out once, dense networks learn
for hours from mixed waveforms, several crops of a clip decide, and what comes of them keeps to
128,000 parameters and 30 or 143 million MACs a decision, each also in 64 KiB of integers. Nothing
is chosen on a fold that is tested on; the last epoch counts. `python -m benchmarks.accuracy.folds`
has the same runs with records in the repository, which another machine does not make again.

Without `--data` the recipe looks for ESC-50 below `COMPRESSOR_DATA`, then `../shared/data`. If
there is none it generates scenes in the layout of the TAU data sets and says so: the numbers are
then about generated sounds. What a run leaves in `--out`: the dense weights, a checkpoint, the
compressed model, `report.md`, `report.json`, `layers.png`. A killed run goes on when called again.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import get_args

import torch
from rich.console import Console
from rich.progress import Progress
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import compressor
from compressor import Budget, Distill, FineTune, Prune, Recalibrate
from compressor.commands.parser import Parser
from compressor.storage import read_json, sealed, write_bytes
from models import BCResNetASC, ResidualCNN
from recipes.data.cache import OnBadFile
from recipes.folds.command import Wanted
from recipes.folds.command import run as run_folds
from recipes.folds.settings import FOLDS
from recipes.folds.settings import STAGES as FOLD_STAGES
from recipes.running.command import leave, one_sentence_errors, usable
from recipes.running.esc50_data import CACHE, FRAMES, Data, find_esc50, load
from recipes.training.epochs import Epochs
from recipes.training.loop import accuracy, train
from recipes.training.training_plans import Training

ROOT = Path(__file__).resolve().parents[1]
BUDGET = Budget(params=128e3, macs=30e6)
"""The caps of DCASE 2022-2023 Task 1, here for a clip of five seconds."""

MODELS: dict[str, Callable[[int], nn.Module]] = {
    "residual": ResidualCNN,
    "bcresnet": lambda classes: BCResNetASC(80, num_classes=classes, mels=64, frames=FRAMES),
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of a run.

    Attributes:
        model: Network, a key of `MODELS`.
        epochs: Passes over the data for the dense network.
        fine_tune: Passes over the data for the small one.
        dense: Training of the dense network.
        small: Batches of the small network, and its peak learning rate.
        distill: Distillation of the dense network into the small one, or None. For this network at
            such a budget it brought 1.7 points on fold 4 (`benchmarks/accuracy/finetune.md`).
        seed: Seed of initial weights, order, augmentation.
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
            raise ValueError(
                f"{file} does not hold this network ({error}): delete it to train anew"
            ) from error
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
    steps = [Prune(), Recalibrate(), tune]
    return compressor.fit(
        model, batches, budget=budget, schedule=steps, checkpoint=checkpoint, seed=config.seed
    )


def train_on(model: nn.Module, data: Data, config: Config, checkpoint: Path) -> nn.Module:
    """The control: the dense network trained on as the small one is, under caps it meets already.

    Without it, what compression costs and what more training brings cannot be told apart.
    """
    cost = compressor.measure(model)
    enough = Budget(params=cost.params, macs=cost.macs)
    return compress(model, data, config, checkpoint, enough).model


def earlier_seconds(folder: Path, kind: dict[str, object]) -> float:
    """CPU seconds of `fit` in an earlier call for the same run, whose end this one only reads."""
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
    pair = [100 * accuracy(network, *data.held_out) for network in (model, result.model)]
    told = f"accuracy on {len(data.held_out[0])} clips held out"
    result.report.save(folder, scores={told: (f"{pair[0]:.1f} %", f"{pair[1]:.1f} %")})
    before, after = result.report.before, result.report.after
    record = {
        "dense accuracy": pair[0],
        "compressed accuracy": pair[1],
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
    """Lines that the README quotes."""
    held_out, first = len(data.held_out[0]), records[0]
    lines = [f"{name:>20}: {mean([r[name] for r in records])}" for name in first]
    return (
        f"{data.name}, {held_out} held-out clips, {len(records)} seed(s)\n"
        + "\n".join(lines)
        + f"\n{'caps':>20}: {BUDGET} -> "
        + ("met" if first["params"] <= 128_000 and first["macs"] <= 30_000_000 else "NOT MET")
        + f"\n{'files':>20}: {folder}"
    )


def five_folds(options: argparse.Namespace, console: Console) -> None:
    """The command with `--folds`; of `--demo` one epoch of everything."""
    root = find_esc50(options.data)
    if root is None:
        leave("--folds needs ESC-50: `python -m recipes.download esc50 --to DIR`, then --data.")
    wanted = Wanted(
        folds=options.folds, seeds=options.seeds, stages=options.networks,
        out=options.out / "folds", quick=options.demo,
    )  # fmt: skip
    torch.set_num_threads(1)
    with one_sentence_errors("cpu"):
        run_folds(root, options.cache, wanted, console)


def main() -> None:
    """Command line."""
    parser = Parser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", type=Path, help="ESC-50's folder, with meta/ and audio/ in it")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "esc50")
    parser.add_argument("--model", choices=sorted(MODELS), default="residual")
    parser.add_argument("--demo", action="store_true", help="few epochs: minutes, not half an hour")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--control", action="store_true", help="train the dense network on, too")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of decoded clips")
    parser.add_argument(
        "--on-bad-file",
        choices=get_args(OnBadFile),
        default="refuse",
        help="files that are missing or cannot be decoded",
    )
    parser.add_argument("--folds", type=int, nargs="+", choices=FOLDS, help="hold these out")
    parser.add_argument("--networks", nargs="+", choices=FOLD_STAGES, default=list(FOLD_STAGES))
    options = parser.parse_args()
    console = Console()
    if options.folds:
        five_folds(options, console)
        return
    out: Path = options.out / "demo" if options.demo else options.out
    with one_sentence_errors(options.device):  # what is wrong with the files, and what to do
        device = usable(options.device)
        data = load(options.data, out, device, console, options.cache, options.on_bad_file)
    config = Config(model=options.model)
    config = demo(config) if options.demo else config
    folders = [out / f"{options.model}-seed{seed}" for seed in options.seeds]
    records = [
        run(data, replace(config, seed=seed), folder, console, control=options.control)
        for seed, folder in zip(options.seeds, folders, strict=True)
    ]
    console.rule("[bold]result")
    console.print(summary(records, data, folders[-1]), markup=False, highlight=False)


if __name__ == "__main__":
    main()
