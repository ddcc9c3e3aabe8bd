"""Smaller pictures for the trial: where they are taken, and that they hide nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import compressor
from compressor.graph.program import export
from compressor.tracing.pictures import LEAST, smaller
from compressor.tracing.trial import Trials, free

Forward = Callable[["Pictures", Tensor], Tensor]


class Pictures(nn.Module):
    """Two convolutions, of which something is made, and a linear layer."""

    def __init__(self, forward: Forward, outputs: int = 16) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm = nn.Conv2d(3, 16, 3, 2, padding=1), nn.BatchNorm2d(16)
        self.second, self.head = nn.Conv2d(16, 16, 3, 2, padding=1), nn.Linear(outputs, 4)
        self.made = forward

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.norm(self.first(x)).relu())
        return self.head(self.made(self, x))


def mean(_: Pictures, x: Tensor) -> Tensor:
    return x.mean((2, 3))


def pooled(_: Pictures, x: Tensor) -> Tensor:
    return nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)


def counted(_: Pictures, x: Tensor) -> Tensor:
    return x.flatten(2)[:, :, :256].mean(2)


def cut(_: Pictures, x: Tensor) -> Tensor:
    return x[:, :, :16].mean((2, 3))


def places(_: Pictures, x: Tensor) -> Tensor:
    return nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)


def traced(model: nn.Module, side: int = 96) -> tuple[compressor.Graph, Tensor]:
    x = torch.zeros(1, 3, side, side)
    return compressor.trace(model.eval(), x), x


@pytest.mark.parametrize("made", [mean, pooled])
@pytest.mark.parametrize(("side", "left"), [(96, 24), (64, 16), (68, 17), (70, 35), (60, None)])
def test_a_quarter_or_half_of_the_side_is_left(made: Forward, side: int, left: int | None) -> None:
    x = torch.randn(1, 3, side, side)
    found = smaller(export(Pictures(made).eval(), (x,)), (x,))
    assert (found is None) == (left is None)
    if found is not None and left is not None:
        assert torch.equal(found[0], x[:, :, :left, :left])


@pytest.mark.parametrize("made", [counted, cut, places])
def test_sizes_of_maps_in_the_program_leave_no_choice(made: Forward) -> None:
    x = torch.zeros(1, 3, 96, 96)
    model = Pictures(made, 64 if made is places else 16).eval()
    assert smaller(export(model, (x,)), (x,)) is None


def test_every_map_keeps_a_few_places() -> None:
    model = nn.Sequential(*[nn.Conv2d(3, 3, 3, 2, padding=1) for _ in range(4)]).eval()
    for side, left in ((192, 48), (96, 48), (80, None)):
        x = torch.zeros(1, 3, side, side)
        found = smaller(export(model, (x,)), (x,))
        assert (None if found is None else found[0].shape[-1]) == left
        assert found is None or min(model(found[0]).shape[2:]) >= LEAST


def test_other_inputs_stay_what_they_are() -> None:
    line, two = nn.Conv1d(3, 4, 3).eval(), torch.zeros(1, 3, 9999)
    assert smaller(export(line, (two,)), (two,)) is None


def halves(_: Pictures, x: Tensor) -> Tensor:
    return (x * 1.5)[:, :8].mean((2, 3)).repeat(1, 2)


def large(_: Pictures, x: Tensor) -> Tensor:
    """On a large picture alone the code counts on its channels."""
    x = x.mean((2, 3))
    return x if x.shape[-1] == 16 else torch.nn.functional.pad(x, (0, 16 - x.shape[-1]))


@pytest.mark.parametrize("made", [halves, large])
def test_what_the_code_does_not_survive_is_found_all_the_same(made: Forward) -> None:
    """And is told as it is on the whole picture."""
    model = Pictures(made)
    found, _ = traced(model)
    whole, _ = traced(model, 60)
    assert [axis.frozen for axis in found.axes] == [axis.frozen for axis in whole.axes]


class BySide(nn.Module):
    """Counts on its channels where a picture is large: the program is that of a large one."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.head, self.factor = (
            nn.Conv2d(3, 16, 3, padding=1),
            nn.Linear(16, 4),
            factor,
        )

    def forward(self, x: Tensor) -> Tensor:
        large = x.shape[-1] > 64
        x = self.first(x).mean((2, 3), keepdim=True)
        return self.head(x.reshape(-1, 16) * self.factor if large else x.flatten(1))


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_code_that_looks_at_the_side_is_tried_on_the_whole(factor: float) -> None:
    graph, x = traced(BySide(factor))
    assert smaller(export(BySide(factor).eval(), (x,)), (x,)) is not None
    assert "breaks the forward pass" in graph.frozen["first"]


def test_what_survives_has_to_run_on_the_whole_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    sides, run = list[int](), Pictures.forward

    def noted(self: Pictures, x: Tensor) -> Tensor:
        sides.append(x.shape[-1])
        return run(self, x)

    model = Pictures(mean).eval()
    x = torch.zeros(1, 3, 96, 96)
    graph = compressor.trace(model, x, check=False)
    monkeypatch.setattr(Pictures, "forward", noted)
    trials = Trials(model, (x,), (x[:, :, :24, :24],))
    assert trials.attempt(graph, trials.thinned(graph, free(graph))) is None
    assert sides == [24, 96]
