"""An export that fails says so once, in the error; what a forward writes is passed on."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor, nn

from compressor import trace
from compressor.errors import TraceError


class Branching(nn.Module):
    """Goes by values, and writes before it does."""

    def __init__(self, *, branches: bool) -> None:
        super().__init__()
        self.conv, self.branches = nn.Conv2d(3, 8, 3), branches

    def forward(self, x: Tensor) -> Tensor:
        sys.stderr.write("here\n")
        y = self.conv(x)
        if self.branches and y.mean() > 0:
            y = 2 * y
        return y.mean((2, 3))


def test_pytorch_prints_nothing_beside_the_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TraceError, match="which goes by the values of a tensor"):
        trace(Branching(branches=True), torch.zeros(1, 3, 8, 8), check=False)
    assert "def forward" not in capfd.readouterr().err


def test_what_a_forward_writes_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    trace(Branching(branches=False), torch.zeros(1, 3, 8, 8), check=False)
    assert "here" in capsys.readouterr().err
