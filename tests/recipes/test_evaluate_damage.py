"""Whatever of a saved folder, a run or a sound file is damaged, one sentence names the file."""

from __future__ import annotations

import copy
import json
import random
import resource
import struct
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

import compressor
from compressor import Budget, Prune
from recipes.data.audio import AudioFormat, decode, inspect, refuse_cut_off
from recipes.esc50 import earlier_seconds
from recipes.evaluate import recorded
from recipes.running.conclusion import FINAL
from recipes.running.stages import Stage, read_counts
from recipes.sweeps.trial import RECORD, Record, read_record, read_values
from tests.helpers.mutated import places_of

WRONG: tuple[Any, ...] = (
    *(None, [], {}, "", "x", -1, 0, 0.5, True, 2**31, 10**12, 10**30, float("nan")),
    *([[0, 0, 4 * 10**8]], [[2**63, 1, 3]], [[-1, 1, 1]], {"a": 1}, [1, 2, 3]),
)
CLIP = AudioFormat(rate=16_000, seconds=1.0)


def model() -> nn.Sequential:
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    found = compressor.fit(
        model(), budget=Budget(params=300), schedule=[Prune()], example=torch.zeros(1, 1, 8, 8)
    )
    found.save(folder)
    return folder


def changes(whole: Any, count: int) -> list[Any]:
    """So many copies of JSON, each with one value that is another or is gone."""
    source, found = random.Random(0), list[Any]()  # noqa: S311 - the same every time
    for _ in range(count):
        changed = copy.deepcopy(whole)
        places = list(places_of(changed))
        owner, key = source.choice(places)
        if isinstance(owner, dict) and source.random() < 0.2:
            del owner[key]
        else:
            owner[key] = source.choice(WRONG)
        found.append(changed)
    return found


def told(file: Path, text: str, work: Callable[[], object]) -> bool:
    """Whether work on a file of that text is refused, in a sentence that names the file."""
    file.write_text(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            work()
    except (ValueError, FileNotFoundError) as error:
        said = str(error)
        if str(file.parent) not in said or len(said) > 1500 or "\n" in said:
            raise AssertionError(f"{text[:500]} ends in {said}") from error
        return True
    return False


def test_every_damage_of_a_saved_folder_is_told(saved: Path) -> None:
    file = saved / "model.json"
    text = file.read_text()
    texts = [json.dumps(one) for one in changes(json.loads(text), 120)]
    texts += [text[: len(text) // 2], "", "[" * 10**5, "null", "[]", "\x00"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = sum(told(file, one, lambda: compressor.load(saved, model())) for one in texts)
    assert refused > 0.6 * len(texts)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 400_000  # kB
    file.write_text(text)
    assert isinstance(compressor.load(saved, model()), nn.Sequential)


def test_tensors_that_are_missing_are_no_part_of_a_saved_folder(saved: Path) -> None:
    """They would stay as the model was built."""
    from compressor import storage  # noqa: PLC0415 - beside what it makes

    tensors, data = storage.read(saved, "model")
    other = saved.parent / "other"
    storage.write(other, "model", {n: t for n, t in tensors.items() if n != "3.bias"}, data)
    with pytest.raises(ValueError, match=r"other/model.json is damaged.*'3.bias'"):
        compressor.load(other, model())


def test_damaged_counts_of_a_stage_are_told(tmp_path: Path) -> None:
    made = model().eval()
    Stage("dense", tmp_path, 2022).keep(made, (torch.zeros(1, 1, 8, 8),))
    file = tmp_path / "dense.json"
    text = file.read_text()
    assert read_counts(tmp_path, "dense").rule.params > 0
    texts = [json.dumps(one) for one in changes(json.loads(text), 60)]
    texts += [text[:-20], "", "[" * 10**5, "null", "3"]
    refused = sum(told(file, one, lambda: read_counts(tmp_path, "dense")) for one in texts)
    assert refused > 0.6 * len(texts)


FIGURES = {
    "generated": True,
    "data": "d",
    "validation": {"macro": {"accuracy": 0.5}, "overall": {"log_loss": 1.0, "clips": 3}},
    FINAL: {"macro": {"accuracy": 0.5}, "overall": {"log_loss": 1.0, "clips": 3}},
    "files": [100, 200],
    "cost": {"params": 1, "nonzero": 1, "macs": 1},
}


def test_damaged_figures_of_a_run_are_told(tmp_path: Path) -> None:
    file = tmp_path / "evaluation.json"
    file.write_text(json.dumps(FIGURES))
    recorded(tmp_path)
    read_values(tmp_path)
    texts = [json.dumps(one) for one in changes(FIGURES, 100)]
    texts += ["", "[" * 10**5, "null"]
    assert sum(told(file, one, lambda: read_values(tmp_path)) for one in texts) > 20


def test_a_damaged_record_of_a_trial_counts_as_none(tmp_path: Path) -> None:
    good = {**vars(Record((), None, "done", 1, 1.0, 2.0, {"accuracy": 0.5})), "point": ["a=1"]}
    file = tmp_path / RECORD
    file.write_text(json.dumps(good))
    assert read_record(tmp_path) is not None
    for one in changes(good, 60):
        file.write_text(json.dumps(one))
        found = read_record(tmp_path)
        assert found is None or found.attempts + found.started >= -1


def test_a_damaged_result_of_an_earlier_call_is_told(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    assert earlier_seconds(tmp_path, {}) == 0
    for text in ("", "[]", "{}", "[" * 10**5, '{"fit CPU seconds": []}', "\x00"):
        assert told(file, text, lambda: earlier_seconds(tmp_path, {}))
    file.write_text('{"fit CPU seconds": 3}')
    assert earlier_seconds(tmp_path, {}) == 3


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "aiff", "w64", "au"])
def test_every_damage_of_a_sound_file_is_told(tmp_path: Path, kind: str) -> None:
    file, source = tmp_path / f"x.{kind}", random.Random(0)  # noqa: S311 - the same every time
    soundfile.write(file, np.sin(np.arange(16_000) / 9) / 2, 16_000)
    content = file.read_bytes()
    decode(file, CLIP)
    for number in range(150):
        damaged = bytearray(content)
        for _ in range(source.choice((1, 2, 8))):
            at = source.randrange(min(len(content), 80 if number % 2 else len(content)))
            damaged[at] = source.choice((0, 255, damaged[at] ^ (1 << source.randrange(8))))
        file.write_bytes(bytes(damaged[: source.choice((None, source.randrange(len(content))))]))
        for work in (inspect, decode):
            try:
                work(file, CLIP)
            except ValueError as error:
                assert file.name in str(error)  # noqa: PT017 - which of them end so is not known


def wav(rate: int, channels: int, size: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """The bytes of a wav whose header says so."""
    about = struct.pack("<HHIIHH", 1, channels, rate, rate * 2 * channels % 2**32, 2 * channels, 16)
    parts = [(b"fmt ", about), *chunks]
    body = b"".join(name + struct.pack("<I", len(data)) + data for name, data in parts)
    return b"RIFF" + struct.pack("<I", size) + b"WAVE" + body


def test_a_rate_that_no_sound_has(tmp_path: Path) -> None:
    file = tmp_path / "x.wav"
    file.write_bytes(wav(2**31 - 1, 1, 100, (b"data", bytes(100))))
    with pytest.raises(ValueError, match=r"x.wav states a rate of 2147483647 Hz and 1 channels"):
        decode(file, CLIP)


def test_a_wav_of_nothing_but_empty_parts_is_not_searched_for_ever(tmp_path: Path) -> None:
    file = tmp_path / "x.wav"
    file.write_bytes(wav(16_000, 1, 100) + bytes(1 << 24))
    started = time.process_time()
    refuse_cut_off(file)
    assert time.process_time() - started < 0.5  # two million parts take seconds
