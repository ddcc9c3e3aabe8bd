"""What errors quote of others: the first line, if there is one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from compressor import Budget, fit
from compressor.tracing.modes import failure_in_training
from compressor.wording import line
from tests.helpers.tiny import Tiny, refuses

CAPS = Budget(params=700)


@pytest.mark.parametrize(("text", "first"), [("", ""), ("\n a\nb", "a"), ("a", "a"), (" \n", "")])
def test_the_first_line(text: str, first: str) -> None:
    assert line(RuntimeError(text)) == first


def test_a_model_that_fails_without_a_word() -> None:
    """An error may have no text, so no first line."""

    class Silent(Tiny):
        def __deepcopy__(self, memo: object) -> Silent:
            raise RuntimeError

    class Trained(Tiny):
        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                raise RuntimeError
            return super().forward(x)

    with refuses(r"copy"):
        fit(Silent(), budget=CAPS)
    found = failure_in_training(Trained(), [torch.zeros(2, 1, 8, 8)])
    assert found is not None
    assert found.startswith("RuntimeError; test_wording.py:")
