"""A network as an ExecuTorch program (.pte) for phones, computed by XNNPACK.

Needs the `executorch` extra, which brings torchao.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compressor.export.front_end import parts
from compressor.export.one_rounding import unfixed
from compressor.export.xnnpack import decomposed, written
from compressor.inputs.copies import private_copy
from compressor.inputs.process import quiet
from compressor.network import Network
from compressor.storage import write_bytes


def write(
    network: Network,
    path: str | os.PathLike[str],
    front_end: nn.Module | None = None,
    waveform: Tensor | None = None,
) -> int:
    """Write a network as a .pte file, in evaluation mode; returns the file's length in bytes.

    The program takes a batch of one. Convolutions, matrix products and sums of the integer
    reference run as XNNPACK's kernels of 8-bit integers. In floating point are its average pools,
    for which XNNPACK has no other kernels, convolutions that are transposed or in three dimensions,
    layers whose sums 32 bits may not hold, and convolutions whose scales tell sub-bands apart: with
    `Int8(fold_bands=False)` these are integers too, and normalisation by sub-bands is not.

    Arguments are those of `compressor.export.onnx.write`; the front end must do without Fourier
    transforms.

    Raises:
        ImportError: If executorch is missing.
        ValueError: If the front end does not fit the network, or the network leaves a size open
            beside the batch.
    """
    content = pte_bytes(network, front_end, waveform)
    write_bytes(Path(path), content)
    return len(content)


def pte_bytes(
    network: Network, front_end: nn.Module | None = None, waveform: Tensor | None = None
) -> bytes:
    """The content of the file that `write` writes; arguments and errors likewise."""
    varying = [dims for opened in network.open if (dims := [d for d in opened if d])]
    if varying:
        raise ValueError(
            f"export: a program for ExecuTorch takes one size, and the network leaves the "
            f"dimensions {varying} of its inputs open: leave varying out, or write .onnx"
        )
    exir, partitioner = _executorch()
    inner, placed = parts(network, front_end, waveform)
    module = placed(written(unfixed(inner)))
    inputs = tuple(x.cpu() for x in module.example)
    with quiet(), torch.no_grad():
        program = torch.export.export(private_copy(module).cpu(), inputs)
        _single_readers(program.graph_module)
        lowered = exir.to_edge_transform_and_lower(
            program,
            partitioner=[partitioner.XnnpackPartitioner()],
            compile_config=exir.EdgeCompileConfig(_check_ir_validity=False),
        )
        return bytes(lowered.to_executorch().buffer)


def _single_readers(graph_module: Any) -> None:
    """Give every reader of dequantised numbers its own, or XNNPACK's parts depend on each other."""
    graph = graph_module.graph
    target = decomposed().dequantize_per_tensor.default
    for node in [node for node in graph.nodes if node.target is target]:
        for reader in list(node.users)[1:]:
            with graph.inserting_before(reader):
                reader.replace_input_with(node, graph.node_copy(node))
    graph_module.recompile()


def _executorch() -> tuple[Any, Any]:
    partitioner = "executorch.backends.xnnpack.partition.xnnpack_partitioner"
    try:
        return importlib.import_module("executorch.exir"), importlib.import_module(partitioner)
    except ImportError as error:
        raise ImportError(
            f"a .pte file needs executorch ({error}): pip install 'compressor-nn[executorch]'"
        ) from error
