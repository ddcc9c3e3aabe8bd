"""The rules of the code base that a program can check."""

from __future__ import annotations

import ast
import graphlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MOST_LINES = 400
PACKAGES = ("compressor", "models", "recipes")
PICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
"""Modules that run code found in a file."""


def sources(package: str) -> list[Path]:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, f"{package} has no source file"
    return files


def imports(tree: ast.AST) -> set[str]:
    """Top-level packages that a syntax tree imports; relative imports are the package's own."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def unpicklings(tree: ast.AST) -> list[str]:
    """Calls and imports of `tree` that could unpickle a file."""
    found = sorted(imports(tree) & PICKLERS)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            arguments = {word.arg: ast.unparse(word.value) for word in node.keywords}
            allowed = arguments.get("allow_pickle") == "True"
            if (
                name in {"torch.load", "torch.save", "torch.hub.load", "pandas.read_pickle"}
                or allowed
            ):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom) and node.module == "torch":
            found += [f"torch.{name.name}" for name in node.names if name.name in {"load", "save"}]
    return found


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@pytest.mark.parametrize("path", sources("compressor"), ids=lambda p: p.stem)
def test_compressor_imports_nothing_above_it(path: Path) -> None:
    assert not imports(parsed(path)) & {"models", "recipes", "tests", "benchmarks"}


def test_models_import_torch_alone() -> None:
    for path in sources("models"):
        foreign = imports(parsed(path)) - {"torch", "models"} - sys.stdlib_module_names
        assert not foreign, f"{path.name} imports {foreign}"


def test_recipes_import_neither_tests_nor_benchmarks() -> None:
    for path in sources("recipes"):
        assert not imports(parsed(path)) & {"tests", "benchmarks"}, path.name


@pytest.mark.parametrize("package", [*PACKAGES, "benchmarks"])
def test_no_file_is_too_long(package: str) -> None:
    lengths = {p.name: len(p.read_text(encoding="utf-8").splitlines()) for p in sources(package)}
    assert not {name: n for name, n in lengths.items() if n > MOST_LINES}


@pytest.mark.parametrize("package", [*PACKAGES, "benchmarks"])
def test_nothing_is_unpickled(package: str) -> None:
    assert not {p.name: found for p in sources(package) if (found := unpicklings(parsed(p)))}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from torch import load",
        "import torch; torch.load('a.pt', weights_only=True)",
        "import numpy; numpy.load('a.npy', allow_pickle=True)",
    ],
)
def test_the_search_for_unpickling_finds_it(code: str) -> None:
    assert unpicklings(ast.parse(code))


def test_imports_are_found_inside_functions() -> None:
    assert imports(ast.parse("def f():\n    from recipes.esc50 import main")) == {"recipes"}


def test_no_path_of_one_machine() -> None:
    """Sources and documents run anywhere: no absolute path of a home or work folder."""
    machine = re.compile(r"(?<![\w.])/(?:home|root|work|Users|tmp)/\w")
    files = [p for folder in (*PACKAGES, "benchmarks", "docs") for p in (ROOT / folder).rglob("*")]
    texts = [p for p in files if p.suffix in {".py", ".md"}]
    assert not [p.name for p in texts if machine.search(p.read_text(encoding="utf-8"))]


def benchmark_arrows() -> dict[str, set[str]]:
    """Files of the benchmarks by module, and which of these each imports."""
    files = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): parsed(path)
        for path in sources("benchmarks")
    }
    arrows: dict[str, set[str]] = {}
    for module, tree in files.items():
        froms = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module]
        names = {f"{node.module}.{name.name}" for node in froms for name in node.names}
        arrows[module] = files.keys() & (names | {str(node.module) for node in froms})
    return arrows


def test_every_room_of_the_benchmarks_says_in_a_line_what_it_is_for() -> None:
    rooms = [path for path in sources("benchmarks") if path.name == "__init__.py"]
    assert len(rooms) == 7
    for path in rooms:
        (line,) = path.read_text(encoding="utf-8").splitlines()
        assert re.fullmatch(r'"""[A-Z].{20,}\."""', line), path
    folders = {path.parent for path in sources("benchmarks")}
    assert folders == {path.parent for path in rooms}


def test_benchmarks_import_nothing_from_tests() -> None:
    for path in sources("benchmarks"):
        assert "tests" not in imports(parsed(path)), path


def test_benchmarks_have_no_circle_of_files() -> None:
    arrows = benchmark_arrows()
    assert "benchmarks.accuracy.dense" in arrows["benchmarks.accuracy.objectives"]
    graphlib.TopologicalSorter(arrows).prepare()


def test_no_benchmark_carries_the_name_of_what_it_defines() -> None:
    for path in sources("benchmarks"):
        defined = {getattr(node, "name", "") for node in parsed(path).body}
        assert path.stem not in defined, path
