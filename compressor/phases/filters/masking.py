"""The masked network of single filters, full size: what the slim model is compared with.

The model's own exported operations run on its own weights. Units that are gone are zero after
every operation, as in `compressor.surgery.masking`; besides, a filter that is gone is zero after
its bank (after the normalisation that belongs to it, where there is one). Nothing else is touched:
where reachability calls an input dead, the masked network computes with it, and if it were not zero
the two would differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from compressor.errors import VerificationError
from compressor.graph.structure import Structure
from compressor.inputs.copies import private_copy
from compressor.inputs.evaluation import evaluating
from compressor.inputs.example import Inputs
from compressor.inputs.tensors import named_tensors
from compressor.phases.filters.uncoupled import Split
from compressor.surgery.draws import steady
from compressor.surgery.masking import Masked, Run, flat

EXACT, SINGLE = 1e-9, 1e-4
"""Largest difference in float64 and in float32, relative to how far two outputs lie apart."""


class MaskedFilters(Masked):
    """Runs a program with single filters and whole units held at zero."""

    def __init__(self, split: Split, structure: Structure, tensors: Mapping[str, Tensor]) -> None:
        """Prepare the run on full-size parameters and buffers by name."""
        units = split.coupled.units
        super().__init__(split.coupled, Structure(split.coupled, structure.keep[:units]), tensors)
        kept = np.append(structure.keep, False)
        for bank, numbers in zip(split.banks, split.numbers, strict=True):
            for name in bank.exits:
                if name not in split.coupled.activations:
                    continue
                at, dim = split.coupled.activations[name]
                gone = np.flatnonzero(~dim.alive(kept[numbers.filters]))
                if len(gone):
                    self.dead[name] = (at, torch.from_numpy(gone))


def masked(split: Split, structure: Structure, model: nn.Module, inputs: Sequence[Tensor]) -> Run:
    """What the masked network gives for inputs with a batch of one.

    Args:
        split: The model as filters.
        structure: What stays.
        model: The full-size model.
        inputs: Positional inputs, shaped like the traced example.
    """
    tensors = {name: tensor.detach().clone() for name, tensor in named_tensors(model)}
    with steady(split.coupled):
        return MaskedFilters(split, structure, tensors).outputs(inputs)


def verify(
    model: nn.Module, split: Split, structure: Structure, slim: nn.Module, example: Inputs
) -> float:
    """Compare a slim model with the masked one, on noise like the example.

    In float64; in the model's own precision where it does not run in float64.

    Returns:
        The largest difference, relative to how far the outputs of two inputs lie apart.

    Raises:
        VerificationError: If they differ.
    """
    try:
        wide = private_copy(model).double(), private_copy(slim).double()
        noise, tolerance = _noise(example, torch.float64), EXACT
        found = _compared(*wide, split, structure, noise, tolerance)
    except (RuntimeError, TypeError):
        noise, tolerance = _noise(example, None), SINGLE
        found = _compared(model, slim, split, structure, noise, tolerance)
    if not found <= tolerance:
        raise VerificationError(
            f"the slim {type(model).__name__} was compared with its masked original and its "
            f"outputs differ by {found:.2g} of how much they vary. Nothing was returned. Use "
            "granularity='channels', and please report the model"
        )
    return found


def _compared(
    model: nn.Module,
    slim: nn.Module,
    split: Split,
    structure: Structure,
    items: Sequence[Inputs],
    tolerance: float,
) -> float:
    """The largest difference, relative to how far two outputs lie apart; rounding is let pass."""
    one, two = (masked(split, structure, model, item).tensors for item in items)
    with evaluating(slim), torch.no_grad(), steady(split.coupled):
        mine = flat(slim(*(x.clone() for x in items[0])))
    worst = 0.0
    for a, b, c in zip(one, two, mine, strict=True):
        if a.is_floating_point():
            rounding = 100 * torch.finfo(a.dtype).eps * float(a.abs().max())
            scale = max(float((a - b).abs().max()), rounding / tolerance)
            error = float((a - c).abs().max())
            worst = max(worst, error / scale if scale else error)
            worst = math.inf if math.isnan(error) else worst
    return worst


def _noise(example: Inputs, dtype: torch.dtype | None) -> list[Inputs]:
    """Two inputs of seeded normal numbers in the example's shapes; integers stay as they are."""
    generator = torch.Generator().manual_seed(0)

    def like(x: Tensor) -> Tensor:
        drawn = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        return drawn.to(x.device, dtype or x.dtype)

    return [tuple(like(x) if x.is_floating_point() else x for x in example) for _ in range(2)]
