"""Batch norms that are estimated anew in the order in which a network comes to them."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class Norms:
    """The batch norms of a network of which layers are repaired one after another.

    What a norm gets depends on all layers before it. So it takes the statistics of every batch, and
    averages them with equal weights, in the first runs that come to it; once `settle` is called
    they are what it goes by.
    """

    def __init__(self, model: nn.Module) -> None:
        """Wait for the norms of a model in eval mode to be run."""
        tracking = (m for m in model.modules() if isinstance(m, NORMS) and m.track_running_stats)
        self._momenta: dict[nn.Module, float | None] = {m: m.momentum for m in tracking}
        self._waiting = set(self._momenta)
        self._running: set[nn.Module] = set()
        self._hooks = [m.register_forward_pre_hook(self._meet) for m in self._momenta]

    def _meet(self, module: nn.Module, _: object) -> None:
        if module in self._waiting:
            self._waiting.remove(module)
            self._running.add(module)
            norm = cast("Any", module)
            norm.reset_running_stats()
            norm.momentum, norm.training = None, True  # torch's way of asking for a plain average

    def settle(self) -> None:
        """Keep the statistics of the norms that were run."""
        for module in self._running:
            module.training = False
            cast("Any", module).momentum = self._momenta[module]
        self._running.clear()

    def close(self) -> None:
        """Leave the model as it was, but for the statistics."""
        self.settle()
        for hook in self._hooks:
            hook.remove()
