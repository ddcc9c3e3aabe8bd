"""Remedies for a batch, labels or a loss that do not fit, in the words of a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from compressor.inputs.batches import Batch, tensors
from compressor.inputs.losses import Criterion, Loss
from compressor.inputs.sources import LOADER, PAIRED


def pairing(batch: Batch) -> str:
    """Advice on making pairs of tensors; empty where nothing is known."""
    parts = cast("list[Any]", batch) if isinstance(batch, (tuple, list)) else [batch]
    if any(isinstance(part, np.ndarray) for part in parts):
        return "Make tensors of arrays, torch.from_numpy(array), or let a DataLoader do so. "
    if isinstance(batch, Tensor):
        return f"Two tensors become a loader by {PAIRED}. "
    if any(isinstance(part, (int, float)) for part in parts):
        return f"Single examples become batches by {LOADER}. "
    if isinstance(batch, Mapping):
        return (
            "A batch with names goes to loss=lambda model, batch: "
            "torch.nn.functional.cross_entropy(model(batch['x']), batch['y']), with its own names. "
        )
    return ""


def labelling(targets: Tensor, wanted: tuple[int, ...], *, train: bool) -> str:
    """Advice on making labels of targets that do not fit."""
    other = "loss=torch.nn.MSELoss() or another loss" if train else "val as a function of the model"
    if targets.is_floating_point():
        return f"where these are values and no classes, pass {other}"
    if tuple(targets.shape) == wanted:
        return "convert them with targets.long()"
    if targets.numel() == torch.Size(wanted).numel():
        return f"bring them to that shape, targets.reshape({', '.join(map(str, wanted))}).long()"
    if targets.ndim == 2 and tuple(targets.shape[:1]) == wanted:
        return "one class in a row of zeros is targets.argmax(1), and its probabilities are floats"
    return f"give every prediction a label, or pass {other}"


def converting(inputs: Any) -> str:
    """Advice where whole numbers go into a model; empty for others."""
    if all(x.is_floating_point() for x in tensors(inputs)):
        return ""
    return "; whole numbers that are values and no indices are converted by inputs.float()"


def called(loss: Loss) -> str:
    """A loss by the way it is called, for a message."""
    if isinstance(loss, Criterion):
        return f"{type(loss.function).__name__}, called with (model(inputs), targets),"
    return "loss(model, batch)"


def otherwise(loss: Loss) -> str:
    """Advice where a loss was meant to be called otherwise."""
    if isinstance(loss, Criterion):
        return ". For other batches or outputs write a function, loss=lambda model, batch: ..."
    return (
        ". It is called with the model and a whole batch, loss=lambda model, batch: ...; a "
        "function of outputs and targets goes in as loss=compressor.Criterion(function)"
    )


def shapes(batch: Batch) -> str:
    """The tensors of a batch: shapes and data types."""
    return ", ".join(f"{tuple(t.shape)} {t.dtype}" for t in tensors(batch)) or "none"
