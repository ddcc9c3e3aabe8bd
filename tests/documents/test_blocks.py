"""Every block of Python or of commands in the documentation runs, and prints what its page says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from compressor.inputs.tensors import all_tensors
from compressor.storage import numbers
from tests.conftest import ROOT
from tests.helpers.pages import DOCS, START, alike, beginning, pages, python, run, runs

ELSEWHERE = {
    "adding-a-solver.md": "tests/laws/test_solver_laws.py",
    "microcontroller.md": "tests/roads/test_microcontroller_page.py",
    "own-loop.md": "tests/run/test_own_loop_page.py",
    "own-operators.md": "tests/tracing/test_own.py",
}
"""Pages whose blocks another file runs, which looks at more than that they run."""

HERE = [page for page in pages() if page.name not in ELSEWHERE and any(python(page))]


def name(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


@pytest.mark.parametrize("page", ELSEWHERE)
def test_the_others_are_run_elsewhere(page: str) -> None:
    assert page in (ROOT / ELSEWHERE[page]).read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("page", HERE, ids=name)
def test_the_blocks_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {} if page == START else beginning()
    for block in runs(page):
        printed = run(block, scope, page)
        if block.printed is not None:
            assert alike(block.printed) == alike(printed)


@pytest.mark.slow
def test_a_script_of_the_page_on_sweeps_makes_the_same_network_in_every_process() -> None:
    """Or a sweep that was killed could not go on, as its page says that it does."""
    page = DOCS / "comparing-methods.md"
    first = [next(python(START)), next(python(page))]
    assert "dense = " in first[1].code
    digests: list[str] = []
    for seed in (1, 2):
        scope: dict[str, object] = {}
        torch.manual_seed(seed)  # as a new process is seeded: by chance
        for block in first:
            exec(compile(block.code, page.name, "exec"), scope)  # noqa: S102 - our own document
        dense = scope["dense"]
        assert isinstance(dense, nn.Module)
        digests.append(numbers(all_tensors(dense)))
    assert digests[0] == digests[1]
