"""A smaller model's weights put back into the places they were cut from."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from compressor.graph.structure import Structure
from compressor.inputs.copies import private_copy
from compressor.inputs.tensors import named_tensors
from compressor.surgery.scales import factors


def embed(original: nn.Module, structure: Structure, model: nn.Module) -> nn.Module:
    """A copy of the original with a smaller model's weights in the places they were cut from.

    Rows that were scaled as they were cut are scaled back.
    """
    large, scales = private_copy(original), factors(structure)
    targets, sources = dict(named_tensors(large)), dict(named_tensors(model))
    for name, weight in structure.graph.weights.items():
        places = [np.flatnonzero(dim.alive(structure.keep)) for dim in weight.dims]
        target, source = targets[name].detach(), sources[name].detach()
        if name in scales:
            source = scales[name].unscaled(source).to(target.dtype)
        if places:
            where = tuple(torch.from_numpy(p).to(target.device) for p in np.ix_(*places))
            target[where] = source
        else:
            target.copy_(source)
    return large
