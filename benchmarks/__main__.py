"""List the benchmarks: a line each, its command and what it measures.

python -m benchmarks
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent


def commands() -> Iterator[tuple[str, str]]:
    """Command and first line of the docstring of every script in a room, by name."""
    for file in sorted(FOLDER.glob("*/*.py")):
        module = ast.parse(file.read_text(encoding="utf-8"))
        if any(isinstance(part, ast.FunctionDef) and part.name == "main" for part in module.body):
            about = (ast.get_docstring(module) or "").partition("\n")[0]
            script = f"benchmarks.{file.parent.name}.{file.stem}".removesuffix(".__main__")
            yield f"python -m {script}", about


def main() -> None:
    """Print them."""
    found = list(commands())
    width = max(len(command) for command, _ in found)
    for command, about in found:
        print(f"{command:<{width}}  {about}")


if __name__ == "__main__":
    main()
