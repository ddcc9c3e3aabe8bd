"""Integer part of a network in ONNX Runtime, read off the graph that it makes of a file.

The optimised graph, at default settings, has the runtime's own kernels in it. What quantises gives
integers, what dequantises floating-point numbers, and everything else gives what it gets.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch

from compressor.network import Network, Ref, packet

aten = torch.ops.aten

LAYERS = (aten.conv1d, aten.conv2d, aten.linear)
MEANS = (aten.mean, aten.avg_pool2d, aten.adaptive_avg_pool2d)
MAXIMA = (aten.max_pool2d,)

FLOAT_LAYERS = ("Conv", "FusedConv", "NhwcFusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul")
CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")
POOLS = ("QLinearAveragePool", "QLinearGlobalAveragePool", "NhwcMaxPool", "MaxPool")
"""Integer kernels if they give integers."""
MOVES = (
    "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Concat", "Gather",
    "ReorderInput", "ReorderOutput", *CONVERSIONS,
)  # fmt: skip
"""Kernels that compute nothing."""


@dataclass(frozen=True)
class Operations:
    """Numbers of operations, or of those that are integer kernels.

    Layers are convolutions and matrix products, sums those of two results that depend on the input,
    pools means and maxima over frequency or time.
    """

    layers: int
    sums: int
    pools: int


@dataclass(frozen=True)
class Kernels:
    """Kernels that run of a file: integer ones, those that only convert, floating-point ones."""

    integer: Operations
    conversions: int
    floating: Counter[str]


def operations(network: Network) -> Operations:
    """Count the operations of a network in floating point."""
    kinds = Counter(packet(step) for step in network.steps)
    live = set(network.inputs)
    for step in network.steps:
        live |= {step.name} if live.intersection(step.refs) else set()
    pairs = (step.args[:2] for step in network.steps if packet(step) is aten.add)
    sums = sum(all(isinstance(v, Ref) and v.name in live for v in pair) for pair in pairs)
    return Operations(_sum(kinds, LAYERS), sums, _sum(kinds, (*MEANS, *MAXIMA)))


def ran(content: bytes, whole: Operations) -> Kernels:
    """Count the kernels that ONNX Runtime runs of the content of a file.

    A layer of the `whole` network that the file has in several pieces counts once.
    """
    nodes = optimised(content).node
    integers = _integers(nodes)
    inside, outside = Counter[str](), Counter[str]()
    for node in nodes:
        (inside if integers.issuperset(node.output[:1]) else outside)[node.op_type] += 1
    floating = Counter({kind: n for kind, n in outside.items() if kind not in MOVES})
    layers = whole.layers - _sum(floating, FLOAT_LAYERS)
    integer = Operations(layers, inside["QLinearAdd"], _sum(inside, POOLS))
    return Kernels(integer, sum(node.op_type in CONVERSIONS for node in nodes), floating)


def optimised(content: bytes) -> onnx.GraphProto:
    """The graph that ONNX Runtime makes of a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimised.onnx"
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 3  # that the graph fits this machine alone is no news
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return onnx.load(path).graph


def _integers(nodes: list[onnx.NodeProto]) -> set[str]:
    """Names of the results that are 8-bit integers."""
    found: set[str] = set()
    for node in nodes:
        kind = node.op_type
        # A QGemm with nine inputs knows the scale of its result; with fewer it gives real numbers.
        makes = kind.startswith(("QLinear", "QuantizeLinear"))
        makes = makes or (kind == "QGemm" and len(node.input) == 9)
        if makes or (kind not in {"DequantizeLinear", "QGemm"} and node.input[0] in found):
            found.update(node.output)
    return found


def _sum(counts: Counter[Any], kinds: tuple[Any, ...]) -> int:
    return sum(counts[kind] for kind in kinds)
