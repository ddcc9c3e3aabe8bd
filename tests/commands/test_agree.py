"""`agree` on files: the reference to the byte in one interpreter, steps away in the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compressor.__main__ import main
from compressor.export.interpreters import MICRO, Interpreter
from compressor.export.tflite import write
from compressor.network.file import container
from compressor.reports import agreeing
from tests.helpers.int8_nets import examples
from tests.helpers.micro_nets import integers
from tests.helpers.tflite_files import FLOAT, Grown, Op
from tests.zoo.micro import MICRO as NETS

CLIPS = 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a stored network, its `.tflite`, and inputs for both."""
    pytest.importorskip("tflite_micro")
    network = integers(NETS["silu"]())
    container.write(network, tmp_path / "network.safetensors")
    write(network, tmp_path / "model.tflite")
    x = examples(network, CLIPS, seed=6).numpy()
    np.save(tmp_path / "clips.npy", x)
    np.save(tmp_path / "bytes.npy", (10 * x).clip(-128, 127).astype(np.int8).transpose(0, 2, 3, 1))
    return tmp_path


def test_a_network_is_its_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ai_edge_litert")
    clips = str(folder / "clips.npy")
    assert main(["agree", str(folder / "network.safetensors"), "--inputs", clips]) == 0
    out = capsys.readouterr().out
    assert f"{CLIPS} inputs, " in out
    assert "TensorFlow Lite Micro (tflite-micro " in out
    assert "): all outputs equal; the largest is the same in 100.0 % of inputs" in out
    assert "LiteRT (ai-edge-litert " in out
    assert "% of outputs equal, others by " in out
    assert "LiteRT rounds once" in out


def test_a_folder_and_no_inputs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "model.tflite").unlink()
    assert main(["agree", str(folder)]) == 0
    assert "4 inputs, " in capsys.readouterr().out


def test_anybodys_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ai_edge_litert")
    for more in ([], ["--inputs", str(folder / "bytes.npy")]):
        assert main(["agree", str(folder / "model.tflite"), *more]) == 0
        out = capsys.readouterr().out
        assert "expected of TensorFlow Lite Micro" in out
        assert "LiteRT (ai-edge-litert " in out


def test_an_answer_that_differs_is_counted_and_has_its_exit_code(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another interpreter in its place, off by two in one output of one input."""

    def wrong(content: bytes, given: object) -> list[list[np.ndarray]]:
        answers = MICRO.run(content, given)  # type: ignore[arg-type]
        answers[0][0].flat[0] += -2 if answers[0][0].flat[0] > 0 else 2
        return answers

    other = Interpreter(MICRO.name, MICRO.package, MICRO.module, wrong)
    monkeypatch.setattr(agreeing, "MICRO", other)
    assert main(["agree", str(folder / "network.safetensors")]) == 1
    out = capsys.readouterr().out
    assert "TensorFlow Lite Micro" in out
    assert "% of outputs equal, others by 2 at most" in out


def test_bad_input_is_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(folder / "two.npz", a=np.zeros(3), b=np.zeros(3))
    np.save(folder / "words.npy", np.array(["a"]))
    np.save(folder / "short.npy", np.zeros((3, 1, 2, 2), np.float32))
    (folder / "text.npy").write_text("1, 2, 3")
    float_file = Grown()
    x, y = float_file.tensor((1, 40), FLOAT), float_file.tensor((1, 40), FLOAT)
    float_file.operator(Op.RELU, [x], [y])
    (folder / "float.tflite").write_bytes(float_file.bytes([x], [y]))
    network, model = str(folder / "network.safetensors"), str(folder / "model.tflite")
    cases = [
        [str(folder / "missing.tflite")], [""], [str(folder / "text.npy")],
        [str(folder / "float.tflite")],
        *([file, "--inputs", str(folder / name)] for file in (network, model)
          for name in ("two.npz", "words.npy", "short.npy", "text.npy", "absent.npy")),
    ]  # fmt: skip
    for words in cases:
        assert main(["agree", *words]) == 2, words
        error = capsys.readouterr().err
        assert error.startswith("compressor agree: "), words
        assert "firmware" not in error.replace(str(folder), ""), words
        assert error.count("\n") == 1, words
