"""`fit` writes what `compressor.fit` returns, or nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import compressor
from compressor import Budget
from compressor.__main__ import main
from compressor.commands.words import named
from compressor.inputs import randomness

Capture = pytest.CaptureFixture[str]
KNOWN = ["fit", "mine:Known", "--budget"]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_without_data_it_is_pruned_and_written(here: Path, capsys: Capture) -> None:
    assert main([*KNOWN, "params=700,macs=20e3", "--out", "small"]) == 0
    net = named("mine:Known")
    randomness.seed_everything(0)
    wanted = compressor.fit(net(), budget=Budget(params=700, macs=20e3))
    assert capsys.readouterr().out == f"{wanted.report}\nWritten to small.\n"
    wanted.write(here / "wanted.safetensors")
    content = (here / "small" / "network.safetensors").read_bytes()
    assert content == (here / "wanted.safetensors").read_bytes()
    assert {"report.json", "report.md", "network.safetensors"} <= names(here / "small")
    read = compressor.Report.from_json((here / "small" / "report.json").read_bytes())
    assert read.after == wanted.report.after
    assert (here / "small" / "report.md").read_text("utf-8").startswith("# Known\n")


def test_a_budget_that_cannot_be_met_is_a_no_and_leaves_nothing(
    here: Path, capsys: Capture
) -> None:
    (here / "there").mkdir()
    before = names(here)
    for out in ("new", "there"):
        assert main([*KNOWN, "params=10", "--out", out]) == 1
        said = capsys.readouterr()
        assert not said.out
        assert "compressor fit: params <= 10 cannot be reached: the smallest" in said.err
    assert names(here) - {"__pycache__"} == before
    assert not names(here / "there")


def test_inputs_without_labels(here: Path, capsys: Capture) -> None:
    x = named("mine:clips")()[:64][0]
    np.save(here / "x.npy", x.double().numpy())
    words = ["fit", "mine:Net", "--budget", "params=700", "--inputs", "x.npy", "--out", "small"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "distance of outputs to the dense network's after repair" in out
    assert compressor.load(here / "small")(x[:2]).shape == (2, 3)


def test_the_file_of_a_microcontroller(here: Path, capsys: Capture) -> None:
    pytest.importorskip("flatbuffers")
    np.save(here / "x.npy", named("mine:clips")()[:64][0].numpy())
    words = [*KNOWN, "bytes=5KiB,file=tflite,ram=1KiB", "--inputs", "x.npy", "--out", "small"]
    with pytest.warns(UserWarning, match="never trained"):
        assert main([*words, "--export", "net.tflite"]) == 0
    assert (here / "small" / "net.tflite").stat().st_size <= 5 * 1024
    assert main(["fits", "small/net.tflite", "--board", "esp32"]) == 0
    assert "fits" in capsys.readouterr().out


def test_a_network_without_a_file_keeps_its_weights(here: Path, capsys: Capture) -> None:
    assert main(["fit", "mine:Bessel", "--budget", "params=700", "--out", "small"]) == 0
    out = capsys.readouterr().out
    assert "Its weights alone are stored, for --weights small: the operation 'special_i0'" in out
    assert main(["measure", "mine:Bessel", "--weights", "small"]) == 0
    assert (here / "small" / "report.md").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--budget", "params=9", "--data", "mine:nothing2"], "mine has no 'nothing2'"),
        (["--budget", "params=900", "--data", "mine:broken"], "mine:broken() fails: KeyError"),
        (["--budget", "params=900", "--data", "mine:Known"], "data is a Known, a model"),
        (["--budget", "params=900", "--inputs", "none.npy"], "none.npy: No such file"),
        (["--budget", "params=900", "--inputs", "mine.py"], "is no .npy file of numbers"),
        (["--budget", "params=900", "--epochs", "3"], "without labelled data nothing is trained"),
        (["--budget", "params=900", "--seed", "-1"], "seed=-1): must be a whole number"),
        (["--budget", "params=900", "--seed", "9" * 30, "--data", "mine:loader"], "2**64 - 1"),
        (["--budget", "params=x"], "--budget params=x: Budget(params='x'): cannot"),
        (["--budget", "params=900", "--budget", "params=800"], "one cap stands there twice"),
        (
            ["--budget", "params=900", "--export", "a.tflite"],
            "give --inputs or --data; and without a cap",
        ),
        (
            ["--budget", "bytes=9KB", "--data", "mine:loader", "--export", "a.tflite"],
            "--export a.tflite: a .tflite holds integers of 8 bits, and without a cap",
        ),
        (["--budget", "params=900", "--out", "mine.py"], "is a file, and a checkpoint is a"),
        (["--budget", "params=900", "--data", "mine:loader", "--lr", "-1"], "lr=-1.0"),
    ],
)
def test_words_that_cannot_be_run(here: Path, words: list[str], said: str, capsys: Capture) -> None:
    before = names(here)
    assert main(["fit", "mine:Known", *words]) == 2
    found = capsys.readouterr()
    assert not found.out
    last = found.err.splitlines()[-1]
    assert last.startswith("compressor fit: ")
    assert said in last
    assert names(here) - {"__pycache__"} == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mine:Known"], "the following arguments are required: --budget"),
        ([*KNOWN[1:], "params=9", "--export", "a.pt"], "no name of a file on .onnx, .pte, .tflite"),
        ([*KNOWN[1:], "params=9", "--export", "a/b.onnx"], "no name of a file on"),
        ([*KNOWN[1:], "params=9", "--epochs", "x"], "argument --epochs: invalid int value"),
        ([*KNOWN[1:], "params=9", "--data", "a:b", "--inputs", "x.npy"], "not allowed with"),
        *(
            ([*KNOWN[1:], "params=9", name, "3", name, "4"], f"argument {name}: stands there twice")
            for name in ("--data", "--inputs", "--val", "--epochs", "--lr", "--seed", "--out")
        ),
    ],
)
def test_words_that_it_does_not_take(words: list[str], said: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["fit", *words])
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("compressor fit: ")
    assert said in err
    assert err.count("\n") == 1


DEADLY = '''
import os
import signal
from mine import *


class Deadly:
    """Kills the process at the start of its third epoch of training, if asked to."""

    def __init__(self):
        self.loader, self.read = loader(), 0

    def __iter__(self):
        self.read += 1
        if os.environ.get("KILL") == str(self.read):
            os.kill(os.getpid(), signal.SIGKILL)
        yield from self.loader


def deadly():
    return Deadly()
'''


@pytest.mark.slow
def test_a_command_that_was_killed_goes_on(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    (here / "deadly.py").write_text(DEADLY)
    caplog.set_level("INFO", "compressor")
    words = [*KNOWN, "params=700", "--data", "deadly:deadly", "--val", "mine:val", "--epochs", "4"]
    command = [sys.executable, "-m", "compressor", *words, "--out", "killed"]
    reads = _reads(words)
    done = subprocess.run(  # noqa: S603 - our own command
        command, env={**os.environ, "KILL": str(reads - 1)}, capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert names(here / "killed") == {"checkpoint"}
    caplog.clear()
    assert main([*words, "--out", "killed"]) == 0
    assert not any("FineTune 2/4" in line for line in caplog.messages)
    assert any("FineTune 4/4" in line for line in caplog.messages)
    contents = [(here / out / "network.safetensors").read_bytes() for out in ("killed", "whole")]
    assert contents[0] == contents[1]
    sys.modules.pop("deadly", None)


PAIRED = """
from mine import Known
from torch.nn import functional


class Paired(Known):
    def forward(self, x):
        y = super().forward(x)
        return y, y * 2


def loss(model, batch):
    inputs, labels = batch
    return functional.cross_entropy(model(inputs)[0], labels)
"""


@pytest.mark.slow
def test_a_loss_of_ones_own(here: Path, capsys: Capture) -> None:
    (here / "paired.py").write_text(PAIRED)
    words = ["fit", "paired.py:Paired", "--budget", "params=700", "--data", "mine:loader"]
    words += ["--epochs", "1"]
    assert main([*words, "--out", "none"]) == 2
    assert "pass loss=, a function of the model and the batch" in capsys.readouterr().err
    assert main([*words, "--loss", "paired.py:loss", "--out", "own"]) == 0
    assert "| FineTune |     1 |" in capsys.readouterr().out


def _reads(words: list[str]) -> int:
    """How often a run that nobody kills reads its data."""
    found: list[int] = []
    made = named("deadly:Deadly")
    ended = made.__iter__

    def counting(self: object) -> object:
        found.append(1)
        return ended(self)

    made.__iter__ = counting
    assert main([*words, "--out", "whole"]) == 0
    made.__iter__ = ended
    return len(found)


@pytest.mark.slow
def test_with_labels_it_is_trained(here: Path, capsys: Capture) -> None:
    words = [*KNOWN, "params=700", "--data", "mine:loader", "--val", "mine:val", "--epochs", "2"]
    assert main([*words, "--out", "small"]) == 0
    out = capsys.readouterr().out
    assert "; val 0." in out.splitlines()[0]
    assert "| FineTune |     2 |" in out
    assert main([*words[:2], "--budget", "params=600", *words[4:], "--out", "small"]) == 2
    said = capsys.readouterr().err
    assert "holds a checkpoint of another run. What differs: budget" in said
    assert "The schedule is what --budget and --epochs make" in said
    x = torch.zeros(1, 1, 8, 8)
    assert compressor.load(here / "small")(x).shape == (1, 3)
