"""A network as an ONNX file: any batch size, nothing but what runs in it, checked, in one piece.

Needs the `onnx` extra: onnx and onnxscript to write, onnxruntime to look at what would run.
"""

from __future__ import annotations

import importlib
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.export import Dim

from compressor.export.front_end import Whole, parts
from compressor.export.one_rounding import unfixed
from compressor.export.placeholders import Exported
from compressor.export.spelling import spelled
from compressor.export.transforms import as_products, warn_of_transforms
from compressor.inputs.process import quiet
from compressor.inputs.tensors import device_of
from compressor.network import Network, packet
from compressor.storage import write_bytes
from compressor.wording import line


def write(
    network: Network,
    path: str | os.PathLike[str],
    front_end: nn.Module | None = None,
    waveform: Tensor | None = None,
) -> int:
    """Write a network as ONNX, in evaluation mode; returns the file's length in bytes.

    Integer layers are written so that runtimes recognise them (QuantizeLinear, DequantizeLinear).
    Inputs keep their names; outputs are named "output", or "output_0" and so on where there are
    several. Their first dimension, the batch, is open, and so is whatever else is in the network
    (`Network.open`); an input without a batch has the sizes of the example.

    With a front end the input is named "waveform". What the front end computes, here or in the
    network itself, stays in floating point. Fourier transforms of real numbers whose length is no
    power of two become products with a table of their length times that, as ONNX Runtime computes
    them with large errors; others become ONNX's STFT and DFT, which few other runtimes have.

    Args:
        network: From `compressor.network.to_network`, or the integer reference.
        path: Replaced in one step if it exists.
        front_end: From waveforms to the network's input, as `compressor.export.front_end.joined`
            takes it; None for none.
        waveform: An example for it; None for its `example_input_array`.

    Raises:
        ImportError: If onnx or onnxscript is missing.
        ValueError: If the front end does not fit the network or any batch size, PyTorch's exporter
            cannot write an operation, or ONNX's checker refuses what was made.
    """
    content = onnx_bytes(network, front_end, waveform)
    write_bytes(Path(path), content)
    return len(content)


SIGNED = 3
"""ONNX's number for int8, `TensorProto.INT8`."""


def onnx_bytes(
    network: Network, front_end: nn.Module | None = None, waveform: Tensor | None = None
) -> bytes:
    """The content of the file that `write` writes; arguments and errors likewise."""
    onnx = _onnx()
    _refuse_projections(network)
    inner, placed = parts(network, front_end, waveform)
    made = Exported(spelled(unfixed(inner)))
    module = placed(made.network)
    model = _translated(module)
    as_products(onnx, model)
    made.write(onnx, model)
    strip(model)
    _check_open(model, module.open)
    warn_of_transforms(model)
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise ValueError(f"export: ONNX refuses the file that was made: {error}") from error
    return cast("bytes", model.SerializeToString())


def kernels(content: bytes) -> Counter[str]:
    """Kernels by type that ONNX Runtime would run, on a CPU at its default settings.

    Integer convolutions, sums and so on are named QLinearConv, QLinearAdd; Conv is one that runs in
    floating point. `content` is that of an ONNX file. ImportError if onnxruntime is missing.
    """
    onnx = _onnx()
    runtime = _runtime()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimised.onnx"
        options = runtime.SessionOptions()
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 3  # that such a file fits this machine alone is no news
        runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        graph = onnx.load(path).graph
    return Counter(node.op_type for node in graph.node)


def strip(model: Any) -> None:
    """Remove what does not run from a `ModelProto` with one graph, in place.

    That is traces, descriptions, long names and duplicates.
    """
    graph = model.graph
    del model.functions[:], graph.value_info[:]
    _share(graph)
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    for node in graph.node:
        node.name = ""
    _shorten(graph)


def _refuse_projections(network: Network) -> None:
    """Refuse an LSTM with projections: PyTorch's exporter would take its weights for others."""
    for step in network.steps:
        if packet(step) is not torch.ops.aten.lstm:
            continue
        runs = int(step.argument("num_layers")) * (1 + bool(step.argument("bidirectional")))
        if len(step.argument("params")) != runs * (4 if step.argument("has_biases") else 2):
            raise ValueError(
                f"export: the LSTM {step.module!r} has projections (proj_size), for which ONNX has "
                "no operator: build it without proj_size, with a linear layer behind it, or store "
                "the network for PyTorch with Result.write"
            )


def _translated(module: Whole) -> Any:
    opened, device = module.open, device_of(module)
    pairs = list(zip(module.example, opened, strict=True))
    # A one would be taken for a constant.
    inputs = tuple((torch.cat([x, x]) if 0 in dims else x).to(device) for x, dims in pairs)
    sizes = tuple({d: Dim("batch") if d == 0 else Dim.DYNAMIC for d in dims} for dims in opened)
    shapes: Any = (sizes,) if isinstance(module, Network) else sizes  # one *inputs
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                module,
                inputs,
                dynamo=True,
                external_data=False,
                verbose=False,
                dynamic_shapes=shapes,
                input_names=list(module.inputs),
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ValueError(
            f"export: PyTorch's exporter cannot write this network as ONNX, for inputs "
            f"{[tuple(x.shape) for x in inputs]} with the dimensions {opened} open: {_why(error)}. "
            "Write that operation with others. Result.write stores a network of PyTorch's own "
            "operations as it is, Result.save the smaller model of any"
        ) from error
    if program is None:
        raise ValueError("export: PyTorch's exporter gave nothing back")
    return program.model_proto


def _why(error: BaseException) -> str:
    """The first cause of an error, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {line(error) or 'no reason given'}"


def _check_open(model: Any, opened: Sequence[Sequence[int]]) -> None:
    """Refuse sizes that were not left open, which the exporter does not insist on."""
    for value, dims in zip(model.graph.input, opened, strict=True):
        for d in dims:
            size = value.type.tensor_type.shape.dim[d]
            if not size.dim_param:
                what = "of a batch" if d == 0 else f"of dimension {d}"
                raise ValueError(
                    f"export: PyTorch's exporter made {size.dim_value} of the open size {what}, as "
                    "something computes with it as a number (len(x), int(x.shape[0])) on the way "
                    f"from {value.name!r}: take x.shape[{d}] as it is, or -1"
                )


def _share(graph: Any) -> None:
    """Keep one of several equal initialisers, but for signed weights and their zero points.

    `compressor.export.qdq` says why those are left apart.
    """
    first, names, kept = dict[bytes, str](), dict[str, str](), list[Any]()
    for tensor in graph.initializer:
        name, tensor.name = tensor.name, ""
        content = tensor.SerializeToString()
        tensor.name = name
        apart = tensor.data_type == SIGNED and tensor.dims
        names[name] = name if apart else first.setdefault(content, name)
        if names[name] == name:
            kept.append(tensor)
    del graph.initializer[:]
    graph.initializer.extend(kept)
    _rename(graph, names)


def _shorten(graph: Any) -> None:
    """Number all tensors but the inputs; outputs get plain names."""
    outputs = [value.name for value in graph.output]
    plain = ["output"] if len(outputs) == 1 else [f"output_{n}" for n in range(len(outputs))]
    names = {value.name: value.name for value in graph.input}
    names.update(zip(outputs, plain, strict=True))
    made = (name for node in graph.node for name in node.output)
    for name in (*(tensor.name for tensor in graph.initializer), *made):
        names.setdefault(name, f"t{len(names)}" if name else "")
    _rename(graph, names)
    for part in (*graph.initializer, *graph.output):
        part.name = names[part.name]


def _rename(graph: Any, names: dict[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def _onnx() -> Any:
    try:
        importlib.import_module("onnxscript")  # what PyTorch's exporter needs
        return importlib.import_module("onnx")
    except ImportError as error:
        raise ImportError(
            f"export needs onnx and onnxscript ({error}): pip install 'compressor-nn[onnx]'"
        ) from error


def _runtime() -> Any:
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ImportError(
            f"looking at kernels needs onnxruntime ({error}): pip install 'compressor-nn[onnx]'"
        ) from error
