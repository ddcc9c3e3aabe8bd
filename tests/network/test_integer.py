"""The integer layers against numpy integers, and against the layers they were made from."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from compressor.network.grid import Grid, quantised
from compressor.network.integer import Geometry, IntConv, IntLinear, IntMean, Requantise, Windows
from compressor.quantization.fake import fake_quantise_weight
from compressor.quantization.folding import Affine, batch_norm, fold, identity, sixteen_bits
from compressor.quantization.presets import ORT

SCALE = torch.tensor(0.0173)


def on_grid(*shape: int, grid: Grid = ORT.signed, scale: Tensor = SCALE) -> Tensor:
    """Values of a grid, its ends among them."""
    steps = torch.randint(grid.steps[0], grid.steps[1] + 1, shape).float()
    steps.view(-1)[:2] = torch.tensor(grid.steps).float()
    return steps * scale


def norm(channels: int, *, negative: bool = True) -> nn.BatchNorm2d:
    """As after training, with negative scales among its own."""
    layer = nn.BatchNorm2d(channels).eval()
    with torch.no_grad():
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.3, 3)
        layer.weight.normal_() if negative else layer.weight.uniform_(0.5, 1.5)
        layer.bias.normal_()
    return layer


def affine(layer: nn.BatchNorm2d) -> Affine:
    return batch_norm(layer.weight, layer.bias, layer.running_mean, layer.running_var, layer.eps)


def convolved(x: np.ndarray, weight: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Loops over outputs in 64-bit integers."""
    (pad_f, pad_t), (by_f, by_t), (apart_f, apart_t) = (
        geometry.padding, geometry.stride, geometry.dilation,
    )  # fmt: skip
    x = np.pad(x, ((0, 0), (0, 0), (pad_f, pad_f), (pad_t, pad_t)))
    outputs, per_group, high, wide = weight.shape
    rows = (x.shape[2] - apart_f * (high - 1) - 1) // by_f + 1
    columns = (x.shape[3] - apart_t * (wide - 1) - 1) // by_t + 1
    result = np.zeros((x.shape[0], outputs, rows, columns), dtype=np.int64)
    for o, r, c in itertools.product(range(outputs), range(rows), range(columns)):
        first = o // (outputs // geometry.groups) * per_group
        window = x[
            :,
            first : first + per_group,
            r * by_f : r * by_f + apart_f * (high - 1) + 1 : apart_f,
            c * by_t : c * by_t + apart_t * (wide - 1) + 1 : apart_t,
        ]
        result[:, o, r, c] = (window * weight[o]).sum(axis=(1, 2, 3))
    return result


GEOMETRIES = [
    (Geometry((1, 1), (0, 0), (1, 1), 1), (8, 4, 1, 1)),
    (Geometry((1, 1), (1, 1), (1, 1), 1), (8, 4, 3, 3)),
    (Geometry((2, 1), (2, 2), (1, 1), 1), (8, 4, 5, 5)),
    (Geometry((2, 1), (1, 0), (1, 1), 4), (4, 1, 3, 1)),
    (Geometry((1, 2), (0, 4), (1, 4), 4), (8, 1, 1, 3)),
]


@pytest.mark.parametrize(("geometry", "shape"), GEOMETRIES)
@pytest.mark.parametrize("large", [False, True])
def test_convolution_is_that_of_integers(
    geometry: Geometry, shape: tuple[int, ...], *, large: bool
) -> None:
    torch.manual_seed(0)
    weight, follow = torch.randn(shape), affine(norm(shape[0]))
    if large:  # biases that single precision would not add exactly
        follow = Affine(follow.gain * 1e-7, follow.shift)
    x = on_grid(2, 4, 10, 9)
    made = fold(weight, follow, SCALE, 128)
    assert made.large == large
    layer = IntConv(geometry, made, SCALE)
    steps = np.rint(x.numpy() / SCALE.numpy()).astype(np.int64)
    sums = convolved(steps, made.weight.numpy().astype(np.int64), geometry)
    sign = np.sign(made.scale.numpy()).astype(np.int64)[:, None, None]
    whole = sums * sign + made.bias.numpy().astype(np.int64)[:, None, None]
    assert np.abs(whole).max() < 2**31
    factor = (SCALE * made.scale.abs()).numpy()[:, None, None]
    expected = whole.astype(np.float32) * factor
    assert np.array_equal(layer(x, made.weight).numpy(), expected)


def test_it_depends_on_no_batch_and_no_autocast() -> None:
    torch.manual_seed(0)
    made = fold(torch.randn(16, 32, 3, 3), affine(norm(16)), SCALE, 255)
    layer = IntConv(Geometry((1, 1), (1, 1), (1, 1)), made, SCALE)
    x = on_grid(17, 32, 12, 10, grid=ORT.unsigned)
    whole = layer(x, made.weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x, made.weight), whole)
    singly = torch.cat([layer(one, made.weight) for one in x.split(1)])
    assert torch.equal(singly, whole)
    order = torch.randperm(32)
    assert torch.equal(layer(x[:, order], made.weight[:, order]), whole)


@settings(deadline=None)
@given(st.integers(0, 2**31 - 1), st.sampled_from(range(len(GEOMETRIES))), st.booleans())
def test_it_is_what_was_trained(seed: int, which: int, zeros: bool) -> None:  # noqa: FBT001
    """With biases in floating point: fake quantisation in double precision, and the same values
    after the next quantiser. Masked weights, dead channels and negative scales included."""
    torch.manual_seed(seed)
    geometry, shape = GEOMETRIES[which]
    weight, after, grid = torch.randn(shape), norm(shape[0]), ORT.signed
    with torch.no_grad():
        if zeros:
            weight[torch.rand(shape) < 0.7] = 0
            weight[1] = 0
    x, out = on_grid(2, 4, 10, 9), torch.tensor(0.021)
    made = fold(weight, affine(after), SCALE, 128, sixteen=False, float_bias=True)
    assert torch.all(made.weight[weight == 0] == 0)
    got = IntConv(geometry, made, SCALE)(x, made.weight)
    double = fake_quantise_weight(weight).double()
    g = geometry
    y = functional.conv2d(x.double(), double, None, g.stride, g.padding, g.dilation, g.groups)
    expected = after.double()(y)
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)
    same = quantised(got, out, grid) == quantised(expected.float(), out, grid)
    steps = expected / out
    near = (steps - steps.floor() - 0.5).abs() < 2e-3  # the tolerance above, in steps of 0.021
    assert bool((same | near).all()), "only what lies between two integers may go either way"


@pytest.mark.parametrize("sixteen", [False, True])
def test_whole_biases_cost_half_a_step_of_the_sums(*, sixteen: bool) -> None:
    torch.manual_seed(0)
    weight, follow = torch.randn(8, 4, 3, 3), affine(norm(8))
    exact = fold(weight, follow, SCALE, 128, sixteen=sixteen, float_bias=True)
    made = fold(weight, follow, SCALE, 128, sixteen=sixteen)
    x, geometry = on_grid(2, 4, 6, 6), Geometry((1, 1), (1, 1), (1, 1))
    whole, floating = (IntConv(geometry, m, SCALE)(x, m.weight) for m in (made, exact))
    half = (SCALE * made.scale.abs() / 2)[:, None, None]
    assert torch.all((whole - floating).abs() <= half * 1.01 + 1e-5)
    assert not torch.equal(whole, floating)


def test_sub_bands_are_batch_norm_between_two_views() -> None:
    torch.manual_seed(0)
    channels, bands, rows = 6, 4, 8
    weight, after = torch.randn(channels, 1, 3, 1), norm(channels * bands)
    whole = affine(after)
    follow = Affine(*(t.view(channels, bands) for t in (whole.gain, whole.shift)))
    made = fold(weight, follow, SCALE, 128, sixteen=False, float_bias=True)
    assert made.scale.shape == made.bias.shape == (channels, bands)
    geometry = Geometry((2, 1), (1, 0), (1, 1), channels)
    x = on_grid(3, channels, 2 * rows, 5)
    y = functional.conv2d(x, fake_quantise_weight(weight), None, (2, 1), (1, 0), (1, 1), channels)
    expected = after(y.view(3, channels * bands, rows // bands, 5)).view(y.shape)
    got = IntConv(geometry, made, SCALE)(x, made.weight)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_one_weight_for_several_norms() -> None:
    """Signs are those of the scales, so that the integers are the same whatever follows."""
    weight = torch.randn(8, 8, 1, 1)
    first, second = (fold(weight, affine(norm(8)), SCALE, 128) for _ in range(2))
    assert torch.equal(first.weight, second.weight)
    assert not torch.equal(first.scale.sign(), second.scale.sign())


def test_a_gain_of_nothing_leaves_the_bias() -> None:
    """As the last norm of a residual branch begins, and a channel that regularisation emptied."""
    weight = torch.randn(4, 3, 3, 3)
    weight[3] = 0
    gain = torch.tensor([0.0, 1e-30, 0.0, 1.0]).double()
    follow = Affine(gain, torch.tensor([1.7, -0.3, 0.0, 0.9]).double())
    made = fold(weight, follow, SCALE, 255)
    x = on_grid(2, 3, 6, 6, grid=ORT.unsigned)
    y = IntConv(Geometry((1, 1), (1, 1), (1, 1)), made, SCALE)(x, made.weight)
    expected = torch.tensor([1.7, -0.3, 0.0, 0.9])[:, None, None].expand_as(y)
    torch.testing.assert_close(y, expected, rtol=1e-3, atol=1e-4)


@given(st.lists(st.floats(1e-8, 1e3) | st.floats(-1e3, -1e-8), min_size=1, max_size=20))
@example([1e-8, 1e3])
def test_scales_in_sixteen_bits(values: list[float]) -> None:
    scale = torch.tensor(values)
    rounded = sixteen_bits(scale)
    assert torch.all(rounded != 0)
    assert torch.equal(rounded.sign(), scale.sign())
    assert torch.equal(sixteen_bits(rounded), rounded)
    normal = scale.abs() > scale.abs().max() * 2.0**-28
    torch.testing.assert_close(rounded[normal], scale[normal], rtol=2.0**-11, atol=0)
    top = 2.0 ** (15 - np.frexp(np.float32(scale.abs().max()))[1])
    assert torch.equal((rounded * top).half().float(), rounded * top)


def test_linear_is_that_of_integers() -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(10, 64), torch.randn(10)
    made = fold(weight, Affine(identity(10).gain, bias.double()), SCALE, 128)
    x = on_grid(5, 64)
    steps = np.rint(x.numpy() / SCALE.numpy()).astype(np.int64)
    whole = steps @ made.weight.numpy().astype(np.int64).T + made.bias.numpy()
    expected = whole.astype(np.float32) * (SCALE * made.scale).numpy()
    got = IntLinear(made, SCALE)(x, made.weight)
    assert np.array_equal(got.numpy(), expected)
    torch.testing.assert_close(got, functional.linear(x, weight, bias), rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("shape", "over"),
    [
        ((2, 3, 20, 7), Windows.beside(20, 1)),
        ((2, 3, 9, 7), Windows((3, 2), (2, 2), (0, 0))),
        ((2, 3, 9, 7), Windows((3, 3), (2, 1), (1, 1))),
        ((2, 3, 12), Windows.beside(4)),
        ((2, 3, 12), Windows((5,), (3,), (2,))),
    ],
)
def test_means_are_those_of_integers(shape: tuple[int, ...], over: Windows) -> None:
    torch.manual_seed(0)
    x = on_grid(*shape)
    steps = np.rint(x.numpy() / SCALE.numpy()).astype(np.int64)
    axes = tuple(range(2, len(shape)))
    padded = np.pad(steps, ((0, 0), (0, 0), *((p, p) for p in over.padding)))
    views = np.lib.stride_tricks.sliding_window_view(padded, over.size, axes)
    each = (slice(None), slice(None), *(slice(None, None, s) for s in over.stride))
    sums = views[each].sum(axis=tuple(-1 - n for n in range(len(over.size))))
    expected = sums.astype(np.float32) * (SCALE / int(np.prod(over.size))).numpy()
    assert np.array_equal(IntMean(over, SCALE)(x).numpy(), expected)


def test_moving_to_a_grid_twice_moves_once() -> None:
    """Bit for bit: layers take the very integers out that were put in."""
    torch.manual_seed(0)
    for scale in torch.logspace(-4, 1, 50):
        move = Requantise(scale, ORT.unsigned)
        x = move(torch.rand(2000) * 300 * scale)
        assert torch.equal(move(x), x)
        assert torch.equal((x / scale).round() * scale, x)


def test_gains_follow_each_other() -> None:
    """Channels then sub-bands, and sub-bands then channels."""
    torch.manual_seed(0)
    flat, split = (Affine(torch.randn(s).double(), torch.randn(s).double()) for s in ((3,), (3, 2)))
    y = torch.randn(3, 2).double()
    for first, second in itertools.permutations((flat, split)):
        value = y
        for a in (first, second):
            gain, shift = (t.view(3, -1) for t in (a.gain, a.shift))
            value = gain * value + shift
        both = first.then(second.gain, second.shift)
        torch.testing.assert_close(both.gain * y + both.shift, value)
    twice = flat.then(flat.gain, flat.shift)
    assert twice.gain.shape == twice.shift.shape == (3,)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(bad: float) -> None:
    weight = torch.ones(3, 2)
    with pytest.raises(ValueError, match=r"training diverged"):
        fold(weight * bad, identity(3), SCALE, 128)
    with pytest.raises(ValueError, match=r"training diverged"):
        fold(weight, Affine(identity(3).gain * bad, identity(3).shift), SCALE, 128)
