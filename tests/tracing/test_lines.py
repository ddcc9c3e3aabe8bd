"""The line of the user's code in the reason why a layer stays whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import compressor
from compressor.graph.program import export
from compressor.inputs.lines import calling, raised_at, shown
from compressor.tracing.lines import line_of, remembered_lines

EXAMPLE = torch.randn(1, 3, 9, 8, generator=torch.Generator().manual_seed(0))
SOURCE = Path(__file__).read_text("utf-8").splitlines()


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.layer(x))
        return x.roll(1, 1)  # the line


class Net(nn.Module):
    """Calls one line in two modules, and one function in two lines."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)
        self.blocks = nn.Sequential(Block(), nn.BatchNorm2d(8), Block())

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = x.roll(1, 2)
        return self.last(self.blocks(x))  # the call


def lines_of(model: nn.Module) -> dict[str, str]:
    program = export(model, (EXAMPLE,))
    with remembered_lines(program, model, (EXAMPLE,)):
        return {n.name: line_of(n) for n in program.graph.nodes if n.op == "call_function"}


def number(line: str) -> int:
    found = re.fullmatch(rf"{Path(__file__).name}:(\d+): .*", line)
    assert found is not None, line
    return int(found[1])


def test_every_operation_has_the_line_that_called_it() -> None:
    found = lines_of(Net().eval())
    assert len(found) == 10
    for name, code in (
        ("conv2d", "x = self.first(x)"),
        ("roll", "x = x.roll(1, 2)"),
        ("roll_1", "# the line"),
        ("roll_2", "# the line"),
        ("relu_1", "functional.relu"),
        ("batch_norm", "# the call"),  # of PyTorch's own layers the line that called them
    ):
        assert code in found[name]
        assert code in SOURCE[number(found[name]) - 1]


def test_a_reason_names_file_and_line() -> None:
    frozen = compressor.trace(Net(), EXAMPLE).frozen
    for layer in ("blocks.0.layer", "blocks.2.layer"):
        block = layer.rpartition(".")[0]
        assert f"'roll' in '{block}' (test_lines.py:" in frozen[layer]
        assert "return x.roll(1, 1) # the line) picks channels" in frozen[layer]


RUNS: list[int] = []


class Twice(nn.Module):
    """A forward that does something else the second time."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        RUNS.append(1)
        if len(RUNS) > 1:
            x = x.roll(1, 0).roll(2, 1)[:, :, :5]
        return self.layer(x).roll(1, 1)


def test_a_call_that_is_not_found_again_has_no_line() -> None:
    RUNS.clear()
    assert lines_of(Twice().eval())["roll"] == ""


def test_no_line_is_looked_for_where_nothing_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    monkeypatch.setattr("compressor.tracing.lines._calls", lambda *_: runs.append(1) or {})
    compressor.trace(model, EXAMPLE)
    assert not runs
    compressor.trace(Net(), EXAMPLE)
    assert len(runs) == 1


def test_after_the_block_nothing_holds_the_model() -> None:
    program = export(Net().eval(), (EXAMPLE,))
    with remembered_lines(program, Net(), (EXAMPLE,)):
        pass
    assert all(line_of(node) == "" for node in program.graph.nodes)


def test_an_error_is_told_by_the_innermost_own_line() -> None:
    def inner(x: Tensor) -> Tensor:
        return functional.relu(x.view(7))  # where it stops

    with pytest.raises(RuntimeError) as caught:
        inner(EXAMPLE)
    assert raised_at(caught.value).endswith("return functional.relu(x.view(7)) # where it stops")
    assert calling(None) is None


def test_long_lines_are_cut_and_files_without_text_have_a_number() -> None:
    assert shown(("nowhere/net.py", 3)) == "net.py:3"
    long = next(n for n, text in enumerate(SOURCE, 1) if text.startswith("class Net"))
    assert shown((__file__, long)) == f"test_lines.py:{long}: class Net(nn.Module):"
