"""From a list of clips to a network under the year's caps, and its copies for single devices."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compressor import Budget, Result, Train, allocate, importance, trace
from compressor.inputs.losses import Loss, cross_entropy
from compressor.phases import Phase, Recalibrate
from recipes.features.logmel import FLOOR
from recipes.features.responses import mel_gains, read_responses
from recipes.judging.system import System, scores_of
from recipes.running.command import RunContext
from recipes.running.compression import fit
from recipes.running.run_folder import RunFolder
from recipes.running.scene_data import Part, Scenes
from recipes.running.stages import Stage, read_network
from recipes.running.year_caps import caps
from recipes.scenes.settings import Config
from recipes.training.augment import Augmentation, OtherDevices
from recipes.training.teacher import LearnFrom, read_logits, softened

STAGES = ("dense", "pruned")
"""Stages that are judged at the end beside the entry itself."""


def fresh(config: Config, classes: int) -> nn.Module:
    """The network before training: of equal seeds the same."""
    torch.manual_seed(config.seed)
    return config.source.build(classes, config.mels.mels, config.frames)


def budget_of(config: Config, model: nn.Module) -> Budget:
    """Caps for `fit`; a BudgetError if one is above the rule's."""
    return caps(config.year, config.budget, model, bits=config.bits)


def check_reachable(model: nn.Module, budget: Budget) -> None:
    """Refuse (BudgetError) caps that no structure of the network meets.

    A cap on a file is left to `fit`, which knows how its weights are stored.
    """
    graph = trace(model)
    scores = importance.frobenius(graph, dict(model.named_parameters()))
    left = {name: cap for name, cap in budget.caps.items() if name != "bytes"}
    allocate(graph, scores, Budget(**left))


def schedule(config: Config, folder: RunFolder) -> list[Phase]:
    """Training, pruning, fine-tuning, storing."""
    stage, plan = partial(Stage, folder=folder.stages, year=config.year), config.train
    return [
        Train(epochs=plan.epochs, lr=plan.lr, weight_decay=plan.weight_decay, warmup=plan.warmup),
        stage("dense"),
        config.prune,
        Recalibrate(),
        config.tune,
        stage("pruned"),
        config.store,
    ]


def other_devices(config: Config) -> tuple[Augmentation, ...]:
    """The devices of a folder of responses, if one is asked for.

    Raises:
        FileNotFoundError: If the folder has no wav file.
        ValueError: If a file is no response.
    """
    if not config.responses:
        return ()
    mels = config.mels
    responses = read_responses(Path(config.responses), mels.sample_rate)
    gains = mel_gains(responses, mels)
    return (OtherDevices(gains, config.heard, mels.level, mels.spread, FLOOR),)


def lessons(config: Config, part: Part) -> dict[str, Any]:
    """What a part is learned from: arguments of `recipes.running.compression.fit`.

    Raises:
        FileNotFoundError: If the teacher's file is not there.
        ValueError: If it has no logits for some of the clips.
    """
    teacher, loss = None, cross_entropy
    if config.teacher:
        names = part.listing.table["file"].tolist()
        logits = read_logits(Path(config.teacher), names, part.listing.classes)
        teacher, loss = _taught(logits.to(part.x.device), config)
    return {"before": other_devices(config), "teacher": teacher, "loss": loss}


def _taught(logits: Tensor, config: Config) -> tuple[Tensor, Loss]:
    return softened(logits, config.distill), LearnFrom(config.distill)


def compress(context: RunContext[Config], scenes: Scenes) -> Result:
    """The network, trained and brought under the year's caps."""
    config = context.config
    model = fresh(config, len(scenes.classes))
    return fit(
        context, scenes, model,
        budget=budget_of(config, model),
        schedule=schedule(config, context.folder),
        **lessons(config, scenes.train),
    )  # fmt: skip


# ----------------------------------------------------------------------- one network a device, 2025


def by_device(context: RunContext[Config], scenes: Scenes) -> dict[str, Result]:
    """A copy of the small network for each device of the training list, trained on its clips.

    As in the official baseline of 2025: known devices have networks of their own, each of them
    under the caps alone, others the general one. They differ in weights and not in widths.
    """
    config = context.config
    budget = budget_of(config, fresh(config, len(scenes.classes)))
    found: dict[str, Result] = {}
    for device in devices_of(scenes.train):
        train = of_device(scenes.train, device)
        context.console.print(f"Device {device}: {len(train)} clips ...")
        folder = RunFolder(context.folder.path / f"device-{device}")
        with warnings.catch_warnings():
            # Of a network read from a file: nothing is removed from it any more.
            warnings.filterwarnings("ignore", message="Network runs other operations in training")
            found[device] = fit(
                replace(context, folder=folder),
                replace(scenes, train=train, validation=_watched(scenes.validation, device)),
                read_network(context.folder.stages, STAGES[-1]),
                budget=budget,
                schedule=[config.adapt, config.store],
                **lessons(config, train),
            )
    return found


def devices_of(part: Part) -> list[str]:
    """Devices of a part, in alphabetical order."""
    return sorted(set(part.listing.table["device"]))


def of_device(part: Part, device: str) -> Part:
    """The clips of a device."""
    chosen = (part.listing.table["device"] == device).to_numpy()
    rows = torch.from_numpy(np.flatnonzero(chosen)).to(part.x.device)
    return Part(part.x[rows], part.y[rows], part.listing.select(chosen))


def _watched(part: Part | None, device: str) -> Part | None:
    """The validation clips of a device, if there are any."""
    if part is None or device not in devices_of(part):
        return None
    return of_device(part, device)


def device_systems(system: System, networks: Mapping[str, Result]) -> dict[str, System]:
    """The general system with the network of each device."""
    return {
        device: replace(system, networks=(scores_of(one.model),))
        for device, one in networks.items()
    }


def shares_by_device(
    general: np.ndarray, systems: Mapping[str, System], test: Part, devices: Sequence[str]
) -> np.ndarray:
    """Probabilities (clips, classes): of a known device's network, else of the general one."""
    shares = general.copy()
    for device, system in systems.items():
        rows = np.flatnonzero(np.asarray(devices) == device)
        if len(rows):
            shares[rows] = system.probabilities(test.x[torch.from_numpy(rows).to(test.x.device)])
    return shares
