"""What is not written: one sentence that names the layer and what to do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from compressor.export.micro.translation import translated
from compressor.network import Network, Varying, to_network
from compressor.quantization.conversion import convert
from compressor.quantization.presets import ORT, TENSORRT, TFLM, Preset
from models import AudioTransformer, DCASEBaseline, LinearMoments
from tests.helpers.int8_nets import calibrated, trained
from tests.zoo.micro import MICRO, Net, chain


def reference(model: nn.Module, preset: Preset = TFLM) -> Network:
    torch.manual_seed(0)
    return convert(calibrated(to_network(trained(model)), preset))


def around(does: Callable[[Tensor], Tensor]) -> Net:
    """Something between two convolutions."""

    def forward(net: Net, x: Tensor) -> Tensor:
        first, last = net.layers
        return last(does(first(x)))

    return Net((2, 6, 6), forward, nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 2, 1))


class Between(nn.Module):
    def __init__(self, layer: nn.Module, *more: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3)
        self.odd = layer
        self.last = nn.Sequential(*more) if more else nn.Conv2d(4, 2, 1)
        self.example_input_array = torch.zeros(1, 2, 6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.odd(self.first(x)))


LAYERS: dict[str, tuple[nn.Module, str]] = {
    "gelu": (nn.GELU(), "'odd' runs gelu, .*use ReLU, SiLU or a sigmoid"),
    "hardswish": (nn.Hardswish(), "'odd' runs hardswish, .*use ReLU, SiLU or a sigmoid"),
    "mish": (nn.Mish(), "'odd' runs mish, .*use ReLU, SiLU or a sigmoid"),
    "leaky": (nn.LeakyReLU(), "'odd' runs leaky_relu, .*use ReLU, SiLU"),
    "softmax": (nn.Softmax(1), "'odd' runs softmax, .*leave it to the loss"),
    "group norm": (nn.GroupNorm(2, 4), "'odd' runs group_norm, .*use batch normalisation"),
    "hardtanh": (nn.Hardtanh(-0.3, 9.0), r"is limited to \[\(-0.3, 9.0\)\], .*use ReLU or ReLU6"),
    "average": (
        nn.AvgPool2d(2, 1, 1, count_include_pad=False),
        "'odd' runs avg_pool2d, .*zeros of a padding counted",
    ),
    "pad": (nn.ZeroPad2d(1), "'odd' runs .*pad.*, .*have the convolution pad"),
    "transposed": (nn.ConvTranspose2d(4, 4, 2), "'odd' is a transposed convolution"),
    "max-pool": (nn.MaxPool2d(2, 2, 1), "'odd' pads values of both signs, .*behind the ReLU"),
    "shuffle": (nn.ChannelShuffle(2), "'odd' runs channel_shuffle|whose channels do not lie last"),
}


class Heard(nn.Module):
    """A recurrent layer between two others."""

    def __init__(self, kind: Callable[..., nn.RNNBase], **options: str) -> None:
        super().__init__()
        self.first, self.last = nn.Conv1d(3, 4, 1), nn.Linear(4, 2)
        self.heard = kind(4, 4, batch_first=True, **options)
        self.example_input_array = torch.zeros(1, 3, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.heard(self.first(x).transpose(1, 2))[0][:, -1])


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (Heard(nn.LSTM), "lstm"),
        (Heard(nn.GRU), "gru"),
        (Heard(nn.RNN), "rnn_tanh"),
        (Heard(nn.RNN, nonlinearity="relu"), "rnn_relu"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_recurrent_layers_are_called_by_their_name(model: nn.Module, name: str) -> None:
    """And not by the zeros that are their first state."""
    with pytest.raises(ValueError, match=f"'heard' runs {name}, .*use convolutions over time"):
        translated(reference(model))


def test_all_that_is_never_written_is_told_at_once_recurrent_layers_first() -> None:
    """Also of a network that is not rounded yet, as that would be in vain."""
    model = Heard(nn.GRU)
    model.first = nn.Sequential(model.first, nn.GELU(), nn.Softmax(1))
    words = "'heard' runs gru, .*over time in its place. Nor are these: 'first.1' runs gelu "
    words += r"\(use ReLU, SiLU .*\), 'first.2' runs softmax \(leave it to the loss.*\)$"
    for network in (to_network(model).eval(), reference(model)):
        with pytest.raises(ValueError, match=words):
            translated(network)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("kernels", [(3, 2), (2, 3)])
def test_padding_of_one_side_more_is_named(kernels: tuple[int, int]) -> None:
    first, last = (
        nn.Conv2d(*channels, kernel, padding="same")
        for channels, kernel in zip([(1, 4), (4, 2)], kernels, strict=True)
    )
    name = f"layers.{2 * kernels.index(2)}"
    with pytest.raises(ValueError, match=f"'{name}' pads one side more than the other .*'same'"):
        translated(reference(chain((1, 8, 8), first, nn.ReLU(), last)))


def test_padding_of_both_sides_alike_is_written() -> None:
    assert translated(reference(Between(nn.Conv2d(4, 4, 3, padding="same")))).operators


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_and_where_no_layer_is_left() -> None:
    odd = chain((2, 6, 6), nn.Conv2d(2, 4, 2, padding="same"), nn.Conv2d(4, 2, 4, padding="same"))
    with pytest.raises(ValueError, match=r"'layers\.0' pads one side more .*take an odd kernel"):
        reference(odd)


@pytest.mark.parametrize("name", LAYERS)
def test_operations_without_a_kernel(name: str) -> None:
    layer, words = LAYERS[name]
    with pytest.raises(ValueError, match=words) as said:
        translated(reference(Between(layer)))
    assert "no .tflite is written: " in str(said.value)
    assert "\n" not in str(said.value)


WAYS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "turned": (lambda x: x.transpose(2, 1)[:, :4], "would need a TRANSPOSE"),
    "largest": (lambda x: torch.maximum(x, -x), "runs neg, "),
    "mean without dimensions": (lambda x: x - x.mean((1, 2, 3))[:, None, None, None], "keepdim"),
    "logarithm": (lambda x: (x * x + 1.0).log(), "runs log, "),
    "stepped": (lambda x: x[:, :, ::2], "takes every few entries, .*with a stride"),
    "enlarged": (
        lambda x: nn.functional.interpolate(x, scale_factor=2),
        "export: the model's own forward pass runs upsample_nearest2d, .*work on one size",
    ),
    "divided": (lambda x: x / 2, "runs div, "),
}


@pytest.mark.parametrize("name", WAYS)
def test_operations_written_in_the_forward_pass(name: str) -> None:
    does, words = WAYS[name]
    with pytest.raises(ValueError, match=words):
        translated(reference(around(does)))


def test_more_than_four_dimensions() -> None:
    model = chain((1, 4, 4, 4), nn.Conv3d(1, 2, 2), nn.ReLU())
    with pytest.raises(ValueError, match=r"is \(1, 1, 4, 4, 4\), and a .tflite takes a batch of"):
        translated(reference(model))


def test_more_than_one_example() -> None:
    whole = reference(MICRO["plain"]())
    example = torch.zeros(2, *whole.example[0].shape[1:])
    parts = whole.steps, whole.inputs, whole.outputs, whole
    with pytest.raises(ValueError, match=r"is \(2, 1, 12, 9\), and a .tflite takes a batch of one"):
        translated(Network(*parts, (example,)))


@pytest.mark.parametrize("preset", [ORT, TENSORRT])
def test_networks_that_are_rounded_for_others(preset: Preset) -> None:
    with pytest.raises(ValueError, match=r"for another runtime.*Int8\(preset=presets.TFLM\)"):
        translated(reference(MICRO["plain"](), preset))


@pytest.mark.parametrize("varying", [(3,)])
def test_sizes_that_are_open(varying: Varying) -> None:
    whole = reference(MICRO["dilated"]())
    parts = whole.steps, whole.inputs, whole.outputs, whole, whole.example
    with pytest.raises(ValueError, match=r"leaves the dimensions \[3\] of 'x' open"):
        translated(Network(*parts, [(0, *varying)]))


def test_networks_that_are_not_rounded() -> None:
    whole = to_network(trained(MICRO["plain"]()))
    with pytest.raises(ValueError, match=r"in floating point.*Int8\(preset=presets.TFLM\)"):
        translated(whole)


def test_sums_that_wrap() -> None:
    """140,000 products of 127 and 128 are more than 2^31."""
    model = chain((140_000,), nn.Linear(140_000, 2))
    with torch.no_grad():
        model.layers[0].weight.fill_(1.0)
    with pytest.raises(ValueError, match=r"'layers.0' adds up 140,000 products, more than 32 bits"):
        translated(reference(model))


def test_means_that_wrap() -> None:
    """140,000 entries of 127 and 128 as well."""
    model = chain((1, 140_000), nn.Conv1d(1, 1, 1), nn.AdaptiveAvgPool1d(1))
    with pytest.raises(ValueError, match=r"may come to \d,\d\d\d,\d\d\d,\d\d\d on the way"):
        translated(reference(model))


def test_linear_layers_over_more_dimensions() -> None:
    model = chain((5, 6), nn.Linear(6, 4))
    with pytest.raises(ValueError, match=r"the last of the 3 dimensions.*use a convolution"):
        translated(reference(model))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (DCASEBaseline(2020), "would need a TRANSPOSE"),
        (LinearMoments(32, frames=20), "keepdim|no .tflite is written"),
        pytest.param(
            AudioTransformer(5, width=32), "no .tflite is written", marks=pytest.mark.slow
        ),
    ],
    ids=["norm over frequency", "moments", "transformer"],
)
def test_models_that_have_no_form_there(model: nn.Module, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        translated(reference(model))
