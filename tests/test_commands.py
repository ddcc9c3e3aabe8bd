"""The command line: exit codes, one sentence for what is wrong, no traceback."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from types import ModuleType

import pytest
import torch

from compressor import __main__ as line
from compressor.__main__ import COMMANDS, main
from compressor.errors import BudgetError, TraceError, TrainingError, VerificationError
from tests.conftest import ROOT

NO_ROOM = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 40000000000 bytes."
Capture = pytest.CaptureFixture[str]


def test_help_names_every_command(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert all(f"    {name} " in out and command.HELP[:40] in out
               for name, command in COMMANDS.items())  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_with_its_exit_codes(name: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "exit code is 0" in said
    assert "2 where" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "compressor: the following arguments are required: COMMAND"),
        (["shrink"], "compressor: argument COMMAND: invalid choice: 'shrink'"),
        (["measure"], "compressor measure: the following arguments are required: MODEL"),
        (["compare"], "compressor compare: the following arguments are required: FILE_OR_DIR"),
        (["report", "a", "--markdown", "--html", "b"], "not allowed with argument --markdown"),
        (["inspect", "a:b", "--deep"], "unrecognized arguments: --deep"),
        (["report", "a", "--html", "b", "--html", "c"], "argument --html: stands there twice"),
        (["agree", "a", "--inputs", "b", "--inp", "c"], "argument --inputs: stands there twice"),
        (["measure", "a:b", "--weights", "b", "--weights", "b"], "--weights: stands there twice"),
    ],
)
def test_words_that_no_command_takes(words: list[str], said: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    found = capsys.readouterr()
    assert not found.out
    assert said in found.err
    assert found.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (BudgetError("too little"), 1, "too little"),
        (TraceError("two\n  lines"), 2, "two lines"),
        (TrainingError("NaN"), 2, "NaN"),
        (VerificationError("differs"), 2, "differs"),
        (ImportError("pip install it"), 2, "pip install it"),
        (MemoryError("20 GB"), 2, f"{line.TOO_LARGE} (20 GB)"),
        (RuntimeError(f"{NO_ROOM}\nat 0x1"), 2, f"{line.TOO_LARGE} ({NO_ROOM})"),
        (torch.OutOfMemoryError("CUDA"), 2, f"{line.TOO_LARGE} (CUDA)"),
        (FileNotFoundError(2, "No such file", "a.json"), 2, "a.json: No such file"),
        (OSError(28, "a.json cannot be written"), 2, "a.json cannot be written"),
        (OSError("nothing known"), 2, "nothing known"),
        (KeyboardInterrupt(), 130, "stopped"),
        (BrokenPipeError(32, "Broken pipe"), 141, ""),
    ],
)
def test_errors_end_a_command_in_one_line(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def run(options: Namespace) -> int:
        del options
        raise error

    monkeypatch.setattr(COMMANDS["report"], "run", run)
    monkeypatch.setattr(line, "unheard", lambda: None)  # it would close the test's own output
    assert main(["report", "a"]) == code
    assert capsys.readouterr().err == (f"compressor report: {said}\n" if said else "")


@pytest.mark.parametrize("fault", [KeyError("missing"), RuntimeError("shapes differ")])
def test_a_fault_of_the_library_is_not_hidden(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(options: Namespace) -> int:
        del options
        raise fault

    monkeypatch.setattr(COMMANDS["report"], "run", run)
    with pytest.raises(type(fault)):
        main(["report", "a"])


def test_every_module_of_a_command_is_one() -> None:
    beside = {"arrays", "budgets", "exports", "memory", "models", "parser", "reports", "words"}
    files = {path.stem for path in (ROOT / "compressor" / "commands").glob("[!_]*.py")}
    assert files - beside == set(COMMANDS)
    for command in COMMANDS.values():
        assert isinstance(command, ModuleType)
        assert command.__doc__


@pytest.mark.slow
def test_what_nobody_reads_goes_nowhere() -> None:
    code = (
        "from compressor import __main__ as line; print('a', flush=True); line.unheard(); print(1)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    assert (done.stdout, done.stderr) == ("a\n", "")
