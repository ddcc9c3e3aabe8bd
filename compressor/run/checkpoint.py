"""Checkpoints: kill a run at any moment, make the same call again, get the same bits.

After every part of every phase the whole state of a run is written: tensors of the model, the
optimiser and the random generators to a safetensors file, the rest to JSON (`compressor.storage`).
The old checkpoint stays until the new one is complete. What the caller gives anew (the model, the
data, the schedule) is not stored but identified, so that a run is never resumed as another one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from compressor import storage
from compressor.errors import ResumeError
from compressor.inputs import randomness
from compressor.run.identity import placeless
from compressor.run.phase import Phase
from compressor.run.training import Training
from compressor.wording import first_few, line

NAME = "checkpoint"
DIGESTS = ("initial weights", "first batch", "first batch of val")
"""Entries of an identity that are too long, or say too little, to be printed."""

SHOWN = 200
"""Characters of a value that an error shows, from shortly before where two values part."""


class Checkpoint:
    """A directory that a run is written to and resumed from.

    Attributes:
        directory: Place of the files.
        identity: Everything that tells this run from others; see `compressor.run.identity`.
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
            identity: From `compressor.run.identity.identify`.
            loaders: Data loaders whose generators belong to the state.
            writes: False in all processes but one.
        """
        self.directory = Path(directory)
        self.identity = dict(identity)
        self._loaders = loaders
        self._writes = writes

    def rest(self) -> None:
        """Write nothing any more."""
        self._writes = False

    def save(self, training: Training, phase: int, part: int) -> None:
        """Write the state: the next thing to do is `part` of `phase`."""
        if not self._writes:
            return
        state = {
            "position": (phase, part),
            **training.snapshot(),
            "random": randomness.capture(*self._loaders),
        }
        tensors: dict[str, torch.Tensor] = {}
        plain = storage.flatten(state, tensors)
        storage.write(self.directory, NAME, tensors, {"identity": self.identity, "state": plain})

    def resume(self, training: Training, phases: Sequence[Phase]) -> tuple[int, int]:
        """Bring a run to where it was; returns the next phase and part, (0, 0) for a new run.

        Args:
            training: A new one.
            phases: The schedule: a solver makes its own changes of structure again.

        Raises:
            ResumeError: If the directory holds another run, or is damaged.
        """
        if not (self.directory / f"{NAME}.json").exists():
            return 0, 0
        try:
            tensors, data = storage.read(self.directory, NAME)
        except (ValueError, OSError) as error:
            raise ResumeError(
                f"cannot resume: {error} Or delete {self.directory} to start over."
            ) from error
        file = self.directory / f"{NAME}.json"
        if not isinstance(data, dict) or not isinstance(data.get("identity"), dict):
            raise ResumeError(
                f"cannot resume: {file} is damaged, it says nothing of "
                f"which run it belongs to. Delete {self.directory} to start over."
            )
        self._check(data["identity"])
        try:
            return self._take_up(training, phases, storage.restore(data["state"], tensors))
        except Exception as error:  # whatever it holds, it is not what `save` wrote
            why = line(error)
            raise ResumeError(
                f"cannot resume: {file} is damaged, or of another version: what it holds does not "
                f"fit this run ({type(error).__name__}: {why}). Delete {self.directory} to start "
                "over."
            ) from error

    def _take_up(
        self, training: Training, phases: Sequence[Phase], state: dict[str, Any]
    ) -> tuple[int, int]:
        """Make a run what a state says; returns the next phase and part."""
        phase, part = state["position"]
        if not (0 <= phase < len(phases) and 0 <= part <= phases[phase].length):
            raise ValueError(f"part {part} of phase {phase} is not in a schedule of {len(phases)}")
        session = training.session
        training.restore(state, lambda number, change: phases[number].redo(session, change))
        randomness.put_back(state["random"], *self._loaders)
        return phase, part

    def _check(self, then: Mapping[str, Any]) -> None:
        wrong: list[str] = []
        for name in dict.fromkeys((*self.identity, *then)):
            old, new = then.get(name), self.identity.get(name)
            if placeless(old) == placeless(new):
                continue
            found = list(_differences(name, old, new))
            wrong += first_few(found, f"more of the {name}")
        if wrong:
            raise ResumeError(
                f"{self.directory} holds a checkpoint of another run. What differs: "
                f"{'; '.join(wrong)}. Make the same call as then, or choose another directory"
            )


def _differences(name: str, old: Any, new: Any) -> Iterator[str]:
    """The differences of two entries of an identity, each in a few words."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        if old != new:
            yield name if name in DIGESTS else f"{name} {_change(old, new)}"
        return
    before, after = cast("dict[str, Any]", old), cast("dict[str, Any]", new)
    for key in dict.fromkeys((*before, *after)):
        one, two = before.get(key), after.get(key)
        place = f"{name} of {repr(key) if key else 'the model'}"
        if one != two and isinstance(one, dict) and isinstance(two, dict):
            changes = [
                f"{setting} {_change(one.get(setting), two.get(setting))}"
                for setting in dict.fromkeys((*one, *two))
                if one.get(setting) != two.get(setting)
            ]
            yield f"{place}: {', '.join(first_few(changes, 'more'))}"
        elif one != two:
            yield f"{place} {_change(one, two)}"


def _change(old: object, new: object) -> str:
    """Two values that differ, shown around the place where they part."""
    texts = ["absent" if value is None else str(value) for value in (old, new)]
    apart = (n for n, pair in enumerate(zip(*texts, strict=False)) if len({*pair}) > 1)
    start = max(next(apart, 0) - SHOWN // 3, 0) if max(map(len, texts)) > SHOWN else 0
    ends = ("..." if len(text) > start + SHOWN else "" for text in texts)
    shown = [
        f"{'...' if start else ''}{text[start : start + SHOWN]}{end}"
        for text, end in zip(texts, ends, strict=True)
    ]
    return f"was {shown[0]} and is now {shown[1]}"
