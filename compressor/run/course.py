"""The course of a schedule: every part of every phase in order, from where a checkpoint is.

`fit` goes through it in one call, and `Session` from lesson to lesson, so that both do the same.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager

from compressor.errors import TrainingError
from compressor.inputs.checks import SINGLE, too_few
from compressor.network import Network
from compressor.run.checkpoint import Checkpoint
from compressor.run.compression import Compression
from compressor.run.lesson import Lesson
from compressor.run.phase import Phase, lessons_of, name_of
from compressor.run.training import Training


def train(training: Training, phases: Sequence[Phase], checkpoint: Checkpoint | None) -> None:
    """Go through a schedule to its end.

    Raises:
        TrainingError: If a batch is too small for a BatchNorm.
    """
    for lesson in lessons(training, phases, checkpoint):
        with _explained(lesson.phase):
            training.give(lesson)


def lessons(
    training: Training, phases: Sequence[Phase], checkpoint: Checkpoint | None
) -> Iterator[Lesson]:
    """Do all that phases do but the training, and say what has to be trained on the way.

    Whoever asks for the next lesson has given the one before. A checkpoint is written after every
    part.

    Raises:
        TrainingError: If a batch is too small for a BatchNorm.
    """
    first, part = (0, 0) if checkpoint is None else checkpoint.resume(training, phases)
    for number, phase in enumerate(phases[first:], start=first):
        training.begin(number, phases[number + 1 :], part=part, name=name_of(phase))
        for step in range(part, phase.length):
            with _explained(name_of(phase)):
                yield from lessons_of(phase, training, step)
            if checkpoint is not None:
                checkpoint.save(training, number, step + 1)
        part = 0
    _put_modes_back(training.session)


@contextmanager
def _explained(phase: str) -> Generator[None]:
    """Say of a batch that is too small for a BatchNorm what it is, and where it was met."""
    try:
        yield
    except ValueError as error:
        if too_few(error):
            raise TrainingError(f"{phase}: {SINGLE}") from error
        raise


def _put_modes_back(session: Compression) -> None:
    """Give the result the modes of the model given; one that is data has nothing left to train."""
    if isinstance(session.model, Network):
        session.model.eval()
        return
    modes = {name: module.training for name, module in session.original.named_modules()}
    for name, module in session.model.named_modules():
        module.training = modes.get(name, session.original.training)
