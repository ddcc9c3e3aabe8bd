"""What callbacks of all trainers have in common."""

from __future__ import annotations

import pytest
from torch import nn

from compressor import FineTune
from compressor.run.integrations.held import Held, package
from tests.helpers.own_loop import ONCE, started
from tests.helpers.tiny import refuses


def test_a_package_that_is_missing_names_its_extra() -> None:
    with pytest.raises(ImportError, match=r"no_such_package.*'compressor-nn\[lightning\]'"):
        package("no_such_package", "lightning")


def test_the_network_is_put_where_the_module_holds_it() -> None:
    session = started([ONCE, FineTune(epochs=1)])
    module = nn.Sequential(nn.Sequential(nn.Identity(), session.given))
    held = Held(session, "0.1")
    held.put(module)
    assert module[0][1] is session.model  # type: ignore[index]
    held.put(module)
    Held(session, "").put(session.model)


def test_a_model_that_was_moved_is_refused() -> None:
    session = started([ONCE, FineTune(epochs=1)])
    held = Held(session, "network")
    held.check_device()
    session.example = tuple(x.to("meta") for x in session.example)
    with refuses("has moved the model to cpu, and the session measures on meta"):
        held.check_device()
