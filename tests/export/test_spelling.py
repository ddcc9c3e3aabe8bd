"""What PyTorch's exporter stumbles over is spelled in another way, and computes the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.export.onnx import onnx_bytes
from compressor.export.spelling import spelled
from compressor.network import to_network


class Called(nn.Module):
    """A linear layer and a function of its result."""

    def __init__(self, function: Callable[[Tensor], Tensor], *shape: int) -> None:
        super().__init__()
        self.layer, self.function = nn.Linear(8, 8), function
        self.example_input_array = torch.zeros(1, *shape, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.layer(x))


def attention(*, causal: bool = False, mask: str = "", scale: float | None = None) -> Callable[
    [Tensor], Tensor
]:  # fmt: skip
    def called(x: Tensor) -> Tensor:
        shown = torch.linspace(-1, 1, 36).reshape(6, 6).sin() if mask else None
        shown = shown > -0.5 if mask == "truth" and shown is not None else shown
        return functional.scaled_dot_product_attention(
            x, x * 2, x + 1, attn_mask=shown, is_causal=causal, scale=scale
        )

    return called


CASES: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...]]] = {
    "limits": (lambda x: torch.clamp(x, 1e-3, 1), ()),
    "no heads": (attention(), (6,)),
    "no heads, causal": (attention(causal=True), (6,)),
    "no heads, truths": (attention(mask="truth"), (6,)),
    "no heads, scores": (attention(mask="scores", scale=0.3), (6,)),
    "windows": (attention(), (2, 3, 6)),
    "windows, causal": (attention(causal=True, scale=0.5), (2, 3, 6)),
    "windows, truths": (attention(mask="truth"), (2, 3, 6)),
    "windows, scores": (attention(mask="scores"), (2, 3, 6)),
}


@pytest.mark.parametrize("case", CASES)
def test_it_computes_the_same(case: str) -> None:
    torch.manual_seed(0)
    function, shape = CASES[case]
    network = to_network(Called(function, *shape)).eval()
    changed = spelled(network)
    assert changed is not network
    x = torch.randn(3, *shape, 8)
    with torch.no_grad():
        torch.testing.assert_close(changed(x), network(x))


@pytest.mark.parametrize("function", [attention(), lambda x: torch.clamp(x, 0.0, 1.0)])
def test_what_the_exporter_knows_is_left(function: Callable[[Tensor], Tensor]) -> None:
    network = to_network(Called(function, 2, 6))
    assert spelled(network) is network


@pytest.mark.slow
@pytest.mark.parametrize("case", ["limits", "no heads, truths", "windows, causal"])
def test_it_runs_in_another_runtime(case: str) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    function, shape = CASES[case]
    network = to_network(Called(function, *shape)).eval()
    session = runtime.InferenceSession(onnx_bytes(network), providers=["CPUExecutionProvider"])
    x = torch.randn(3, *shape, 8)
    found = torch.from_numpy(session.run(None, {"x": x.numpy()})[0])
    with torch.no_grad():
        torch.testing.assert_close(found, network(x), rtol=1e-4, atol=1e-5)
