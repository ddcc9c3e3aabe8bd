"""Workers that make the trials of a sweep: this process, or those of Ray.

Ray is asked for one thing: to call `trial.make` somewhere, and again somewhere else if the process
dies. The outcome of a trial travels through its folder, so that nothing is lost with a
process; a cluster's machines must see this checkout and the sweep's folder under the same paths.

Ray Tune is not used. Its `Tuner.restore` unpickles the folder of a sweep and makes no point that
was added to it; its searches do not average several costs over seeds; and without Ray, `--serial`,
there would still be a loop of one's own.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from recipes.running.scene_data import ROOT
from recipes.sweeps.trial import Job, make

RETRIES = 3
"""Further attempts at a trial whose process died."""
SECONDS = 10.0
"""Longest wait for an answer of a cluster."""
STORE = 100 * 2**20
"""Bytes of a local Ray's shared memory, which nothing here uses; it asks for at least 75 MiB."""

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

    Attributes:
        capacity: Trials at once.

    Raises:
        ImportError: If Ray is not installed.
        OSError: If the cluster does not answer, or Ray does not start.
        ValueError: If the cluster has less than one trial takes.
    """

    def __init__(self, address: str | None, cpus: float = 1, gpus: float = 0) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # tells nobody
        try:
            import ray  # noqa: PLC0415 - optional
        except ImportError as error:
            raise ImportError(
                f"trials on several processes need Ray ({error}): pip install -e '.[sweep]' in the "
                "checkout, or make them one after the other in this process with --serial"
            ) from error

        if address is not None and address != "auto":
            _reach(address)
        self._ray: Any = ray
        environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        local = {"include_dashboard": False, "object_store_memory": STORE}
        try:
            ray.init(
                address=address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": environment},
                **({} if address else local),
            )
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            where = f"The Ray cluster at {address}" if address else "Ray on this machine"
            raise OSError(
                f"{where} does not start or answer ({error}). Check --address, or make the trials "
                "one after the other in this process with --serial."
            ) from error
        has = ray.cluster_resources()
        shares = [has.get("CPU", 0) / cpus] + ([has.get("GPU", 0) / gpus] if gpus else [])
        self.capacity = int(min(shares))
        if self.capacity < 1:
            self.close()
            raise ValueError(
                f"A trial takes {cpus:g} CPU and {gpus:g} GPU, and Ray has {has.get('CPU', 0):g} "
                f"and {has.get('GPU', 0):g}: ask for less with --cpus and --gpus."
            )
        self._make = ray.remote(max_retries=RETRIES, num_cpus=cpus, num_gpus=gpus)(_make)

    def __call__(self, jobs: Iterator[Job]) -> Iterator[tuple[Job, str | None]]:
        """Make trials, as many at once as there is room for."""
        running: dict[Any, Job] = {}
        while True:
            for job in islice(jobs, self.capacity - len(running)):
                running[self._make.remote(job, str(ROOT))] = job
            if not running:
                return
            [done], _ = self._ray.wait(list(running), num_returns=1)
            yield running.pop(done), self._lost(done)

    def close(self) -> None:
        """Let go of the processes; the end of this one does too."""
        self._ray.shutdown()

    def _lost(self, done: Any) -> str | None:
        """The reason why a call left no record."""
        try:
            self._ray.get(done)
        except self._ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines()
            return f"{type(error).__name__}: {lines[-1] if lines else 'its process died'}"
        return None


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


def _reach(address: str) -> None:
    """Refuse an address at which nothing listens, where Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise OSError(
            f"There is no Ray cluster at --address {address} ({error}): give host:port of its head "
            "node, ray://host:port, or auto for the one that runs on this machine."
        ) from error


def _make(job: Job, root: str) -> None:
    if not Path(root).is_dir() or not Path(job.folder).parent.is_dir():
        raise FileNotFoundError(f"This machine sees no {root} or no {Path(job.folder).parent}")
    make(job)
