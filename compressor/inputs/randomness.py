"""Random states: seeded, captured and put back, so that a run is a function of its arguments.

Users' modules, samplers and augmentations draw from the global generators of the process. A run
that seeds them has them to itself until it has put them back (`process`): other threads wait.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch

from compressor.inputs.process import exclusive

State = dict[str, Any]


def seed_everything(seed: int) -> None:
    """Seed the global generators of torch (every device), numpy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - augmentation code draws from the global one
    random.seed(seed)


def capture(*loaders: object) -> State:
    """The state of every generator that training draws from.

    Covers torch on the CPU and on CUDA, numpy, Python, and the `torch.Generator`s of data loaders
    and their samplers. A data set with a generator of its own cannot be known here.
    """
    kind, keys, position, has_gauss, gauss = cast("Any", np.random.get_state())  # noqa: NPY002
    state: State = {
        "torch": torch.get_rng_state(),
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss),
        "python": random.getstate(),
        "loaders": [generator.get_state() for generator in generators(*loaders)],
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def put_back(state: State, *loaders: object) -> None:
    """Set every generator to what `capture` found."""
    torch.set_rng_state(state["torch"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    random.setstate(state["python"])
    for generator, saved in zip(generators(*loaders), state["loaders"], strict=True):
        generator.set_state(saved)
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


@contextmanager
def preserved(*loaders: object) -> Generator[None]:
    """Put all random states back at the end; no other thread of this library draws meanwhile."""
    with exclusive():
        state = capture(*loaders)
        try:
            yield
        finally:
            put_back(state, *loaders)


def generators(*loaders: object) -> list[torch.Generator]:
    """The distinct generators of data loaders, their samplers and their batch samplers."""
    found: list[torch.Generator] = []
    for loader in loaders:
        batches = getattr(loader, "batch_sampler", None)
        holders = (loader, getattr(loader, "sampler", None), batches)
        for holder in (*holders, getattr(batches, "sampler", None)):
            generator = getattr(holder, "generator", None)
            if isinstance(generator, torch.Generator) and all(generator is not g for g in found):
                found.append(generator)
    return found
