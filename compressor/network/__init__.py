"""A model as data: a straight list of operations that runs, trains, is rewritten and is stored."""

from __future__ import annotations

from compressor.network.capture import Varying, network
from compressor.network.core import Network
from compressor.network.rewrite import Rewrite
from compressor.network.steps import Ref, Step, Weight, packet

__all__ = ["Network", "Ref", "Rewrite", "Step", "Varying", "Weight", "network", "packet"]
