"""What `load` says of paths that hold no result, and `write` of paths that take none."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from compressor import Budget, Prune, Result, fit, load, storage
from tests.helpers.tiny import loader, refuses, tiny


@pytest.fixture(scope="module")
def result() -> Result:
    return fit(tiny(), budget=Budget(params=700))


def test_a_file_needs_no_model_and_does_with_one(result: Result, tmp_path: Path) -> None:
    result.write(tmp_path / "small.safetensors")
    alone, beside = (load(tmp_path / "small.safetensors", m) for m in (None, tiny()))
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(alone(x), beside(x))


def test_an_ending_says_nothing_where_the_content_is_right(result: Result, tmp_path: Path) -> None:
    for name in ("small.onnx", "small.pt", "small"):
        result.write(tmp_path / name)
        assert load(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.safetensors", b"", "is empty, and no container"),
        ("a.pt", b"PK\x03\x04" + bytes(40), "a zip archive, as torch.save"),
        ("a.pkl", b"\x80\x04\x95" + bytes(40), "a pickle.* Nothing is unpickled"),
        ("a.onnx", b"\x08\x07\x12\x07pytorch" + bytes(40), "an ONNX file, which onnxruntime"),
        ("a.tflite", b"\x1c\x00\x00\x00TFL3" + bytes(40), "a network for TensorFlow Lite"),
        ("a.pte", b"\x18\x00\x00\x00ET12" + bytes(40), "a program for ExecuTorch"),
        ("a.npy", b"\x93NUMPY" + bytes(40), "an array of numpy"),
        ("report.json", b'{"budget": 3}', "is a text"),
        ("report.md", b"# report", "is a text"),
        ("a.wav", b"RIFF" + bytes(40), "a sound file"),
        ("lfs.safetensors", b"version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS"),
    ],
)
def test_files_of_other_kinds(tmp_path: Path, name: str, content: bytes, match: str) -> None:
    (tmp_path / name).write_bytes(content)
    for model in (None, tiny()):
        with refuses(match):
            load(tmp_path / name, model)


def test_safetensors_of_others(tmp_path: Path) -> None:
    save_file(tiny().state_dict(), tmp_path / "weights.safetensors")
    with refuses("is no container of this library"):
        load(tmp_path / "weights.safetensors", tiny())


@pytest.mark.parametrize("model", [None, tiny()], ids=["alone", "model"])
def test_nothing_there(tmp_path: Path, model: nn.Module | None) -> None:
    with refuses("missing is not there: pass the path of a file", FileNotFoundError):
        load(tmp_path / "missing", model)
    with refuses("holds no model.json: nothing was saved there; load reads", FileNotFoundError):
        load(tmp_path, model)


def test_directories_of_other_kinds(result: Result, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit(tiny(), loader(8), budget=Budget(params=700), schedule=[Prune()], checkpoint=run)
    with refuses("is a checkpoint of fit, .*save what it returns", FileNotFoundError):
        load(run, tiny())
    result.write(tmp_path / "stages" / "int8.safetensors")
    with refuses("may be meant: stages/int8.safetensors", FileNotFoundError):
        load(tmp_path / "stages" / "..", tiny())
    result.save(tmp_path / "saved")
    with refuses("holds weights and no network: pass the original architecture"):
        load(tmp_path / "saved")


@pytest.mark.parametrize("path", [None, 3, "", torch.zeros(2), np.zeros(2), {}])
def test_what_is_no_path(path: object) -> None:
    with refuses("load takes the path of a file of Result.write"):
        load(path)


def test_arguments_of_load_swapped(tmp_path: Path) -> None:
    with refuses(r"load takes the path first: load\(path, model\)"):
        load(tiny(), tmp_path)


# ----------------------------------------------------------------------------- files not written

CODES = ("ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "EIO", "EMFILE", "EFBIG")


@pytest.mark.parametrize("code", CODES)
def test_every_error_of_the_system_has_its_own_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    number = getattr(errno, code)

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"3 bytes .*still there") as caught:
        storage.write_bytes(tmp_path / "file", b"new")
    assert caught.value.errno == number
    assert ("make room" in str(caught.value).lower()) == (code in ("ENOSPC", "EDQUOT"))
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_paths_that_can_be_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with refuses("A part of the path is a file and no directory", OSError):
        storage.write_bytes(tmp_path / "file" / "under", b"new")
    with refuses("A part of the path is a file and no directory", OSError):
        storage.write_bytes(tmp_path / "file" / "far" / "under", b"new")
    with refuses("The name is too long for the disk", OSError):
        storage.write_bytes(tmp_path / ("x" * 300), b"new")
    with refuses("is a directory and cannot be replaced by a file: choose another path"):
        storage.write_bytes(tmp_path, b"new")
