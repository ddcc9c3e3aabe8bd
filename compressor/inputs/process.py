"""State of the whole process, used by one thread at a time and left as it was found.

Random generators, PyTorch's switches (which library runs a convolution), the state of
`torch.export`, Python's warning filters and log levels exist once in a process. Two threads that
change one for a while put back what the other had set. So everything here that reads or changes
such a thing holds one lock, which its thread may take again; what is switched off while integers
are added up, where nobody should wait, is counted instead.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.backends import cuda, cudnn, mha, mkldnn

from compressor.inputs.waiting import waits


@dataclass
class _Turn:
    lock: Any = field(default_factory=threading.RLock)
    depth: int = 0  # how often the thread that holds the lock has taken it
    holder: int = 0  # its number; 0 for none


_turns = [_Turn()]  # the one of this process

_LOOK = 0.5
"""Seconds between two looks at whether waiting has an end."""


def _begin_anew() -> None:
    """A process that was forked has one thread, which holds nothing that its parent's threads do.

    Where it was forked in the middle of a turn, that turn ends on the lock it began with.
    """
    _turns[0] = _Turn()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_begin_anew)


@contextmanager
def exclusive() -> Generator[None]:
    """Have what belongs to the process to oneself; other threads wait at this line.

    When the outermost of them ends, by an error as well, PyTorch's switches are put back to what
    they were, whoever has changed them: a model's own code included.

    Raises:
        RuntimeError: If the thread whose turn it is waits for this one, so that none would go on.
    """
    turn, me = _turns[0], threading.get_ident()
    while not turn.lock.acquire(timeout=_LOOK):
        holder = turn.holder
        # Who still has the turn after the look had it while it waited.
        if holder and waits(holder, me) and turn.holder == holder:
            raise RuntimeError(
                f"thread {threading.current_thread().name!r} was asked for something that has to "
                "wait until the thread which runs fit, or another function of this library, is "
                "done, and that one waits for this thread: neither would end. Call it in the "
                "thread that fit runs in, or in a process of its own"
            )
    try:
        before = {} if turn.depth else {name: read() for name, (read, _) in _SWITCHES.items()}
        turn.depth, turn.holder = turn.depth + 1, me
        try:
            yield
        finally:
            turn.depth -= 1
            for name, value in before.items():
                read, switch = _SWITCHES[name]
                if read() != value:
                    switch(value)
    finally:
        turn.holder = me if turn.depth else 0
        turn.lock.release()


def _attribute(module: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], object]]:
    return lambda: getattr(module, name), lambda value: setattr(module, name, value)


_SWITCHES: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "grad": (torch.is_grad_enabled, torch.set_grad_enabled),
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "threads": (torch.get_num_threads, torch.set_num_threads),
    "deterministic": (
        lambda: (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
    ),
    "mkldnn": _attribute(mkldnn, "enabled"),
    "cudnn": _attribute(cudnn, "enabled"),
    "cudnn benchmark": _attribute(cudnn, "benchmark"),
    "cudnn deterministic": _attribute(cudnn, "deterministic"),
    "attention fast path": (
        mha.get_fastpath_enabled,
        lambda value: mha.set_fastpath_enabled(value=value),
    ),
    "flash attention": (cuda.flash_sdp_enabled, cuda.enable_flash_sdp),
    "efficient attention": (cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp),
    "plain attention": (cuda.math_sdp_enabled, cuda.enable_math_sdp),
    "cudnn attention": (cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp),
}
"""Readers and setters of PyTorch's switches."""


class SwitchedOff:
    """A switch of the process that is off while any thread needs it off; nobody waits.

    Args:
        switch: Sets it and returns what it was.
    """

    def __init__(self, switch: Callable[[bool], bool]) -> None:
        """Nothing is switched yet."""
        self._switch = switch
        self._lock = threading.Lock()
        self._count = 0
        self._before = True
        if sys.platform != "win32":
            os.register_at_fork(after_in_child=self._begin_anew)

    def _begin_anew(self) -> None:
        """In a process that was forked no other thread needs it off, or will ever leave."""
        self._lock = threading.Lock()
        if self._count:
            self._count = 0
            self._switch(self._before)

    @contextmanager
    def __call__(self) -> Generator[None]:
        """Off inside; the last thread to leave puts back what the first one found."""
        with self._lock:
            if not self._count:
                self._before = self._switch(False)  # noqa: FBT003 - off
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                if not self._count:
                    self._switch(self._before)


@contextmanager
def quiet() -> Generator[None]:
    """Keep warnings and log lines of other packages, on themselves, out of the user's sight."""
    with exclusive(), warnings.catch_warnings():
        disabled = logging.root.manager.disable
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(disabled)
