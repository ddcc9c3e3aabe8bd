"""Make a notebook of every example: `python examples/notebooks.py`.

A script is in cells, ``# %%`` and ``# %% [markdown]``, as editors show them; a notebook is the same
cells without outputs. So there is one text of every example, and a test holds the two together.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

FOLDER = Path(__file__).parent
CELL = re.compile(r"^# %%( \[markdown\])?\n", re.MULTILINE)


def scripts() -> list[Path]:
    """The examples."""
    return sorted(path for path in FOLDER.glob("*.py") if path != Path(__file__))


def cells(script: str) -> list[tuple[str, str]]:
    """Kind and text of every cell."""
    parts = CELL.split(script)[1:]
    found = []
    for marked, text in zip(parts[::2], parts[1::2], strict=True):
        if marked:
            found.append(("markdown", re.sub(r"^# ?", "", text.strip(), flags=re.MULTILINE)))
        else:
            found.append(("code", text.strip()))
    return found


def notebook(script: str) -> str:
    """The notebook of a script, as JSON of format 4.5."""
    made = []
    for number, (kind, text) in enumerate(cells(script)):
        cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}}
        cell |= {"execution_count": None, "outputs": []} if kind == "code" else {}
        made.append(cell | {"source": text.splitlines(keepends=True)})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    whole = {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    for path in scripts():
        path.with_suffix(".ipynb").write_text(notebook(path.read_text("utf-8")), "utf-8")
