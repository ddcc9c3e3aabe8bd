"""Arrows between the files of a package: which imports which, read off the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Arrow:
    """An import: of a module or of a name in it; `late` where it stands inside a function."""

    source: str
    target: str
    late: bool


def modules(package: str) -> dict[str, Path]:
    """Every module of a package by its dotted name."""
    found: dict[str, Path] = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    assert found, f"{package} has no source file"
    return found


def arrows(package: str) -> list[Arrow]:
    """Imports within a package; those for types alone count as any other."""
    known = modules(package)
    return [
        Arrow(name, target, late)
        for name, path in known.items()
        for name_of, late in imported(ast.parse(path.read_text(encoding="utf-8")))
        if (target := _within(name_of, known)) and target != name
    ]


def late_imports(package: str) -> dict[str, set[str]]:
    """Top-level packages that are imported inside functions, by module."""
    found: dict[str, set[str]] = {}
    for name, path in modules(package).items():
        for name_of, late in imported(ast.parse(path.read_text(encoding="utf-8"))):
            if late:
                found.setdefault(name, set()).add(name_of.partition(".")[0])
    return found


def circles(arrows: list[Arrow]) -> list[str]:
    """Modules that can be reached from themselves."""
    graph: dict[str, set[str]] = {}
    for arrow in arrows:
        graph.setdefault(arrow.source, set()).add(arrow.target)
    return sorted(name for name in graph if name in _reached(graph, name))


def defined(path: Path) -> set[str]:
    """Names of the functions and classes that a module defines, or a package gives on."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    made = {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    package = path.name == "__init__.py"
    taken = [n for n in tree.body if isinstance(n, ast.ImportFrom) and package]
    return made | {name.asname or name.name for n in taken for name in n.names}


def imported(tree: ast.AST, *, late: bool = False) -> Iterator[tuple[str, bool]]:
    """What a syntax tree imports, and whether inside a function."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((name.name, late) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from ((f"{node.module}.{name.name}", late) for name in node.names)
        else:
            inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from imported(node, late=late or inside)


def _within(imported: str, known: Mapping[str, Path]) -> str:
    """The module that an import asks for; empty where it is none of the package's."""
    parent = imported.rpartition(".")[0]
    return imported if imported in known else parent if parent in known else ""


def _reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    seen, todo = set[str](), list(graph[start])
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += graph.get(name, ())
    return seen
