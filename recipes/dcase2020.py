"""DCASE 2020 Task 1B: Shared-ResNet in 500 KB, three classes of scenes.

    python -m recipes.dcase2020 --data TAU-urban-acoustic-scenes-2020-3class-development
    python -m recipes.dcase2020                       # the same run on generated scenes, minutes
    python -m recipes.dcase2020 --variant B dense=runs/dcase2020/paper --data ...  # from A's net

S. Chang, J. Cho, H. Park, H. Park, S. Yun, K. Hwang, "QTI Submission to DCASE 2020: Model Efficient
Acoustic Scene Classification", technical report, 2020. Rule: at most 500 KB (512,000 bytes) of
non-zero parameters. The system: a residual network whose blocks share weights, 60 % of whose
convolution weights are zero, in half precision.

On TAU: paper 97.8 to 98.0 % (Table 4); ours not yet reproduced, as the data are not here. What does
not depend on data: 245,587 non-zero parameters, 491,174 bytes with all norms, as the report counts;
238,797 and 477,594 by the official calculator, which leaves BatchNorm out; 237,517 and 475,034
without SubSpectralNorm as well. The second command: 98 s of one CPU core, 75.0 % dense, 71.2 %
handed in, of generated clips after six epochs. The road on networks that have learned, of less
width and on other sound: `benchmarks.accuracy.claims`.

All of TAU is 11.8 GB of log-mels (13,370 clips of 2 x 256 x 431 numbers), held where the network
trains, and 25.7 GB of decoded clips on disk. A run that would not fit says so at its start;
`clips=3000` takes fewer, evenly drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch.optim import Adam

from compressor import Budget, FineTune, Half, Recalibrate, Result, Train, Unstructured
from compressor.budget import Cost
from compressor.phases import Phase
from models import SharedResNet
from recipes.data.audio import AudioFormat
from recipes.features.logmel import MELS_2020, MelSettings
from recipes.running.command import RunContext, run
from recipes.running.compression import fit
from recipes.running.conclusion import Outcome, Row, finish, judge
from recipes.running.run_folder import RunFolder
from recipes.running.scene_data import Scenes, load
from recipes.running.settings import RecipeSettings
from recipes.running.stages import Counts, Stage, need_stage, take_stage
from recipes.submission.forms import FORM2020
from recipes.submission.metadata import Description, Submission
from recipes.training.losses import ClassBalancedFocal
from recipes.training.paper_plans import FineTune2020, Training2020
from recipes.training.training_plans import Plan

YEAR = 2020
INDOOR_OUTDOOR_TRANSPORTATION = 3
AFTER = ("pruned", "steps", "between", "anew", "tune", "dense", "nonzero")
"""Settings that the dense network does not know of."""


@dataclass(frozen=True, kw_only=True)
class Config(RecipeSettings):
    """The submission "Pruned A".

    Attributes:
        seconds: Length of a clip, in s (section 6.1).
        mels: 256 log-mels of 48 kHz, of both stereo channels (section 6.1); 431 frames.
        channels: Base width c; 64 is "Ours" (Tables 1 and 3).
        repeats: Residual blocks that share weights, N (section 2.1).
        sub_bands: Sub-bands of SubSpectralNorm, S (section 2.2).
        train: Training of the dense network (section 6.1). "For other setups [...] we followed
            [18]", K. Koutini et al., EUSIPCO 2019, whose published configuration has batches of 10,
            mixup of 0.3 and no weight decay.
        beta: Beta of the class-balanced focal loss (section 4), not printed; 0 weighs all alike.
        gamma: Likewise; 0 discounts nothing.
        pruned: Share of the convolutions' weights that becomes zero, by magnitude over the whole
            network (section 5.1).
        steps: In how many steps.
        between: Epochs of training between two of them, at the first rate of the fine-tune.
        anew: True to estimate statistics of BatchNorm anew after pruning.
        tune: Fine-tune after pruning (section 5.1): its epochs and its rate, from `lr` down to
            `last`. Its batches and augmentation are those of `train`; the report does not say.
        dense: Folder of a run whose dense network is taken, instead of training one: the four
            submissions are made of one network (section 6.2). Empty to train.
        validation: As in all recipes; the report has none.
        clips: Most clips of each of the lists; None for all.
        nonzero: Cap on the non-zero parameters: 237,517 + 8,070.
    """

    seconds: float = 10.0
    mels: MelSettings = MELS_2020
    channels: int = 64
    repeats: int = 3
    sub_bands: int = 2
    train: Training2020 = field(default_factory=lambda: Training2020(batch=10, mixup=0.3))
    beta: float = 0.9999
    gamma: float = 2.0
    pruned: float = 0.6
    steps: int = 1
    between: int = 10
    anew: bool = False
    tune: FineTune2020 = field(default_factory=FineTune2020)
    dense: str = ""
    clips: int | None = None
    nonzero: int = 245_587

    @property
    def audio(self) -> AudioFormat:
        """Stereo at the front end's rate."""
        return AudioFormat(rate=self.mels.sample_rate, channels=2, seconds=self.seconds)


def fast(config: Config) -> Config:
    """Minutes: clips of a second, few epochs at a high rate. The network is the paper's."""
    return replace(
        config,
        seconds=1.0,
        clips=400,
        train=replace(config.train, epochs=4, lr=1e-3, last=1e-5),
        between=1,
        tune=replace(config.tune, epochs=2, lr=3e-4),
    )


VARIANTS = {
    "A": lambda c: c,
    "B": lambda c: replace(c, anew=True),
    "C": lambda c: replace(c, steps=4),
    "D": lambda c: replace(c, steps=4, anew=True),
    "no-cbloss": lambda c: replace(c, beta=0.0, gamma=0.0),
}
"""The submissions "Pruned A" to "Pruned D", and "Ours" of Table 4. Of the four the report says
"different control parameters and initial conditions" of pruning and fine-tuning (section 6.2) and
no more. Chosen: one control parameter, whether weights go at once or in four steps with training
between (A, B against C, D), and one initial condition of the fine-tune, whether it starts with the
statistics of the dense network's norms or with those of the pruned one (A, C against B, D)."""


# ------------------------------------------------------------------------------------ 2 the network


def network(config: Config, classes: int = INDOOR_OUTDOOR_TRANSPORTATION) -> SharedResNet:
    """Shared-ResNet with SubSpectralNorm: fresh, or the dense one of another run."""
    model = SharedResNet(
        config.channels,
        classes,
        config.audio.channels,
        config.repeats,
        sub_bands=config.sub_bands,
        mels=config.mels.mels,
        frames=config.frames,
    )
    if config.dense:
        take_stage(model, RunFolder(Path(config.dense)), "dense")
    return model


# --------------------------------------------------------------------------------- 4, 5 compression


def relative(plan: Plan, over: float) -> float:
    """Learning rate of a plan when the share `over` of a phase is done, as a factor of its first.

    350 epochs: 1e-4 for 50, exponentially to 1e-6 for 200, 1e-6 for 100 (section 6.1). Fine-tune:
    linearly from 1e-4 to 1e-6 (section 5.1).
    """
    return plan.rate(over) / plan.rate(0.0)


def schedule(config: Config, folder: RunFolder) -> Sequence[Phase]:
    """Train, prune, tune, halve."""
    train, tune = config.train, config.tune
    stage = partial(Stage, folder=folder.stages, year=YEAR)
    learned = Train(
        epochs=train.epochs,
        lr=train.lr,
        weight_decay=0.0,
        warmup=0.0,
        decay=partial(relative, train),
    )
    pruned = Unstructured(
        amount=config.pruned, steps=config.steps, epochs=config.between, lr=tune.lr,
        weight_decay=0.0,
    )  # fmt: skip
    tuned = FineTune(
        epochs=tune.epochs, lr=tune.lr, weight_decay=0.0, warmup=0.0, decay=partial(relative, tune)
    )
    return [
        *([] if config.dense else [learned]),
        stage("dense"),
        pruned,
        *([Recalibrate()] if config.anew else []),
        tuned,
        stage("pruned"),
        Half(),
    ]


def check(config: Config, folder: RunFolder) -> None:
    """Refuse what can be refused without data, before they are decoded for hours."""
    if config.dense:
        need_stage(RunFolder(Path(config.dense)), config, AFTER)
    network(config)
    schedule(config, folder)
    ClassBalancedFocal([1] * INDOOR_OUTDOOR_TRANSPORTATION, config.beta, config.gamma)
    Budget(nonzero=config.nonzero)


def compress(context: RunContext[Config], scenes: Scenes) -> Result:
    """The dense network trained, 60 % of it made zero, trained on, and stored in 16 bits."""
    config, classes = context.config, len(scenes.classes)
    clips = torch.bincount(scenes.train.y, minlength=classes).tolist()
    torch.manual_seed(config.seed)  # the fresh network's weights
    return fit(
        context, scenes, network(config, classes),
        budget=Budget(nonzero=config.nonzero),
        schedule=schedule(config, context.folder),
        loss=ClassBalancedFocal(clips, config.beta, config.gamma),
        optimizer=Adam,
    )  # fmt: skip


# ---------------------------------------------------------------------------------------- 6 results


def size(counts: Counts) -> Cost:
    """Non-zero parameters at 16 bits, BatchNorm among them, as the report counts (section 5.1)."""
    return counts.stored(filters=2, others=2)


def table(config: Config, outcome: Outcome) -> list[Row]:
    """Table 4; KB are of 1000 bytes, as in the report."""
    dense, pruned = outcome.counts["dense"][0], outcome.counts["pruned"][0]
    small, official, bare = size(pruned), pruned.rule.nonzero, pruned.filters[1]
    plain = config.beta == config.gamma == 0
    return [
        Row(
            "official baseline", "87.3 %, 116K, 450 KB", "-",
            "`python -m recipes.baselines --variant 2020`",
        ),
        Row(
            "CP-ResNet", "97.5 %, 887K, 3,588 KB", "-",
            "not part of this road; 887K is a misprint for 897K, `models.CPResNet` has 896,774",
        ),
        Row("dense network", "-", f"that of {config.dense}" if config.dense else "trained"),
        Row("dense, parameters", "601K", f"{size(dense).params:,}", "cut off, not rounded"),
        Row(
            "dense, KB", "2,404", f"{dense.cost.bytes / 1000:,.1f}",
            "the paper's is 4 bytes for each of 601,000",
        ),
        Row("pruned, non-zero parameters", "246K", f"{small.nonzero:,}"),
        Row("pruned, KB", "491", f"{small.bytes / 1000:.2f}"),
        Row(
            "the same by the official calculator, KB of 1024, at most 500", "-",
            f"{2 * official / 1024:.2f} ({official:,} non-zero)",
            f"it leaves BatchNorm out, the paper counts it; without SubSpectralNorm as well "
            f"{2 * bare / 1024:.2f} ({bare:,})",
        ),
        Row(
            "file, KB", "-", f"{outcome.files[0] / 1000:.1f}",
            "with running statistics, the places of the zeros and the network's description",
        ),
        Row(
            'accuracy, dense, other loss ("Ours")', "97.8 %",
            outcome.percent("dense") if plain else "-",
            outcome.why if plain else "`--variant no-cbloss`",
        ),
        Row(
            'accuracy, dense ("Ours + CBLoss")', "98.0 %",
            "-" if plain else outcome.percent("dense"), outcome.why,
        ),
        Row("accuracy, pruned", "-", outcome.percent("pruned"), outcome.why),
        Row(
            "accuracy, pruned and half precision", "A 97.9, B 97.8, C 98.0, D 97.8 %",
            outcome.percent(), f"{outcome.why}; what makes the four different is chosen",
        ),
        Row(
            "pruned against dense", "-0.1, -0.2, 0.0, -0.2 points", outcome.drop("dense", "pruned")
        ),
    ]  # fmt: skip


def submission_facts(outcome: Outcome) -> Submission:
    """Facts that the form of 2020 asks for."""
    description = Description(
        input_sampling_rate="48kHz",
        acoustic_features="log-mel energies",
        machine_learning_method="Shared-ResNet",
        data_augmentation="freqmix, mixup",
        complexity_management="weight sharing, pruning, half precision",
    )
    cost = size(outcome.counts["pruned"][0])
    return Submission(
        form=FORM2020, name="Shared-ResNet, pruned, fp16", abbreviation="SharedRes",
        description=description, cost=cost,
    )  # fmt: skip


def main(context: RunContext[Config]) -> None:
    """From audio files to the submission."""
    config = context.config
    check(config, context.folder)
    spec = config.data(crop=context.fast, classes=INDOOR_OUTDOOR_TRANSPORTATION, clips=config.clips)
    scenes = load(context.data, spec, context.device, context.console)
    if config.dense:
        need_stage(RunFolder(Path(config.dense)), config, AFTER, data=scenes.digest)
    context.begin(scenes.digest)
    result = compress(context, scenes)
    if context.first:
        # One sigmoid a class, as the loss has it (section 4).
        outcome = judge(context, scenes, [result], ["dense", "pruned"], independent=True)
        finish(context, outcome, table(config, outcome), submission_facts(outcome))


if __name__ == "__main__":
    run(__doc__, "dcase2020", Config(), fast, main, VARIANTS)
