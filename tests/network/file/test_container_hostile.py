"""Files from strangers: an error in a sentence, or a network that runs or raises; nothing worse."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import compressor
from compressor.network import Network, Ref, Step, to_network
from compressor.network.file import container
from compressor.network.file.streams import STREAMS
from compressor.quantization.conversion import convert
from compressor.quantization.preparation import calibrate, prepare
from tests.helpers.mutated import sealed

aten = torch.ops.aten
CASES = {"explore": 20_000}
"""Files by the profile that `make explore` sets."""
RELU = ["relu", ["%1"]]


@pytest.fixture(scope="module", autouse=True)
def warmed() -> None:
    """What PyTorch imports for its first walk without memory takes seconds."""
    container.unpack(stored([RELU]))


def stored(
    steps: list[Any],
    tensors: dict[str, int] | None = None,
    layout: list[Any] | None = None,
    streams: dict[str, bytes] | None = None,
    shape: Any = (1, 4),
    **more: Any,
) -> bytes:
    """A container as somebody writes it who knows the format."""
    inputs = [["x", shape, "float32"]]
    data = {"inputs": inputs, "tensors": tensors or {}, "steps": steps, "outputs": "%1"} | more
    text = json.dumps({"network": data, "layout": layout or []}).encode()
    return container._file([text, *((streams or {}).get(name, b"") for name in STREAMS)])


def peak(content: bytes, said: str) -> int:
    """Most bytes that Python and NumPy held while a file was refused."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=said):
            container.unpack(content, "a stranger's file")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def lying(stream: str, raw: int, packed: bytes) -> bytes:
    """A container of which one stream says to be so long."""
    payload = container._file([b"{}", *(b"" for _ in STREAMS)])
    payload = payload[8 + int.from_bytes(payload[:8], "little") :]
    lengths = list(container._TABLE.unpack_from(payload))
    at = 2 * (1 + STREAMS.index(stream))
    lengths[at : at + 2] = [raw, len(packed)]
    return sealed(container._TABLE.pack(*lengths) + payload[container._TABLE.size :] + packed)


def test_an_inflated_stream_is_counted_before_it_is_inflated() -> None:
    packed = zlib.compress(bytes(1 << 20))
    assert peak(lying("floats_low", 2**32 - 1, packed), "its streams, once inflated") < 1 << 22


def test_tensors_are_counted_before_they_are_made() -> None:
    mask = {"widths": bytes([130]), "masks": bytes(1 << 22)}
    content = stored([RELU], {"a": 2}, [["i8", [1 << 25]]], mask)
    assert len(content) < 10_000
    assert peak(content, r"a tensor of shape \[33554432\] would take 570,425,344 bytes") < 1 << 24


@pytest.mark.parametrize("shape", [[1, 4 * 10**8], [1, 2**62, 2**62], [10**30]])
def test_the_example_is_counted_before_it_is_made(shape: list[int]) -> None:
    assert peak(stored([RELU], shape=shape), "a tensor of shape") < 1 << 22


@pytest.mark.parametrize("shape", [[-1], [True], [1.5], ["a"], [1] * 17, 3, None])
def test_an_example_of_no_shape(shape: Any) -> None:
    with pytest.raises(ValueError, match="a stranger's file cannot be read"):
        container.unpack(stored([RELU], shape=shape), "a stranger's file")


@pytest.mark.parametrize(
    "dims",
    [*(3, None, "0", {}, ["0"], [2], [-1], [True], [0.0], [[0]], [1, 0], [0, 0], [0] * 10**5),
     [float("inf")], [10**30]],
)  # fmt: skip
def test_open_dimensions_that_are_none(dims: Any) -> None:
    content = stored([RELU], inputs=[["x", [1, 4], "float32", dims]])
    with pytest.raises(ValueError, match=r"a stranger's file cannot be read.* of its dimensions"):
        container.unpack(content, "a stranger's file")


def test_what_is_open_takes_other_sizes_within_the_same_bounds() -> None:
    content = stored([["outer", ["%1", "%1"]]], inputs=[["x", [4], "float32", [0]]])
    made = container.unpack(content)
    assert made(torch.ones(100)).shape == (100, 100)
    with pytest.raises(ValueError, match=r"bytes, and .* may be taken for this input"):
        made(torch.ones(1).expand(1 << 28))
    with pytest.raises(ValueError, match="cannot be read"):
        container.unpack(stored([RELU], inputs=[["x", [1, 4], "float32", [0], 5]]))


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "NaN", "1e400", "9" * 4000])
@pytest.mark.parametrize("place", ["shape", "layout", "role", "op", "arg", "ago", "open"])
def test_numbers_that_are_none(number: str, place: str) -> None:
    """Wherever JSON lets somebody write them."""
    given: dict[str, Any] = {"shape": [1, 4], "open": [0], "role": 2, "layout": [4], "op": "relu"}
    given |= {"arg": "%1", "ago": "%1"} | {place: ["N"] if place != "role" else "N"}
    if place == "op":
        given["op"] = "N"
    text = json.dumps(
        {
            "network": {
                "inputs": [["x", given["shape"], "float32", given["open"]]],
                "tensors": {"w": given["role"]},
                "steps": [[given["op"], [given["arg"]]]],
                "outputs": given["ago"],
            },
            "layout": [["i8", given["layout"]]],
        }
    ).replace('"N"', number)
    streams = {"widths": bytes([8]), "values": bytes(4)}
    parts = [text.encode(), *(streams.get(name, b"") for name in STREAMS)]
    try:
        made = container.unpack(container._file(parts), "a stranger's file")
    except ValueError as error:
        if not str(error).startswith("a stranger's file cannot be read") or "\n" in str(error):
            raise
    else:
        assert place in {"role", "ago"}, made


def test_a_long_structure_is_counted_before_it_is_parsed() -> None:
    branches = {f"{n}": {"w": 0} for n in range(40_000)}
    assert peak(stored([RELU], branches), "its structure of") < 1 << 24
    assert peak(stored([RELU], ties=[["a." * 40_000, 0]]), "its structure of") < 1 << 24


def test_a_long_header_is_not_parsed() -> None:
    header = b'{"__metadata__":{' + b'"a":"",' * 10**6 + b'"b":""}}'
    content = len(header).to_bytes(8, "little") + header
    started = time.process_time()
    with pytest.raises(ValueError, match="begin with no header of the safetensors format of at"):
        container.unpack(content)
    assert time.process_time() - started < 0.1


def test_who_trusts_a_file_gives_it_more_memory(tmp_path: Path) -> None:
    file, x = tmp_path / "trusted.safetensors", torch.ones(2, 4)
    streams = {"widths": bytes([32 + 128]), "masks": bytes(500)}
    content = stored([["linear", ["%1", "@0"]]], {"w": 2}, [["f4", [1000, 4]]], streams)
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"trusted.safetensors.* a larger `memory`"):
        compressor.load(file, memory=36_000)
    for memory in (None, 10**5, float("inf")):
        assert torch.equal(compressor.load(file, memory=memory)(x), torch.zeros(2, 1000))


def test_the_time_to_load_grows_with_the_steps() -> None:
    container.unpack(stored([RELU]))
    seconds = []
    for count in (1000, 8000):
        content = stored([RELU] * count)
        started = time.process_time()
        container.unpack(content)
        seconds.append(time.process_time() - started)
    assert seconds[1] < 24 * seconds[0]  # eight times the steps; squares would be 64


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([["remainder.int", [1, 0]]], "'remainder.int' is not among"),
        ([["to.prim_dtype", ["%1"]]], "'to.prim_dtype' is not among"),
        ([["t_", ["%1"]]], "'t_' is not among"),
        ([["!mul", [3, 3]], *[["!mul", ["%1", "%1"]]] * 40], "more than 63 bits"),
        ([["!mul", ["'aaa", 10**7]]], "takes numbers and not 'aaa'"),
        ([["!mod", ["'%1000000000d", 5]]], "takes numbers and not '%1000000000d'"),
        ([["!getitem", ["%1", 0]]], "what is no tuple"),
        ([["zeros", [[5 * 10**9]]]], "20,000,008,192 bytes, and 1,073,741,824 may be taken"),
        ([["repeat", ["%1", [10**5, 10**5]]]], "bytes, and 1,073,741,824 may be taken"),
        ([["cat", [["%1"] * 4]]] + [["cat", [["%1"] * 4]]] * 20, "may be taken for this input"),
        ([["outer", ["%1", "%1"]]], "cannot run"),
        ([["relu", [1.5]], RELU], "cannot run"),
        ([["relu", ["%1", 2]]], "takes 1 arguments and is given 2"),
        ([["relu", ["%1"], {"out": "%1"}]], "has no argument 'out'"),
        ([["relu", []]], "is not given its 'self'"),
        ([["to.dtype", ["%1", 99]]], "'dtype' of aten.to.dtype is a ScalarType and not 99"),
        ([["view", ["%1", ["%1"]]]], "'size' of aten.view.default is a List"),
        ([["sum.dim_IntList", ["%1", [2**70]]]], "'dim' of aten.sum.dim_IntList is a"),
        ([["gelu", ["%1"], {"approximate": f"'{'a' * 2000}"}]], "'approximate' of aten.gelu"),
        ([["split.Tensor", ["%1", 0]]], "cannot run"),
        ([["unsafe_chunk", ["%1", 2**40]]], "1,099,511,627,776 pieces, and 16,384 may be"),
        ([["linalg_multi_dot", [["%1"] * 65]]], "65 matrices would be multiplied, and 64 may be"),
        (
            [["full", [[4], 5]], ["repeat_interleave.self_Tensor", ["%2", "%1", 1]]],
            "",
        ),
        (
            [
                ["full", [[4], 5]],
                ["repeat_interleave.self_Tensor", ["%2", "%1", 1], {"output_size": 3}],
            ],
            "20 times altogether, and the result is said to have a length of 3",
        ),
        ([["repeat_interleave.self_Tensor", ["%1", "%1", 1]]], "give the repeats as a number"),
    ],
)
def test_steps_from_a_stranger_are_refused_at_the_door(steps: list[Any], said: str) -> None:
    if not said:
        assert container.unpack(stored(steps))(torch.ones(2, 4)).shape == (2, 20)
        return
    with pytest.raises(ValueError, match=r"a stranger's file cannot be read: ") as caught:
        container.unpack(stored(steps), "a stranger's file")
    assert said in str(caught.value)


def test_many_empty_tensors_are_not_free() -> None:
    steps = [["zeros", [[16_384, 0]]], *(["unbind.int", [f"%{n}"]] for n in range(1, 10))]
    kept = {"list": [f"%{n}" for n in range(1, 10)]}
    with pytest.raises(ValueError, match=r"results held after step 'unbind_\d' would take"):
        container.unpack(stored(steps, outputs=kept))


def test_sizes_that_grow_with_the_batch_are_refused_before_they_are_made() -> None:
    """Such a file looks harmless for a batch of one."""
    square = ["!mul", ["%1", "%1"]]
    steps = [["sym_size.int", ["%1", 0]], square, square, square, square, ["zeros", [["%1"]]]]
    made = container.unpack(stored(steps))
    assert made(torch.zeros(1, 4)).shape == (1,)
    with pytest.raises(ValueError, match="may be taken for this input"):
        made(torch.zeros(8, 4))


@pytest.mark.parametrize(
    "steps",
    [
        [["zero_", ["%1"]]],
        [["view", ["%1", [-1]]], ["fill_.Scalar", ["%1", 3]]],
        [["add_.Tensor", ["%1", 1]]],
        [["detach", ["%1"]], ["select.int", ["%1", 1, 0]], ["copy_", ["%1", 5]]],
        [
            ["select.int", ["%1", 0, 0]],
            ["select.int", ["%1", 1, 0]],
            ["batch_norm", ["%3", None, None, "%1", "%1", True, 0.1, 1e-5, False]],
        ],
    ],
)
def test_the_callers_input_is_never_written_to(steps: list[Any]) -> None:
    made = container.unpack(stored(steps, shape=[1, 1, 4]))
    x = torch.full((3, 1, 4), 7.0)
    made(x)
    made.results(x)
    assert (x == 7).all()


def test_what_a_file_may_do_holds_for_what_is_made_of_it() -> None:
    from compressor.network import Rewrite  # noqa: PLC0415 - beside what it shows

    made = container.unpack(stored([RELU]))
    assert made.guard is not None
    assert Rewrite(made).build().guard == made.guard
    assert (
        Network([Step("y", aten.relu.default, (Ref("x"),))], ["x"], Ref("y"), nn.Module(), ()).guard
        is None
    )


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files that are well, in floating point and in integers."""
    folder = tmp_path_factory.mktemp("good")
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)),
        *(nn.Conv2d(4, 4, 3, groups=2), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(4, 3),
    )
    x = torch.randn(4, 1, 8, 8)
    model.train()(x)
    model.eval()
    made = to_network(model, x[:1])
    container.write(made, folder / "good-float.safetensors")
    prepared = prepare(made)
    calibrate(prepared, [(x,)])
    container.write(convert(prepared), folder / "good-int8.safetensors")
    return folder


@pytest.mark.slow
@pytest.mark.hypothesis
def test_no_change_of_a_file_does_worse_than_a_sentence(good: Path) -> None:
    profile = os.environ.get("HYPOTHESIS_PROFILE", "repeat")
    seed = secrets.randbelow(2**31) if profile == "explore" else 0
    count, first = CASES.get(profile, 800), 0
    ends, died = Counter[str](), list[str]()
    while first < count:
        command = [sys.executable, "-m", "tests.helpers.mutated", str(good), str(seed), str(first)]
        child = subprocess.run(  # noqa: S603
            [*command, str(count)], capture_output=True, text=True, check=False
        )
        lines = child.stdout.splitlines()
        ends.update(line.split()[2] for line in lines if len(line.split()) == 3)
        if not child.returncode:
            break
        assert lines, child.stderr
        said = child.stderr.splitlines()[-1:] or [f"signal {-child.returncode}"]
        died.append(f"seed {seed}, case {lines[-1].split()[0]}: {said[0][:300]}")
        first = int(lines[-1].split()[0]) + 1
    assert not died, "\n".join(died)
    assert ends["ran"] > count / 100
    assert ends["refused"] > count / 2
