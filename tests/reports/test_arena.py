"""Working memory of any model: the same figure by its result, its network and its class."""

from __future__ import annotations

import pytest

from compressor import Budget, fit, working_memory
from compressor.counting.memory.plan import check
from tests.helpers.tiny import tiny


def test_models_results_and_networks_say_the_same() -> None:
    result = fit(tiny(), budget=Budget(params=600))
    found = [working_memory(x) for x in (result, result.model, result.network)]
    assert len({each.peak.bytes for each in found}) == 1
    assert found[0].cap is None
    assert working_memory(tiny()).peak.bytes > found[0].peak.bytes


def test_another_example_takes_another_size() -> None:
    model = tiny()
    wider = model.example_input_array.new_zeros(3, 1, 8, 16)
    assert working_memory(model, wider).peak.bytes > working_memory(model).peak.bytes


def test_the_plan_is_sound_and_the_text_says_the_peak() -> None:
    found = working_memory(tiny())
    check(found.tensors, found.offsets)
    assert found.arena == found.peak.bytes == 1536
    assert str(found).startswith("1,536 bytes at operator ")
    assert found.data()["peak"] == 1536


def test_without_an_example_it_says_so() -> None:
    model = tiny()
    del model.example_input_array
    with pytest.raises(ValueError, match="example"):
        working_memory(model)
