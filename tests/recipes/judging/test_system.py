"""A system is read in a process that knows nothing of it, or refused with the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from compressor.export import onnx
from compressor.network import to_network
from compressor.network.file import container
from compressor.storage import read_json, sealed
from recipes.features.logmel import log_mels
from recipes.judging.system import System, read, scores_of, write
from tests.helpers.finished_run import noise
from tests.helpers.tiny import tiny
from tests.helpers.toy_recipe import AUDIO, CLASSES, FRAMES, MELS

X = torch.randn(7, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def kept(folder: Path, members: int = 1) -> System:
    """Networks of random weights in a folder, as containers."""
    models = [tiny(seed).eval() for seed in range(members)]
    names = [f"model-{k}" for k in range(members)]
    for name, model in zip(names, models, strict=True):
        container.write(to_network(model, (X[:1],)), folder / f"{name}.safetensors")
    found = System(CLASSES, AUDIO, MELS, FRAMES, tuple(map(scores_of, models)))
    write(folder, found, names)
    return found


def test_what_is_read_says_what_was_written(tmp_path: Path) -> None:
    written = kept(tmp_path, 3)
    found = read(tmp_path)
    assert (found.classes, found.audio, found.mels, found.frames, found.independent) == (
        written.classes, written.audio, written.mels, written.frames, False,
    )  # fmt: skip
    assert np.abs(found.probabilities(X) - written.probabilities(X)).max() < 1e-6


def test_probabilities_of_several_networks_are_averaged(tmp_path: Path) -> None:
    found = kept(tmp_path, 2)
    each = [scores(X).double().softmax(1).numpy() for scores in found.networks]
    assert found.probabilities(X) == pytest.approx((each[0] + each[1]) / 2)
    one_each = replace(found, independent=True).probabilities(X)
    shares = [1 / (1 + np.exp(-scores(X).double().numpy())) for scores in found.networks]
    expected = np.mean([s / s.sum(1, keepdims=True) for s in shares], axis=0)
    assert one_each == pytest.approx(expected)
    assert one_each.sum(1) == pytest.approx(np.ones(7))


def test_a_waveform_goes_through_the_front_end_in_batches(tmp_path: Path) -> None:
    found = kept(tmp_path)
    sound = np.stack([noise(1, seed).T for seed in range(120)])
    audio = torch.from_numpy(np.rint(32768 * sound).clip(-32768, 32767).astype(np.int16))
    mels = log_mels(audio, MELS, torch.device("cpu"))[..., :FRAMES]
    assert np.abs(found.classify(audio) - found.probabilities(mels)).max() < 1e-6


@pytest.mark.slow
def test_onnx_files_say_the_same(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    found = kept(tmp_path)
    onnx.write(to_network(tiny(0).eval(), (X[:1],)), tmp_path / "model-0.onnx")
    write(tmp_path, found, ["model-0"])
    assert np.abs(read(tmp_path, onnx=True).probabilities(X) - found.probabilities(X)).max() < 1e-5
    (tmp_path / "model-0.onnx").write_bytes(b"no onnx at all")
    with pytest.raises(ValueError, match=r"model-0.onnx .*damaged or of another run"):
        read(tmp_path, onnx=True)
    write(tmp_path, found, ["model-0"])
    with pytest.raises(ValueError, match="cannot be read by ONNX Runtime"):
        read(tmp_path, onnx=True)


def says(folder: Path, **changes: object) -> None:
    file = folder / "system.json"
    file.write_bytes(sealed(read_json(file) | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": "abcd"},
        {"classes": []},
        {"classes": ["a", "a"]},
        {"classes": [1, 2]},
        {"networks": []},
        {"networks": "model-0"},
        {"frames": 0},
        {"frames": "8"},
        {"mels": {}},
        {"mels": None},
        {"audio": {"rate": -1, "channels": 1, "seconds": 1}},
        {"audio": {"rate": 8000, "channels": 1, "seconds": 1, "depth": 16}},
        {"sha256": 3},
    ],
)
def test_a_damaged_description_is_named(tmp_path: Path, changes: dict[str, object]) -> None:
    kept(tmp_path)
    says(tmp_path, **changes)
    with pytest.raises(ValueError, match=r"system.json is damaged .*run the recipe again"):
        read(tmp_path)


def test_settings_of_the_front_end_that_name_none(tmp_path: Path) -> None:
    kept(tmp_path)
    said = read_json(tmp_path / "system.json")["mels"]
    for change in ({"taper": "exec"}, {"taper": []}, {"window": "long"}, {"hop": 0}, {"fmax": 1e9}):
        says(tmp_path, mels=said | change)
        with pytest.raises(ValueError, match=r"system.json is damaged"):
            read(tmp_path)


def test_every_bit_of_a_container_counts(tmp_path: Path) -> None:
    kept(tmp_path)
    file = tmp_path / "model-0.safetensors"
    content = file.read_bytes()
    for place in (0, 9, len(content) // 2, len(content) - 1):
        changed = bytearray(content)
        changed[place] ^= 1
        file.write_bytes(changed)
        with pytest.raises(ValueError, match="damaged or of another run"):
            read(tmp_path)
    file.write_bytes(content[:-1])
    with pytest.raises(ValueError, match="damaged or of another run"):
        read(tmp_path)


def test_a_file_outside_the_folder_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    kept(tmp_path)
    kept(tmp_path / "run")
    (tmp_path / "run" / "model-0.safetensors").unlink()
    says(tmp_path / "run", networks=["../model-0"])
    with pytest.raises(FileNotFoundError, match=r"run/model-0.safetensors is not there"):
        read(tmp_path / "run")


def test_folders_that_hold_no_finished_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        read(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="no folder of a run"):
        read(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"not come to its end.*goes on where it was"):
        read(tmp_path)


def test_answers_that_are_no_scores_of_these_classes(tmp_path: Path) -> None:
    found = kept(tmp_path)

    def saying(answer: Tensor) -> System:
        return replace(found, networks=(lambda _: answer,))

    with pytest.raises(ValueError, match=r"answers \(7, 3\) for 7 clips and 4 classes"):
        saying(torch.zeros(7, 3)).probabilities(X)
    odd = torch.zeros(7, 4)
    odd[[2, 5], 1] = torch.tensor([float("nan"), float("inf")])
    with pytest.raises(ValueError, match=r"2 of 7 clips .*diverged"):
        saying(odd).probabilities(X)
    with pytest.raises(ValueError, match=r"does not take log-mels \(7, 2, 8, 8\)"):
        found.probabilities(X.expand(7, 2, 8, 8))
