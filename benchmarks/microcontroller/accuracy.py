"""Accuracy on keywords under caps of 32 KiB of flash and 32 or 16 KiB of RAM, as a device has it.

DS-CNN and two forms of BC-ResNet-1 hear speech commands, divided by speakers
(`benchmarks.common.sound`), as 40 mel bands x 51 frames. A dense network in floating point is
trained once for each seed. It is rounded as it is, and fitted to the caps; the file that comes of
it is run on all test clips by TensorFlow Lite Micro, and what that says is the accuracy of the
table.

Flash is the `.tflite` file: the cap on bytes is on it (`Tflite()`), joint with the one on RAM.
Networks whose operators alone fill the flash are refused, and the table says so.

    python -m benchmarks.microcontroller.accuracy --run  # hours; a killed call goes on
    python -m benchmarks.microcontroller.accuracy        # the table, into accuracy.md
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from time import process_time

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from benchmarks.accuracy.keywords import ANYTHING
from benchmarks.common.command import recording, run_or_report, started
from benchmarks.common.records import SEEDS, Record, Records, every
from benchmarks.common.sound import KEYWORDS, RUNS, keywords
from benchmarks.common.tables import listed, page, table, versions, with_error
from benchmarks.common.weights import filled, keep
from benchmarks.microcontroller.runtimes import agreement, classes_of, device, recorded
from compressor import (
    Budget,
    BudgetError,
    FineTune,
    Int8,
    Prune,
    Recalibrate,
    Result,
    Tflite,
    Train,
    fit,
)
from compressor.export.micro.arena import ram
from compressor.export.tflite import made
from compressor.phases import Phase
from compressor.quantization.presets import TFLM
from compressor.storage import write_bytes
from models import DSCNN, BCResNet
from recipes.features.logmel import MelSettings, log_mels
from recipes.training.augment import Augmentation, Roll, SpecAugment
from recipes.training.epochs import Epochs
from recipes.training.loop import accuracy
from recipes.training.training_plans import Plan

MELS = MelSettings(window=0.040, hop=0.020, mels=40, transform=1024)
NETS: dict[str, Callable[[], nn.Module]] = {
    "DS-CNN": partial(DSCNN, KEYWORDS, coefficients=40, frames=51),
    "BC-ResNet-1": partial(BCResNet, 1, KEYWORDS, 5, mels=40, frames=51),
    "BC-ResNet-1, one band": partial(BCResNet, 1, KEYWORDS, 1, mels=40, frames=51),
}
"""With one band, normalisation is by channels alone: with five, a file has some 240 operators, not
some 100, which fill 32 KiB without a weight."""

DENSE = {
    "DS-CNN": Train(epochs=50, lr=5e-3, warmup=3),
    "BC-ResNet-1": Train(epochs=50, lr=1e-2, warmup=3),
    "BC-ResNet-1, one band": Train(epochs=50, lr=1e-2, warmup=3),
}
"""How each network in floating point is trained."""

FLASH = 32 * 1024
CAPS: Mapping[str, int | None] = {"rounded": None, "32 KiB": 32 * 1024, "16 KiB": 16 * 1024}
"""Bytes of RAM by the name of the way; None for no cap at all."""
WAYS = ("dense", *CAPS)

Clips = Callable[[str], tuple[Tensor, Tensor]]
"""Log-mels (clips, 1, 40, 51) and labels (clips,) of "train", "validation" or "test"."""


@dataclass(frozen=True)
class Shifted(Plan):
    """Batches of 64 clips, shifted by up to 100 ms and masked; networks so small mix nothing."""

    batch: int = 64
    lr: float = 1e-3

    def augmentations(self) -> tuple[Augmentation, ...]:
        return Roll(5), SpecAugment(4, 8, fill=0.0)


@cache
def heard(part: str) -> tuple[Tensor, Tensor]:
    """Speech commands, decoded once for all runs."""
    file = RUNS / "microcontroller" / f"{part}.safetensors"
    if not file.exists():
        audio, labels = keywords((part,))
        found = log_mels(audio, MELS, torch.device("cpu"))
        write_bytes(file, save({"clips": found, "labels": labels}))
    tensors = load_file(file)
    return tensors["clips"], tensors["labels"]


@dataclass(frozen=True)
class Setting:
    """How long everything takes, and on which clips.

    A dense epoch takes 8 to 10 CPU s: by that some two hours for all networks and seeds.

    Attributes:
        dense: Epochs of the network in floating point; None for those of `DENSE`.
        tuned: Of fine-tuning under the caps.
        rounded: Of training on grids.
        clips: What is heard.
        folder: Where dense networks and checkpoints are kept.
    """

    dense: int | None = None
    tuned: int = 10
    rounded: int = 5
    clips: Clips = heard
    folder: Path = RUNS / "microcontroller"

    def batches(self, seed: int) -> Epochs:
        """Training clips, in an order and with an augmentation of their own."""
        return Epochs(*self.clips("train"), KEYWORDS, Shifted(), seed=seed)

    def file(self, net: str, seed: int) -> Path:
        """The weights of a dense network."""
        return self.folder / f"{net}-seed{seed}.safetensors"


FULL = Setting()


def dense(net: str, seed: int, setting: Setting) -> nn.Module:
    """The network in floating point, trained now or before."""
    torch.manual_seed(seed)
    file, training = setting.file(net, seed), DENSE[net]
    if file.is_file():
        return filled(NETS[net](), file).train()
    if setting.dense is not None:
        training = replace(training, epochs=setting.dense, warmup=0)
    result = fit(
        NETS[net]().train(), setting.batches(seed), budget=ANYTHING, seed=seed,
        schedule=[training], checkpoint=file.with_suffix(""), progress=False,
    )  # fmt: skip
    keep(result.model, file)
    return result.model


def fitted(net: str, way: str, seed: int, setting: Setting) -> Result:
    """A dense network rounded, under caps or without.

    Raises:
        BudgetError: If no network of these operators meets the caps.
    """
    model, memory = dense(net, seed, setting), CAPS[way]
    budget, rate, phases = ANYTHING, None, list[Phase]()
    if memory is not None:
        budget, rate = Budget(bytes=FLASH, ram=memory, file=Tflite()), DENSE[net].lr
        phases = [Prune(), Recalibrate(), FineTune(epochs=setting.tuned)]
    return fit(
        model, setting.batches(100 + seed), budget=budget, seed=100 + seed, progress=False,
        lr=rate,
        schedule=[*phases, Int8(epochs=setting.rounded, preset=TFLM)],
        checkpoint=setting.folder / f"{net}-{way}-seed{seed}".replace(" ", "-"),
    )  # fmt: skip


def run(net: str, way: str, seed: int, setting: Setting = FULL) -> Record:
    """One network: its costs, and its accuracy as TensorFlow Lite Micro has it."""
    start = process_time()
    if way == "dense":
        model = dense(net, seed, setting).eval()
        points = {part: accuracy(model, *setting.clips(part)) for part in ("validation", "test")}
        points["train"] = accuracy(model, *setting.clips("train"))
        return {"params": sum(p.numel() for p in model.parameters()), **points}
    try:
        result = fitted(net, way, seed, setting)
    except BudgetError as error:
        return {"refused": str(error)}
    program, content = made(result.network)
    head, _ = recorded(content)
    x, labels = setting.clips("test")
    with torch.no_grad():
        answers = torch.cat([result.model(part) for part in x.split(64)])
    said, wanted = device(program, content, x, answers)
    classes = classes_of(said)
    return {
        "params": result.report.after.params,
        "file": len(content),
        "ram": ram(program),
        "head": head,
        "equal": agreement(said, wanted)["equal"],
        "validation": accuracy(result.model, *setting.clips("validation")),
        "reference": float((answers.argmax(1) == labels).double().mean()),
        "test": float((classes == labels).double().mean()),
        "CPU seconds": round(process_time() - start),
    }


HEAD = ("network", "", "test", "test - dense", "parameters", "flash", "RAM, counted",
        "RAM, recorded", "equal to the reference")  # fmt: skip


def row(net: str, way: str, found: Records) -> list[str]:
    """One line of the table: means over seeds; the largest, where a cap is to be met."""
    records = found.of(net=net, way=way)
    refused = [record["refused"] for record in records if "refused" in record]
    if refused:
        return [net, way, f"refused: {refused[0]}", *[""] * (len(HEAD) - 3)]
    points = 100 * found.values("test", net=net, way=way)
    cells = [net, way, with_error(points, ".1f")]
    if way == "dense":
        return [*cells, "", f"{records[0]['params']:,}", *[""] * (len(HEAD) - 5)]
    behind = points - 100 * found.values("test", net=net, way="dense")
    sizes = (max(record[key] for record in records) for key in ("params", "file", "ram", "head"))
    equal = min(record["equal"] for record in records)
    share = "100 %" if equal == 1 else f"{100 * equal:.2f} %"
    return [*cells, with_error(behind), *(f"{size:,}" for size in sizes), share]


def report(found: Records) -> str:
    """The page."""
    whole = [
        (net, way) for net in NETS for way in WAYS if len(found.of(net=net, way=way)) == len(SEEDS)
    ]
    epochs = listed(sorted({training.epochs for training in DENSE.values()}))
    return page(
        "# Keywords on a microcontroller",
        f"{versions()}. Accuracy in percent on speech commands, twelve classes, a split of our own "
        f"by speakers. Dense: in floating point, {epochs} epochs. Rounded: the same network in "
        f"integers. 32 and 16 KiB: at most {FLASH:,} bytes of `.tflite` and so much RAM, "
        f"{FULL.tuned} epochs of fine-tuning; all rounded ones are trained on grids for "
        f"{FULL.rounded}. The test is what TensorFlow Lite Micro says of the file. Mean (standard "
        f"error) over seeds {listed(SEEDS)}, paired by seed; sizes are the largest of them.",
        table(HEAD, (row(net, way, found) for net, way in whole)),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, or write the table."""
    options = started(recording(__doc__, net=NETS, way=WAYS), arguments)
    runs = every(run, options.seed, net=options.net, way=options.way)
    run_or_report(__file__, options, runs, report, hidden=("test", "reference"))


if __name__ == "__main__":
    main()
