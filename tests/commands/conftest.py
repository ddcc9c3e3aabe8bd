"""A folder with a user's own module, from which commands are given."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

MINE = '''
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def clips(first=0, last=96):
    draws = torch.Generator().manual_seed(1)
    labels = torch.randint(3, (128,), generator=draws)
    x = torch.randn(128, 1, 8, 8, generator=draws) + labels[:, None, None, None]
    return TensorDataset(x[first:last], labels[first:last])


def loader():
    return DataLoader(clips(), batch_size=32, shuffle=True)


def val():
    return DataLoader(clips(96, 128), batch_size=32)


class Net(nn.Sequential):
    def __init__(self, width=8, act="relu"):
        acts = {"relu": nn.ReLU, "gelu": nn.GELU}
        super().__init__(
            nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), acts[act](), nn.Conv2d(width, 12, 3),
            nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3),
        )


class Known(Net):
    example_input_array = torch.zeros(1, 1, 8, 8)


class Bessel(Known):
    """With an operation that no file stores."""

    def forward(self, x):
        return super().forward(torch.special.i0(x))


made = Known()


def broken():
    raise KeyError("oh")


def nothing():
    return None
'''


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder, with `mine.py` in it."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "faulty.py").write_text("width = 1\nheight = width / 0\n")
    (tmp_path / "needy.py").write_text("import not_there_at_all\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("mine", "faulty", "needy"):
        sys.modules.pop(name, None)
