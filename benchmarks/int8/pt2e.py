"""The same networks through torchao: PT2E quantisation, then PyTorch's ONNX exporter.

PT2E wants a quantiser. torchao comes with `X86InductorQuantizer`, made for Inductor on x86. The one
that most of its ONNX users take, `XNNPACKQuantizer`, moved to executorch; torchao keeps a copy for
its own tests, which is used here as it puts more of a network into integers.

Kept out of the comparison: dropout, removed before the export (in training form PT2E leaves
`Dropout2d` switched on), a fixed batch, and observing after calibration.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from compressor.export.onnx import strip

DROPOUTS = (nn.Dropout, nn.Dropout2d)


def xnnpack() -> Any:
    """XNNPACK's: symmetric int8 weights, one scale a channel; int8 activations."""
    from torchao.testing.pt2e import _xnnpack_quantizer as module  # noqa: PLC0415 - for this alone

    return module.XNNPACKQuantizer().set_global(
        module.get_symmetric_quantization_config(is_per_channel=True)
    )


def x86(*, told: bool = True, qat: bool = False) -> Any:
    """Inductor's: symmetric int8 weights, one scale a channel; uint8 activations.

    One that is told nothing rounds nothing.
    """
    from torchao.quantization.pt2e.quantizer import (  # noqa: PLC0415 - for this alone
        x86_inductor_quantizer as module,
    )

    made = module.X86InductorQuantizer()
    settings = module.get_default_x86_inductor_quantization_config(is_qat=qat)
    return made.set_global(settings) if told else made


def converted(
    model: nn.Module, calibration: tuple[Tensor, ...], quantiser: Callable[[], Any]
) -> nn.Module:
    """A network that computes in integers, as torchao says: the reference of its own ONNX file.

    The trained model is in evaluation mode and stays as it is; scales come from the batches.
    """
    from torchao.quantization.pt2e import quantize_pt2e  # noqa: PLC0415 - for this alone

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # remarks on what it imports
        prepared = _prepared(model, calibration[0][:2], quantiser())
        for batch in calibration:
            prepared(batch)
        return quantize_pt2e.convert_pt2e(prepared)


@torch.no_grad()
def folding(model: nn.Module, clips: Tensor) -> float:
    """Measure how far outputs move, as a share of their extent, by folded normalisation alone.

    The trained model is in evaluation mode; there are at least two clips.
    """
    expected = model(clips)
    moved = (_prepared(model, clips[:2], x86(told=False))(clips) - expected).abs().max()
    return float(moved / (expected.max() - expected.min()))


def _prepared(model: nn.Module, example: Tensor, quantiser: Any) -> nn.Module:
    """Exported for any batch, its normalisation folded, observers in it."""
    from torchao.quantization.pt2e import quantize_pt2e  # noqa: PLC0415 - for this alone

    sizes = ({0: torch.export.Dim("batch")},)
    graph = torch.export.export(without_dropout(model), (example,), dynamic_shapes=sizes).module()
    return quantize_pt2e.prepare_pt2e(graph, quantiser)


def without_dropout(model: nn.Module) -> nn.Module:
    """A copy."""
    model = copy.deepcopy(model)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, DROPOUTS):
                setattr(parent, name, nn.Identity())
    return model


def onnx_files(model: nn.Module, example: Tensor) -> tuple[bytes, bytes]:
    """A converted network as ONNX: what the exporter writes, and the same stripped as ours is."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's remarks on itself
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            external_data=False,
            verbose=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    made = program.model_proto
    raw = made.SerializeToString()
    strip(made)
    onnx.checker.check_model(made)
    return raw, made.SerializeToString()
