"""The rules of the code base that a program can check."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MOST_LINES = 400
PACKAGES = ("compressor", "models", "recipes")
PICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
"""Modules that run code found in a file."""
RECIPE_ROOMS = (
    *("files", "data", "scenes", "features", "training", "judging", "submission", "running"),
    *("evaluate", "sweeps"),
)
"""Rooms of `recipes`, each of which uses those before it alone. `evaluate` is a command that sweeps
make use of; the other commands and the recipes use all rooms, and no room uses them."""
OPTIONAL = {"lightning_fabric", "onnxruntime", "optuna", "ray"}
"""Packages of the recipes' extras, imported where they are needed."""


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


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_is_too_long(package: str) -> None:
    lengths = {p.name: len(p.read_text(encoding="utf-8").splitlines()) for p in sources(package)}
    assert not {name: n for name, n in lengths.items() if n > MOST_LINES}


@pytest.mark.parametrize("package", PACKAGES)
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


# ----------------------------------------------------------------------------- the rooms of recipes


def module(path: Path) -> str:
    """The name by which a file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def arrows(package: str) -> dict[str, set[str]]:
    """Modules of a package by the modules that import them, for the type checker alone or not."""
    paths = sources(package)
    names = {module(path) for path in paths}
    found: dict[str, set[str]] = {}
    for path in paths:
        used: set[str] = set()
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Import):
                used |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path} imports relatively"
                used |= {f"{node.module}.{alias.name}" for alias in node.names}
                used.add(str(node.module))
        found[module(path)] = used & names - {package, module(path)}
    return found


def room(name: str) -> int:
    """Place of a module's room in the order; of a recipe and of other commands the last."""
    inside = name.split(".")[1]
    return RECIPE_ROOMS.index(inside) if inside in RECIPE_ROOMS else len(RECIPE_ROOMS)


def backward(found: dict[str, set[str]]) -> list[str]:
    """Arrows from a room to a later one."""
    return [
        f"{user} uses {used}"
        for user, targets in found.items()
        for used in targets
        if user != "recipes" and room(used) > room(user)
    ]


def late_imports(tree: ast.AST) -> Iterator[str]:
    """What functions of a syntax tree import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for inside in ast.walk(node):
                if isinstance(inside, ast.Import | ast.ImportFrom):
                    yield from sorted(imports(inside))


def test_no_room_of_recipes_uses_a_later_one() -> None:
    assert not backward(arrows("recipes"))


def test_an_arrow_back_is_found() -> None:
    assert backward({"recipes.data.audio": {"recipes.training.loop"}})
    assert backward({"recipes.running.stages": {"recipes.esc50"}})
    assert not backward({"recipes.training.loop": {"recipes.data.audio"}})


def test_no_files_of_recipes_import_each_other_in_a_circle() -> None:
    assert [*TopologicalSorter(arrows("recipes")).static_order()]
    with pytest.raises(CycleError):
        TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()


def test_every_folder_of_recipes_is_a_room_and_says_what_for() -> None:
    for folder in (path for path in (ROOT / "recipes").iterdir() if [*path.glob("*.py")]):
        assert folder.name in RECIPE_ROOMS, f"{folder.name} has no place in the order"
        text = (folder / "__init__.py").read_text(encoding="utf-8")
        assert text.count("\n") == 1, f"{folder.name}: one line of purpose, and no imports"
        assert ast.get_docstring(ast.parse(text))


def test_recipes_import_inside_functions_what_is_optional_alone() -> None:
    for path in sources("recipes"):
        late = {*late_imports(parsed(path))} - OPTIONAL
        assert not late, f"{path.name} imports {late} inside a function"
    assert [*late_imports(ast.parse("def f():\n    import numpy"))] == ["numpy"]


def test_no_module_of_recipes_has_the_name_of_what_it_defines() -> None:
    kinds = (ast.FunctionDef, ast.ClassDef)
    for path in sources("recipes"):
        defined = {node.name for node in parsed(path).body if isinstance(node, kinds)}
        assert path.stem not in defined, f"{path} is also something in it"
