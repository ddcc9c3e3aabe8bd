"""The masked network of single filters, full size: what the slim model is compared with.

Units that are gone are zero after every operation, as in `compressor.surgery.masking`; a filter
that is gone is zero after its bank and the normalisation that belongs to it. An input that
reachability calls dead is computed with, so that the two would differ were it not zero.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from compressor.errors import VerificationError
from compressor.graph.graph import Graph
from compressor.graph.structure import Structure
from compressor.inputs.example import Inputs
from compressor.phases.filters.uncoupled import Split
from compressor.surgery.comparison import CONSTANT, DISCRETE
from compressor.surgery.masking import Masked
from compressor.surgery.proof import attempts, compare


class MaskedFilters(Masked):
    """Runs a program with single filters and whole units held at zero."""

    def __init__(self, split: Split, structure: Structure, tensors: Mapping[str, Tensor]) -> None:
        units = split.coupled.units
        super().__init__(split.coupled, Structure(split.coupled, structure.keep[:units]), tensors)
        kept = np.append(structure.keep, False)
        for bank, numbers in zip(split.banks, split.numbers, strict=True):
            for name in bank.exits:
                if name not in split.coupled.activations:
                    continue
                (at, dim), *others = split.coupled.activations[name]
                gone = np.flatnonzero(~dim.alive(kept[numbers.filters]))
                if len(gone) and not others:
                    self.dead[name] = ((at, torch.from_numpy(gone)),)


def verify(
    model: nn.Module, split: Split, structure: Structure, slim: nn.Module, example: Inputs
) -> float:
    """Compare a slim model with the masked one, as `compressor.surgery.proof` compares two.

    Returns:
        The largest difference, relative to how far the outputs of two inputs lie apart.

    Raises:
        VerificationError: If they differ.
    """

    def masked(_: Graph, kept: Structure, tensors: Mapping[str, Tensor]) -> MaskedFilters:
        return MaskedFilters(split, kept, tensors)

    tries = [attempt for attempt in attempts(example) if not attempt.joint]
    found = compare(
        model, split.coupled, structure, slim, tries, quick=False, reference=masked
    )  # fmt: skip
    if found in (CONSTANT, DISCRETE):  # and equal as far as they can be
        return 0.0
    if isinstance(found, str):
        raise VerificationError(
            f"the slim {type(model).__name__} was compared with its masked original and {found}. "
            "Nothing was returned. Use Prune(), and please report the model"
        )
    return found
