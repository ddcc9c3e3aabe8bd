"""A network as an ExecuTorch program (.pte) for phones, computed by XNNPACK.

Needs the `executorch` extra, which brings torchao.
"""

from __future__ import annotations

import importlib
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compressor.export.front_end import FrontEnd, joined
from compressor.export.xnnpack import decomposed, written
from compressor.inputs.copies import private_copy
from compressor.inputs.process import exclusive
from compressor.network import Network
from compressor.storage import write_bytes


def export(
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

    Args:
        network: From `compressor.network.to_network`, or the integer reference.
        path: Replaced in one step if it exists.
        front_end: From waveforms to the network's input, as `compressor.export.front_end.joined`
            takes it; None for none. It must do without Fourier transforms.
        waveform: An example for it; None for its `example_input_array`.

    Raises:
        ImportError: If executorch is missing.
        ValueError: If the front end does not fit the network.
    """
    content = pte_bytes(network, front_end, waveform)
    write_bytes(Path(path), content)
    return len(content)


def pte_bytes(
    network: Network, front_end: nn.Module | None = None, waveform: Tensor | None = None
) -> bytes:
    """The content of the file that `export` writes; arguments and errors likewise."""
    exir, partitioner = _executorch()
    whole = None if front_end is None else joined(network, front_end, waveform)
    made = written(network if whole is None else whole.network).eval()
    module: Network | FrontEnd = made
    if whole is not None:
        module = FrontEnd(whole.front_end, made, whole.example_input_array)
    example = module.example_input_array
    inputs: tuple[Tensor, ...] = example if isinstance(example, tuple) else (example,)
    inputs = tuple(x.cpu() for x in inputs)
    with exclusive(), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's remarks on itself
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
    try:
        exir = importlib.import_module("executorch.exir")
        name = "executorch.backends.xnnpack.partition.xnnpack_partitioner"
        return exir, importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"export_executorch needs executorch ({error}): pip install 'compressor-nn[executorch]'"
        ) from error
