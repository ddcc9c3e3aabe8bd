"""Networks of three papers at affordable widths, and the roads on which they become small.

A road is the schedule of a recipe (`recipes.dcase2020`, `2021`, `2022`) behind its dense training,
with the recipe's phases, losses and optimisers; widths, epochs and, for as few epochs, the rates of
2020 are ours. Beside it stand roads that differ in one thing, and the control: the dense network
trained on for as many epochs at the road's rate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.optim import SGD, Adam

import compressor
from benchmarks.accuracy.claim_sound import Ground, Part
from benchmarks.accuracy.keywords import ANYTHING
from compressor import Budget, FineTune, Int8, Unstructured
from compressor.inputs.losses import Loss, cross_entropy
from compressor.phases import Phase
from compressor.phases.frequency.masks import fisher
from compressor.phases.unstructured import weights
from compressor.run.optimizers import OptimizerFactory
from models import BCResNetASC, LinearMoments, SharedResNet, Tandem
from recipes import dcase2020, dcase2021, dcase2022
from recipes.running.run_folder import RunFolder
from recipes.training.losses import ClassBalancedFocal
from recipes.training.paper_plans import FineTune2020, Training2020, Training2021, Training2022
from recipes.training.sparse_linear import pretrain

DENSE, CONTROL, RECIPE = "dense", "control", "recipe"
LINEAR_2022 = 12_810
PARAMS_2022 = (128_000 - LINEAR_2022) / (327_780 - LINEAR_2022)
MACS_2022 = 30e6 / 51_234_490
"""Shares that the rule of 2022 leaves of the paper's dense tandem, of parameters without the linear
model's, which no filter is in."""


@dataclass(frozen=True)
class Length:
    """Epochs of the dense training, of the fine-tune, and of training for int8."""

    dense: int
    tune: int
    round: int


LENGTHS = {"speech": Length(80, 30, 6), "ESC-50": Length(200, 80, 10)}
FAST = Length(1, 1, 1)
Build = Callable[[Ground, Any, Part | None], nn.Module]
Change = Callable[[Any], Any]
"""Makes other settings of a recipe's."""
Rework = Callable[[list[Phase], Any], list[Phase]]
"""Makes other phases of the recipe's and its settings."""


def same(config: Any) -> Any:
    """The recipe's settings."""
    return config


def as_they_are(phases: list[Phase], config: Any) -> list[Phase]:  # noqa: ARG001 - a Rework
    """The recipe's phases."""
    return phases


@dataclass(frozen=True)
class Road:
    """A way from the dense network: the recipe's with other settings, or other phases.

    Attributes:
        change: Of the settings.
        rework: Of the phases.
        shrinks: False where nothing but training or rounding happens, so that no cap binds.
        seeds: Most seeds that it is gone with; None for all. Those that ask why a claim fails take
            long, and a difference of a few points shows on three.
    """

    change: Change = same
    rework: Rework = as_they_are
    shrinks: bool = True
    seeds: int | None = None


@dataclass(frozen=True)
class Net:
    """A network of a paper.

    Attributes:
        year: Of the paper and its recipe.
        build: Makes it of a ground, the recipe's settings and the training clips; of None where
            weights will be filled in.
        settings: The recipe's, at a ground and a length.
        schedule: The recipe's.
        bands: Mel bands.
        scaled: True for logarithms around 0.
        budget: Caps of its roads.
        roads: By name, without the dense training.
        optimizer: The paper's.
        loss: Of the training labels and the number of classes.
    """

    year: int
    build: Build
    settings: Callable[[Ground, Length], Any]
    schedule: Callable[[Any, RunFolder], Any]
    bands: int
    scaled: bool
    budget: Callable[[nn.Module], Budget]
    roads: Mapping[str, Road] = field(default_factory=dict[str, Road])
    optimizer: OptimizerFactory = partial(SGD, momentum=0.9)  # noqa: RUF009 - a value
    loss: Callable[[torch.Tensor, int], Loss] = lambda *_: cross_entropy

    def training(self, ground: Ground, length: Length, folder: RunFolder) -> Phase:
        """The dense training: what the recipe's schedule begins with."""
        return self.schedule(self.settings(ground, length), folder)[0]

    def phases(self, road: str, ground: Ground, length: Length, folder: RunFolder) -> list[Phase]:
        """What comes after it, and after the stage that keeps it."""
        way = self.roads[road]
        config = way.change(self.settings(ground, length))
        return way.rework(list(self.schedule(config, folder)[2:]), config)

    def epochs(self, road: str, ground: Ground, length: Length, folder: RunFolder) -> int:
        """Passes over the data in a road or, for `DENSE`, in the dense training."""
        if road == DENSE:
            return self.training(ground, length, folder).passes
        return sum(phase.passes for phase in self.phases(road, ground, length, folder))

    def front(self, ground: Ground) -> tuple[int, int]:
        """Bands and frames of its input."""
        mels = ground.mels(self.bands, scaled=self.scaled)
        return self.bands, mels.frames(round(ground.seconds * mels.sample_rate))


# ----------------------------------------------------------------------------------------- 2020


def settings_2020(ground: Ground, length: Length) -> dcase2020.Config:
    """Ten times the report's rates; FreqMix is left out (`benchmarks/accuracy/ingredients.md`)."""
    rates = {"lr": 1e-3, "last": 1e-5, "freqmix": 0.0, "mixup": 0.3}
    return dcase2020.Config(
        seconds=ground.seconds,
        mels=ground.mels(64, scaled=True),
        channels=24,
        train=Training2020(epochs=length.dense, **rates),
        tune=FineTune2020(epochs=length.tune, **rates),
        between=max(1, length.tune // 6),
    )


def shared(ground: Ground, config: dcase2020.Config, _: Part | None) -> nn.Module:
    """Shared-ResNet for one microphone."""
    return SharedResNet(
        config.channels, ground.classes, 1, config.repeats, sub_bands=config.sub_bands,
        mels=config.mels.mels, frames=config.frames,
    )  # fmt: skip


def focal(labels: torch.Tensor, classes: int) -> Loss:
    """The class-balanced focal loss of the training clips."""
    return ClassBalancedFocal(torch.bincount(labels, minlength=classes).clamp(min=1).tolist())


def in_steps(config: dcase2020.Config) -> dcase2020.Config:
    """Submission C, in as many epochs: what trains between the steps is taken off the end."""
    less = (4 - 1) * config.between
    tune = replace(config.tune, epochs=max(1, config.tune.epochs - less))
    return replace(config, steps=4, tune=tune)


def passes(phases: list[Phase]) -> int:
    """Epochs of some phases."""
    return sum(phase.passes for phase in phases)


def trained_on_2020(phases: list[Phase], config: dcase2020.Config) -> list[Phase]:
    """For as long as the recipe."""
    tune, decay = config.tune, partial(dcase2020.relative, config.tune)
    return [FineTune(passes(phases), tune.lr, weight_decay=0.0, warmup=0.0, decay=decay)]


def non_zero(share: float) -> Callable[[nn.Module], Budget]:
    """Cap on parameters that are not zero once a share of the convolutions' weights is."""

    def budget(model: nn.Module) -> Budget:
        filters = sum(w.numel() for w in weights(model, (_ConvNd,)).values())
        every = sum(p.numel() for p in model.parameters())
        return Budget(nonzero=every - round(share * filters))

    return budget


# ----------------------------------------------------------------------------------------- 2021


def settings_2021(
    channels: int, ground: Ground, length: Length, residual_norm: float | None = 0.1
) -> dcase2021.Config:
    """Rolls are a tenth of a word, or the report's of five seconds; masks are for ASC-8 alone."""
    mels = ground.mels(64, scaled=False)
    roll = min(1.5, 0.1 * ground.seconds)
    train = Training2021(
        epochs=length.dense, hop=mels.hop, roll=roll, warmup=min(5, length.dense // 4)
    )
    return dcase2021.Config(
        seconds=ground.seconds, mels=mels, channels=channels, residual_norm=residual_norm,
        train=train, tune=length.tune, round=length.round, members=1,
    )  # fmt: skip


def asc(ground: Ground, config: dcase2021.Config | dcase2022.Config, _: Part | None) -> nn.Module:
    """BC-ResNet-ASC; of 2022 the tandem's, alone."""
    return BCResNetASC(
        config.channels, ground.classes, config.residual_norm,
        mels=config.mels.mels, frames=config.frames,
    )  # fmt: skip


def untaught(config: dcase2021.Config) -> dcase2021.Config:
    """Without the teacher."""
    return replace(config, teacher=replace(config.teacher, weight=0.0))


def slower(config: dcase2021.Config) -> dcase2021.Config:
    """Three times the epochs after pruning."""
    return replace(config, tune=3 * config.tune)


def faster(config: dcase2021.Config) -> dcase2021.Config:
    """Four times the rate after pruning."""
    return replace(config, tune_lr=4 * config.tune_lr)


def gradual(phases: list[Phase], config: dcase2021.Config) -> list[Phase]:
    """The recipe's weights gone in five steps, in as many epochs as the recipe's."""
    pruned, tuned, *rest = phases
    between = max(1, config.tune // 10)
    cut = replace(
        cast("Unstructured", pruned), steps=5, epochs=between, lr=config.tune_lr,
        distill=config.teacher, weight_decay=config.train.weight_decay,
    )  # fmt: skip
    less = replace(cast("FineTune", tuned), epochs=max(1, config.tune - 4 * between))
    return [cut, less, *rest]


def rounded(phases: list[Phase], config: dcase2021.Config) -> list[Phase]:  # noqa: ARG001
    """int8 alone."""
    return [replace(cast("Int8", phases[-1]), distill=None)]


def taught(phases: list[Phase], config: dcase2021.Config) -> list[Phase]:
    """The teacher alone: for as long as the recipe the dense network learns from itself."""
    decay = config.train.weight_decay
    return [FineTune(passes(phases), config.tune_lr, weight_decay=decay, distill=config.teacher)]


def trained_on_2021(phases: list[Phase], config: dcase2021.Config) -> list[Phase]:
    """For as long as the recipe."""
    return [FineTune(passes(phases), config.tune_lr, weight_decay=config.train.weight_decay)]


# ----------------------------------------------------------------------------------------- 2022


def settings_2022(ground: Ground, length: Length) -> dcase2022.Config:
    """Half of the report's bands, three quarters of which stay; its own epochs after training."""
    mels = ground.mels(128, scaled=False)
    frames = mels.frames(round(ground.seconds * mels.sample_rate))
    usual = dcase2022.Config()
    config = replace(
        usual, seconds=ground.seconds, mels=mels, channels=24,
        rows=replace(usual.rows, keep=96), round=replace(usual.round, epochs=length.round),
    )  # fmt: skip
    config = dcase2022.fast(config) if length == FAST else config
    roll = min(0.4, 0.1 / ground.seconds) if ground.seconds == 1 else 0.4
    train = Training2022(
        epochs=length.dense, clip=frames, bands=10, roll=roll, warmup=min(3, length.dense // 4)
    )
    return replace(config, train=train)


def tandem(ground: Ground, config: dcase2022.Config, clips: Part | None) -> nn.Module:
    """The linear model, fitted to the clips with l1, and the network that corrects it."""
    linear = LinearMoments(config.mels.mels, num_classes=ground.classes, frames=config.frames)
    if clips is not None:
        linear = linear.to(clips[0].device)
        pretrain(linear, *clips, config.kept)
    return Tandem(
        config.mels.mels, config.channels, ground.classes, frames=config.frames, linear=linear,
        residual_norm=config.residual_norm,
    )  # fmt: skip


def by_fisher(config: dcase2022.Config) -> dcase2022.Config:
    """Rows at once."""
    return replace(config, rows=replace(config.rows, by=fisher))


def at_once(config: dcase2022.Config) -> dcase2022.Config:
    """Filters at once; the epochs of ADMM are added to the fine-tune."""
    filters = config.filters
    tune = replace(config.tune, epochs=config.tune.epochs + filters.epochs, lr=1e-3)
    return replace(config, filters=replace(filters, strategy="oneshot", epochs=0), tune=tune)


def trained_on_2022(phases: list[Phase], config: dcase2022.Config) -> list[Phase]:
    """For as long as rows, filters and int8 take, at their rate."""
    rows = config.rows
    return [FineTune(passes(phases), rows.lr, weight_decay=rows.weight_decay)]


def of_the_rule(model: nn.Module) -> Budget:
    """The shares of the dense network that the rule of 2022 leaves."""
    cost = compressor.measure(model)
    linear = compressor.measure(model.linear).params if isinstance(model, Tandem) else 0
    params = linear + round(PARAMS_2022 * (cost.params - linear))
    return Budget(params=params, macs=round(MACS_2022 * cost.macs))


# ------------------------------------------------------------------------------------- all of them

ROADS_2021 = {
    CONTROL: Road(rework=trained_on_2021, shrinks=False),
    RECIPE: Road(),
    "no teacher": Road(untaught),
    "gradual": Road(rework=gradual, seeds=3),
    "three times as long": Road(slower, seeds=3),
    "four times the rate": Road(faster, seeds=3),
    "int8 alone": Road(rework=rounded, shrinks=False),
    "teacher alone": Road(rework=taught, shrinks=False, seeds=3),
}


def net_2021(channels: int, *names: str, residual_norm: float | None = 0.1) -> Net:
    """BC-ResNet-ASC at a width, and some of the roads of 2021."""
    return Net(
        2021, asc, partial(settings_2021, channels, residual_norm=residual_norm),
        dcase2021.schedule, 64, scaled=False, budget=non_zero(dcase2021.Config().pruned),
        roads={name: ROADS_2021[name] for name in names},
    )  # fmt: skip


CONTROL_2022 = Road(rework=trained_on_2022, shrinks=False)


def net_2022(build: Build, roads: Mapping[str, Road]) -> Net:
    """A network of the plan of 2022."""
    return Net(
        2022, build, settings_2022, dcase2022.schedule, 128, scaled=False, budget=of_the_rule,
        roads=roads,
    )  # fmt: skip


NETS = {
    "Shared-ResNet": Net(
        2020, shared, settings_2020, dcase2020.schedule, 64, scaled=True, budget=non_zero(0.6),
        roads={
            CONTROL: Road(rework=trained_on_2020, shrinks=False),
            RECIPE: Road(),
            "four steps": Road(in_steps),
        },
        optimizer=Adam, loss=focal,
    ),
    "ASC": net_2021(40, *ROADS_2021),
    "ASC, narrow": net_2021(16, CONTROL, RECIPE),
    "ASC, narrow, no ResidualNorm": net_2021(16, CONTROL, residual_norm=None),
    "tandem": net_2022(
        tandem,
        {
            CONTROL: CONTROL_2022,
            RECIPE: Road(),
            "rows by Fisher": Road(by_fisher),
            "filters at once": Road(at_once),
        },
    ),
    "ASC of the tandem, alone": net_2022(asc, {CONTROL: CONTROL_2022}),
}  # fmt: skip


def budget_of(net: Net, road: str, model: nn.Module) -> Budget:
    """Caps of a road; none that bind where it does not shrink."""
    return net.budget(model) if net.roads[road].shrinks else ANYTHING


def seeds_of(ground: Ground, net: Net, road: str) -> tuple[int, ...]:
    """Seeds of a road, or of the dense training, on a ground."""
    return ground.seeds if road == DENSE else ground.seeds[: net.roads[road].seeds]
