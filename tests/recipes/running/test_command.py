"""Errors of a recipe's command end it with one sentence."""

from __future__ import annotations

import pytest
import torch

from compressor.errors import TrainingError
from recipes.running.command import one_sentence_errors


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("seed=-1: a seed is at least 0"), "ValueError: seed=-1: a seed is at least 0"),
        (TrainingError("the loss is nan"), "TrainingError: the loss is nan"),
        (torch.OutOfMemoryError("No room\nfor it"), "cuda:1 is out of memory: No room. Try less"),
    ],
)
def test_an_error_ends_the_process_with_one_sentence(error: Exception, sentence: str) -> None:
    with pytest.raises(SystemExit) as ended, one_sentence_errors("cuda:1", ". Try less"):
        raise error
    assert ended.value.code == sentence


def test_a_mistake_of_the_program_is_no_such_error() -> None:
    with pytest.raises(AttributeError), one_sentence_errors("cpu"):
        raise AttributeError
