"""Networks that cannot be written as a graph: one sentence, with the line and the remedy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import compressor
from compressor import CountError, TraceError

EXAMPLE = torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))
HERE = Path(__file__).name


class Net(nn.Module):
    """Two convolutions; what lies between them is each network's own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.between(self.first(x)))

    def between(self, x: Tensor) -> Tensor:
        return x.relu()


class Decides(Net):
    def between(self, x: Tensor) -> Tensor:
        if x.sum() > 0:  # the line
            return x * 2
        return x


class Repeats(Net):
    def between(self, x: Tensor) -> Tensor:
        while x.norm() > 1:  # the line
            x = x / 2
        return x


class Counts(Net):
    def between(self, x: Tensor) -> Tensor:
        start = int(x.max())  # the line
        return x[:, :, start:]


class Asserts(Net):
    def between(self, x: Tensor) -> Tensor:
        assert bool((x.abs() < 100).all())  # the line
        return x


class Inside(Net):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.ReLU(), Gate())

    def between(self, x: Tensor) -> Tensor:
        return self.inner(x)


class Gate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.mean() > 0 else -x  # the line


@pytest.mark.parametrize("network", [Decides, Repeats, Counts, Asserts, Inside])
def test_what_goes_by_values_is_told_with_its_line(network: type[Net]) -> None:
    with pytest.raises(
        TraceError, match=r"# the line, which goes by the values of a tensor.*torch.where"
    ):
        compressor.trace(network(), EXAMPLE)


def test_the_line_is_that_of_the_file_and_the_module_is_named() -> None:
    with pytest.raises(TraceError) as caught:
        compressor.trace(Inside(), EXAMPLE)
    found = re.search(
        rf"in module 'inner.1' \(Gate\) at {HERE}:(\d+): return x if", str(caught.value)
    )
    assert found is not None
    assert "# the line" in Path(__file__).read_text("utf-8").splitlines()[int(found[1]) - 1]


class Numpy(Net):
    def between(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.detach().numpy() * 2)  # the line


class Prints(Net):
    def between(self, x: Tensor) -> Tensor:
        self.said = f"{x.mean():.3f}"  # the line
        return x


@pytest.mark.parametrize("network", [Numpy, Prints])
def test_what_the_export_cannot_follow(network: type[Net]) -> None:
    with pytest.raises(TraceError, match=r"# the line with .*It runs, but.*without numpy, text"):
        compressor.trace(network(), EXAMPLE)


class Refuses(Net):
    def between(self, x: Tensor) -> Tensor:
        if x.shape[1] != 15:
            raise ValueError("fifteen channels are needed")  # the line
        return x


class Flattens(Net):
    def between(self, x: Tensor) -> Tensor:
        return self.last(x.flatten(1))  # the line


@pytest.mark.parametrize("network", [Refuses, Flattens])
def test_what_does_not_run_at_all_asks_for_another_example(network: type[Net]) -> None:
    with pytest.raises(TraceError, match=r"# the line with .*does not run.*pass an example"):
        compressor.trace(network(), EXAMPLE)


@dataclass
class Answer:
    scores: Tensor


class Returns(nn.Module):
    def __init__(self, kind: type[object] = Answer) -> None:
        super().__init__()
        self.layer, self.kind = nn.Conv2d(3, 4, 3), kind

    def forward(self, x: Tensor) -> object:  # the line
        scores = self.layer(x)
        return self.kind(scores) if self.kind is not type(None) else None


def test_other_objects_are_no_result() -> None:
    with pytest.raises(TraceError, match=r"# the line\) returns a Answer. Return tensors"):
        compressor.trace(Returns(), EXAMPLE)
    with pytest.raises(TraceError, match=r"its forward returns no tensor. Return what it computes"):
        compressor.trace(Returns(type(None)), EXAMPLE)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_layer_is_named() -> None:
    model = Net()
    model.first = torch.jit.script(nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU()))
    with pytest.raises(
        ValueError, match=r"layer 'first' .* made by torch.jit.*before torch.jit.script"
    ):
        compressor.trace(model, EXAMPLE)


def test_a_layer_of_unknown_size_is_run_first() -> None:
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(2))
    with pytest.raises(CountError, match=r"'0.weight' is not known yet.*Run the model once"):
        compressor.trace(model, EXAMPLE)


class Writes(Net):
    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2)
        x[:, 0] = 0
        return super().forward(x)


def test_what_writes_into_its_input_is_followed_and_the_input_left_alone() -> None:
    before = EXAMPLE.clone()
    graph = compressor.trace(Writes(), EXAMPLE)
    assert torch.equal(EXAMPLE, before)
    assert not graph.axes[0].frozen


class Varies(Net):
    def between(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x).movedim(1, -1)
        return x[x[..., 0] > x.mean()]


def test_results_whose_size_goes_by_values_hold_the_network() -> None:
    torch.manual_seed(0)
    graph = compressor.trace(Varies(), torch.randn(1, 3, 20, 20))
    assert "depend on values of the input" in graph.axes[0].frozen
