"""Costs are exact: against closed forms, against PyTorch's counter, and never silently zero."""

from __future__ import annotations

import copy
import operator
import re
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.utils.flop_counter import FlopCounterMode

from compressor.budget import Cost
from compressor.counting.measuring import measure, multiply_accumulates
from compressor.errors import CountError
from compressor.graph.operations import BY_NAME
from compressor.inputs.example import one_input
from tests.helpers.functions import Functional
from tests.zoo import FAMILIES, TRICKY

HUGE = {"vgg11_bn"}  # half a gigabyte, and nothing the others do not show
FUSED = {"conv_attention", "attention", "spectral_norm"} | {
    *("lstm", "lstm_two_ways", "lstm_without_bias", "lstm_last_states", "lstm_begun_with_ones"),
    *("lstm_computed_states", "lstm_residual"),
}
"""Networks whose attention, LSTM, or products of vectors, flop_counter alone reads as zero."""


class Holder(nn.Module):
    """A module that calls the one inside it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *inputs: Tensor) -> object:
        return self.inner(*inputs)


class Repeated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.conv(self.conv(x)))


def flop_counter(model: nn.Module, *inputs: Tensor) -> int:
    plain = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        plain(*inputs)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Conv1d(3, 8, 5), (3, 20), 16 * 8 * 3 * 5),
        (nn.Conv2d(3, 8, (3, 5), stride=2), (3, 9, 11), 4 * 4 * 8 * 3 * 15),
        (nn.Conv2d(6, 12, 3, groups=3, padding=1), (6, 5, 7), 35 * 12 * 2 * 9),
        (nn.Conv2d(6, 6, 3, groups=6, dilation=2), (6, 9, 9), 25 * 6 * 9),
        (nn.Conv3d(2, 3, 2), (2, 4, 4, 4), 27 * 3 * 2 * 8),
        (nn.ConvTranspose1d(3, 8, 4, stride=2), (3, 10), 10 * 3 * 8 * 4),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (4, 5, 6), 30 * 4 * 3 * 9),
        (nn.ConvTranspose3d(2, 3, 2), (2, 3, 3, 3), 27 * 2 * 3 * 8),
        (nn.Linear(10, 7), (10,), 70),
        (nn.Linear(10, 7), (5, 6, 10), 30 * 70),
        (Repeated(), (4, 6, 6), 3 * 36 * 4 * 4 * 9),
        (nn.BatchNorm2d(4), (4, 6, 6), 0),
        (nn.MaxPool2d(2), (4, 6, 6), 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_layers_against_closed_forms(layer: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    x = torch.randn(1, *shape)
    assert measure(layer, x).macs == macs == flop_counter(layer, x)
    assert measure(layer, torch.randn(5, *shape)).macs == macs


@pytest.mark.parametrize(
    ("function", "shapes", "macs"),
    [
        (F.conv2d, [(1, 4, 8, 8), (6, 4, 3, 3)], 36 * 6 * 4 * 9),
        (operator.matmul, [(1, 5, 6), (6, 7)], 5 * 6 * 7),
        (operator.matmul, [(1, 5, 6), (1, 6, 7)], 5 * 6 * 7),
        (lambda x, y: torch.einsum("bcft,cd->bdft", x, y), [(1, 4, 3, 5), (4, 7)], 15 * 28),
        (lambda x, y: torch.einsum("bct,bdt->bcd", x, y), [(1, 4, 3), (1, 5, 3)], 60),
        (torch.tensordot, [(1, 4, 6), (4, 6)], 24),
        (torch.baddbmm, [(1, 5, 7), (1, 5, 6), (1, 6, 7)], 210),
        (F.scaled_dot_product_attention, [(1, 2, 5, 8)] * 3, 2 * 2 * 5 * 5 * 8),
    ],
    ids=["conv2d", "mm", "bmm", "einsum", "einsum_batch", "tensordot", "baddbmm", "attention"],
)
def test_functional_calls(
    function: Callable[..., Tensor], shapes: list[tuple[int, ...]], macs: int
) -> None:
    function = {torch.tensordot: lambda x, y: torch.tensordot(x, y, 2)}.get(function, function)
    model = Functional(function)
    cost = measure(model, tuple(torch.randn(shape) for shape in shapes))
    assert cost == Cost(params=3, nonzero=3, macs=macs, bytes=12)


@pytest.mark.parametrize(
    ("function", "shapes", "macs"),
    [
        (operator.matmul, [(1, 5, 6), (6,)], 30),  # aten::mv
        (lambda x, y: torch.dot(x[0], y), [(1, 6), (6,)], 6),
        (lambda x, y: torch.vdot(x[0], y), [(1, 6), (6,)], 6),
        (lambda x, y, z: torch.addmv(x[0], y, z), [(1, 5), (5, 6), (6,)], 30),
        (lambda x, y, z: torch.addbmm(x[0], y, z), [(1, 5, 7), (2, 5, 6), (2, 6, 7)], 420),
    ],
    ids=["mv", "dot", "vdot", "addmv", "addbmm"],
)
def test_products_that_flop_counter_reads_as_zero(
    function: Callable[..., Tensor], shapes: list[tuple[int, ...]], macs: int
) -> None:
    inputs = tuple(torch.randn(shape) for shape in shapes)
    assert flop_counter(Functional(function), *inputs) == 0
    assert measure(Functional(function), inputs).macs == macs


@pytest.mark.parametrize("training", [True, False])
def test_multihead_attention(*, training: bool) -> None:
    x = torch.randn(1, 10, 16)
    layer = nn.MultiheadAttention(16, 2, batch_first=True).train(training)
    projections, products = 4 * 10 * 16 * 16, 2 * 10 * 10 * 16
    assert measure(layer, (x, x, x)).macs == projections + products
    assert flop_counter(layer.eval(), x, x, x) == 0  # the fused operation this must not repeat


@pytest.mark.parametrize("layers", [1, 2])
def test_transformer_layers(layers: int) -> None:
    x = torch.randn(3, 10, 16)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model = layer if layers == 1 else nn.TransformerEncoder(layer, layers)
    one = 4 * 10 * 16 * 16 + 2 * 10 * 10 * 16 + 2 * 10 * 16 * 32
    assert measure(model, x).macs == layers * one


@pytest.mark.parametrize(("kind", "gates"), [(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)])
@pytest.mark.parametrize("directions", [1, 2])
def test_recurrent_layers(kind: type[nn.RNNBase], gates: int, directions: int) -> None:
    layer = kind(6, 5, batch_first=True, bidirectional=directions == 2)
    assert measure(layer, torch.randn(4, 7, 6)).macs == 7 * directions * gates * 5 * (6 + 5)


@pytest.mark.parametrize("name", sorted(FAMILIES.keys() - HUGE))
@pytest.mark.slow
def test_families_equal_flop_counter(name: str) -> None:
    model = FAMILIES[name]()
    cost = measure(model)
    assert cost.params == cost.bytes // 4 == sum(p.numel() for p in model.parameters())
    ours = flop_counter(model, *one_input(model))
    assert (cost.macs > ours) if name in FUSED else (cost.macs == ours)


@pytest.mark.parametrize("name", sorted(TRICKY))
def test_tricky_networks_equal_flop_counter(name: str) -> None:
    model = TRICKY[name]()
    ours = flop_counter(model, *one_input(model))
    macs = measure(model).macs
    assert (macs > ours) if name in FUSED else (macs == ours)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision(dtype: torch.dtype) -> None:
    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten(2),
            nn.GRU(16, 4, batch_first=True),
        )  # fmt: skip

    model, x = build().to(dtype), torch.randn(2, 1, 8, 8)
    single = measure(build(), x)
    cost = measure(model, x.to(dtype))
    assert (cost.params, cost.macs) == (single.params, single.macs)
    assert cost.bytes == single.bytes * dtype.itemsize // 4


def test_parameters_once_buffers_never() -> None:
    conv = nn.Conv2d(4, 4, 3, bias=False)
    twin = nn.Conv2d(4, 4, 3, bias=False)
    twin.weight = conv.weight
    cost = measure(nn.Sequential(conv, twin, conv, nn.BatchNorm2d(4)), torch.randn(1, 4, 9, 9))
    assert cost.params == 144 + 8
    assert cost.nonzero == 144 + 4  # a new BatchNorm shifts by zero
    assert cost.macs == 144 * (49 + 25 + 9)


def test_zeros_are_parameters_too() -> None:
    layer = nn.Linear(10, 10)
    with torch.no_grad():
        layer.weight[:3] = 0
    cost = measure(layer, torch.zeros(1, 10))
    assert (cost.params, cost.nonzero, cost.macs) == (110, 80, 100)


def test_an_active_mask_hides_nothing() -> None:
    """Pruning by mask makes zeros, not a smaller network; torchinfo says otherwise."""
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3))
    x = torch.randn(1, 1, 8, 8)
    before = measure(model, x)
    for layer in model:
        prune.l1_unstructured(layer, "weight", 0.5)
    masked = measure(model, x)
    for layer in model:
        prune.remove(layer, "weight")
    assert measure(model, x) == masked
    assert (masked.params, masked.macs, masked.bytes) == (before.params, before.macs, before.bytes)
    assert masked.nonzero == before.nonzero - 36 - 288


def test_the_model_is_left_as_it_was() -> None:
    calls = torch.zeros(())
    observer = Functional(lambda x: x + calls.add_(1))
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), observer)
    model.train()
    model[2].eval()
    model.example_input_array = torch.randn(2, 1, 8, 8)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [module.training for module in model.modules()]
    hooks = [len(module._forward_hooks) for module in model.modules()]
    grad, fastpath = torch.is_grad_enabled(), torch.backends.mha.get_fastpath_enabled()
    kernels = torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled
    measure(model)
    assert [module.training for module in model.modules()] == flags
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())
    assert (grad, fastpath) == (True, torch.backends.mha.get_fastpath_enabled())
    assert kernels == (torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled)
    assert model(torch.randn(2, 1, 8, 8)).requires_grad


def test_settings_are_restored_after_an_error() -> None:
    before = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
    with pytest.raises(CountError):
        measure(nn.Bilinear(3, 4, 2), (torch.randn(1, 3), torch.randn(1, 4)))
    assert before == (torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled)


def test_grad_and_inference_mode_make_no_difference() -> None:
    model, x = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), torch.randn(1, 5, 8)
    macs = multiply_accumulates(model, x)
    with torch.inference_mode():
        assert multiply_accumulates(model, x) == macs


@pytest.mark.parametrize(
    "wrap",
    [prune.identity, parametrizations.weight_norm],
    ids=["mask", "weight_norm"],
)
def test_computed_weights_can_be_copied(wrap: Callable[..., nn.Module]) -> None:
    layer = wrap(nn.Conv2d(1, 4, 3), "weight")
    layer(torch.randn(1, 1, 8, 8))  # leaves a computed tensor behind, which deepcopy refuses
    assert measure(layer, torch.randn(1, 1, 8, 8)).macs == 36 * 36


@pytest.mark.parametrize(
    ("function", "shapes", "operation"),
    [
        (F.bilinear, [(1, 4), (1, 5), (3, 4, 5)], "_trilinear"),
        (lambda x, y: torch.zeros(5, 7).addmm_(x, y), [(5, 6), (6, 7)], "addmm_"),
        (lambda x: torch.conv_tbc(x, torch.ones(2, 4, 3), torch.ones(3)), [(5, 1, 4)], "conv_tbc"),
    ],
    ids=["bilinear", "addmm_", "conv_tbc"],
)
def test_products_without_a_formula_are_refused_whatever_they_take(
    function: Callable[..., Tensor], shapes: list[tuple[int, ...]], operation: str
) -> None:
    model = Holder(Holder(Functional(function)))
    message = f"'aten::{operation}.*' in module 'inner.inner' cannot be counted: it is a product"
    with pytest.raises(CountError, match=message):
        measure(model, tuple(torch.randn(shape) for shape in shapes))


def test_a_fused_attention_kernel_is_refused() -> None:
    def fused(x: Tensor) -> Tensor:
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(x, x, x)[0]

    with pytest.raises(CountError, match="_scaled_dot_product_flash_attention_for_cpu"):
        measure(Functional(fused), torch.randn(1, 2, 5, 8))


@pytest.mark.filterwarnings("ignore:.*deprecated:UserWarning")  # PyTorch retires these types
def test_a_quantised_network_is_refused() -> None:
    """Its packed weights are no parameters: others count it as nothing at all."""
    x = torch.quantize_per_tensor(torch.randn(1, 4), 0.1, 0, torch.quint8)
    weight = torch.quantize_per_tensor(torch.randn(3, 4), 0.1, 0, torch.qint8)
    packed = torch.ops.quantized.linear_prepack(weight, None)
    model = Functional(lambda y: torch.ops.quantized.linear(y, packed, 0.1, 0))
    with pytest.raises(CountError, match="quantized::linear"):
        measure(model, x)


@pytest.mark.filterwarnings("ignore:Using `torch.compile:UserWarning")  # of PyTorch's own counter
def test_compiled_networks_are_counted_as_written() -> None:
    layer = nn.Linear(10, 7)
    layer.compile(backend="eager")
    assert measure(layer, torch.zeros(1, 10)).macs == 70
    compiled = torch.compile(nn.Linear(10, 7), backend="eager")
    assert measure(compiled, torch.zeros(1, 10)).macs == 70


def test_elementwise_products_are_no_macs() -> None:
    model = Functional(lambda x: (x * x).sum() + x.mul_(2).clamp_(-1, 1).cumsum(1).mean())
    assert measure(model, torch.randn(1, 4, 5)).macs == 0


def test_no_operation_is_both_free_and_counted() -> None:
    counted = {str(op).partition(".")[2] for op in FlopCounterMode(display=False).flop_registry}
    assert {"convolution", "mm", "addmm", "bmm", "baddbmm"} <= counted
    free = {name for name, row in BY_NAME.items() if row.free}
    assert not counted & free
    products = re.compile(
        r"mm(?!ax|in)|conv|attention|linear|matmul|fft|linalg_(?!vector_norm|norm|cross)"
    )
    assert not [name for name in free if products.search(name) and "upsample" not in name]


def test_no_random_state_moves() -> None:
    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.randn_like(x)

    state = torch.get_rng_state()
    measure(Noisy(), torch.zeros(1, 3))
    assert torch.equal(state, torch.get_rng_state())
