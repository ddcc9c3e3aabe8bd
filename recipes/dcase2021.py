"""DCASE 2021 Task 1A: two BC-ResNet-ASC-8 in 128 KB of non-zero parameters.

    python -m recipes.dcase2021 --data TAU-urban-acoustic-scenes-2020-mobile-development
    python -m recipes.dcase2021                       # the same run on generated scenes, minutes
    python -m recipes.dcase2021 --ablation no-teacher dense=runs/dcase2021/paper --data ...

B. Kim, S. Yang, J. Kim, S. Chang, "Domain Generalization on Efficient Acoustic Scene Classification
using Residual Normalization", DCASE Workshop 2021. Rule: at most 128 KB (131,072 bytes) of
non-zero parameters, each at its own precision. The system, first of 99: two networks, 89 % of
whose convolution weights are zero, in 8 and 16 bits, trained with the dense one as a teacher.

On TAU: paper 75.3 % (one compressed network, Table 4); ours not yet reproduced, as the data are not
here. What does not depend on data: 33,035 + 14,650 non-zero parameters, 60.87 KB of 1024 a network,
121.7 KB both. The second command: six minutes of one CPU core, 44.9 % dense (mean of the two),
49.4 % handed in, of generated clips. The road on networks that have learned, of less width and on
other sound, each of its parts alone: `benchmarks.accuracy.claims`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import SGD

from compressor import Budget, Distill, FineTune, Int8, Result, Train, Unstructured
from compressor.budget import Cost
from compressor.phases import Phase
from models import BCResNetASC, FixedPCEN, GlobalFreqNorm, Normalised
from recipes.features.logmel import MELS_2021, MelSettings
from recipes.running.command import RunContext, run
from recipes.running.compression import fit
from recipes.running.conclusion import Outcome, Row, finish, judge
from recipes.running.run_folder import RunFolder
from recipes.running.scene_data import Scenes, load
from recipes.running.settings import RecipeSettings
from recipes.running.stages import Counts, Stage, need_stage, take_stage
from recipes.submission.forms import FORM2021
from recipes.submission.metadata import Description, Submission
from recipes.training.paper_plans import Training2021

YEAR = 2021
AFTER = ("pruned", "tune", "tune_lr", "round", "round_lr", "teacher", "dense", "nonzero")
"""Settings that the dense networks do not know of."""

Front = Callable[["Config", Tensor], nn.Module | None]
"""A normalisation for log-mels of training (clips, channels, mels, frames); None for none."""


def unchanged(config: Config, x: Tensor) -> None:
    """Log-mels as they are."""


def global_norm(config: Config, x: Tensor) -> nn.Module:  # noqa: ARG001 - a Front
    """Table 3, "Global FreqNorm"."""
    return GlobalFreqNorm.of(x)


def pcen(config: Config, x: Tensor) -> nn.Module:  # noqa: ARG001 - a Front
    """Table 3, "Fixed PCEN"."""
    return FixedPCEN(config.frames, config.mels.hop)


@dataclass(frozen=True, kw_only=True)
class Config(RecipeSettings):
    """The submission.

    Attributes:
        seconds: Length of a clip, in s (section 3.1).
        mels: 256 log-mels of 16 kHz, windows of 130 ms every 30 ms (section 3.1); 334 frames.
        channels: Base width c: 80 is BC-ResNet-ASC-8, 10 is ASC-1 (Table 1).
        residual_norm: Lambda, the identity's weight in Residual Normalization (section 3.1); 0 is
            "w/o Shortcut", None the "Baseline" (Table 3).
        inside: True where stages end in Residual Normalization, not the input alone (Table 3).
        front: Normalisation before the network (Table 3).
        train: Training of the dense network (section 3.1; 300 epochs, Table 4; ASC-8 with masks).
        pruned: Share of the convolutions' weights that becomes zero, by magnitude, at once
            (section 3.3).
        tune: Epochs after pruning; chosen, the report says "additional training".
        tune_lr: Its learning rate at the peak; chosen.
        round: Epochs of training for int8; chosen. The report rounds during the same training.
        round_lr: Its learning rate at the peak; chosen.
        teacher: Distillation of the dense network beside the targets (section 2.3); weight and
            temperature are chosen. `teacher.weight=0` is without (Table 4).
        members: Networks whose probabilities are averaged (section 3.3).
        dense: Folder of a run of as many members whose dense networks are taken, instead of
            training them: the last ablation differs from there on. Empty to train.
        validation: As in all recipes; the report has none and stops early by the test list.
        nonzero: Cap on the non-zero parameters of a network: 33,035 + 14,650.
        seed: As in all recipes; member k has `seed + k`.
    """

    seconds: float = 10.0
    mels: MelSettings = MELS_2021
    channels: int = 80
    residual_norm: float | None = 0.1
    inside: bool = True
    front: Front = unchanged
    train: Training2021 = field(
        default_factory=lambda: Training2021(epochs=300, bands=40, frames=80)
    )
    pruned: float = 0.89
    tune: int = 100
    tune_lr: float = 0.01
    round: int = 10
    round_lr: float = 1e-3
    teacher: Distill = field(default_factory=Distill)
    members: int = 2
    dense: str = ""
    nonzero: int = 47_685

    def __post_init__(self) -> None:
        """Refuse a system of no network."""
        super().__post_init__()
        if self.members < 1:
            raise ValueError(f"Config(members={self.members}): members must be above 0 and finite.")


def fast(config: Config) -> Config:
    """Minutes: clips of a second, few epochs. The network, and so every count, is the paper's."""
    train = replace(config.train, epochs=8, warmup=1, bands=0, frames=0, mixup=0.0, batch=32)
    return replace(config, seconds=1.0, train=train, tune=4, round=1)


def small(config: Config) -> Config:
    """BC-ResNet-ASC-1, which is trained without masks (section 3.1)."""
    return replace(config, channels=10, train=replace(config.train, epochs=100, bands=0, frames=0))


ABLATIONS = {
    "asc-1": small,
    "asc-1-baseline": lambda c: replace(small(c), residual_norm=None),
    "asc-1-global-freqnorm": lambda c: replace(small(c), residual_norm=None, front=global_norm),
    "asc-1-fixed-pcen": lambda c: replace(small(c), residual_norm=None, front=pcen),
    "asc-1-no-resnorm-in-network": lambda c: replace(small(c), inside=False),
    "asc-1-no-shortcut": lambda c: replace(small(c), residual_norm=0.0),
    "no-resnorm-in-network": lambda c: replace(c, inside=False),
    "no-shortcut": lambda c: replace(c, residual_norm=0.0),
    "no-teacher": lambda c: replace(c, teacher=replace(c.teacher, weight=0.0)),
}
"""Tables 3 and 4, a line each; the steps to a small file are the same for all."""


# ----------------------------------------------------------------------------- 2.1, 2.2 the network


def network(config: Config, x: Tensor, classes: int = 10) -> nn.Module:
    """BC-ResNet-ASC with Residual Normalization, for log-mels like those of training."""
    asc = BCResNetASC(
        config.channels,
        classes,
        residual_norm=config.residual_norm,
        mels=config.mels.mels,
        frames=config.frames,
        inside=config.inside,
    )
    norm = config.front(config, x)
    return asc if norm is None else Normalised(norm, asc)


# ------------------------------------------------------------------------------ 2.3 the compression


def schedule(config: Config, folder: RunFolder) -> list[Phase]:
    """Trained, pruned, trained on with its dense self as a teacher, rounded."""
    train, stage = config.train, partial(Stage, folder=folder.stages, year=YEAR)
    learned = Train(
        epochs=train.epochs, lr=train.lr, weight_decay=train.weight_decay, warmup=train.warmup
    )
    tuned = FineTune(
        epochs=config.tune,
        lr=config.tune_lr,
        weight_decay=train.weight_decay,
        distill=config.teacher,
    )
    return [
        *([] if config.dense else [learned]),
        stage("dense"),
        Unstructured(amount=config.pruned),
        tuned,
        stage("pruned"),
        Int8(epochs=config.round, lr=config.round_lr, distill=config.teacher),
    ]


def check(config: Config, folder: RunFolder) -> None:
    """Refuse what can be refused without data, before they are decoded for hours."""
    if config.dense:
        need_stage(RunFolder(Path(config.dense)), config, AFTER, members=config.members)
    network(config, torch.zeros(2, 1, config.mels.mels, config.frames))
    schedule(config, folder)
    Budget(nonzero=config.nonzero)


def compress(context: RunContext[Config], scenes: Scenes, number: int) -> Result:
    """One network of the system, from its first weights to int8."""
    config = replace(context.config, seed=context.config.seed + number)
    folder = context.folder.member(number, config.members)
    torch.manual_seed(config.seed)  # of the fresh network's weights
    model = network(config, scenes.train.x, len(scenes.classes))
    if config.dense:
        take_stage(model, RunFolder(Path(config.dense)).member(number, config.members), "dense")
    return fit(
        replace(context, config=config, folder=folder), scenes, model,
        budget=Budget(nonzero=config.nonzero),
        schedule=schedule(config, folder),
        optimizer=partial(SGD, momentum=config.train.momentum),
    )  # fmt: skip


# ---------------------------------------------------------------------------------------- 3 results


def size(counts: Counts) -> Cost:
    """Non-zero parameters at 8 bits in convolutions and 16 elsewhere (section 3.3)."""
    return counts.stored(filters=1, others=2)


def table(config: Config, outcome: Outcome) -> list[Row]:
    """Table 4 and the submission."""
    counts = outcome.counts["pruned"]
    one, every = size(counts[0]), sum(size(count).bytes for count in counts)
    filters, others = counts[0].filters[1], counts[0].others[1]
    return [
        Row("dense networks", "-", f"those of {config.dense}" if config.dense else "trained"),
        Row("dense, parameters", "315k", f"{one.params:,}"),
        Row("non-zero: convolutions, others", "33K, 15K", f"{filters:,}, {others:,}"),
        Row(
            "size of a network, KB of 1024", "61.5", f"{one.bytes / 1024:.2f}",
            "the paper's is computed from rounded numbers",
        ),
        Row("size of the submission, KB of 1024", "121.9", f"{every / 1024:.2f}", "likewise"),
        Row("accuracy, dense", "76.3 ± 0.8 %", outcome.percent("dense"), outcome.why),
        Row("accuracy, pruned", "-", outcome.percent("pruned"), outcome.why),
        Row("accuracy, pruned and int8, all networks", "75.3 ± 0.8 % (one)", outcome.percent(), ""),
        Row("pruned against dense", "-1.0 (with int8)", outcome.drop("dense", "pruned"), ""),
    ]  # fmt: skip


def submission_facts(outcome: Outcome) -> Submission:
    """Facts that the form of 2021 asks for."""
    costs = [size(count) for count in outcome.counts["pruned"]]
    counted = ("params", "nonzero", "macs", "bytes")
    cost = Cost(*(sum(getattr(cost, name) for cost in costs) for name in counted))
    description = Description(
        input_sampling_rate="16kHz",
        acoustic_features="log-mel energies",
        machine_learning_method="BC-ResNet, ensemble",
        data_augmentation="mixup, specaugment, roll",
        ensemble_method_subsystem_count=len(costs),
        decision_making="average",
        complexity_management="pruning, weight quantization, knowledge distillation",
    )
    return Submission(
        form=FORM2021, name="BC-ResNet-ASC-8, pruned, int8", abbreviation="BCResASC",
        description=description, cost=cost,
    )  # fmt: skip


def main(context: RunContext[Config]) -> None:
    """From audio files to the submission."""
    config = context.config
    check(config, context.folder)
    scenes = load(context.data, config.data(crop=context.fast), context.device, context.console)
    if config.dense:
        run = RunFolder(Path(config.dense))
        need_stage(run, config, AFTER, members=config.members, data=scenes.digest)
    context.begin(scenes.digest)
    results: list[Result] = []
    for number in range(config.members):
        context.console.rule(f"network {number + 1} of {config.members}")
        results.append(compress(context, scenes, number))
    if context.first:
        outcome = judge(context, scenes, results, ["dense", "pruned"])
        finish(context, outcome, table(config, outcome), submission_facts(outcome))


if __name__ == "__main__":
    run(__doc__, "dcase2021", Config(), fast, main, ABLATIONS)
