"""Residual Normalization in whole numbers against float32: accuracy, agreement, memory, bytes.

BC-ResNet-ASC, which has five of them, hears speech commands as 32 mel bands x 51 frames. A dense
network is trained once for each seed; then it is rounded both ways, and each file is run on all
test clips by TensorFlow Lite Micro: what that says is the accuracy of the table.

    python -m benchmarks.microcontroller.norms --run  # half an hour; a killed call goes on
    python -m benchmarks.microcontroller.norms        # the table, into norms.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.accuracy.keywords import ANYTHING, Hearing
from benchmarks.common.command import recording, run_or_report, started
from benchmarks.common.records import SEEDS, Record, Records, every
from benchmarks.common.sound import KEYWORDS, RUNS, keywords
from benchmarks.common.tables import listed, page, table, versions, with_error
from benchmarks.common.weights import filled, keep
from benchmarks.microcontroller.accuracy import Clips
from benchmarks.microcontroller.runtimes import agreement, classes_of, device, recorded
from compressor import Int8, Result, Train, fit
from compressor.export.interpreters import MICRO
from compressor.export.tflite import made
from compressor.quantization.presets import TFLM, Preset
from models import BCResNetASC
from recipes.features.logmel import MelSettings, log_mels
from recipes.training.epochs import Epochs
from recipes.training.loop import accuracy

MELS = MelSettings(window=0.040, hop=0.020, mels=32, transform=1024)
CHANNELS = 10
FLOAT = replace(TFLM, statistics=False)


@dataclass(frozen=True)
class Way:
    """How a network is rounded: on which grids, and how many epochs of training there are."""

    preset: Preset
    epochs: int


WAYS: Mapping[str, Way] = {
    "whole numbers": Way(TFLM, 3),
    "float32": Way(FLOAT, 3),
    "whole numbers, calibrated alone": Way(TFLM, 0),
    "float32, calibrated alone": Way(FLOAT, 0),
}


@cache
def heard(part: str) -> tuple[Tensor, Tensor]:
    """Speech commands, log-mels (clips, 1, 32, 51) and labels."""
    audio, labels = keywords((part,))
    return log_mels(audio, MELS, torch.device("cpu")), labels


@dataclass(frozen=True)
class Setting:
    """How long dense training takes, what is heard, and where networks are kept."""

    dense: int = 20
    clips: Clips = heard
    folder: Path = RUNS / "norms"

    def batches(self, seed: int) -> Epochs:
        """Training clips, in an order and with an augmentation of their own."""
        return Epochs(*self.clips("train"), KEYWORDS, Hearing(), seed=seed)


FULL = Setting()


def dense(seed: int, setting: Setting) -> nn.Module:
    """The network in floating point, trained now or before."""
    torch.manual_seed(seed)
    file = setting.folder / f"seed{seed}.safetensors"
    made = BCResNetASC(CHANNELS, KEYWORDS, mels=32, frames=51)
    if file.is_file():
        return filled(made, file).train()
    result = fit(
        made.train(), setting.batches(seed), budget=ANYTHING, seed=seed, progress=False,
        schedule=[Train(epochs=setting.dense, lr=1e-2)], checkpoint=file.with_suffix(""),
    )  # fmt: skip
    keep(result.model, file)
    return result.model


def rounded(way: str, seed: int, setting: Setting) -> Result:
    """A dense network rounded."""
    how = WAYS[way]
    return fit(
        dense(seed, setting), setting.batches(100 + seed), budget=ANYTHING, seed=100 + seed,
        schedule=[Int8(epochs=how.epochs, preset=how.preset)], progress=False,
        checkpoint=setting.folder / f"{way}-seed{seed}".replace(" ", "-").replace(",", ""),
    )  # fmt: skip


def run(way: str, seed: int, setting: Setting = FULL) -> Record:
    """One way: what its file takes, and says of all test clips."""
    x, labels = setting.clips("test")
    floating = accuracy(dense(seed, setting).eval(), x, labels)
    result = rounded(way, seed, setting)
    program, content = made(result.network)
    head, tail = recorded(content)
    with torch.no_grad():
        answers = torch.cat([result.model(part) for part in x.split(64)])
    said, wanted = device(program, content, x, answers)
    classes = classes_of(said)
    return {
        "dense": floating,
        "test": float((classes == labels).double().mean()),
        "file": len(content),
        "head": head,
        "tail": tail,
        **agreement(said, wanted),
    }


HEAD = ("Residual Normalization in", "test", "test - dense", "equal outputs", "`.tflite`, bytes",
        "activations, bytes", "stays, bytes here")  # fmt: skip


def row(way: str, found: Records) -> list[str]:
    """One line of the table: means over seeds; the least agreement, the largest sizes."""
    points = 100 * found.values("test", way=way)
    records = found.of(way=way)
    equal = min(record["equal"] for record in records)
    sizes = (max(record[key] for record in records) for key in ("file", "head", "tail"))
    behind = points - 100 * found.values("dense", way=way)
    share = "100 %" if equal == 1 else f"{100 * equal:.3f} %"
    return [way, with_error(points, ".1f"), with_error(behind), share, *(f"{n:,}" for n in sizes)]


def report(found: Records) -> str:
    """The page."""
    whole = [way for way in WAYS if len(found.of(way=way)) == len(SEEDS)]
    clips = len(keywords(("test",))[1])
    return page(
        "# Residual Normalization on a microcontroller",
        f"{versions(f'tflite-micro {MICRO.version}')}. BC-ResNet-ASC of {CHANNELS} channels, with "
        "Residual Normalization at five places, on speech commands, twelve classes, a split of our "
        f"own by speakers; 32 mel bands x 51 frames. Dense: {FULL.dense} epochs in floating point; "
        "then 3 epochs of training on grids, or none. The test is what TensorFlow Lite Micro says "
        f"of the file, in percent of {clips} clips, and equal are single outputs that are the "
        f"reference's, of those clips. Mean (standard error) over seeds {listed(SEEDS)}, paired by "
        "seed; of agreement the least, of sizes the largest of them.",
        table(HEAD, (row(way, found) for way in whole)),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, or write the table."""
    options = started(recording(__doc__, way=WAYS), arguments)
    runs = every(run, options.seed, way=options.way)
    run_or_report(__file__, options, runs, report, hidden=())


if __name__ == "__main__":
    main()
