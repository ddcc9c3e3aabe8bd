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

from benchmarks import int8_rival as rival
from compressor.export.onnx import onnx_bytes
from compressor.network import Network
from compressor.network.integer import IntConv, Requantise
from compressor.quantization.conversion import convert
from compressor.quantization.preparation import calibrate, prepare
from compressor.quantization.presets import ORT, Preset

NUDGE = 1e-7
"""Standard deviation of a relative change."""


@dataclass(frozen=True)
class File:
    """An ONNX file and what it should compute.

    Attributes:
        content: Without anything that does not run.
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
    """How close a file's outputs are to its reference's.

    Attributes:
        clips: On how many clips.
        largest: Largest difference of an output.
        step: Of the file.
        extent: From the smallest to the largest output of the reference.
        same: Clips whose largest output is the same.
        close: Clips whose two largest outputs are at most a step apart in the reference; None
            where there is no step.
        nudged: Largest change of the reference's outputs when inputs are nudged by less than they
            are precise to; None where there is no step.
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
        """Of the clips, those whose largest output is the same."""
        return self.same / self.clips


def in_floating_point(whole: Network) -> File:
    """The network as it was trained."""
    return File(onnx_bytes(whole), None, whole)


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
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            for name in (steps[node.input[1]].input[n] for n in (0, 2)):
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
        made = rival.converted(model, calibration, quantiser)
        exported, content = rival.onnx_files(made, calibration[0][:2])
    except Exception as error:  # noqa: BLE001 - whatever it is, the table says it
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return File(content, len(exported), made)


def has_bands(made: nn.Module) -> bool:
    """Whether a convolution has scales of its own in sub-bands."""
    return any(isinstance(m, IntConv) and m.scale.dim() == 2 for m in made.modules())


def session(content: bytes) -> Callable[[Tensor], Tensor]:
    """ONNX Runtime at default settings, but for one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    made = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (name,) = (value.name for value in made.get_inputs())
    return lambda x: torch.from_numpy(made.run(None, {name: x.numpy()})[0])


def said(content: bytes, clips: Tensor, batch: int = 50) -> Tensor:
    """What a file says of clips (clips, classes)."""
    run = session(content)
    return torch.cat([run(part) for part in clips.split(batch)])


def parity(file: File, outputs: Tensor, clips: Tensor, most: int) -> Parity:
    """Hold what a file said against its reference, and the reference against itself.

    Args:
        file: Which.
        outputs: What it said of the clips.
        clips: The clips.
        most: How many of them the reference is asked about.
    """
    clips, found = clips[:most], outputs[:most]
    expected = said_by(file.reference, clips)
    moved = said_by(file.reference, _nudge(clips)) if file.step else None
    return Parity(
        clips=len(expected),
        largest=float((found - expected).abs().max()),
        step=file.step,
        extent=float(expected.max() - expected.min()),
        same=int((found.argmax(1) == expected.argmax(1)).sum()),
        close=_close(expected, file.step),
        nudged=None if moved is None else float((moved - expected).abs().max()),
    )


def _nudge(clips: Tensor) -> Tensor:
    """The same but for the last bit or two of single precision."""
    generator = torch.Generator().manual_seed(0)
    return clips * (1 + NUDGE * torch.randn(clips.shape, generator=generator))


def _close(outputs: Tensor, step: float | None) -> int | None:
    if step is None:
        return None
    first, second = outputs.topk(2, dim=1).values.unbind(1)
    return int((first - second < 1.5 * step).sum())  # whole steps apart, but for rounding


@torch.no_grad()
def said_by(model: nn.Module, clips: Tensor, batch: int = 50) -> Tensor:
    """What a module says of clips, in the mode it is in: torchao's know no other."""
    return torch.cat([model(part) for part in clips.split(batch)])
