"""Networks that hear a waveform: tables stay whole, the rest shrinks, and every road is open."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor.counting.measuring import measure
from compressor.export.onnx import onnx_bytes
from compressor.graph.structure import Structure
from compressor.inputs.copies import private_copy
from compressor.network import to_network
from compressor.network.file.plain import from_plain, to_plain
from compressor.surgery.cutting import shrink
from compressor.tracing.tracer import trace
from compressor.tracing.trial import randomised
from tests.tracing.test_tracer import check
from tests.zoo.front_ends import FIXED, Heard, Mel, guarded, power
from tests.zoo.front_ends import Stft as Transform
from tests.zoo.front_ends_learned import BEHIND, LEARNED, Along

ALL: dict[str, Callable[[], nn.Module]] = {**FIXED, **LEARNED, **BEHIND}
QUICK = ("mel_decibels", "modulation", "raw")
EACH = [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in ALL]
EXPORTED = (
    "mel_decibels",
    "pcen_loop",
    "frames_and_rfft",
    "panns",
    "gabor_rows",
    "complex_product",
)


def each(names: Iterable[str]) -> list[object]:
    """These networks, all but a few of them slow."""
    return [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in names]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def waveforms(model: nn.Module, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, *model.example_input_array.shape[1:], generator=generator)


HELD = {"gabor_channels"}
"""Networks whose bands the code lays out by a number of its own, which holds them."""


@pytest.mark.filterwarnings("ignore:.*runs other operations in training")
@pytest.mark.parametrize("name", each(ALL))
def test_whatever_is_removed_it_is_the_masked_original(name: str) -> None:
    graph = check(randomised(ALL[name]()), range(1))
    assert any(not axis.frozen for axis in graph.axes)
    broken = any("breaks the forward" in reason for reason in graph.frozen.values())
    assert broken == (name in HELD)


@pytest.mark.parametrize("name", each(FIXED))
def test_tables_and_scales_of_bands_stay_whole(name: str) -> None:
    model = FIXED[name]()
    graph = trace(model, check=False)
    fronts = [
        w for n, w in graph.weights.items() if n.startswith(("front.", "spectrogram.", "bn0"))
    ]
    assert fronts
    assert all(dim.fixed for weight in fronts for dim in weight.dims)


HOWS = ("left", "right", "linear", "einsum", "convolution")


@pytest.mark.parametrize("how", HOWS)
def test_bands_are_no_axis_even_where_they_become_channels(how: str) -> None:
    graph = trace(Along(Mel(guarded, how)), check=False)
    assert all(dim.fixed for dim in graph.weights["front.filters"].dims)
    assert [axis.name for axis in graph.axes if not axis.frozen] == ["body.0", "body.4"]


def test_bands_that_a_trained_layer_writes_are_an_axis() -> None:
    graph = trace(LEARNED["trained_mel_channels"](), check=False)
    assert not graph.weights["front.filters.weight"].dims[0].fixed


@pytest.mark.parametrize("how", HOWS[:2])
def test_products_with_a_table_count_and_transforms_do_not(how: str) -> None:
    heard, frames, bins, mels = Heard(Mel(guarded, how)), 21, 33, 16
    behind = nn.Sequential(heard.body)
    body = measure(behind, torch.zeros(1, 1, mels, frames)).macs
    assert measure(heard).macs == body + mels * bins * frames
    assert measure(Heard(Transform(power))).macs == measure(behind, torch.zeros(1, 1, 33, 21)).macs


@pytest.mark.parametrize("name", ["mel_decibels", "pcen_sum", "stereo"])
def test_planted_dead_channels_leave_the_function(name: str) -> None:
    model, dead = randomised(FIXED[name]()).eval(), [0, 3, 4, 11]
    with torch.no_grad():
        model.body[1].weight[dead] = 0.0
        model.body[1].bias[dead] = 0.0
    graph = trace(model)
    keep = np.ones(graph.units, dtype=bool)
    (axis,) = (axis for axis in graph.axes if axis.name == "body.0")
    keep[axis.first + np.array(dead)] = False
    small = shrink(model, graph, Structure(graph, keep)).eval()
    assert small.body[0].out_channels == 8
    x = waveforms(model, 3)
    with torch.no_grad():
        torch.testing.assert_close(small(x), model(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", each(ALL))
def test_it_is_written_and_stored(name: str) -> None:
    model = ALL[name]().eval()
    made = to_network(model).eval()
    again = from_plain(*to_plain(made)).eval()
    assert measure(made) == measure(model)
    for batch in (1, 3):
        x = waveforms(model, batch)
        with torch.no_grad():
            assert torch.equal(made(x), model(x))
            assert torch.equal(again(x), made(x))


def test_what_training_alone_does_is_left_out() -> None:
    """A network is the model in evaluation: shifts, stripes and noise stay in the model."""
    model = FIXED["augmented"]()
    made = to_network(model).train()
    x = waveforms(model, 3)
    with torch.no_grad():
        assert torch.equal(private_copy(made)(x), private_copy(made)(x))
        assert not torch.equal(private_copy(model)(x), private_copy(model)(x))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:export. a Fourier transform became")
@pytest.mark.parametrize("name", EXPORTED)
def test_it_runs_in_another_runtime(name: str) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = ALL[name]().eval()
    session = runtime.InferenceSession(
        onnx_bytes(to_network(model)), providers=["CPUExecutionProvider"]
    )
    (given,) = session.get_inputs()
    for batch in (1, 4):
        x = waveforms(model, batch)
        (found,) = session.run(None, {given.name: x.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(found), model(x), rtol=1e-4, atol=1e-5)
