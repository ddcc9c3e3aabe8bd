"""The organisers' baselines of DCASE Task 1, on the same road as the recipes.

    python -m recipes.baselines --variant 2022 --data TAU-urban-acoustic-scenes-2022-mobile-development
    python -m recipes.baselines --variant 2021 --data TAU-urban-acoustic-scenes-2020-mobile-development
    python -m recipes.baselines --variant 2020 --data TAU-urban-acoustic-scenes-2020-3class-development
    python -m recipes.baselines --variant 2020        # the same road on generated scenes, minutes

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

import compressor
from compressor import Budget, Half, Int8, Result, Train
from compressor.budget import Cost
from compressor.inputs.arguments import check_seed
from compressor.inputs.copies import private_copy
from compressor.phases import Phase, constant
from compressor.rules import DCASE2022_TFLITE
from models import DCASEBaseline
from recipes.audio import AudioFormat
from recipes.augment import Augmentation
from recipes.command import Call, run
from recipes.conclusion import HandedIn, Outcome, Row, conclude
from recipes.epochs import Epochs
from recipes.features import BASELINE_2020, BASELINE_2022, MelSettings
from recipes.memory import peak_entries
from recipes.plans import check_ranges
from recipes.scene_data import Scenes, Wanted, load
from recipes.stages import Stage
from recipes.submission_forms import FORM2020, FORM2021, FORM2022, Form
from recipes.submission_meta import Description
from recipes.system import System, scores_of
from recipes.training import accuracy

KERAS_EPS = 1e-7
"""Of Adam; PyTorch's is 1e-8."""


@dataclass(frozen=True, kw_only=True)
class TrainingBaseline:
    """Adam at one rate, no augmentation: the parameter files, `learner_method_parameters: cnn`.

    Attributes:
        epochs: Passes over the data.
        batch: Clips in a step.
        lr: Adam's learning rate, Keras' default.
    """

    epochs: int = 200
    batch: int = 16
    lr: float = 1e-3

    def __post_init__(self) -> None:
        """Refuse settings by which nothing can be trained."""
        check_ranges(self, positive=("epochs", "batch", "lr"))

    def augmentations(self) -> tuple[Augmentation, ...]:
        return ()

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        return Adam(parameters, lr=self.lr, eps=KERAS_EPS)

    def rate(self, progress: float) -> float:  # noqa: ARG002 - a Plan
        return self.lr


@dataclass(frozen=True, kw_only=True)
class Config:
    """The baseline of 2022.

    Attributes:
        year: Which baseline.
        seconds: Length of a clip, in s.
        mels: 40 log-mels of magnitude, 40 ms every 20 ms.
        drop: Frames at the end that fall off: the official front end makes 500 of ten seconds,
            ours, which pads both ends, 501; of one second both make 51.
        train: Of the network.
        validation: Share of the training list by which the epoch is chosen, place by place. The
            official 30 % of 2020 and 2021 are so, too; those of 2022 are drawn class by class,
            against what its page says.
        clips: Most clips of each of the lists; None for all.
        seed: Of everything.
    """

    year: int = 2022
    seconds: float = 1.0
    mels: MelSettings = BASELINE_2022
    drop: int = 0
    train: TrainingBaseline = field(default_factory=lambda: TrainingBaseline(batch=64))
    validation: float = 0.3
    clips: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a seed that is none."""
        check_seed(self.seed)

    @property
    def audio(self) -> AudioFormat:
        """Mono at the front end's rate."""
        return AudioFormat(rate=self.mels.sample_rate, seconds=self.seconds)

    @property
    def frames(self) -> int:
        """500 of ten seconds, 51 of one."""
        return self.mels.frames(self.audio.samples) - self.drop

    @property
    def baseline(self) -> Baseline:
        """What was published.

        Raises:
            ValueError: If the year had no such baseline.
        """
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


def compress(call: Call[Config], scenes: Scenes) -> Result:
    """The network trained, and stored as its year did."""
    config, validation, train = call.config, scenes.validation, call.config.train
    torch.manual_seed(config.seed)  # the fresh network's weights
    learned = Train(
        epochs=train.epochs, lr=train.lr, weight_decay=0.0, warmup=0.0, decay=constant,
        select=validation is not None,
    )  # fmt: skip
    return compressor.fit(
        network(config).to(scenes.train.x.device),
        Epochs(scenes.train.x, scenes.train.y, len(scenes.classes), train, seed=config.seed),
        budget=Budget.dcase(config.year),
        schedule=[
            learned,
            Stage("dense", call.folder.stages, config.year),
            *config.baseline.phases,
        ],
        optimizer=partial(Adam, eps=KERAS_EPS),
        val=None if validation is None else lambda m: accuracy(m, validation.x, validation.y),
        checkpoint=call.folder.checkpoint,
        on_epoch=call.folder.log,
        fabric=call.fabric,
        compiler=call.compiler,
        seed=config.seed,
    )


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
        form: Of its submission.
        classes: Of its labels.
        accuracy: Mean over classes, with deviation over ten trainings.
        log_loss: Likewise.
        devices: Log loss by device.
        phases: How the trained network is stored.
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


def rows(config: Config, outcome: Outcome) -> list[Row]:
    """What the organisers published beside ours."""
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


def handed_in(config: Config, outcome: Outcome) -> HandedIn:
    """What the form of the year asks for."""
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
    memory = _memory(outcome) if config.year == 2022 else None
    name = f"Baseline {config.year}"
    return HandedIn(published.form, name, "baseline", description, cost, memory)


def road(call: Call[Config]) -> None:
    """From audio files to the submission."""
    config = call.config
    wanted = Wanted(
        audio=config.audio, mels=config.mels, frames=config.frames,
        classes=config.baseline.classes, validation=config.validation, crop=call.fast,
        clips=config.clips, seed=config.seed,
    )  # fmt: skip
    scenes = load(call.data, wanted, call.device, call.console)
    call.begin(scenes.digest)
    result = compress(call, scenes)
    if call.first:
        system = System(
            scenes.classes, config.audio, config.mels, config.frames, (scores_of(result.model),)
        )
        stages = ["dense"]
        conclude(
            call, scenes, [result], system, stages, partial(rows, config),
            partial(handed_in, config),
        )  # fmt: skip


if __name__ == "__main__":
    run(__doc__, "baselines", Config(), fast, road, VARIANTS)
