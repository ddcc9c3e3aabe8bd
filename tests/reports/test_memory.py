from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.image import imread

from compressor.counting.memory.lifetimes import Lifetime, peak
from compressor.counting.memory.tflm import greedy
from compressor.reports import memory
from compressor.reports.figures import AFTER, BEFORE
from compressor.reports.memory import plot_memory

TENSORS = [
    Lifetime("input", 1600, 0, 1),
    Lifetime("middle", 3200, 1, 2),
    Lifetime("side", 1600, 1, 3),
    Lifetime("output", 800, 3, 3),
]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures that are written, kept to be looked at."""
    figures: list[Figure] = []
    write = memory.write

    def kept(figure: Any, path: Path) -> None:
        figures.append(figure)
        write(figure, path)

    monkeypatch.setattr(memory, "write", kept)
    return figures


def rectangles(figure: Figure) -> list[tuple[float, float, float, float, str]]:
    """First step, steps, offset, bytes and colour of everything in the arena."""
    found = []
    for bars in figure.axes[0].collections:
        (path,) = bars.get_paths()
        (left, low), (right, high) = path.vertices.min(axis=0), path.vertices.max(axis=0)
        colour = tuple(bars.get_facecolor()[0])
        name = {to_rgba(AFTER): "peak", to_rgba(BEFORE): "other"}[colour]
        found.append((left, right - left, low, high - low, name))
    return found


def test_every_tensor_is_a_rectangle_of_its_steps_and_bytes(
    drawn: list[Figure], tmp_path: Path
) -> None:
    plan = greedy(TENSORS)
    plot_memory(TENSORS, tmp_path / "memory.png", plan.offsets)
    alive = {tensor.name for tensor in peak(TENSORS).tensors}
    assert alive == {"input", "middle", "side"}
    assert rectangles(drawn[0]) == [
        (t.first, t.last - t.first + 1, at, t.room, "peak" if t.name in alive else "other")
        for t, at in zip(TENSORS, plan.offsets, strict=True)
    ]
    named = {text.get_text() for text in drawn[0].axes[0].texts}
    assert named == alive


def test_bytes_alive_are_drawn_step_by_step(drawn: list[Figure], tmp_path: Path) -> None:
    plot_memory(TENSORS, tmp_path / "memory.png", cap=5000)
    (stairs,) = drawn[0].axes[1].patches
    assert list(stairs.get_data().values) == [1600, 6400, 4800, 2400]
    assert list(stairs.get_data().edges) == [0, 1, 2, 3, 4]
    (mark,) = drawn[0].axes[1].texts
    assert mark.get_text() == "6,400 bytes at step 1"
    assert "cap: 5,000 bytes" in drawn[0].axes[1].get_legend().texts[0].get_text()


def test_the_file_is_a_picture(tmp_path: Path) -> None:
    plot_memory(TENSORS, tmp_path / "memory.png", title="a network")
    picture = imread(tmp_path / "memory.png")
    assert picture.shape[2] == 4
    assert len(np.unique(picture.reshape(-1, 4), axis=0)) > 10
    assert [path.name for path in tmp_path.iterdir()] == ["memory.png"]


def test_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no tensor to draw"):
        plot_memory([], tmp_path / "memory.png")
    with pytest.raises(ValueError, match="1 offsets for 4 tensors"):
        plot_memory(TENSORS, tmp_path / "memory.png", [0])
    assert not list(tmp_path.iterdir())
