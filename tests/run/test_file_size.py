"""A model is exported once for all bounds on its file, and anew when it has changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compressor import Budget, Prune, Session
from compressor.run import file_size
from compressor.run.file_size import bound
from tests.helpers.tiny import tiny


def test_a_model_is_exported_anew_only_when_its_tensors_have_other_shapes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exports: list[object] = []
    export = file_size.to_network

    def counted(model: object, *rest: object) -> object:
        exports.append(model)
        return export(model, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(file_size, "to_network", counted)
    session = Session(tiny(), budget=Budget(params=60), prune=None)
    before = bound(session.stored)
    assert bound(session.stored) == before
    assert len(exports) == 1
    session.shrink(Prune())
    after = bound(session.stored)
    assert after < before
    assert len(exports) == 2
    assert after == bound(replace(session.stored, captured=file_size.Captured()))
