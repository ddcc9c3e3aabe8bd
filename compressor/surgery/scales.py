"""Queries that follow their width: rows that are multiplied as places in a head go, and back.

See `compressor.graph.graph.Scaled`. A product with a root is rounded to the type of the weight, so
that the smaller network differs from the masked original by that much. A comparison to the last
bit has to give the original the same rounding: `as_rounded`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressor.graph.structure import Structure
from compressor.inputs.tensors import named_tensors

PLACES = 4
"""Units in the last place by which rounding, once or twice, makes a row differ."""


@dataclass(frozen=True)
class Factors:
    """What the rows of a weight are multiplied with.

    Attributes:
        dim: The dimension of rows.
        full: A factor for every row of the weight before, in float64; one for most.
        kept: Numbers of the rows that stay.
    """

    dim: int
    full: Tensor
    kept: Tensor

    def whole(self, weight: Tensor) -> Tensor:
        """All rows, scaled, in their own type."""
        return self._times(weight, self.full).to(weight.dtype)

    def scaled(self, small: Tensor) -> Tensor:
        """The rows that stay as the smaller network has them, in their own type."""
        return self._times(small, self.full[self.kept]).to(small.dtype)

    def unscaled(self, small: Tensor) -> Tensor:
        """The reverse, in the widest type."""
        return self._times(small, 1 / self.full[self.kept])

    def _times(self, tensor: Tensor, factors: Tensor) -> Tensor:
        view = [1] * tensor.ndim
        view[self.dim] = -1
        wide = torch.float32 if tensor.device.type == "mps" else torch.float64
        return tensor.to(wide) * factors.to(tensor.device, wide).view(view)


def factors(structure: Structure) -> dict[str, Factors]:
    """Factors of the weights of which a structure scales rows, by name of the weight."""
    found: dict[str, Factors] = {}
    for one in structure.graph.scaled:
        factor = one.factor(structure.keep)
        if factor == 1:
            continue
        if one.weight not in found:
            alive = structure.graph.weights[one.weight].dims[one.dim].alive(structure.keep)
            full = torch.ones(len(alive), dtype=torch.float64)
            kept = torch.from_numpy(alive).nonzero().flatten()
            found[one.weight] = Factors(one.dim, full, kept)
        found[one.weight].full[torch.from_numpy(one.rows)] *= factor
    return found


def as_rounded(model: nn.Module, structure: Structure, shrunk: nn.Module) -> Mapping[str, Tensor]:
    """The weights of a model with the rounding of a smaller one, in float64.

    Of a weight of which `structure` scales rows, what is left of it is taken from the smaller model
    and divided again, entry by entry, where that is what it was but for rounding. Any other entry
    stays as it is, for the comparison to find.
    """
    found: dict[str, Tensor] = {}
    own, small = dict(named_tensors(model)), dict(named_tensors(shrunk))
    for name, factor in factors(structure).items():
        weight = structure.graph.weights[name]
        index = [torch.from_numpy(d.alive(structure.keep)).nonzero().flatten() for d in weight.dims]
        wide = own[name].detach().to(torch.float64, copy=True)
        if name not in small or small[name].shape != tuple(map(len, index)):
            continue
        where = torch.meshgrid(*(i.to(wide.device) for i in index), indexing="ij")
        kept, divided = wide[where], factor.unscaled(small[name].detach())
        same = alike(kept, divided, own[name].dtype)
        found[name] = wide.index_put(where, torch.where(same, divided, kept))
    return found


def alike(one: Tensor, other: Tensor, dtype: torch.dtype) -> Tensor:
    """True, entry by entry, where two tensors are the same but for rounding to a type."""
    return (one - other).abs() <= PLACES * torch.finfo(dtype).eps * one.abs()
