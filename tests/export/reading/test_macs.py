from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import compressor
from compressor.export.reading.contents import unpack
from compressor.export.reading.macs import blank_macs, operator_macs, uncounted
from compressor.export.tflite import made, tflite_bytes
from tests.helpers.micro_nets import integers
from tests.helpers.tflite_files import FLOAT, Grown, Op, residual, schema
from tests.zoo.micro import MICRO, chain, conv


def counted(module: nn.Module, *shape: int) -> float:
    """What PyTorch itself counts for a layer."""
    with FlopCounterMode(display=False) as counter:
        module(torch.zeros(shape))
    return counter.get_total_flops() / 2


def single(code: int, given: list[int], weight: list[int], out: list[int]) -> int:
    file = Grown()
    x = file.tensor(given, FLOAT)
    w = file.tensor(weight, FLOAT, data=np.zeros(weight, np.float32))
    y = file.tensor(out, FLOAT)
    inputs = [w, w, x] if code == Op.TRANSPOSE_CONV else [x, w]
    file.operator(code, inputs, [y])
    return sum(operator_macs(unpack(file.bytes([x], [y]))))


@pytest.mark.parametrize(
    ("found", "module", "shape"),
    [
        (single(Op.CONV_2D, [1, 9, 8, 3], [5, 3, 2, 3], [1, 7, 7, 5]),
         nn.Conv2d(3, 5, (3, 2)), (1, 3, 9, 8)),
        (single(Op.CONV_2D, [1, 9, 8, 4], [6, 3, 2, 2], [1, 7, 7, 6]),
         nn.Conv2d(4, 6, (3, 2), groups=2), (1, 4, 9, 8)),
        (single(Op.DEPTHWISE_CONV_2D, [1, 9, 8, 4], [1, 3, 2, 8], [1, 7, 7, 8]),
         nn.Conv2d(4, 8, (3, 2), groups=4), (1, 4, 9, 8)),
        (single(Op.TRANSPOSE_CONV, [1, 4, 5, 3], [6, 3, 2, 3], [1, 9, 10, 6]),
         nn.ConvTranspose2d(3, 6, (3, 2), stride=2), (1, 3, 4, 5)),
        (single(Op.CONV_3D, [1, 5, 6, 7, 3], [2, 3, 2, 3, 4], [1, 4, 4, 6, 4]),
         nn.Conv3d(3, 4, (2, 3, 2)), (1, 3, 5, 6, 7)),
        (single(Op.FULLY_CONNECTED, [4, 10], [7, 10], [4, 7]), nn.Linear(10, 7), (4, 10)),
    ],
)  # fmt: skip
def test_as_pytorch_counts(found: int, module: nn.Module, shape: tuple[int, ...]) -> None:
    assert found == counted(module, *shape)


@pytest.mark.parametrize("transposed", [False, True])
def test_products_of_matrices(transposed: bool) -> None:  # noqa: FBT001
    file = Grown()
    a = file.tensor((2, 10, 6) if transposed else (2, 6, 10), FLOAT)
    b, out = file.tensor((2, 10, 7), FLOAT), file.tensor((2, 6, 7), FLOAT)
    file.operator(Op.BATCH_MATMUL, [a, b], [out], schema.BatchMatMulOptionsT, adjX=transposed)
    assert operator_macs(unpack(file.bytes([a, b], [out]))) == (2 * 6 * 7 * 10,)


def test_svdf_filters_features_then_time() -> None:
    file = Grown()
    tensors = [file.tensor(shape, FLOAT) for shape in ((1, 10), (12, 10), (12, 8), (1, 6))]
    file.operator(Op.SVDF, tensors[:3], tensors[3:])
    assert operator_macs(unpack(file.bytes(tensors[:1], tensors[3:]))) == (12 * 10 + 12 * 8,)


def test_a_network_by_hand() -> None:
    """Sums and the mean count nothing."""
    whole = 10 * 8
    blocks = 2 * [whole * 8 * 12, whole * 12 * 8, 0]
    wanted = [whole * 8 * 27, *blocks, 4 * 3 * 16 * 9 * 8, 0, 16 * 5]
    assert list(operator_macs(unpack(residual()))) == wanted
    assert not uncounted(unpack(residual()))


@pytest.mark.parametrize("name", MICRO)
def test_a_file_of_ours_counts_what_its_network_does(name: str) -> None:
    """Pools, norms and means, which the file has as convolutions, count nothing in either.

    With padded inputs in the place of kernels that are padded, whose zeros count like all zeros.
    """
    network = integers(MICRO[name]())
    contents = unpack(tflite_bytes(network))
    assert sum(operator_macs(contents)) == compressor.measure(network).macs


@pytest.mark.parametrize("name", MICRO)
def test_zeros_that_pad_kernels_are_told_apart(name: str) -> None:
    network = integers(MICRO[name]())
    contents = unpack(made(network)[1])
    own = sum(operator_macs(contents)) - blank_macs(contents)
    assert own == compressor.measure(network).macs


def test_a_stride_of_two_on_an_even_size_makes_a_kernel_longer() -> None:
    """Four rows for three where 8 rows come in; columns, of which there are 7, stay as they are."""
    net = chain((1, 8, 7), conv(1, 5, 3, 2, 1), nn.ReLU(), conv(5, 2, 1))
    contents = unpack(made(integers(net))[1])
    assert operator_macs(contents) == (4 * 4 * 5 * 4 * 3, 4 * 4 * 5 * 2)
    assert blank_macs(contents) == 4 * 4 * 5 * 3


def test_a_kernel_of_zeros_alone_pads_nothing() -> None:
    file = Grown()
    x, y = file.tensor((1, 5, 5, 2)), file.tensor((1, 3, 3, 4))
    kernel = file.tensor((4, 3, 3, 2), data=np.zeros((4, 3, 3, 2), np.int8), scales=[0.1])
    file.operator(Op.CONV_2D, [x, kernel], [y])
    assert blank_macs(unpack(file.bytes([x], [y]))) == 0


def test_a_mean_as_a_convolution_is_a_mean() -> None:
    """Of equal weights; one weight that is another makes it a layer, and so do zeros."""
    for last, macs in ((7, 0), (8, 2 * 3 * 4)):
        file = Grown()
        weight = np.full((1, 2, 3, 4), 7, np.int8)
        weight.flat[-1] = last
        x, y = file.tensor((1, 2, 3, 4)), file.tensor((1, 1, 1, 4))
        kernel = file.tensor(weight.shape, data=weight, scales=[0.1] * 4, axis=3)
        file.operator(Op.DEPTHWISE_CONV_2D, [x, kernel], [y])
        assert operator_macs(unpack(file.bytes([x], [y]))) == (macs,)


def test_a_product_of_a_tensor_with_itself_is_a_power_if_rows_come_to_one_number() -> None:
    for rows, macs in ((1, 0), (2, 3 * 2 * 2 * 5)):
        file = Grown()
        x, y = file.tensor((3, rows, 5)), file.tensor((3, rows, rows))
        file.operator(Op.BATCH_MATMUL, [x, x], [y], schema.BatchMatMulOptionsT, adjY=True)
        assert operator_macs(unpack(file.bytes([x], [y]))) == (macs,)


def test_a_recurrent_layer_is_named() -> None:
    file = Grown()
    x, y = file.tensor((1, 4), FLOAT), file.tensor((1, 4), FLOAT)
    file.operator(Op.UNIDIRECTIONAL_SEQUENCE_LSTM, [x], [y])
    assert uncounted(unpack(file.bytes([x], [y]))) == ("UNIDIRECTIONAL_SEQUENCE_LSTM",)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([0], "input 1 of operator 0, CONV_2D, is missing, and it should have 4 dimensions"),
        ([0, -1], "input 1 of operator 0, CONV_2D, is missing"),
        ([0, 0], r"input 1 of operator 0, CONV_2D, has the shape \(1, 4\), and it should have 4"),
    ],
)
def test_an_operator_without_its_weights_is_damage(inputs: list[int], message: str) -> None:
    file = Grown()
    x, y = file.tensor((1, 4), FLOAT), file.tensor((1, 4), FLOAT)
    file.operator(Op.CONV_2D, inputs, [y])
    with pytest.raises(ValueError, match=message):
        operator_macs(unpack(file.bytes([x], [y])))
