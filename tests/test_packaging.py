"""The wheel holds `compressor` alone and works away from the checkout."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

import compressor

ROOT = Path(__file__).resolve().parents[1]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(  # noqa: S603 - our own commands
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what it is made of, without the network."""
    source = tmp_path_factory.mktemp("source")
    out = tmp_path_factory.mktemp("wheel")
    skip = shutil.ignore_patterns("__pycache__")
    # models and recipes are copied too: that they stay out must be the configuration's doing.
    for folder in ("compressor", "models", "recipes", "tests"):
        shutil.copytree(ROOT / folder, source / folder, ignore=skip)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", out, source, cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a fresh environment with the wheel; dependencies are borrowed from this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    fresh = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    purelib = Path(run(fresh, "-c", code, cwd=folder).strip())
    install = [sys.executable, "-m", "pip", "--python", fresh, "install", "--no-deps", "--no-index"]
    run(*install, wheel, cwd=folder)
    # A .pth line adds a plain folder: its own .pth files, editable checkouts among them, stay off.
    (purelib / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return fresh


@pytest.mark.slow
def test_the_wheel_holds_compressor_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.partition("/")[0] for name in names}
    assert top == {"compressor", f"compressor_nn-{PROJECT['version']}.dist-info"}
    assert {"compressor/py.typed", "compressor/reports/boards/boards.json"} <= set(names)
    code = {p.relative_to(ROOT).as_posix() for p in (ROOT / "compressor").rglob("cpp/*")}
    assert {"compressor/export/firmware/cpp/main.cc"} <= code <= set(names)
    sources = {p.relative_to(ROOT).as_posix() for p in (ROOT / "compressor").rglob("*.py")}
    assert sources <= set(names)


@pytest.mark.slow
def test_the_wheel_says_what_it_needs(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = (n for n in archive.namelist() if n.endswith("METADATA"))
    metadata = archive.read(name).decode()
    needed = re.findall(r"^Requires-Dist: ([\w.-]+)[^;\n]*$", metadata, re.MULTILINE)
    assert set(needed) == {"torch", "numpy", "scipy", "pandas", "rich", "safetensors"}
    assert "License-Expression: MIT" in metadata


@pytest.mark.slow
def test_it_works_from_an_empty_directory(python: Path, tmp_path: Path) -> None:
    code = """
import torch, compressor
model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2))
print(compressor.__file__)
print(compressor.measure(model, torch.zeros(1, 1, 8, 8)).macs)
"""
    file, macs = run(python, "-c", code, cwd=tmp_path).splitlines()
    assert python.parent.parent in Path(file).parents
    assert int(macs) == 4 * 9 * 36 + 144 * 2


@pytest.mark.slow
def test_the_command_is_installed(python: Path, tmp_path: Path) -> None:
    """It finds a module in the folder in which it is given, as `python -m compressor` does."""
    code = "import torch\nclass Net(torch.nn.Linear):\n    pass\n"
    (tmp_path / "plain.py").write_text(code)
    words = ("measure", "plain:Net", "--with", "in_features=3", "--with", "out_features=2")
    for command in ((python.parent / "compressor",), (python, "-m", "compressor")):
        out = run(*command, *words, "--input", "1,3", "--json", cwd=tmp_path)
        assert json.loads(out)["params"] == 3 * 2 + 2


@pytest.mark.slow
def test_extras_are_not_needed_to_import_it(python: Path, tmp_path: Path) -> None:
    code = (
        "import compressor, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    loaded = set(run(python, "-c", code, cwd=tmp_path).split())
    extras = {"matplotlib", "lightning_fabric", "cvxpy", "highspy", "thop", "fvcore", "soundfile"}
    assert "torch" in loaded
    assert not loaded & extras


@pytest.mark.slow
@pytest.mark.parametrize("package", ["models", "recipes", "tests", "benchmarks"])
def test_nothing_else_is_importable(python: Path, tmp_path: Path, package: str) -> None:
    code = f"import importlib.util; print(importlib.util.find_spec({package!r}))"
    assert run(python, "-c", code, cwd=tmp_path).strip() == "None"


def test_all_files_are_about_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", changelog, re.MULTILINE)
    assert versions[0] == PROJECT["version"]
    assert compressor.__version__ == PROJECT["version"]
    assert CITATION["version"] == PROJECT["version"]
    assert f"Alpha, {PROJECT['version']}." in (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_can_be_cited() -> None:
    assert {"cff-version", "message", "title", "authors"} <= CITATION.keys()
    assert CITATION["license"] == PROJECT["license"]
    assert [author["name"] for author in CITATION["authors"]] == [
        author["name"] for author in PROJECT["authors"]
    ]


WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/check.yml").read_text(encoding="utf-8"))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))


def test_the_workflow_runs_what_the_makefile_says() -> None:
    steps = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]
    commands = [step["run"] for step in steps if "run" in step]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    made = [command.split()[1] for command in commands if command.startswith("make ")]
    assert made == ["test", "docs"]
    assert all(f"\n{name}:" in makefile for name in made)
    assert "python -m build --wheel" in commands


def test_hooks_are_local_and_those_of_make_lint() -> None:
    (hooks,) = (repo["hooks"] for repo in HOOKS["repos"])
    assert [repo["repo"] for repo in HOOKS["repos"]] == ["local"]
    lint = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nlint:")[2]
    for hook in hooks:
        assert hook["language"] == "system"
        program = hook["entry"].split()[0].removeprefix(".venv/bin/")
        assert f"$(BIN)/{program}" in lint or program == "python"


@pytest.mark.parametrize("template", [*(ROOT / ".github/ISSUE_TEMPLATE").glob("*.md")], ids=str)
def test_templates_say_what_they_are_for(template: Path) -> None:
    head = yaml.safe_load(template.read_text(encoding="utf-8").split("---")[1])
    assert {"name", "about"} <= head.keys()


def test_the_tested_versions_are_pinned() -> None:
    """Every direct dependency, extras included, has one exact version in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {m[1].lower() for line in lines if (m := re.match(r"([\w.-]+)==[\w.]+$", line))}
    extras = PROJECT["optional-dependencies"].values()
    wanted = PROJECT["dependencies"] + [entry for extra in extras for entry in extra]
    names = {re.split(r"[^\w.-]", entry)[0].lower() for entry in wanted}
    assert names - {PROJECT["name"]} <= pins
    assert "torch==2.13.0" in lines
