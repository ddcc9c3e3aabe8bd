"""How interpreters agree: what is counted, and what is said."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.export.interpreters import LITERT, MICRO, Interpreter, agreement
from compressor.network import to_network
from compressor.reports.agreeing import Compared, compare, lines
from tests.zoo.micro import MICRO as NETS


def test_what_is_not_installed_is_said() -> None:
    absent = Interpreter("LiteRT", "ai-edge-litert", "no_such_package", LITERT.run)
    assert not absent.installed
    said = lines(Compared("the reference", 4, 2, ((absent, None),)))
    assert said[-1] == (
        "  LiteRT: ai-edge-litert is not installed (pip install --pre ai-edge-litert)"
    )
    assert not Compared("the reference", 4, 2, ((MICRO, None),)).exact


def test_a_network_of_floats_is_refused() -> None:
    with pytest.raises(ValueError, match="computes in floating point"):
        compare(to_network(NETS["plain"]().eval()))


def test_agreement_counts_over_all_outputs_of_an_example() -> None:
    one = [[np.array([[1, 2, 3]]), np.array([[9]])], [np.array([[5, -128, 0]]), np.array([[7]])]]
    other = [[np.array([[1, 2, 3]]), np.array([[0]])], [np.array([[5, 127, 0]]), np.array([[7]])]]
    found = agreement(one, other)
    assert (found.equal, found.steps, found.classes) == (6 / 8, 255, 0)
