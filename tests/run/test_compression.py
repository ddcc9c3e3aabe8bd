"""The state of a compression: who may write it, and that it says and restores all of itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from compressor.budget import Budget
from compressor.phases import Phase, Prune, Training
from compressor.phases.half import Half
from compressor.run.checkpoint import Checkpoint
from compressor.run.compression import Compression
from tests.helpers.tiny import tiny

CAPS = Budget(params=500)


class Counted(Compression):
    """A state with one field more."""

    count = 0

    def snapshot(self) -> dict[str, Any]:
        return {**super().snapshot(), "count": self.count}

    def restore(self, state: Mapping[str, Any], redo: Any) -> None:
        super().restore(state, redo)
        self.count = state["count"]


def training() -> Training:
    return Training(Counted(tiny(), budget=CAPS), None)


def test_a_new_field_of_the_state_is_saved_and_restored(tmp_path: Path) -> None:
    before, schedule = training(), [Prune()]
    Prune().run(before, 0)
    before.session.count = 7  # type: ignore[attr-defined]
    Checkpoint(tmp_path, {}).save(before, 0, 1)
    after = training()
    assert Checkpoint(tmp_path, {}).resume(after, schedule) == (0, 1)
    assert after.session.count == 7  # type: ignore[attr-defined]
    assert after.session.alive.tolist() == before.session.alive.tolist()


def test_caps_that_later_phases_meet_alone_are_theirs() -> None:
    class Settles(Phase):
        lowers = settles = frozenset({"params"})

        def run(self, training: Training, part: int) -> None:
            pass

    state = Compression(tiny(), budget=Budget(params=500, macs=10_000))
    state.begin(0, [Half()])
    assert state.caps_due == state.budget
    state.begin(0, [Settles()])
    assert state.caps_due == Budget(macs=10_000)
    assert not state.nothing_due
    alone = Compression(tiny(), budget=CAPS)
    alone.begin(0, [Settles()])
    assert alone.nothing_due
    assert alone.caps_due == CAPS


def test_a_closed_state_says_why() -> None:
    state = Compression(tiny(), budget=CAPS)
    Half().run(Training(state, None), 0)
    assert state.closed is not None
    with pytest.raises(ValueError, match="units cannot be removed: its weights are stored in 16"):
        state.shrink()


SOURCE = Path(__file__).parents[2] / "compressor"


def writes(tree: ast.AST) -> Iterator[str]:
    """Where an attribute of a session or of a training is written."""
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        parts = [p for t in targets for p in (t.elts if isinstance(t, ast.Tuple) else [t])]
        for part in parts:
            owner = ast.unparse(part.value) if isinstance(part, ast.Attribute) else ""
            if owner.split(".")[-1] in {"session", "training", "compression"}:
                yield f"{node.lineno}: {ast.unparse(part)}"


def test_nobody_but_the_state_writes_its_attributes() -> None:
    found = {str(p): list(writes(ast.parse(p.read_text()))) for p in SOURCE.rglob("*.py")}
    allowed = "training.state"  # which is the phase's own
    wrong = {p: [w for w in there if not w.endswith(allowed)] for p, there in found.items()}
    assert {path: there for path, there in wrong.items() if there} == {}
    assert list(writes(ast.parse("training.session.a, b = 1, 2"))) == ["1: training.session.a"]
