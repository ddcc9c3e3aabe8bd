"""What the int8 benchmark counts: operations of a network, integer kernels of a file."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from benchmarks.int8.kernels import Kernels, Operations, operations, ran  # noqa: E402 - needs both
from compressor.export.onnx import onnx_bytes  # noqa: E402
from compressor.quantization.conversion import convert  # noqa: E402
from tests.helpers.int8_nets import bare, calibrated  # noqa: E402


def pooling(*, rounded: bool) -> bytes:
    """Two maxima with something floating around them, the second of integers if `rounded`."""
    make = onnx.helper.make_node
    grid = ["scale", "zero"]
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    # The runtime moves rounding forward through a pool, but not through a sigmoid.
    nodes = [make("MaxPool", ["x"], ["s"], **pool), make("Sigmoid", ["s"], ["a"])]
    if rounded:
        nodes += [
            make("QuantizeLinear", ["a", *grid], ["b"]),
            make("DequantizeLinear", ["b", *grid], ["c"]),
            make("MaxPool", ["c"], ["d"], **pool),
            make("QuantizeLinear", ["d", *grid], ["e"]),
            make("DequantizeLinear", ["e", *grid], ["f"]),
        ]
    else:
        nodes += [make("MaxPool", ["a"], ["f"], **pool)]
    nodes += [make("Exp", ["f"], ["y"])]
    constants = [
        onnx.numpy_helper.from_array(np.array(0.1, np.float32), "scale"),
        onnx.numpy_helper.from_array(np.array(128, np.uint8), "zero"),
    ]
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 4, 8, 8]), ("y", [1, 4, 2, 2]))
    ]
    graph = onnx.helper.make_graph(nodes, "g", values[:1], values[1:], constants)
    opset = onnx.helper.make_opsetid("", 20)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString()


@pytest.mark.parametrize(("rounded", "integers"), [(True, 1), (False, 0)])
def test_a_pool_is_an_integer_kernel_where_it_gets_integers(
    *, rounded: bool, integers: int
) -> None:
    found = ran(pooling(rounded=rounded), Operations(0, 0, 2))
    floating = Counter({"MaxPool": 2 - integers, "Sigmoid": 1, "Exp": 1})
    assert found == Kernels(Operations(0, 0, integers), 2 * integers, floating)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "there"),
    [
        # 12 blocks of three convolutions, four that change channels, one before and three behind;
        # eight blocks add twice, four once; a mean in every block and one at the end.
        ("BC-ResNet", Operations(3 * 12 + 4 + 1 + 3, 8 * 2 + 4, 12 + 1)),
        # The six shared shifts of SubSpectralNorm are added, but are no results.
        ("Shared-ResNet", Operations(28, 12, 4)),
    ],
)
def test_operations_of_a_network(name: str, there: Operations) -> None:
    assert operations(bare(name)) == there


@pytest.mark.slow
def test_a_whole_network_in_integers() -> None:
    whole = bare("ResNet")
    there = operations(whole)
    assert there == Operations(19, 7, 1)
    assert ran(onnx_bytes(whole), there).integer == Operations(0, 0, 0)
    assert ran(onnx_bytes(convert(calibrated(whole))), there) == Kernels(there, 2, Counter())
