"""One run at a time in a checkpoint directory, and every damage of a checkpoint in one sentence."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressor import Budget, FineTune, Prune, Result, fit, storage
from compressor.errors import ResumeError
from compressor.inputs.batches import Batch
from compressor.inputs.losses import cross_entropy
from compressor.run import claim
from compressor.run.claim import claimed
from tests.helpers.tiny import equal, loader, refuses, tiny

CAPS = Budget(params=700)
GOING_ON = r"checkpoint=.* belongs to a run that is going on.*: wait .* or pass another directory"
HOLDER = """
import sys, time
from compressor.claim import claimed
with claimed(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def call(directory: Path, loss: Callable[[nn.Module, Batch], Tensor] = cross_entropy) -> Result:
    return fit(
        tiny(), loader(), budget=CAPS, checkpoint=directory, loss=loss,
        schedule=[Prune(), FineTune(epochs=1)],
    )  # fmt: skip


def test_another_process_has_it_until_it_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:  # noqa: S603
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with refuses(GOING_ON, ResumeError):
            fit(tiny(), budget=CAPS, checkpoint=tmp_path)
        assert not list(tmp_path.iterdir()), "nothing was written"
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
        fit(tiny(), budget=CAPS, checkpoint=tmp_path)
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".json", ".safetensors"]


def test_another_thread_has_it_and_an_error_lets_go(tmp_path: Path) -> None:
    seen: list[Exception] = []

    def second() -> None:
        try:
            call(tmp_path)
        except ResumeError as error:
            seen.append(error)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        del model, batch
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(30)
        raise RuntimeError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        call(tmp_path, loss)
    assert "belongs to a run that is going on" in str(seen[0])
    call(tmp_path)


def test_a_fit_within_a_fit_of_the_same_directory(tmp_path: Path) -> None:
    with claimed(tmp_path):
        with refuses(GOING_ON, ResumeError), claimed(tmp_path):
            pass
        with claimed(tmp_path.parent):
            pass
    with claimed(tmp_path):
        pass


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_that_outlive_a_process_do_not_hold_its_lock(tmp_path: Path) -> None:
    done = multiprocessing.get_context("fork").Event()
    worker = multiprocessing.get_context("fork").Process(target=done.wait, args=(30,))
    with claimed(tmp_path):
        worker.start()
    with claimed(tmp_path):
        pass
    done.set()
    worker.join(10)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("checkpoint")
    return folder, call(folder)


@pytest.fixture
def kept(finished: tuple[Path, Result], tmp_path: Path) -> Path:
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    return tmp_path


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Ways to everything in nested lists and dictionaries."""
    yield path
    items: Any = ()
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, list):
        items = enumerate(tree)
    for key, value in items:
        yield from places(value, (*path, key))


def with_changed(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    twin = copy.deepcopy(tree)
    holder = twin
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return twin


def named(directory: Path) -> str:
    """What a resume says; it has to name the file."""
    with pytest.raises(ResumeError, match=r"cannot resume: .*checkpoint.* to start over") as error:
        call(directory)
    assert str(directory) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def outcome(directory: Path) -> Result | ResumeError:
    try:
        return call(directory)
    except ResumeError as error:
        return error


STATE = ("data", "state")


def entry(record: Any, name: str) -> tuple[Any, ...]:
    """The way to the value of an entry of the state."""
    pairs = record["data"]["state"]["mapping"]
    number = next(n for n, (key, _) in enumerate(pairs) if key == name)
    return (*STATE, "mapping", number, 1)


ENTRIES = [
    "position",
    "alive",
    "model",
    "optimizer",
    "random",
    "log",
    "shrinks",
    "masks",
    "changes",
]


VALUES = [3, "x", [[1]], {"tensor": "nowhere"}]
PAIRS = [
    pytest.param(name, value, marks=[] if (n + k) % 4 == 0 else pytest.mark.slow)
    for n, name in enumerate(ENTRIES)
    for k, value in enumerate(VALUES)
]


@pytest.mark.parametrize(("name", "value"), PAIRS)
def test_an_entry_of_another_kind(name: str, value: Any, kept: Path) -> None:
    record = storage.read_json(kept / "checkpoint.json")
    changed = with_changed(record, entry(record, name), value)
    (kept / "checkpoint.json").write_bytes(storage.sealed(changed))
    assert "does not fit this run" in named(kept)


@pytest.mark.parametrize("position", [(-1, 0), (7, 0), (1, 5), (0, -1), (True, None)])
def test_a_position_outside_the_schedule(position: tuple[Any, ...], kept: Path) -> None:
    record = storage.read_json(kept / "checkpoint.json")
    changed = with_changed(record, entry(record, "position"), {"tuple": list(position)})
    (kept / "checkpoint.json").write_bytes(storage.sealed(changed))
    assert "does not fit this run" in named(kept)


@pytest.mark.slow
def test_whatever_is_of_another_kind_is_named_or_harmless(
    finished: tuple[Path, Result], kept: Path
) -> None:
    record = storage.read_json(kept / "checkpoint.json")
    every = [path for path in places(record) if path and path[:2] != ("data", "identity")]
    for number, path in enumerate(every[:: max(len(every) // 40, 1)]):
        value = (None, -1, "x", [], {})[number % 5]
        (kept / "checkpoint.json").write_bytes(storage.sealed(with_changed(record, path, value)))
        said = outcome(kept)
        same = isinstance(said, Result) and equal(said.model, finished[1].model)
        assert same or "checkpoint" in str(said)  # the same: a number of the log, say
        for file in finished[0].iterdir():
            shutil.copy(file, kept)


def resealed(directory: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    """A checkpoint with other tensors and all sums right."""
    tensors, data = storage.read(directory, "checkpoint")
    change(tensors)
    storage.write(directory, "checkpoint", tensors, data)


def shorter(tensors: dict[str, Tensor]) -> None:
    tensors["/model/head.bias"] = tensors["/model/head.bias"][:1]


def swapped(tensors: dict[str, Tensor]) -> None:
    one, two = "/model/head.weight", "/model/stem.weight"
    tensors[one], tensors[two] = tensors[two], tensors[one]


def another_type(tensors: dict[str, Tensor]) -> None:
    tensors["/model/head.bias"] = tensors["/model/head.bias"].double()


def other_units(tensors: dict[str, Tensor]) -> None:
    tensors["/alive"] = tensors["/alive"] + 10**6


def no_units(tensors: dict[str, Tensor]) -> None:
    tensors["/alive"] = tensors["/alive"][:0]


def no_generator(tensors: dict[str, Tensor]) -> None:
    tensors["/random/torch"] = tensors["/random/torch"][:5]


@pytest.mark.parametrize(
    "change", [shorter, swapped, another_type, other_units, no_units, no_generator, dict.clear]
)
def test_other_tensors(change: Callable[[dict[str, Tensor]], None], kept: Path) -> None:
    resealed(kept, change)
    assert "checkpoint.json" in named(kept)


def test_files_that_are_cut_emptied_or_of_another_checkpoint(
    finished: tuple[Path, Result], kept: Path
) -> None:
    def whole() -> None:
        shutil.rmtree(kept)
        shutil.copytree(finished[0], kept)

    for pattern in ("*.json", "*.safetensors"):
        for share in (0.0, 0.5, 0.99):
            (file,) = kept.glob(pattern)
            file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
            assert file.name in named(kept)
            whole()
        (file,) = kept.glob(pattern)
        file.unlink()
        file.mkdir()
        assert "checkpoint" in named(kept)
        whole()
    (file,) = kept.glob("*.safetensors")
    storage.write(kept / "other", "checkpoint", {"a": torch.ones(1)}, {})
    (other,) = (kept / "other").glob("*.safetensors")
    shutil.copy(other, file)
    assert file.name in named(kept)


def test_one_changed_digit_gives_no_other_weights(
    finished: tuple[Path, Result], kept: Path
) -> None:
    """It is told, or it is one of a number's last digits, which stands for the same number."""
    text = (kept / "checkpoint.json").read_text()
    content = json.loads(text)
    digits = [n for n, letter in enumerate(text) if letter.isdigit()]
    for place in digits[:: len(digits) // 8]:
        digit = str((int(text[place]) + 1) % 10)
        changed = f"{text[:place]}{digit}{text[place + 1 :]}"
        (kept / "checkpoint.json").write_text(changed)
        with suppress(json.JSONDecodeError):
            if json.loads(changed) == content:
                assert equal(call(kept).model, finished[1].model)
                shutil.copy(finished[0] / "checkpoint.json", kept)
                continue
        assert "checkpoint.json" in named(kept)


def test_every_changed_digit_of_a_record_is_told_or_changes_nothing(tmp_path: Path) -> None:
    data = {"loss": [0.1 + 0.2, 1e-5, 1 / 3], "steps": 10, "2": "x86"}
    storage.write(tmp_path, "a", {"w": torch.arange(3.0)}, data)
    file, same = tmp_path / "a.json", 0
    text = file.read_text()
    places_of_digits = [n for n, letter in enumerate(text) if letter.isdigit()]
    for place, digit in product(places_of_digits, "0123456789"):
        file.write_text(f"{text[:place]}{digit}{text[place + 1 :]}")
        try:
            tensors, read = storage.read(tmp_path, "a")
        except ValueError as error:
            if str(file) not in str(error):
                raise
        else:
            assert read == data
            assert torch.equal(tensors["w"], torch.arange(3.0))
            same += text[place] != digit
    assert same < 10, "digits beyond a number's precision"


@pytest.mark.skipif(sys.platform == "win32", reason="no flock")
def test_a_lock_ends_though_another_process_has_its_handle(tmp_path: Path) -> None:
    """As one that was forked a moment ago has."""
    with claimed(tmp_path):
        (handle,) = claim._held
        twin = os.dup(handle)
    try:
        with claimed(tmp_path):
            pass
    finally:
        os.close(twin)
