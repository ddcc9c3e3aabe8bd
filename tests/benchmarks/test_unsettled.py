"""What a GPU would settle: commands that there are, minutes by the count."""

from __future__ import annotations

import shlex

import pytest
import torch
from torch import nn

from benchmarks.speed import unsettled
from benchmarks.speed.unsettled import QUESTIONS, Question
from recipes import dcase2020, dcase2021, dcase2022
from recipes.running.overrides import override

VARIANTS = {
    "recipes.dcase2020": (dcase2020.VARIANTS, dcase2020.Config()),
    "recipes.dcase2021": (dcase2021.ABLATIONS, dcase2021.Config()),
    "recipes.dcase2022": (dcase2022.VARIANTS, dcase2022.Config()),
}


def tiny() -> nn.Module:
    model = nn.Conv2d(1, 10, 1)
    model.example_input_array = torch.zeros(1, 1, 10, 10)
    return model


def test_minutes_are_thrice_the_forward_passes() -> None:
    """1,000 multiply-accumulates, 6 clips, 5 epochs: 90,000 at 1,500 a second are a minute."""
    assert Question("", "", "", tiny, 6, 5).minutes(1500) == pytest.approx(1.0)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.what)
def test_its_command_is_one_that_there_is(question: Question) -> None:
    words = shlex.split(question.command)
    assert words[:2] == ["python", "-m"]
    variants, config = VARIANTS[words[2]]
    if "--variant" in words:
        assert words[words.index("--variant") + 1] in variants
    override(config, [word for word in words[3:] if "=" in word and not word.startswith("--")])


@pytest.mark.slow
def test_the_table_has_a_line_a_question() -> None:
    assert unsettled.report(1e12).count("`python -m recipes.") == len(QUESTIONS)
