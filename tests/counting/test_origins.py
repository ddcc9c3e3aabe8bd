"""Operations without a formula: free where no weight goes into them, refused where one does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from torch import Tensor, nn
from torch.utils import flop_counter as flop_counter_module
from torch.utils.flop_counter import register_flop_formula

from compressor.counting.measuring import measure
from compressor.counting.origins import Origins
from compressor.errors import CountError
from tests.helpers.functions import Functional


class Weighs(nn.Module):
    """A function of an input and of a parameter."""

    def __init__(
        self, function: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.function, self.weight = function, nn.Parameter(torch.randn(shape))
        self.register_buffer("gain", torch.rand(shape) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight * self.gain.clone().mul_(2).reshape(self.weight.shape))


def crops(x: Tensor) -> Tensor:
    """Two crops by an operation of another package, at places that a buffer could hold."""
    return boxes(x, torch.tensor([[0, 4], [2, 6]]))


@torch.library.custom_op("compressor_test::boxes", mutates_args=())
def boxes(x: Tensor, places: Tensor) -> Tensor:
    return torch.stack([x[..., int(a) : int(b)] for a, b in places])


def resampled(x: Tensor) -> Tensor:
    grid = F.affine_grid(x.mean((1, 3))[:, :6].reshape(-1, 2, 3), [1, 2, 8, 8], align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.stft(x.flatten(1), 16, window=torch.ones(16), return_complex=True).abs(),
        lambda x: torch.istft(torch.stft(x[0, 0], 8, return_complex=True, window=torch.ones(8)), 8,
                              window=torch.ones(8)),
        lambda x: torch.fft.irfft2(torch.fft.rfft2(x)), lambda x: torch.fft.fft(x).angle(),
        lambda x: torch.fft.hfft(torch.fft.ihfft(x)), lambda x: torch.fft.fftn(x).conj().imag,
        resampled, crops, lambda x: torch.cdist(x, x.flip(2)), torch.linalg.inv, torch.linalg.svd,
        lambda x: torch.linalg.solve(x, x), lambda x: x.cumsum(-1).sort(-1)[0].topk(2)[0],
        lambda x: torch.searchsorted(x.sort(-1)[0], x), lambda x: x.histc(8),
        lambda x: torch.fft.fft(torch.eye(8)) * x,
    ],
)  # fmt: skip
def test_operations_without_weights_cost_no_macs(function: Callable[[Tensor], object]) -> None:
    inner = Functional(function)
    assert measure(inner, torch.randn(1, 2, 8, 8)).macs == 0
    layers = nn.Sequential(
        nn.Conv2d(1, 2, 1), Functional(lambda x: (function(x), x)[1]), OneConvolution()
    )
    assert measure(layers, torch.randn(1, 1, 8, 8)).macs == 64 * (2 + 8)


class OneConvolution(nn.Module):
    """A product whose cost an operation before it must not hide."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (torch.cdist, (3, 4)), (lambda x, w: torch.linalg.solve(w, x[..., :4].mT), (4, 4)),
        (lambda x, w: x @ torch.linalg.inv(w), (4, 4)),
        (lambda x, w: torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(w)), (4,)),
        (lambda x, w: torch.ops.compressor_test.boxes(w, x.long()[0, :2, :2]), (2, 8)),
        (lambda x, w: torch.ops.compressor_test.boxes(w.t()[:, None].expand(8, 2, 2).abs() + 1,
                                                      x.long()[0, :2, :2]), (2, 8)),
        (lambda x, w: F.grid_sample(x[None], F.affine_grid(w, [1, 1, 3, 3], align_corners=False),
                                    align_corners=False), (1, 2, 3)),
    ],
)  # fmt: skip
def test_the_same_on_a_weight_or_on_what_is_made_of_weights_alone_is_refused(
    function: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, ...]
) -> None:
    with pytest.raises(CountError, match=r"cannot be counted: it takes weights"):
        measure(Weighs(function, shape), torch.rand(1, 5, 4))


@torch.library.custom_op("compressor_test::scaled", mutates_args=())
def scaled(x: Tensor, weight: Tensor) -> Tensor:
    return x * weight


def test_an_unknown_operation_on_weights_is_refused_until_it_has_a_formula() -> None:
    model, x = Weighs(lambda x, w: scaled(x, w), (6,)), torch.randn(1, 6)  # noqa: PLW0108
    with pytest.raises(CountError, match=r"compressor_test::scaled.*register_flop_formula"):
        measure(model, x)
    operation = torch.ops.compressor_test.scaled
    register_flop_formula(operation)(lambda shape, *_, **__: 2 * shape[-1])
    try:
        assert measure(model, x).macs == 6
    finally:
        del flop_counter_module.flop_registry[operation]


def test_integer_weights_in_a_buffer_are_weights() -> None:
    model = nn.Module()
    model.register_buffer("packed", torch.ones(6, dtype=torch.int8))
    origin = Origins(model)
    assert origin.weighs((torch.zeros(1), [model.packed]))
    assert not Origins(nn.BatchNorm1d(3)).weighs(nn.BatchNorm1d(3).running_mean)
