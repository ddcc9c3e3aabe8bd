"""Workers that make the trials of a sweep: this process, or those of Ray.

Ray is asked for one thing (`compressor.reports.sweeps.workers`): to call `trial.make` somewhere,
and again somewhere else if the process dies. The outcome of a trial travels through its folder, so
that nothing is lost with a process; a cluster's machines must see this checkout and the sweep's
folder under the same paths.

Ray Tune is not used. Its `Tuner.restore` unpickles the folder of a sweep and makes no point that
was added to it; its searches do not average several costs over seeds; and without Ray, `--serial`,
there would still be a loop of one's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from compressor.reports.sweeps import workers
from compressor.reports.sweeps.workers import LOCAL, Ways
from recipes.running.scene_data import ROOT
from recipes.sweeps.trial import Job, make

WAYS = Ways(
    "--address ", "--serial", "--cpus and --gpus", "pip install -e '.[sweep]' in the checkout"
)
"""What messages call the options of the command."""

Workers = Callable[[Iterator[Job]], Iterator[tuple[Job, str | None]]]
"""Take jobs as they have room, and give each back when it is over, with the reason if it was
stopped without a record of its own."""


def here(jobs: Iterator[Job]) -> Iterator[tuple[Job, str | None]]:
    """Make one trial after the other, in this process."""
    for job in jobs:
        try:
            make(job)
        except OSError as error:
            yield job, str(error)
        else:
            yield job, None


class OnRay:
    """Processes of Ray.

    Args:
        address: A cluster; None to start one on this machine.
        cpus: Processors that a trial takes; may be a share of one.
        gpus: GPUs, likewise.

    Errors as of `compressor.reports.sweeps.workers.OnRay`.
    """

    def __init__(self, address: str | None, cpus: float = 1, gpus: float = 0) -> None:
        environment, work = {"PYTHONPATH": str(ROOT)}, partial(_make, root=str(ROOT))
        self._workers = workers.OnRay(work, address or LOCAL, cpus, gpus, environment, WAYS)

    def __call__(self, jobs: Iterator[Job]) -> Iterator[tuple[Job, str | None]]:
        """Make trials, as many at once as there is room for."""
        for job, outcome in self._workers(jobs):
            try:
                outcome()
            except self._workers.errors as error:
                lines = str(error).strip().splitlines()
                yield job, f"{type(error).__name__}: {lines[-1] if lines else 'its process died'}"
            else:
                yield job, None

    def close(self) -> None:
        """Let go of the processes; the end of this one does too."""
        self._workers.close()


def several(address: str | None, cpus: float, gpus: float, say: Callable[[str], object]) -> Workers:
    """Those of Ray, or this process where Ray is not installed and no cluster was asked for.

    Args:
        address: As of `OnRay`; likewise the others.
        cpus: Processors that a trial takes.
        gpus: GPUs, likewise.
        say: Called with a sentence where it is this process.

    Raises:
        ImportError: If a cluster was asked for, and Ray is not installed.
    """
    try:
        return OnRay(address, cpus, gpus)
    except ImportError:
        if address is not None:
            raise
        say(
            "Ray is not installed, so that trials are made one after the other, as with --serial. "
            "For several at a time: pip install -e '.[sweep]' in the checkout."
        )
        return here


def _make(job: Job, root: str) -> None:
    if not Path(root).is_dir() or not Path(job.folder).parent.is_dir():
        raise FileNotFoundError(f"This machine sees no {root} or no {Path(job.folder).parent}")
    make(job)
