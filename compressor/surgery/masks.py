"""Masks of single weights: entries that are zero and stay zero, whatever is done to the model."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from compressor.surgery.cutting import Cut, take


def largest(values: Tensor, count: int, *, ties: Tensor | None = None) -> Tensor:
    """Booleans of the shape of `values`, True for its `count` largest entries.

    Of equal entries those with the larger `ties` come first, then the first in row-major order:
    the same in every process.
    """
    order = torch.arange(values.numel(), device=values.device)
    if ties is not None:  # the lesser key is sorted first, the sort being stable
        order = order[ties.flatten().argsort(descending=True, stable=True)]
    order = order[values.flatten()[order].argsort(descending=True, stable=True)]
    live = torch.zeros(values.numel(), dtype=torch.bool, device=values.device)
    live[order[:count]] = True
    return live.reshape(values.shape)


class Masks(UserDict[str, Tensor]):
    """Masks of the entries that live: names of parameters -> booleans of the parameters' shapes.

    A tensor that several layers share has one mask, under its first name. A name can be given a
    mask that is smaller than the one it has, never a larger one: what was zero stays zero.
    """

    def __setitem__(self, name: str, live: Tensor) -> None:
        """Mask a parameter; entries masked already stay so."""
        before = self.data.get(name)
        self.data[name] = live.bool() if before is None else live.bool() & before

    def hold(self, model: nn.Module) -> None:
        """Set the masked entries of a model's parameters to zero, in place."""
        if not self.data:
            return
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                live = self.data.get(name)
                if live is not None:
                    parameter.masked_fill_(~live.to(parameter.device), 0)

    def broken(self, model: nn.Module) -> int:
        """The number of masked entries of a model's parameters that are not zero."""
        own = dict(model.named_parameters())
        return sum(
            int((own[n].detach()[~live.to(own[n].device)] != 0).sum())
            for n, live in self.data.items()
            if n in own
        )

    def cut(self, names: Mapping[int, str], cuts: Sequence[Cut]) -> None:
        """Follow parameters, named by `id`, after `compressor.surgery.cutting.cut`."""
        for done in cuts:
            name = names.get(id(done.old))
            if name in self.data:
                self.data[name] = take(self.data[name], done.index)

    def rename(self, names: Mapping[str, str]) -> None:
        """Follow parameters that got other names; those without a new one are forgotten."""
        self.data = {names[old]: live for old, live in self.data.items() if old in names}

    def restore(self, live: Mapping[str, Tensor]) -> None:
        """Take over the masks that a checkpoint holds."""
        self.data = {name: mask.bool() for name, mask in live.items()}

    def check(self, model: nn.Module) -> None:
        """Check that the masks are those of a model's parameters.

        Raises:
            ValueError: If one fits none.
        """
        own = dict(model.named_parameters())
        for name, mask in self.items():
            if name not in own or mask.shape != own[name].shape:
                raise ValueError(f"{name}: a mask {tuple(mask.shape)} that fits nothing")
