"""DCASE 2021 Task 1A: two BC-ResNet-ASC-8 in 128 KB of non-zero parameters.

    python -m recipes.dcase2021 --data TAU-urban-acoustic-scenes-2020-mobile-development
    python -m recipes.dcase2021                       # the same road on generated scenes, minutes
    python -m recipes.dcase2021 --ablation no-teacher dense=runs/dcase2021/paper --data ...

B. Kim, S. Yang, J. Kim, S. Chang, "Domain Generalization on Efficient Acoustic Scene Classification
using Residual Normalization", DCASE Workshop 2021. Rule: at most 128 KB (131,072 bytes) of
non-zero parameters, each at its own precision. The system, first of 99: two networks, 89 % of
whose convolution weights are zero, in 8 and 16 bits, trained with the dense one as a teacher.

On TAU: paper 75.3 % (one compressed network, Table 4); ours not yet reproduced, as the data are not
here. What does not depend on data: 33,035 + 14,650 non-zero parameters, 60.87 KB of 1024 a network,
121.7 KB both. The second command: six minutes of one CPU core, 44.9 % dense (mean of the two),
49.4 % handed in, of generated clips. On ESC-50, 50 classes, nine devices, 35 epochs, one network
(`benchmarks.claims`, 3 seeds, 24 minutes each): 60.0 % dense, 53.9 % pruned and in int8, 55.5 %
without the teacher.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import SGD

import compressor
from compressor import Budget, Distill, FineTune, Int8, Result, Train, Unstructured
from compressor.budget import Cost
from compressor.inputs.arguments import check_seed
from compressor.phases import Phase
from models import BCResNetASC, FixedPCEN, GlobalFreqNorm, Normalised
from recipes.audio import AudioFormat
from recipes.command import Call, run
from recipes.conclusion import HandedIn, Outcome, Row, conclude
from recipes.epochs import Epochs
from recipes.features import MELS_2021, MelSettings
from recipes.papers import Training2021
from recipes.plans import check_ranges
from recipes.run_folder import RunFolder
from recipes.scene_data import Scenes, Wanted, load
from recipes.stages import Counts, Stage, need_stage, take_stage
from recipes.submission_forms import FORM2021
from recipes.submission_meta import Description
from recipes.system import System, scores_of
from recipes.training import accuracy

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
class Config:
    """The submission.

    Attributes:
        seconds: Length of a clip, in s (section 3.1).
        mels: 256 log-mels of 16 kHz, windows of 130 ms every 30 ms (section 3.1).
        channels: Base width c: 80 is BC-ResNet-ASC-8, 10 is ASC-1 (Table 1).
        residual_norm: Lambda, the identity's weight in Residual Normalization (section 3.1); 0 is
            "w/o Shortcut", None the "Baseline" (Table 3).
        inside: Whether stages end in Residual Normalization, not the input alone (Table 3).
        front: What stands before the network (Table 3).
        train: Of the dense network (section 3.1; 300 epochs, Table 4; masks for ASC-8 alone).
        pruned: Share of the convolutions' weights that becomes zero, by magnitude, at once
            (section 3.3).
        tune: Epochs after pruning; chosen, the report says "additional training".
        tune_lr: Its learning rate at the peak; chosen.
        round: Epochs of training for int8; chosen. The report rounds during the same training.
        round_lr: Its learning rate at the peak; chosen.
        teacher: What is learned from the dense network beside the targets (section 2.3); weight and
            temperature are chosen. `teacher.weight=0` is without (Table 4).
        members: Networks whose probabilities are averaged (section 3.3).
        dense: Folder of a run of as many members whose dense networks are taken, instead of
            training them: the last ablation differs from there on. Empty to train.
        validation: Share of the training list that epochs are watched on, place by place; the
            report has none and stops early by the test list.
        nonzero: Cap on the non-zero parameters of a network: 33,035 + 14,650.
        seed: Of everything; member k has `seed + k`.
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
    validation: float = 0.1
    nonzero: int = 47_685
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings by which nothing can be trained."""
        check_seed(self.seed)
        check_ranges(self, positive=("members",))

    @property
    def audio(self) -> AudioFormat:
        """Mono at the front end's rate."""
        return AudioFormat(rate=self.mels.sample_rate, seconds=self.seconds)

    @property
    def frames(self) -> int:
        """334 of ten seconds, 34 of one."""
        return self.mels.frames(self.audio.samples)


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
"""Tables 3 and 4, a line each; the road to a small file is the same for all."""


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
    """Make everything that can be refused without data: it is decoded for hours.

    Raises:
        ValueError: If a setting is.
        OSError: If `dense` is no run.
    """
    if config.dense:
        need_stage(RunFolder(Path(config.dense)), config, AFTER, members=config.members)
    network(config, torch.zeros(2, 1, config.mels.mels, config.frames))
    schedule(config, folder)
    Budget(nonzero=config.nonzero)


def compress(call: Call[Config], scenes: Scenes, number: int) -> Result:
    """One network of the system, from its first weights to int8."""
    config, seed = call.config, call.config.seed + number
    folder = call.folder.member(number, config.members)
    train, validation, classes = scenes.train, scenes.validation, len(scenes.classes)
    torch.manual_seed(seed)  # of the fresh network's weights
    model = network(config, train.x, classes)
    if config.dense:
        take_stage(model, RunFolder(Path(config.dense)).member(number, config.members), "dense")
    return compressor.fit(
        model.to(train.x.device),
        Epochs(train.x, train.y, classes, config.train, seed=seed),
        budget=Budget(nonzero=config.nonzero),
        schedule=schedule(config, folder),
        optimizer=partial(SGD, momentum=config.train.momentum),
        val=None if validation is None else lambda m: accuracy(m, validation.x, validation.y),
        checkpoint=folder.checkpoint,
        on_epoch=folder.log,
        fabric=call.fabric,
        compiler=call.compiler,
        seed=seed,
    )


# ---------------------------------------------------------------------------------------- 3 results


def size(counts: Counts) -> Cost:
    """Non-zero parameters at 8 bits in convolutions and 16 elsewhere (section 3.3)."""
    filters, others = counts.filters, counts.others
    return Cost(
        params=filters[0] + others[0],
        nonzero=filters[1] + others[1],
        macs=counts.cost.macs,
        bytes=filters[1] + 2 * others[1],
    )


def rows(config: Config, outcome: Outcome) -> list[Row]:
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


def handed_in(outcome: Outcome) -> HandedIn:
    """What the form of 2021 asks for."""
    costs = [size(count) for count in outcome.counts["pruned"]]
    cost = Cost(
        params=sum(cost.params for cost in costs),
        nonzero=sum(cost.nonzero for cost in costs),
        macs=sum(cost.macs for cost in costs),
        bytes=sum(cost.bytes for cost in costs),
    )
    description = Description(
        input_sampling_rate="16kHz",
        acoustic_features="log-mel energies",
        machine_learning_method="BC-ResNet, ensemble",
        data_augmentation="mixup, specaugment, roll",
        ensemble_method_subsystem_count=len(costs),
        decision_making="average",
        complexity_management="pruning, weight quantization, knowledge distillation",
    )
    return HandedIn(FORM2021, "BC-ResNet-ASC-8, pruned, int8", "BCResASC", description, cost)


def road(call: Call[Config]) -> None:
    """From audio files to the submission."""
    config = call.config
    wanted = Wanted(
        audio=config.audio, mels=config.mels, frames=config.frames,
        validation=config.validation, crop=call.fast, seed=config.seed,
    )  # fmt: skip
    check(config, call.folder)
    scenes = load(call.data, wanted, call.device, call.console)
    if config.dense:
        run = RunFolder(Path(config.dense))
        need_stage(run, config, AFTER, members=config.members, data=scenes.digest)
    call.begin(scenes.digest)
    results: list[Result] = []
    for number in range(config.members):
        call.console.rule(f"network {number + 1} of {config.members}")
        results.append(compress(call, scenes, number))
    if call.first:
        system = System(
            scenes.classes, config.audio, config.mels, config.frames,
            tuple(scores_of(result.model) for result in results),
        )  # fmt: skip
        conclude(
            call, scenes, results, system, ["dense", "pruned"], partial(rows, config), handed_in
        )


if __name__ == "__main__":
    run(__doc__, "dcase2021", Config(), fast, road, ABLATIONS)
