"""Who makes the trials of a sweep: this process, or those of Ray.

Ray is asked for one thing: to call `trial.make` somewhere, and again somewhere else if the
process dies. What came of a trial travels through its folder, so that nothing is lost with a
process; a cluster's machines must see this checkout and the sweep's folder under the same paths.
"""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from typing import Any, Protocol

from recipes.running.scene_data import ROOT
from recipes.sweeps.trial import Job, make

RETRIES = 3
"""How often a trial is made again whose process died."""
SECONDS = 10.0
"""To wait for an answer of a cluster."""
STORE = 100 * 2**20
"""Bytes of a local Ray's shared memory, of which nothing here makes use; it asks for 75 MiB."""


class Workers(Protocol):
    """Make trials, several at once."""

    @property
    def capacity(self) -> int:
        """How many at once."""
        ...

    def submit(self, job: Job) -> None:
        """Have a trial made."""
        ...

    def wait(self) -> tuple[Job, str | None]:
        """The next that is over, and, if it left no record of why, what stopped it."""
        ...

    def close(self) -> None:
        """Let go of processes."""
        ...


class Here:
    """One trial after the other, in this process."""

    capacity = 1

    def __init__(self) -> None:
        self._jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        self._jobs.append(job)

    def wait(self) -> tuple[Job, str | None]:
        job = self._jobs.pop(0)
        try:
            make(job)
        except OSError as error:
            return job, str(error)
        return job, None

    def close(self) -> None:
        """Nothing is held."""


class OnRay:
    """Processes of Ray.

    Args:
        address: Of a cluster; None to start one on this machine.
        cpus: Processors that a trial takes; may be a share of one.
        gpus: Likewise.

    Raises:
        ImportError: If Ray is not installed.
        OSError: If the cluster does not answer, or Ray does not start.
        ValueError: If the cluster has not what one trial takes.
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
            ray.shutdown()
            raise ValueError(
                f"A trial takes {cpus:g} CPU and {gpus:g} GPU, and Ray has {has.get('CPU', 0):g} "
                f"and {has.get('GPU', 0):g}: ask for less with --cpus and --gpus."
            )
        self._make = ray.remote(max_retries=RETRIES, num_cpus=cpus, num_gpus=gpus)(_make)
        self._jobs: dict[Any, Job] = {}

    def submit(self, job: Job) -> None:
        self._jobs[self._make.remote(job, str(ROOT))] = job

    def wait(self) -> tuple[Job, str | None]:
        [done], _ = self._ray.wait(list(self._jobs), num_returns=1)
        job = self._jobs.pop(done)
        try:
            self._ray.get(done)
        except self._ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines()
            return job, f"{type(error).__name__}: {lines[-1] if lines else 'its process died'}"
        return job, None

    def close(self) -> None:
        self._ray.shutdown()


def _reach(address: str) -> None:
    """Refuse an address at which nothing listens, where Ray itself would try for minutes.

    Raises:
        OSError: If nothing answers, or it is no address.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise OSError(
            f"There is no Ray cluster at --address {address} ({error}): give host:port of its head "
            "node, ray://host:port, or auto for the one that runs on this machine."
        ) from error


def _make(job: Job, root: str) -> None:
    """In a process of Ray's."""
    if not Path(root).is_dir() or not Path(job.folder).parent.is_dir():
        raise FileNotFoundError(f"This machine sees no {root} or no {Path(job.folder).parent}")
    make(job)
