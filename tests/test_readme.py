"""The README's code, run as it stands on a plain module of one's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import compressor
from tests.conftest import ROOT

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)


class Plain(nn.Module):
    """A network as anybody writes it, without an example of its input."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.middle = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.last = nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = self.last(self.middle(x).relu()).relu()
        return self.head(x.mean((2, 3)))


def block(having: str) -> str:
    """The one block that has a text in it."""
    (found,) = (code for code in BLOCKS if having in code)
    return found


def run(code: str, **names: object) -> dict[str, object]:
    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(8, 3, 8, 8, generator=random)
    labels = torch.randint(4, (8,), generator=random)
    loader = DataLoader(TensorDataset(inputs, labels), batch_size=4, shuffle=True)
    scope: dict[str, object] = {"model": Plain(), "loader": loader, **names}
    exec(compile(code, "README.md", "exec"), scope)  # noqa: S102 - our own document
    return scope


@pytest.mark.slow  # trains for 30 epochs and writes an ONNX file
def test_the_first_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope = run(block("compressor.fit(model, loader, budget=compressor.Budget"))
    result, small = scope["result"], scope["small"]
    assert isinstance(result, compressor.Result)
    assert result.report.before.params > 128_000 >= result.report.after.params
    assert (tmp_path / "model.onnx").is_file()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(small(x), result.network(x))


def test_the_block_of_the_own_loop() -> None:
    budget = compressor.Budget(params=60e3)
    code = block("compressor.Session(").replace("every=200", "every=1")
    scope = run(
        code, compressor=compressor, torch=torch, cross_entropy=cross_entropy, budget=budget
    )
    result = scope["result"]
    assert isinstance(result, compressor.Result)
    assert result.report.after.params <= 60_000
    assert len(result.report.shrinks) == 3  # two in the loop, the rest at the end


PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize(
    "page", [p for p in PAGES if p.name != "CHANGELOG.md"], ids=lambda p: p.name
)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text("utf-8")
    named = re.findall(r"`((?:benchmarks|compressor|docs|models|recipes|tests)/[\w./]+)`", text)
    placeholders = {"compressor/x/y.py", "tests/x/test_y.py"}
    assert [name for name in named if not (ROOT / name).exists() and name not in placeholders] == []
