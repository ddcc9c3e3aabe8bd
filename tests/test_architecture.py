"""The rules of the code base that a program can check."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from tests.helpers.arrows import (
    Arrow,
    arrows,
    circles,
    defined,
    imported,
    late_imports,
    modules,
)

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


ROOMS = {
    "compressor": (
        *("errors", "wording", "inputs", "budget", "storage", "graph", "counting", "surgery"),
        *(
            "tracing",
            "repair",
            "importance",
            "allocation",
            "network",
            "rules",
            "quantization",
            "export",
        ),
        *("run", "phases", "reports", "session", "fitting", "commands", "__main__"),
    ),
    "recipes": (
        *("files", "data", "generated", "features", "pitch", "training", "judging", "submission"),
        *("running", "folds", "evaluate", "sweeps", "scenes"),
    ),
    "benchmarks": (
        *("common", "rivals", "allocation", "counting", "accuracy", "int8", "microcontroller"),
        *("speed", "breadth"),
    ),
}
"""Rooms and loose modules, by package: each imports from those before it alone. What is not listed
(recipes, most commands) imports from all of them, and none of them from it."""

OPTIONAL = {
    *("cvxpy", "executorch", "fcntl", "flatbuffers", "fvcore", "highspy", "lightning_fabric"),
    "matplotlib",
    *("msvcrt", "onnx", "onnxruntime", "optuna", "pandas", "ray", "thop", "torchao"),
}
"""Packages imported where they are needed: not every machine has them, or they are slow."""


def room(module: str) -> str:
    """The room or loose module of its package that a module belongs to."""
    return module.split(".")[1] if "." in module else ""


def backwards(package: str, found: list[Arrow]) -> list[str]:
    """Arrows from a room to a later one; the package itself takes from all of them."""
    place = {name: n for n, name in enumerate(ROOMS[package])}
    last = len(place)
    return [
        f"{a.source} -> {a.target}"
        for a in found
        if room(a.source)
        and (
            not room(a.target) or place.get(room(a.target), last) > place.get(room(a.source), last)
        )
    ]


def test_compressor_has_few_rooms_and_fewer_loose_modules() -> None:
    names = modules("compressor")
    rooms = {room(name) for name, path in names.items() if path.parent != ROOT / "compressor"}
    loose = {room(name) for name in names} - rooms - {""}
    assert rooms | loose == set(ROOMS["compressor"])
    # A newcomer can keep 14 rooms in mind. The commands are one more, as nothing but `__main__`
    # takes from them: who reads or changes the library need not know that they are there.
    assert len(rooms - {"commands"}) <= 14
    assert len(loose) <= 8


def test_nothing_takes_from_the_commands_but_the_command_line() -> None:
    taken = {a.source for a in arrows("compressor") if room(a.target) == "commands"}
    assert {room(source) for source in taken} == {"commands", "__main__"}


@pytest.mark.parametrize("package", ROOMS)
def test_every_folder_is_a_room_and_says_what_it_is_for(package: str) -> None:
    files = [path for path in modules(package).values() if path.parent != ROOT / package]
    assert all(path.relative_to(ROOT / package).parts[0] in ROOMS[package] for path in files)
    for folder in {path.parent for path in files}:
        assert ast.get_docstring(parsed(folder / "__init__.py")), folder


@pytest.mark.parametrize("package", ROOMS)
def test_no_arrow_runs_back(package: str) -> None:
    assert not backwards(package, arrows(package))


def test_an_arrow_that_runs_back_is_seen() -> None:
    up = Arrow("compressor.graph.graph", "compressor.run.training", late=False)
    assert backwards("compressor", [up]) == ["compressor.graph.graph -> compressor.run.training"]
    assert not backwards("compressor", [Arrow(up.target, up.source, late=False)])
    assert backwards("recipes", [Arrow("recipes.running.stages", "recipes.esc50", late=False)])


@pytest.mark.parametrize("package", ROOMS)
def test_no_circle_of_files(package: str) -> None:
    assert not circles(arrows(package))


def test_a_circle_is_seen() -> None:
    chain = [Arrow(a, b, late=False) for a, b in ("ab", "bc", "cb", "cd")]
    assert circles(chain) == ["b", "c"]


@pytest.mark.parametrize("package", ROOMS)
def test_functions_import_optional_packages_alone(package: str) -> None:
    found = {name: taken - OPTIONAL for name, taken in late_imports(package).items()}
    assert not {name: taken for name, taken in found.items() if taken}


def test_an_import_inside_a_function_is_seen() -> None:
    tree = ast.parse("import torch\ndef f():\n    import numpy")
    assert [*imported(tree)] == [("torch", False), ("numpy", True)]


@pytest.mark.parametrize("package", ROOMS)
def test_no_module_has_the_name_of_what_it_defines(package: str) -> None:
    """Else ``from package import x`` gives the one or the other, by what was imported before."""
    named = {name: defined(path) for name, path in modules(package).items()}
    assert not [name for name, found in named.items() if name.split(".")[-1] in found]


def test_benchmarks_import_nothing_from_tests() -> None:
    for path in sources("benchmarks"):
        assert "tests" not in imports(parsed(path)), path


BESIDE = {"documents", "helpers", "laws", "roads", "zoo"}
"""Folders of tests that stand beside those of the packages."""


def sought(test: Path) -> list[str]:
    """Names that a test file may begin with: of the files and folders in the room that it tests."""
    inside = test.parent.relative_to(ROOT / "tests")
    package = inside.parts[0] if inside.parts and inside.parts[0] in TESTED else "compressor"
    folder = ROOT / (inside if package in inside.parts else Path(package) / inside)
    within = folder.rglob("*.py") if package == "benchmarks" else folder.glob("*.py")
    return [*(path.stem for path in within), folder.name]


TESTED = {"recipes", "models", "benchmarks"}
"""Packages beside `compressor` whose tests have a folder of their name."""


def test_the_tests_of_a_file_are_found_by_its_name() -> None:
    rooms = [path for path in (ROOT / "tests").rglob("test_*.py") if path.parent.name != "tests"]
    lost = [
        path.relative_to(ROOT)
        for path in rooms
        if path.relative_to(ROOT / "tests").parts[0] not in BESIDE
        and not any(f"{path.stem}_".startswith(f"test_{name}_") for name in sought(path))
    ]
    assert not lost
