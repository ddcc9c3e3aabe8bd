"""Masks of single weights: entries that are zero and stay zero, whatever is done to the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence

import torch
from torch import Tensor, nn

from compressor.surgery.cutting import Cut, take


class Masks(MutableMapping[str, Tensor]):
    """Which entries of which parameters live: names -> booleans of the parameters' shapes.

    A tensor that several layers share has one mask, under its first name. A name can be given a
    mask that is smaller than the one it has, never a larger one: what was zero stays zero.
    """

    def __init__(self) -> None:
        """No mask."""
        self._live: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        """The mask of a parameter."""
        return self._live[name]

    def __setitem__(self, name: str, live: Tensor) -> None:
        """Mask a parameter; entries masked already stay so."""
        before = self._live.get(name)
        self._live[name] = live.bool() if before is None else live.bool() & before

    def __delitem__(self, name: str) -> None:
        """Forget a mask."""
        del self._live[name]

    def __iter__(self) -> Iterator[str]:
        """The masked parameters' names."""
        return iter(self._live)

    def __len__(self) -> int:
        """How many parameters are masked."""
        return len(self._live)

    def hold(self, model: nn.Module) -> None:
        """Set the masked entries of a model's parameters to zero, in place."""
        if not self._live:
            return
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                live = self._live.get(name)
                if live is not None:
                    parameter.masked_fill_(~live.to(parameter.device), 0)

    def cut(self, names: Mapping[int, str], cuts: Sequence[Cut]) -> None:
        """Follow parameters that lost entries.

        Args:
            names: Names of the parameters before, by `id`.
            cuts: What `compressor.surgery.cutting.cut` did.
        """
        for done in cuts:
            name = names.get(id(done.old))
            if name in self._live:
                self._live[name] = take(self._live[name], done.index)

    def rename(self, names: Mapping[str, str]) -> None:
        """Follow parameters that got other names; those without a new one are forgotten."""
        self._live = {names[old]: live for old, live in self._live.items() if old in names}

    def restore(self, live: Mapping[str, Tensor]) -> None:
        """Take over the masks that a checkpoint holds."""
        self._live = {name: mask.bool() for name, mask in live.items()}

    def check(self, model: nn.Module) -> None:
        """Check that the masks are those of a model's parameters.

        Raises:
            ValueError: If one fits none.
        """
        own = dict(model.named_parameters())
        for name, mask in self.items():
            if name not in own or mask.shape != own[name].shape:
                raise ValueError(f"{name}: a mask {tuple(mask.shape)} that fits nothing")
