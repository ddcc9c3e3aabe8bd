"""A model as data: a straight list of operations that runs, trains, is rewritten and is stored."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from compressor.network.capture import Varying, to_network
from compressor.network.core import Network
from compressor.network.rewrite import Rewrite
from compressor.network.steps import Ref, Step, Weight, packet

__all__ = ["Network", "Ref", "Rewrite", "Step", "Varying", "Weight", "packet", "to_network"]


def __getattr__(name: str) -> Callable[..., Network]:
    """The function `to_network` under its former name, for one version."""
    if name != "network":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        "compressor.network.network is now called to_network: import that",
        DeprecationWarning,
        stacklevel=2,
    )
    return to_network
