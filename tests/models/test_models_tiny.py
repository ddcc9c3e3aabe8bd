"""The networks of MLPerf Tiny: sizes summed by hand, functions written a second time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from compressor import Budget, fit, measure
from models import DSCNN, Autoencoder, MobileNet, ResNet8

Build = Callable[[], nn.Module]

WHOLE: dict[str, Build] = {
    "DS-CNN": DSCNN,
    "ResNet-8": ResNet8,
    "MobileNet": MobileNet,
    "autoencoder": Autoencoder,
}
QUICK: dict[str, Build] = {
    "DS-CNN": lambda: DSCNN(5, 16, 2),
    "ResNet-8": lambda: ResNet8(5, 8, size=16),
    "MobileNet": lambda: MobileNet(3, 0.25, size=32),
    "autoencoder": lambda: Autoencoder(40, 16, 4),
}


def moved(model: nn.Module) -> nn.Module:
    """Every tensor of a model moved off its initial value, statistics too."""
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor), alpha=0.3)
    return model.eval()


def numbers(model: nn.Module) -> int:
    """Parameters and running statistics: what Keras prints as all parameters."""
    buffers = sum(buffer.numel() for buffer in model.buffers() if buffer.ndim)
    return sum(p.numel() for p in model.parameters()) + buffers


def conv(inputs: int, outputs: int, taps: int, *, norm: bool = True) -> int:
    """Weights, biases and four numbers a channel of a normalisation."""
    return inputs * outputs * taps + outputs + 4 * outputs * norm


KEYWORDS = conv(1, 64, 40) + 4 * (conv(1, 64, 9) + conv(64, 64, 1)) + 64 * 12 + 12
PICTURES = (
    conv(3, 16, 9) + 2 * conv(16, 16, 9) + conv(16, 32, 9) + conv(32, 32, 9)
    + conv(16, 32, 1, norm=False) + conv(32, 64, 9) + conv(64, 64, 9)
    + conv(32, 64, 1, norm=False) + 64 * 10 + 10
)  # fmt: skip
PAIRS = [(8, 16), (16, 32), (32, 32), (32, 64), (64, 64), (64, 128), *[(128, 128)] * 5,
         (128, 256), (256, 256)]  # fmt: skip
PERSONS = conv(3, 8, 9) + sum(conv(1, a, 9) + conv(a, b, 1) for a, b in PAIRS) + 256 * 2 + 2
MACHINES = (
    conv(640, 128, 1) + 6 * conv(128, 128, 1) + conv(128, 8, 1) + conv(8, 128, 1)
    + conv(128, 640, 1, norm=False)
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "by_hand", "stated", "macs"),
    [
        ("DS-CNN", KEYWORDS, 24_908, 2_656_768),
        ("ResNet-8", PICTURES, 78_666, 12_501_632),
        ("MobileNet", PERSONS, 221_794, 7_489_664),
        ("autoencoder", MACHINES, 269_992, 264_192),
    ],
)
def test_sizes_are_those_that_the_docstrings_state(
    name: str, by_hand: int, stated: int, macs: int
) -> None:
    model = WHOLE[name]().eval()
    assert numbers(model) == by_hand == stated
    with FlopCounterMode(display=False) as counter:
        model(model.example_input_array)
    assert counter.get_total_flops() / 2 == macs


@pytest.mark.parametrize("name", WHOLE)
def test_the_example_fits_and_is_no_part_of_the_state(name: str) -> None:
    model = WHOLE[name]().eval()
    assert not any("example" in key for key in model.state_dict())
    out = model(model.example_input_array)
    assert out.shape == (1, {"DS-CNN": 12, "ResNet-8": 10, "MobileNet": 2}.get(name, 640))


class Keras:
    """Layers as Keras computes them, with weights taken in the order of their use."""

    def __init__(self, model: nn.Module) -> None:
        values = model.state_dict().items()
        self.tensors = [v for name, v in values if not name.endswith("num_batches_tracked")]

    def take(self, count: int) -> list[Tensor]:
        taken, self.tensors = self.tensors[:count], self.tensors[count:]
        return taken

    def norm(self, x: Tensor) -> Tensor:
        gain, shift, mean, var = (t.reshape(-1, *[1] * (x.ndim - 2)) for t in self.take(4))
        return (x - mean) / (var + 1e-5).sqrt() * gain + shift

    def same(self, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
        """Padding as small as it can be; the odd row goes in front, behind in Keras itself."""
        weight, bias = self.take(2)
        pads: list[int] = []
        for size, kernel in ((x.shape[3], weight.shape[3]), (x.shape[2], weight.shape[2])):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total - total // 2, total // 2]
        return functional.conv2d(functional.pad(x, pads), weight, bias, stride, groups=groups)

    def separable(self, x: Tensor, stride: int = 1) -> Tensor:
        x = self.norm(self.same(x, stride, groups=x.shape[1])).clamp(min=0)
        return self.norm(self.same(x)).clamp(min=0)

    def linear(self, x: Tensor) -> Tensor:
        weight, bias = self.take(2)
        return x.flatten(1) @ weight.T + bias


def keywords(keras: Keras, x: Tensor) -> Tensor:
    x = keras.norm(keras.same(x, 2)).clamp(min=0)
    for _ in range(4):
        x = keras.separable(x)
    return keras.linear(functional.avg_pool2d(x, (5, 25)))


def pictures(keras: Keras, x: Tensor) -> Tensor:
    x = keras.norm(keras.same(x)).clamp(min=0)
    for stride in (1, 2, 2):
        y = keras.norm(keras.same(x, stride)).clamp(min=0)
        y = keras.norm(keras.same(y))
        x = (y + (x if stride == 1 else keras.same(x, stride))).clamp(min=0)
    return keras.linear(functional.avg_pool2d(x, 8))


def persons(keras: Keras, x: Tensor) -> Tensor:
    x = keras.norm(keras.same(x, 2)).clamp(min=0)
    for stride in (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1):
        x = keras.separable(x, stride)
    return keras.linear(functional.avg_pool2d(x, 3))


def machines(keras: Keras, x: Tensor) -> Tensor:
    for _ in range(9):
        x = keras.norm(keras.linear(x)).clamp(min=0)
    return keras.linear(x)


@pytest.mark.parametrize(
    ("name", "second"),
    [("DS-CNN", keywords), ("ResNet-8", pictures), ("MobileNet", persons),
     ("autoencoder", machines)],
)  # fmt: skip
def test_a_second_implementation_agrees(
    name: str, second: Callable[[Keras, Tensor], Tensor]
) -> None:
    """Keras's layers, of which only the side of an odd row of padding is another."""
    model = moved(WHOLE[name]()).double()
    x = torch.randn(2, *model.example_input_array.shape[1:], dtype=torch.float64)
    keras = Keras(model)
    torch.testing.assert_close(model(x), second(keras, x))
    assert not keras.tensors


def holds_at_half(model: nn.Module) -> None:
    """Half of the parameters and of the products at once, without data."""
    whole = measure(model)
    small = fit(model, budget=Budget(params=whole.params // 2, macs=whole.macs // 2)).model
    cost = measure(small)
    assert 2 * cost.params <= whole.params
    assert 2 * cost.macs <= whole.macs
    x = model.example_input_array
    assert small.eval()(x).shape == model.eval()(x).shape


@pytest.mark.parametrize("name", QUICK)
def test_half_of_it_can_be_had(name: str) -> None:
    torch.manual_seed(0)
    holds_at_half(QUICK[name]())


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_half_of_the_whole_can_be_had(name: str) -> None:
    torch.manual_seed(0)
    holds_at_half(WHOLE[name]())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DSCNN(blocks=0), r"DSCNN\(blocks=0\): blocks must be at least 1"),
        (lambda: DSCNN(frames=0), "frames must be at least 1"),
        (lambda: ResNet8(width=1.5), "width must be a whole number"),
        (lambda: MobileNet(width=0.01), r"the stem of 32 channels would have 0; give 0.03125"),
        (lambda: Autoencoder(bottleneck=0), "bottleneck must be at least 1"),
    ],
)
def test_sizes_that_cannot_run_are_refused(build: Build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
