"""Numbers and arrays as C++ writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from compressor.export.micro.program import Numbers

WIDTH = 96
"""Letters of a line of numbers, at most."""


def single(value: float | np.float32) -> str:
    """A number in single precision, so that it is read back as it is."""
    text = f"{float(value):.9g}"
    return f"{text}f" if any(mark in text for mark in ".en") else f"{text}.0f"


def listed(numbers: Iterable[int]) -> str:
    """Whole numbers with commas, on lines that can be read."""
    lines: list[str] = []
    line = " "
    for number in numbers:
        word = f" {number},"
        if len(line) + len(word) > WIDTH:
            lines.append(line)
            line = " "
        line += word
    return "\n".join([*lines, line]) + "\n"


def array(head: str, numbers: Numbers) -> str:
    """The definition of an array that begins as `head`."""
    return f"{head} = {{\n{listed(numbers.reshape(-1).tolist())}}};\n"


def braces(numbers: Sequence[int]) -> str:
    """Whole numbers in braces, on one line."""
    return "{" + ", ".join(map(str, numbers)) + "}"


def camel(operator: str) -> str:
    """An operator of the schema as methods are named: ``MAX_POOL_2D`` is ``MaxPool2D``."""
    words = operator.replace("MATMUL", "MAT_MUL").split("_")
    return "".join(word if word[0].isdigit() else word.capitalize() for word in words)


def header(name: str, content: str) -> str:
    """A header that is read once, in the namespace of the network."""
    guard = f"MODEL_{name.upper()}_H_"
    return f"#ifndef {guard}\n#define {guard}\n\n{content}\n#endif  // {guard}\n"


def within(content: str) -> str:
    """Declarations in the namespace of the network."""
    return f"namespace model {{\n\n{content}\n}}  // namespace model\n"
