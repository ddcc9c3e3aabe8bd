"""Things given in the place of a loader, refused before anything is read of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from compressor.inputs.amounts import Caps
from compressor.wording import brief, kind

LOADER = "torch.utils.data.DataLoader(data, batch_size=64, shuffle=True)"
"""The line that most people need."""

PAIRED = (
    "torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, targets), batch_size=64, "
    "shuffle=True)"
)
"""The same for those who have two tensors."""


def check_source(source: object, name: str = "data") -> None:
    """Check that something given for `data` or `val` can be read as batches, again and again.

    Raises:
        ValueError: If it cannot; says what to write instead.
    """
    advice = _advice(source, name)
    if advice:
        what = brief(source) if isinstance(source, (str, type)) else kind(source)
        raise ValueError(f"{name} is {what}{advice}")


def _advice(source: Any, name: str) -> str:
    """The fault of a source and its remedy; empty where there is none."""
    made = "" if isinstance(source, Tensor) else ", made tensors by torch.from_numpy,"
    path = ", a path or name: load what it stands for, and pass a DataLoader of it"
    rows = f": its rows are no batches. Pass inputs and targets{made} as {PAIRED}"
    rows += "; without data, one input to trace with is example=" * (name == "data")
    keys = ", of which only the keys would be read: pass a list of batches, [batch], or for"
    known: tuple[tuple[Any, str], ...] = (
        (type, ": make one of it"),
        (Caps, ", which goes by its name: fit(model, loader, budget=Budget(...))"),
        (nn.Module, ", a model, which is the first argument: fit(model, loader, budget=...)"),
        (str | bytes | PurePath, path),
        (Tensor | np.ndarray, rows),
        (Mapping, f"{keys} tensors of inputs and targets {PAIRED}"),
    )
    found = (advice for kinds, advice in known if isinstance(source, kinds))
    return next(found, None) or _advice_on_reading(source, name)


def _advice_on_reading(source: Any, name: str) -> str:
    """The same for what is of no other part of a call: can it be read, and more than once?"""
    if isinstance(source, Dataset) and not isinstance(source, IterableDataset):
        data = LOADER if name == "data" else "torch.utils.data.DataLoader(data, batch_size=64)"
        return (
            f", a data set of single examples: pass {data}, or batch_size=None where its items "
            "are whole batches"
        )
    if isinstance(source, Iterator):
        return (
            ", which can be read only once, and it is read again and again: pass a DataLoader, or "
            "a list of its batches, list(batches)"
        )
    # Python's older protocol of iteration, which has no class of its own, is one method.
    if not hasattr(source, "__iter__") and not hasattr(source, "__getitem__"):
        called = " (if it returns batches, call it: list(batches()))" if callable(source) else ""
        return f" and yields no batches: pass a DataLoader or a list of batches{called}"
    return ""
