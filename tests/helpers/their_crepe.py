"""torchcrepe's own network, without the package around it, which asks for torchaudio."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import pytest
import torch
from torch import nn


def their_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """The class in their `model.py` with the weights of "tiny", in eval mode.

    Args:
        folder: Where the weights are, below the package.
        monkeypatch: Takes back what stands in the package's place meanwhile.
    """
    package = types.ModuleType("torchcrepe")
    vars(package)["PITCH_BINS"] = 360
    monkeypatch.setitem(sys.modules, "torchcrepe", package)
    spec = importlib.util.spec_from_file_location("crepe_of_theirs", folder.parent / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.Crepe("tiny")
    network.load_state_dict(torch.load(folder / "tiny.pth", weights_only=True))
    return network.eval()
