"""Inputs from files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from compressor.commands.arrays import array_in, tensor_in


def test_one_array_of_either_file_in_the_type_of_the_model(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((4, 2, 3))
    np.save(tmp_path / "x.npy", x)
    save_file({"inputs": torch.from_numpy(x)}, tmp_path / "x.safetensors")
    model = nn.Conv1d(2, 1, 1)
    wanted = torch.from_numpy(x).float()
    for name in ("x.npy", "x.safetensors"):
        assert torch.equal(tensor_in(tmp_path / name, model), wanted)
    np.save(tmp_path / "words.npy", np.arange(6).reshape(2, 3))
    assert tensor_in(tmp_path / "words.npy", model).dtype == torch.int64


def test_files_that_hold_no_inputs(tmp_path: Path) -> None:
    model = nn.Conv1d(2, 1, 1)
    save_file({"a": torch.zeros(1), "b": torch.zeros(1)}, tmp_path / "two.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors")
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "empty.npy").write_bytes(b"")
    np.save(tmp_path / "one.npy", np.array(3.0))
    np.save(tmp_path / "texts.npy", np.array(["a"]))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    for name, said in {
        "two.safetensors": "holds 2 tensors, and inputs are one",
        "text.safetensors": "is no .safetensors file",
        "text.npy": "is no .npy file of numbers",
        "empty.npy": "is no .npy file of numbers",
        "one.npy": "save one array, inputs first",
        "texts.npy": "save one array, inputs first",
        "objects.npy": "is no .npy file of numbers",
    }.items():
        with pytest.raises(ValueError, match=said):
            tensor_in(tmp_path / name, model)
    with pytest.raises(FileNotFoundError):
        array_in(tmp_path / "none.npy")
