"""PyTorch's transformers without a look at the values of their masks.

They compare a mask with a causal one, to choose a faster kernel for the same result. An export has
no values that it could compare.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from torch.nn.modules import transformer

NAME = "_detect_is_causal_mask"
"""A function that a version of PyTorch may lack."""


def _as_told(mask: object, is_causal: bool | None = None, size: int | None = None) -> bool:  # noqa: FBT001
    """True where the caller says that a mask is causal."""
    del mask, size
    return is_causal is True


@contextmanager
def unseen_masks() -> Generator[None]:
    """Take masks for what callers say that they are."""
    module: Any = transformer
    before = getattr(module, NAME, None)
    if before is None:
        yield
        return
    setattr(module, NAME, _as_told)
    try:
        yield
    finally:
        setattr(module, NAME, before)
