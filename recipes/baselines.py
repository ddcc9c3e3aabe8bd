"""The organisers' baselines of DCASE Task 1, by the same steps as the recipes.

    python -m recipes.baselines --variant 2022 --data TAU-urban-acoustic-scenes-2022-mobile-development
    python -m recipes.baselines --variant 2021 --data TAU-urban-acoustic-scenes-2020-mobile-development
    python -m recipes.baselines --variant 2020 --data TAU-urban-acoustic-scenes-2020-3class-development
    python -m recipes.baselines --variant 2020        # the same run on generated scenes, minutes

Read in their public code: github.com, toni-heittola/dcase2020_task1_baseline (subtask B),
marmoi/dcase2021_task1a_baseline and marmoi/dcase2022_task1_baseline: two or three convolutions of
7 x 7 on 40 log-mels, as it is (2020), in half precision (2021), in int8 at once (2022).

On TAU: published 87.3, 47.7 and 42.9 %; ours not yet reproduced, as the data are not here. What
does not depend on data: 115,219 parameters without BatchNorm, 450.07 KB of 1024 (2020); 46,246
with running statistics, 90.32 KB (2021); 46,512 bytes and 29,203,560 MACs, of which the official
counter makes 29,234,920 (2022). Each on generated scenes: 22 s of one CPU core.

All log-mels of a data set are held where the network trains: 1.1 GB (2020), 1.4 GB (2021, 2022).
"""  # noqa: E501 - commands are not broken

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import nn
from torch.optim import Adam, Optimizer

from compressor import Budget, Half, Int8, Result, Train
from compressor.budget import Cost
from compressor.inputs.copies import private_copy
from compressor.phases import Phase, constant
from compressor.rules import DCASE2022_TFLITE
from models import DCASEBaseline
from recipes.features.logmel import BASELINE_2020, BASELINE_2022, MelSettings
from recipes.judging.memory import peak_entries
from recipes.running.command import RunContext, run
from recipes.running.compression import fit
from recipes.running.conclusion import Outcome, Row, finish, judge
from recipes.running.scene_data import Scenes, load
from recipes.running.settings import RecipeSettings
from recipes.running.stages import Stage
from recipes.submission.forms import FORM2020, FORM2021, FORM2022, Form
from recipes.submission.metadata import Description, Submission
from recipes.training.training_plans import Plan

KERAS_EPS = 1e-7
"""Epsilon of Adam; PyTorch's is 1e-8."""


@dataclass(frozen=True, kw_only=True)
class TrainingBaseline(Plan):
    """Adam at one rate, no augmentation: the parameter files, `learner_method_parameters: cnn`.

    Attributes:
        epochs: Passes over the data.
        batch: Clips in a step.
        lr: Adam's learning rate, Keras' default.
    """

    epochs: int = 200
    batch: int = 16
    lr: float = 1e-3

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        return Adam(parameters, lr=self.lr, eps=KERAS_EPS)


@dataclass(frozen=True, kw_only=True)
class Config(RecipeSettings):
    """The baseline of 2022.

    Attributes:
        year: Year of the baseline.
        seconds: Length of a clip, in s.
        mels: 40 log-mels of magnitude, 40 ms every 20 ms.
        drop: Frames at the end that fall off: the official front end makes 500 of ten seconds,
            ours, which pads both ends, 501; of one second both make 51.
        train: Training of the network.
        validation: Share of the training list by which the epoch is chosen, place by place. The
            official 30 % of 2020 and 2021 are so, too; those of 2022 are drawn class by class,
            against what its page says.
        clips: Most clips of each of the lists; None for all.
    """

    year: int = 2022
    seconds: float = 1.0
    mels: MelSettings = BASELINE_2022
    drop: int = 0
    train: TrainingBaseline = field(default_factory=lambda: TrainingBaseline(batch=64))
    validation: float = 0.3
    clips: int | None = None

    @property
    def frames(self) -> int:
        """500 of ten seconds, 51 of one."""
        return self.mels.frames(self.audio.samples) - self.drop

    @property
    def baseline(self) -> Baseline:
        """Published figures; ValueError for a year without such a baseline."""
        if self.year not in BASELINES:
            raise ValueError(f"year={self.year}: there are baselines of {[*BASELINES]}")
        return BASELINES[self.year]


def fast(config: Config) -> Config:
    """Minutes: clips of a second, few epochs. The network is the official one."""
    train = replace(config.train, epochs=8, batch=16)
    return replace(config, seconds=1.0, train=train, clips=1000)


VARIANTS = {
    "2020": lambda c: replace(
        c, year=2020, seconds=10.0, mels=BASELINE_2020, drop=1, train=TrainingBaseline()
    ),
    "2021": lambda c: replace(c, year=2021, seconds=10.0, drop=1, train=TrainingBaseline()),
    "2022": lambda c: c,
}


# -------------------------------------------------------------------------- the network, trained


def network(config: Config) -> DCASEBaseline:
    """The official network; its last pooling is over all frames, however long the clips are."""
    model = DCASEBaseline(config.year)
    # 500 frames are pooled by 5, then by 100; 51 by 5, then by 10.
    model.features[-2] = nn.MaxPool2d((4, config.frames // 5))
    model.example_input_array = torch.zeros(1, 1, config.mels.mels, config.frames)
    return model


def compress(context: RunContext[Config], scenes: Scenes) -> Result:
    """The network trained, and stored as its year did."""
    config, train = context.config, context.config.train
    torch.manual_seed(config.seed)  # the fresh network's weights
    learned = Train(
        epochs=train.epochs, lr=train.lr, weight_decay=0.0, warmup=0.0, decay=constant,
        select=scenes.validation is not None,
    )  # fmt: skip
    stage = Stage("dense", context.folder.stages, config.year)
    return fit(
        context, scenes, network(config),
        budget=Budget.dcase(config.year),
        schedule=[learned, stage, *config.baseline.phases],
        optimizer=partial(Adam, eps=KERAS_EPS),
    )  # fmt: skip


# ------------------------------------------------------------------------------- what was published


def size2020(config: Config, outcome: Outcome) -> tuple[Cost, list[Row]]:
    """The official calculator: non-zero entries of 32 bits, BatchNorm left out."""
    del config
    counts = outcome.counts["dense"][0]
    params = counts.rule.params
    rows = [
        Row("parameters without BatchNorm", "115,219", f"{params:,}"),
        Row(
            "size, KB of 1024", "450.1", f"{4 * params / 1024:.2f}",
            f"{counts.others[0] + counts.filters[0] - params} of BatchNorm are left out by rule",
        ),
    ]  # fmt: skip
    return counts.rule, rows


def size2021(config: Config, outcome: Outcome) -> tuple[Cost, list[Row]]:
    """The README: every parameter, BatchNorm's running statistics among them, in 16 bits."""
    del config
    rule = outcome.counts["dense"][0].rule
    cost = replace(rule, bytes=2 * rule.nonzero)
    rows = [
        Row("parameters with running statistics", "46,246", f"{cost.params:,}"),
        Row(
            "size, KB of 1024", "90.3", f"{2 * cost.params / 1024:.2f}",
            "16 bits each; Keras itself leaves BatchNorm in 32: 93,004 bytes, 90.82 KB",
        ),
    ]  # fmt: skip
    return cost, rows


def size2022(config: Config, outcome: Outcome) -> tuple[Cost, list[Row]]:
    """The TFLite file: BatchNorm folded in, 8 bits a weight, 32 a bias."""
    cost = DCASE2022_TFLITE.count(network(config))  # zeros count, so that any weights will do
    cost = replace(cost, nonzero=outcome.results[0].report.after.nonzero)
    torchinfo = outcome.counts["dense"][0].rule.macs
    # Every pooled value costs its window; of the first dense layer NeSsi sees half, as it takes the
    # size of its input before it is flattened.
    official = cost.macs + _pooled(config) - 3200
    rows = [
        Row("bytes of weights and biases", "46,512", f"{cost.bytes:,}"),
        Row("parameters, BatchNorm folded in", "-", f"{cost.params:,}"),
        Row(
            "MACs as NeSsi counts the file", "29,234,920", f"{official:,}",
            f"{cost.macs:,} of convolutions and products, {_pooled(config):,} of pooling, less "
            "3,200 of a dense layer that NeSsi overlooks",
        ),
        Row(
            "MACs of the unfolded network by torchinfo", "-", f"{torchinfo:,}",
            "what NeSsi says of a PyTorch model",
        ),
        Row("peak memory of an inference, bytes", "65,280", f"{_memory(outcome):,}"),
    ]  # fmt: skip
    return cost, rows


def _memory(outcome: Outcome) -> int:
    """Peak bytes of an inference in int8, where a number is a byte."""
    return peak_entries(private_copy(outcome.results[0].network).cpu())


def _pooled(config: Config) -> int:
    """Values that both poolings look at: channels, rows and frames that come out whole."""
    first, last = 16 * 40 * (config.frames // 5 * 5), 32 * 8 * (config.frames // 5)
    return first + last


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A year's figures on its development set's test list.

    Attributes:
        form: Form of its submission.
        classes: Number of its labels.
        accuracy: Mean over classes, with deviation over ten trainings.
        log_loss: Likewise.
        devices: Log loss by device.
        phases: Phases that store the trained network.
        size: Counts by the year's rule, and the rows about them.
    """

    form: Form
    classes: int = 10
    accuracy: str
    log_loss: str
    devices: Mapping[str, float] = field(default_factory=dict)
    phases: Sequence[Phase]
    size: Callable[[Config, Outcome], tuple[Cost, list[Row]]]


BASELINES = {
    2020: Baseline(
        form=FORM2020,
        classes=3,
        accuracy="87.3 ± 0.7 % (indoor 82.0, outdoor 88.5, transportation 91.5)",
        log_loss="0.437 ± 0.045",
        phases=(),
        size=size2020,
    ),
    2021: Baseline(
        form=FORM2021,
        accuracy="47.7 ± 1.0 %",
        log_loss="1.473 ± 0.051",
        devices={
            "a": 1.018, "b": 1.294, "c": 1.282, "s1": 1.552, "s2": 1.441, "s3": 1.421,
            "s4": 1.934, "s5": 1.583, "s6": 1.729,
        },
        phases=(Half(),),
        size=size2021,
    ),
    2022: Baseline(
        form=FORM2022,
        accuracy="42.9 ± 0.8 %",
        log_loss="1.575 ± 0.018",
        devices={
            "a": 1.109, "b": 1.439, "c": 1.374, "s1": 1.621, "s2": 1.559, "s3": 1.531,
            "s4": 1.813, "s5": 1.800, "s6": 1.931,
        },
        phases=(Int8(epochs=0),),
        size=size2022,
    ),
}  # fmt: skip


# ------------------------------------------------------------------------------------------ results


def table(config: Config, outcome: Outcome) -> list[Row]:
    """Figures of the organisers beside ours."""
    published, final = config.baseline, outcome.final
    _, sizes = published.size(config, outcome)
    by_class = ", ".join(f"{name} {100 * s.accuracy:.1f}" for name, s in final.class_wise.items())
    ours = f"{outcome.percent()} ({by_class})" if config.year == 2020 else outcome.percent()
    by_device = final.device_wise
    return [
        *sizes,
        Row("file, bytes", "-", f"{outcome.files[0]:,}", "with the network's description"),
        Row("accuracy, trained", "-", outcome.percent("dense"), outcome.why),
        Row("accuracy, stored", published.accuracy, ours, outcome.why),
        Row(
            "log loss, stored", published.log_loss, f"{final.log_loss:.3f}",
            "constants scale our log-mels, the training list's mean and deviation of each band "
            "theirs",
        ),
        *(
            Row(f"log loss, device {name}", f"{loss:.3f}", f"{by_device[name].log_loss:.3f}")
            for name, loss in published.devices.items()
            if name in by_device
        ),
    ]  # fmt: skip


def submission_facts(config: Config, outcome: Outcome) -> Submission:
    """Facts that the form of the year asks for."""
    published = config.baseline
    cost, _ = published.size(config, outcome)
    stored = {Half: "half precision", Int8: "weight quantization"}
    description = Description(
        input_sampling_rate=f"{config.mels.sample_rate / 1000:g}kHz",
        acoustic_features="log-mel energies",
        machine_learning_method="CNN",
        complexity_management=", ".join(stored[type(phase)] for phase in published.phases) or None,
        framework="pytorch",
    )
    return Submission(
        form=published.form, name=f"Baseline {config.year}", abbreviation="baseline",
        description=description, cost=cost,
        memory_use=_memory(outcome) if config.year == 2022 else None,
    )  # fmt: skip


def main(context: RunContext[Config]) -> None:
    """From audio files to the submission."""
    config = context.config
    spec = config.data(crop=context.fast, classes=config.baseline.classes, clips=config.clips)
    scenes = load(context.data, spec, context.device, context.console)
    context.begin(scenes.digest)
    result = compress(context, scenes)
    if context.first:
        outcome = judge(context, scenes, [result], ["dense"])
        finish(context, outcome, table(config, outcome), submission_facts(config, outcome))


if __name__ == "__main__":
    run(__doc__, "baselines", Config(), fast, main, VARIANTS)
