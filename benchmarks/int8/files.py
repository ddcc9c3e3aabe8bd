"""ONNX files of a network, in integers by us and by torchao, and how close what they say is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime
import torch
from torch import Tensor, nn

from benchmarks.int8 import pt2e
from compressor.export.onnx import onnx_bytes
from compressor.network import Network
from compressor.network.integer import Requantise
from compressor.quantization.conversion import convert
from compressor.quantization.preparation import calibrate, prepare
from compressor.quantization.presets import ORT, Preset

NUDGE = 1e-7
"""Standard deviation of a relative change."""


@dataclass(frozen=True)
class File:
    """An ONNX file (its `content` without anything that does not run) and what it should compute.

    Attributes:
        exported: Bytes as PyTorch's exporter writes it; None where it was not written so.
        reference: Computes the same in PyTorch.
        step: What one step of the grid of its outputs is worth; None where it has none.
    """

    content: bytes
    exported: int | None
    reference: nn.Module
    step: float | None = None


@dataclass(frozen=True)
class Parity:
    """Closeness of a file's outputs to its reference's, on so many clips.

    Attributes:
        largest: Largest difference of an output.
        step: Step of the file; None where it has no grid, as then `close` and `nudged`.
        extent: Distance from the smallest to the largest output of the reference.
        same: Clips whose largest output is the same.
        close: Clips whose two largest outputs are at most a step apart in the reference.
        nudged: Largest change of its outputs by inputs nudged by less than they are precise to.
    """

    clips: int
    largest: float
    step: float | None
    extent: float
    same: int
    close: int | None
    nudged: float | None

    @property
    def steps(self) -> float:
        """The largest difference in steps; not a number where there are none."""
        return math.nan if self.step is None else self.largest / self.step

    @property
    def share(self) -> float:
        """Share of the clips whose largest output is the same."""
        return self.same / self.clips


def ours(
    whole: Network, calibration: Iterable[Tensor], *, fold_bands: bool, preset: Preset = ORT
) -> File:
    """Calibrated and converted by us."""
    prepared = prepare(whole, preset, fold_bands=fold_bands)
    calibrate(prepared, ((batch,) for batch in calibration))
    made = convert(prepared)
    last = [module for module in made.modules() if isinstance(module, Requantise)][-1]
    return File(onnx_bytes(made), None, made, float(last.scale))


def signed(content: bytes) -> bytes:
    """Our file with its weights as int8 in the place of uint8."""
    model = onnx.load_from_string(content)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    steps = {node.output[0]: node for node in model.graph.node}
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    for name in (steps[node.input[1]].input[n] for node in layers for n in (0, 2)):
        numbers = onnx.numpy_helper.to_array(stored[name])
        if numbers.dtype == np.uint8:
            moved = (numbers.astype(np.int16) - 128).astype(np.int8)
            stored[name].CopyFrom(onnx.numpy_helper.from_array(moved, name))
    return model.SerializeToString()


def theirs(
    model: nn.Module, calibration: tuple[Tensor, ...], quantiser: Callable[[], Any]
) -> File | str:
    """Calibrated and converted by torchao; what stopped it, if it fails."""
    try:
        made = pt2e.converted(model, calibration, quantiser)
        exported, content = pt2e.onnx_files(made, calibration[0][:2])
    except Exception as error:  # noqa: BLE001 - whatever it is, the table says it
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return File(content, len(exported), made)


def session(content: bytes) -> Callable[[Tensor], Tensor]:
    """ONNX Runtime at default settings, but for one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    made = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (name,) = (value.name for value in made.get_inputs())
    return lambda x: torch.from_numpy(made.run(None, {name: x.numpy()})[0])


def parity(file: File, outputs: Tensor, clips: Tensor, most: int | None) -> Parity:
    """Hold what a file said of clips against its reference, and the reference against itself.

    The reference is asked about at most so many of the clips; about all if that is None.
    """
    clips, found = clips[:most], outputs[:most]
    expected = said(file.reference, clips)
    close, nudged = None, None
    if file.step is not None:
        first, second = expected.topk(2, dim=1).values.unbind(1)
        close = int((first - second < 1.5 * file.step).sum())  # whole steps, but for rounding
        noise = torch.randn(clips.shape, generator=torch.Generator().manual_seed(0))
        moved = said(file.reference, clips * (1 + NUDGE * noise))
        nudged = float((moved - expected).abs().max())
    return Parity(
        clips=len(expected),
        largest=float((found - expected).abs().max()),
        step=file.step,
        extent=float(expected.max() - expected.min()),
        same=int((found.argmax(1) == expected.argmax(1)).sum()),
        close=close,
        nudged=nudged,
    )


@torch.no_grad()
def said(by: Callable[[Tensor], Tensor], clips: Tensor, batch: int = 50) -> Tensor:
    """Compute outputs of a file's session, or a module in its mode, for clips (clips, classes)."""
    return torch.cat([by(part) for part in clips.split(batch)])
