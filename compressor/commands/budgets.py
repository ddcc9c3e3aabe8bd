"""Caps from words such as ``params=128e3,macs=30e6``."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.budget import RESOURCES, Budget
from compressor.errors import BudgetError
from compressor.reports.reading import FILES


def caps_of(words: Sequence[str]) -> Budget:
    """The caps of all words that were given for a budget.

    Raises:
        ValueError: If one is no such word, two cap the same, or they are no budget.
    """
    try:
        return budget_of(",".join(words))
    except BudgetError as error:  # of one that is none, and not of one that cannot be met
        raise ValueError(f"--budget {','.join(words)}: {error}") from error


def budget_of(word: str) -> Budget:
    """The caps: names of costs and amounts as `Budget` takes them; ``file=tflite`` or ``onnx``.

    Raises:
        ValueError: If it is no such word, or no budget.
    """
    parts = [part.partition("=") for part in word.split(",")]
    caps = {name.strip(): amount.strip() for name, _, amount in parts}
    for name, sign, amount in parts:
        if not sign or not amount.strip() or name.strip() not in (*RESOURCES, "file"):
            raise ValueError(
                f"{word!r}: {name + sign + amount!r} is no cap: write params=128e3,macs=30e6, any "
                f"of {', '.join(RESOURCES)}; bytes=32KiB,file=tflite caps the .tflite"
            )
    if len(caps) < len(parts):
        raise ValueError(f"{word!r}: one cap stands there twice: leave one out")
    files = {file.name.removeprefix("."): file for file in FILES}
    asked = caps.pop("file", None)
    if asked is not None and asked.removeprefix(".") not in files:
        raise ValueError(f"file={asked}: a cap on bytes can be on the {' or '.join(files)} file")
    file = None if asked is None else files[asked.removeprefix(".")]
    return Budget(**caps, file=file)
