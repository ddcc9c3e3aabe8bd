"""The aim of a layer: what the sum that follows needs, by the channels that stay."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from compressor.repair.aim import Aim, Wanted
from compressor.repair.course import Course
from compressor.repair.dense import Said
from compressor.repair.rows import Places

ROWS = torch.arange(5)
SAID = Said(Places((5,), ROWS, ROWS * 0), torch.randn(5, 3), torch.randn(5, 3))
SCALE, SHIFT = torch.tensor([2.0, -0.5, 1.0]), torch.tensor([0.1, 0.2, 0.3])
COURSE = Course("norm", SCALE, SHIFT, frozenset(), low=0.0)
KEPT = torch.tensor([0, 2])


def test_outputs_that_meet_the_aim_make_the_dense_sum() -> None:
    rest = torch.randn(5, 2)
    aim = Aim.of(COURSE, Wanted(KEPT), SAID, rest)
    assert aim is not None
    assert SAID.rest is not None
    dense = SCALE * SAID.outputs + SHIFT + SAID.rest
    torch.testing.assert_close(SCALE[KEPT] * aim.y + SHIFT[KEPT] + rest, dense[:, KEPT])
    assert torch.allclose(aim.towards(aim.y), aim.y)


def test_below_the_rectifier_any_output_is_right_and_above_it_one() -> None:
    aim = Aim.of(COURSE, Wanted(), SAID, SAID.rest)
    assert aim is not None
    v = torch.randn(5, 3)
    wanted, given, best = (aim.scale * x + aim.offset for x in (aim.y, v, aim.towards(v)))
    let = wanted > 0
    torch.testing.assert_close(best[let], wanted[let])
    torch.testing.assert_close(best[~let], given[~let].clamp(max=0))
    assert let.any()
    assert not let.all()


def test_a_channel_without_a_scale_is_asked_for_as_it_is() -> None:
    course = replace(COURSE, scale=torch.tensor([2.0, 0.0, 1.0]))
    aim = Aim.of(course, Wanted(), SAID, torch.randn(5, 3))
    assert aim is not None
    assert torch.equal(aim.y[:, 1], SAID.outputs[:, 1])
    assert not torch.equal(aim.y[:, 0], SAID.outputs[:, 0])


def test_outputs_that_are_multiplied_in_the_smaller_network_are_asked_for_alone() -> None:
    factors = torch.tensor([2.0, 3.0, 4.0])
    aim = Aim.of(COURSE, Wanted(factors=factors), SAID, SAID.rest)
    assert aim is not None
    torch.testing.assert_close(aim.y, SAID.outputs * factors)
    assert not aim.rectified


@pytest.mark.parametrize("rest", [None, torch.zeros(5, 2)])
def test_sums_that_do_not_compare_have_no_aim(rest: torch.Tensor | None) -> None:
    assert Aim.of(COURSE, Wanted(), SAID, rest) is None
