"""Who does many pieces of work: this process, or those of Ray.

Ray is asked for one thing: to call a function somewhere, and again somewhere else if the process
dies.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import Any, Generic, TypeVar

RETRIES = 3
"""Further attempts at a piece of work whose process died."""
SECONDS = 10.0
"""Longest wait for an answer of a cluster."""
STORE = 100 * 2**20
"""Bytes of a local Ray's shared memory, little of which is used; it asks for at least 75 MiB."""
LOCAL = "local"
"""The address of a Ray of one's own on this machine."""

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Ways:
    """How a caller says what messages advise.

    Attributes:
        address: To name a cluster, in front of its address.
        serial: To do without Ray.
        room: To ask for less room.
        package: To install Ray.
    """

    address: str = "ray="
    serial: str = "ray=None"
    room: str = "cpus and gpus"
    package: str = "pip install 'compressor-nn[sweep]'"


class OnRay(Generic[Task, Outcome]):
    """Processes of Ray.

    Args:
        work: What is done with each task; it is sent to the processes, with all it refers to.
        address: A cluster (``host:port``, ``ray://host:port``, ``auto`` for the one that runs on
            this machine), or "local" to start one here.
        cpus: Processors that a task takes; may be a share of one.
        gpus: GPUs, likewise.
        environment: Variables of the processes.
        ways: How messages say what to do.

    Attributes:
        capacity: Tasks at once.
        errors: Exceptions of Ray's own, as of a process that died again and again.

    Raises:
        ImportError: If Ray is not installed.
        OSError: If the cluster does not answer, or Ray does not start.
        ValueError: If the cluster has less than one task takes.
    """

    def __init__(
        self,
        work: Callable[[Task], Outcome],
        address: str = LOCAL,
        cpus: float = 1,
        gpus: float = 0,
        environment: Mapping[str, str] = MappingProxyType({}),
        ways: Ways | None = None,
    ) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # tells nobody
        ways = ways or Ways()
        try:
            import ray  # noqa: PLC0415 - optional
        except ImportError as error:
            raise ImportError(
                f"several processes need Ray ({error}): {ways.package}, or work one after the "
                f"other in this process with {ways.serial}"
            ) from error

        if address not in {LOCAL, "auto"}:
            _reach(address, ways)
        self._ray: Any = ray
        local = {"include_dashboard": False, "object_store_memory": STORE}
        try:
            self._ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": {"OMP_NUM_THREADS": "1", **environment}},
                **(local if address == LOCAL else {}),
            )
        except (ConnectionError, RuntimeError, ValueError, self._ray.exceptions.RayError) as error:
            where = "Ray on this machine" if address == LOCAL else f"The Ray cluster at {address}"
            raise OSError(
                f"{where} does not start or answer ({error}). Check {ways.address}..., or work one "
                f"after the other in this process with {ways.serial}."
            ) from error
        self.errors: type[Exception] = self._ray.exceptions.RayError
        has = self._ray.cluster_resources()
        shares = [has.get("CPU", 0) / cpus] + ([has.get("GPU", 0) / gpus] if gpus else [])
        self.capacity = int(min(shares))
        if self.capacity < 1:
            self.close()
            raise ValueError(
                f"A task takes {cpus:g} CPU and {gpus:g} GPU, and Ray has {has.get('CPU', 0):g} "
                f"and {has.get('GPU', 0):g}: ask for less with {ways.room}."
            )
        self._work: Any = self._ray.put(work)
        options = {"max_retries": RETRIES, "num_cpus": cpus, "num_gpus": gpus}
        self._call: Any = self._ray.remote(**options)(_call)

    def __call__(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, Callable[[], Outcome]]]:
        """Do tasks, as many at once as there is room for; each is taken when there is.

        Yields:
            A task that is over, and what gives its outcome, or raises what it raised.
        """
        running: dict[Any, Task] = {}
        while True:
            for task in islice(tasks, self.capacity - len(running)):
                running[self._call.remote(self._work, task)] = task
            if not running:
                return
            [done], _ = self._ray.wait(list(running), num_returns=1)
            yield running.pop(done), partial(self._ray.get, done)

    def close(self) -> None:
        """Let go of the processes; the end of this one does too."""
        self._ray.shutdown()


def in_turn(
    work: Callable[[Task], Outcome], tasks: Iterator[Task]
) -> Iterator[tuple[Task, Callable[[], Outcome]]]:
    """Do one task after the other in this process, each when its outcome is asked for."""
    for task in tasks:
        yield task, partial(work, task)


def _call(work: Callable[[Any], Any], task: Any) -> Any:
    return work(task)


def _reach(address: str, ways: Ways) -> None:
    """Refuse an address at which nothing listens, where Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise OSError(
            f"There is no Ray cluster at {ways.address}{address} ({error}): give host:port of its "
            "head node, ray://host:port, or auto for the one that runs on this machine."
        ) from error
