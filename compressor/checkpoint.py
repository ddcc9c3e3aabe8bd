"""Checkpoints: kill a run at any moment, make the same call again, get the same bits.

After every part of every phase the whole state of a run is written: tensors of the model, the
optimiser and the random generators to a safetensors file, the rest to JSON (`compressor.storage`).
The old checkpoint stays until the new one is complete. What the caller gives anew (the model, the
data, the schedule) is not stored but identified, so that a run is never resumed as another one.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from compressor import randomness, storage
from compressor.errors import ResumeError
from compressor.report import Epoch, Shrink
from compressor.training import Training, all_tensors, fill

NAME = "checkpoint"
DIGESTS = ("initial weights", "first batch", "first batch of val")
"""Entries of an identity that are too long, or say too little, to be printed."""


class Checkpoint:
    """A directory that a run is written to and resumed from.

    Attributes:
        directory: Where the files are.
        identity: What makes the run this one and no other; see `compressor.identity`.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        identity: Mapping[str, Any],
        loaders: Sequence[object] = (),
        *,
        writes: bool = True,
    ) -> None:
        """Nothing is read or written yet.

        Args:
            directory: Created with the first checkpoint.
            identity: From `compressor.identity.identify`.
            loaders: Data loaders whose generators belong to the state.
            writes: False in all processes but one.
        """
        self.directory = Path(directory)
        self.identity = dict(identity)
        self._loaders = loaders
        self._writes = writes

    def save(self, training: Training, phase: int, part: int) -> None:
        """Write the state: the next thing to do is `part` of `phase`."""
        session = training.session
        if not self._writes:
            return
        optimizer = session.optimizer
        state = {
            "position": (phase, part),
            "alive": torch.from_numpy(session.alive),
            "model": all_tensors(session.model),
            "optimizer": None if optimizer is None else optimizer.state_dict(),
            "best": training.best,
            "random": randomness.capture(*self._loaders),
            "log": [dataclasses.asdict(epoch) for epoch in training.log],
            "shrinks": [dataclasses.asdict(shrink) for shrink in session.shrinks],
        }
        tensors: dict[str, torch.Tensor] = {}
        plain = storage.flatten(state, tensors)
        storage.write(self.directory, NAME, tensors, {"identity": self.identity, "state": plain})

    def resume(self, training: Training) -> tuple[int, int]:
        """Bring a run to where it was; returns the next phase and part, (0, 0) for a new run.

        Raises:
            ResumeError: If the directory holds another run, or is damaged.
        """
        if not (self.directory / f"{NAME}.json").exists():
            return 0, 0
        try:
            tensors, data = storage.read(self.directory, NAME)
        except (ValueError, FileNotFoundError) as error:
            raise ResumeError(
                f"cannot resume: {error} Or delete {self.directory} to start over."
            ) from error
        if not {"identity", "state"} <= data.keys():
            raise ResumeError(
                f"cannot resume: {self.directory / NAME}.json is damaged, it says nothing of "
                f"which run it belongs to. Delete {self.directory} to start over."
            )
        self._check(data["identity"])
        state = storage.restore(data["state"], tensors)
        training.session.jump(state["alive"].numpy(), [_shrink(s) for s in state["shrinks"]])
        training.resume(state["optimizer"])
        fill(training.session.model, state["model"])
        training.log = [Epoch(**epoch) for epoch in state["log"]]
        training.best = state["best"]
        randomness.put_back(state["random"], *self._loaders)
        return state["position"]

    def _check(self, then: Mapping[str, Any]) -> None:
        """Refuse another run, saying what differs."""
        wrong: list[str] = []
        for name in dict.fromkeys((*self.identity, *then)):
            old, new = then.get(name), self.identity.get(name)
            if old != new:
                wrong.append(name if name in DIGESTS else f"{name} was {old} and is now {new}")
        if wrong:
            raise ResumeError(
                f"{self.directory} holds a checkpoint of another run. What differs: "
                f"{'; '.join(wrong)}. Make the same call as then, or choose another directory"
            )


def _shrink(data: dict[str, Any]) -> Shrink:
    changed: dict[str, Any] = {"binding": tuple(data["binding"])}
    return Shrink(**(data | changed))
