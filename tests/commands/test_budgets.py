"""Caps from a word."""

from __future__ import annotations

import pytest

from compressor import Budget, Onnx, Tflite
from compressor.commands.budgets import budget_of, caps_of


@pytest.mark.parametrize(
    ("word", "budget"),
    [
        ("params=128e3,macs=30e6", Budget(params=128e3, macs=30e6)),
        ("params=128k, macs=30M", Budget(params="128k", macs="30M")),
        ("nonzero=10", Budget(nonzero=10)),
        ("bytes=32KiB,file=tflite,ram=16KiB", Budget(bytes="32KiB", file=Tflite(), ram="16KiB")),
        ("bytes=32KiB,file=.onnx", Budget(bytes="32KiB", file=Onnx())),
    ],
)
def test_words_that_are_budgets(word: str, budget: Budget) -> None:
    assert budget_of(word) == budget


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("", "'' is no cap: write params=128e3,macs=30e6"),
        ("params", "'params' is no cap"),
        ("params=", "'params=' is no cap"),
        ("parms=3", "'parms=3' is no cap: .*any of params, nonzero, macs, bytes, ram"),
        ("params=3,params=4", "one cap stands there twice"),
        ("params=3,", "'' is no cap"),
        ("bytes=3,file=pte", "file=pte: a cap on bytes can be on the tflite or onnx file"),
        ("params=3,file=onnx", "which file a cap on bytes is on"),
        ("file=onnx", "at least one cap"),
        ("params=many", "cannot read a number"),
        ("macs=3MB", "is a unit of bytes"),
    ],
)
def test_words_that_are_none(word: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        budget_of(word)


def test_several_words_are_one_budget() -> None:
    assert caps_of(["file=tflite", "bytes=32KiB", "params=9"]) == budget_of(
        "bytes=32KiB,file=tflite,params=9"
    )
    with pytest.raises(ValueError, match="'params=3,params=4': one cap stands there twice"):
        caps_of(["params=3", "params=4"])


def test_a_word_that_is_no_budget_is_no_budget_that_cannot_be_met() -> None:
    """The latter is a no and ends with code 1, the former with 2."""
    with pytest.raises(ValueError, match="--budget params=x: Budget") as caught:
        caps_of(["params=x"])
    assert type(caught.value) is ValueError
