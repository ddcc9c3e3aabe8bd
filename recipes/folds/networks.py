"""Pieces of the five folds: one network each, that goes on after `kill -9` and leaves a record."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

import compressor
from compressor import Budget, Result
from compressor.phases import Phase
from compressor.storage import read_json, sealed, write_bytes
from recipes.folds.clips import Folds, crops_of, decided
from recipes.folds.settings import CLASSES, CONTROL, DENSE, STAGES, FoldSettings
from recipes.running.run_folder import RunFolder
from recipes.running.stages import Stage, take_stage
from recipes.training.sound_batches import SoundBatches

YEAR = 2022
"""Year by whose rule the dense network is counted."""


@dataclass(frozen=True)
class Fold:
    """One fold: its data, and the folder of its networks.

    Attributes:
        number: The fold that is tested on; the others train.
        settings: Those of all folds.
        data: All five.
        folder: Where its networks lie, and where a killed training goes on.
        console: Output for people.
    """

    number: int
    settings: FoldSettings
    data: Folds
    folder: RunFolder
    console: Console

    def piece(self, stage: str) -> dict[str, Any]:
        """Train the network of a stage and hear the test fold with its last epoch.

        Raises:
            ValueError: If the folder's networks were trained with other settings or clips.
        """
        self._begin()
        resumed, start = self._of(stage).checkpoint.exists(), time.process_time()
        dense = self._dense()
        if stage != DENSE:
            start = time.process_time()
        _, (clips, labels) = self.data.split(self.number)
        count = self.settings.deciding(stage)
        crops = crops_of(clips, self.settings, count)
        level, cost = right(dense, crops, labels), compressor.measure(dense)
        found = level
        if stage != DENSE:
            result = self._small(dense, stage)
            result.save(self._of(stage).path)
            found, cost = right(result.model, crops, labels), result.report.after
        return {
            "accuracy": found,
            "dense": level,
            "clips": len(labels),
            "crops": count,
            "params": cost.params,
            "nonzero": cost.nonzero,
            "macs": count * cost.macs,
            "bytes": cost.bytes,
            "epochs": self.settings.epochs_of(stage),
            "CPU seconds": None if resumed else round(time.process_time() - start),
            "torch": torch.__version__,
        }

    def kept(self, stage: str) -> dict[str, Any]:
        """The record of a piece: that of an earlier call, else the piece is made now."""
        self._begin()
        file = self._of(stage).path / "record.json"
        if not file.is_file():
            found = self.piece(stage)
            write_bytes(file, sealed(found))
        return read_json(file)

    def _begin(self) -> None:
        """Claim the folder for these settings and clips."""
        self.folder.begin(self.settings, f"{len(self.data.labels)} clips, fold {self.number}")

    def _dense(self) -> nn.Module:
        """The dense network, trained first where its weights are not on this machine."""
        torch.manual_seed(self.settings.seed)  # of its first weights
        model, end = self.settings.network(), Stage(DENSE, self.folder.stages, YEAR)
        if not (self.folder.stages / f"{DENSE}.json").is_file():
            self.console.print(
                f"Fold {self.number}: {self.folder.path} is without: training the dense network"
            )
            self._fit(model, DENSE, whole(model), [self.settings.training(), end])
        take_stage(model, self.folder, DENSE)
        return model.eval()

    def _small(self, dense: nn.Module, stage: str) -> Result:
        settings = self.settings
        if stage == CONTROL:
            return self._fit(dense, stage, whole(dense), [settings.tuning()])
        return self._fit(dense, stage, settings.budget(stage), settings.schedule(stage))

    def _fit(
        self, model: nn.Module, stage: str, budget: Budget, schedule: Sequence[Phase]
    ) -> Result:
        (clips, labels), _ = self.data.split(self.number)
        seed = 1000 * STAGES.index(stage) + self.settings.seed
        batches = SoundBatches(clips, labels, CLASSES, self.settings.hearing, seed=seed)
        return compressor.fit(
            model.train(), batches, budget=budget, schedule=schedule,
            checkpoint=self._of(stage).checkpoint, on_epoch=self._of(stage).log,
            seed=self.settings.seed,
        )  # fmt: skip

    def _of(self, stage: str) -> RunFolder:
        """The folder of one network: its log, its record, and where its training goes on."""
        return RunFolder(self.folder.path / named(stage))


def named(stage: str) -> str:
    """A stage in the name of a file."""
    return stage.replace(",", "").replace(" ", "-")


def whole(model: nn.Module) -> Budget:
    """Caps that a network meets as it is."""
    cost = compressor.measure(model)
    return Budget(params=cost.params, macs=cost.macs)


def right(model: nn.Module, crops: Tensor, labels: Tensor) -> float:
    """Percent of clips that are decided as their labels say."""
    return 100 * float((decided(model, crops) == labels).double().mean())


def folder_of(out: Path, number: int, seed: int) -> RunFolder:
    """Folder of a fold and a seed."""
    return RunFolder(out / f"fold{number}-seed{seed}")


def pieces(folds: Iterable[int], stages: Iterable[str] = STAGES) -> Iterator[tuple[str, int]]:
    """Stages and folds, what takes longest first: every dense network before what it becomes."""
    yield from product(stages, folds)
