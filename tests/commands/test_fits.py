"""Exit codes of `fits`, as its description promises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from compressor.__main__ import main
from tests.helpers.tflite_files import FLOAT, Grown, Op, residual


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.tflite"
    path.write_bytes(residual())
    return path


def too_large(tmp_path: Path) -> Path:
    """Activations of 200 kB each way: too much for a board of 128 KiB, enough room on others."""
    grown = Grown()
    x, y = (grown.tensor((1, 50_000), FLOAT) for _ in range(2))
    grown.operator(Op.RELU, [x], [y])
    path = tmp_path / "large.tflite"
    path.write_bytes(grown.bytes([x], [y]))
    return path


@pytest.mark.parametrize("command", ["fits", "compare", "measure"])
def test_a_run_that_is_not_over(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "o3" / "checkpoint").mkdir(parents=True)
    assert main([command, str(tmp_path / "o3")]) == 2
    said = capsys.readouterr().err
    assert "is that of a run which is not over" in said
    assert f"Give the same `compressor fit` with --out {tmp_path / 'o3'} again" in said


def test_a_file_that_fits(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fits", str(file)]) == 0
    assert "teensy-4.1" in capsys.readouterr().out
    assert main(["fits", str(file), "--board", "nucleo-f446re"]) == 0
    out = capsys.readouterr().out
    assert "nucleo-f446re: STM32F446RE, Cortex-M4F, 180 MHz, 512.0 KiB of flash, 128.0 KiB" in out
    assert "https://docs.zephyrproject.org" in out
    assert "teensy-4.1" not in out


def test_a_file_that_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(too_large(tmp_path))
    assert main(["fits", path, "--board", "nucleo-f446re"]) == 1
    assert "does not fit" in capsys.readouterr().out
    assert main(["fits", path, "--board", "nucleo-f446re", "--board", "teensy-4.1"]) == 1
    assert main(["fits", path, "--board", "teensy-4.1"]) == 0
    assert main(["fits", path]) == 0


def test_a_board_that_is_named_twice_is_one(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boards = [f"--board={name}" for name in ("teensy-4.1", "esp32", "Teensy-4.1")]
    assert main(["fits", str(file), *boards]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if " fits " in line] == ["teensy-4.1", "esp32"]
    assert sum(line.startswith("teensy-4.1: ") for line in lines) == 1


def test_help_says_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["fits", "--help"])
    assert caught.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "exit code is 0 where the file fits all boards that were named" in said
    assert "the file must fit each of them" in said


def test_what_cannot_be_looked_at(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(np.arange(99, dtype=np.uint8).tobytes())
    for words, message in [
        ([str(tmp_path / "other.tflite")], "No such file"),
        ([str(tmp_path)], "holds no model.tflite and no network.safetensors"),
        ([""], "no file is named"),
        ([str(damaged)], "is no .tflite file that can be read"),
        ([str(file), "--board", "uno"], "no board 'uno'"),
    ]:
        assert main(["fits", *words]) == 2
        said = capsys.readouterr()
        assert not said.out
        assert said.err.startswith("compressor fits: ")
        assert said.err.count("\n") == 1
        assert message in said.err


@pytest.mark.parametrize("words", [["fits"], ["fits", "a", "--bord", "b"]])
def test_words_that_no_command_takes(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2


@pytest.mark.slow
def test_as_a_process(file: Path) -> None:
    command = [sys.executable, "-m", "compressor", "fits", str(file), "--board", "esp32"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert "esp32  fits" in done.stdout
