"""Cost of a step of quantisation-aware training, beside a step in floating point and torchao.

    python -m benchmarks.speed.qat_step

BC-ResNet-8 as in keyword spotting, 12 classes of (batch, 1, 40, 101), batch 16, one thread: forward
pass, backward pass, one step of SGD. The ways take turns, so that they share whatever else the
machine does, and what is compared are ratios to the floating-point step of the same turn.

torchao's PT2E flow needs a quantiser: X86InductorQuantizer, the one that comes with it. The naive
way is the same network and the same quantisers, composed of ordinary differentiable operations, as
straight-through estimators are usually written.
"""

from __future__ import annotations

import importlib.metadata
import platform
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.common.command import parser, started
from benchmarks.common.contest import Call, alternate, ratios
from benchmarks.common.tables import listed, page, publish, table
from benchmarks.int8 import pt2e
from compressor.network import to_network
from compressor.quantization import fake, layers
from compressor.quantization.layers import ActivationQuantiser
from compressor.quantization.preparation import calibrate, prepare
from models import BCResNet

BATCH = 16
EXAMPLES = torch.randn(BATCH, 1, 40, 101, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(BATCH) % 12
"""A batch; what is in it does not matter to time."""
FLOAT = "floating point"


class Naive(nn.Module):
    """LSQ of activations as it is usually written (Esser et al. 2020, algorithm 1)."""

    def __init__(self, ours: ActivationQuantiser) -> None:
        super().__init__()
        self.scale = nn.Parameter(ours.scale.detach())
        self.steps = ours.grid.steps

    def forward(self, x: Tensor) -> Tensor:
        """Round, limit, and let the gradient pass what was not limited."""
        factor = 1 / (x.numel() * self.steps[1]) ** 0.5
        scale = (self.scale - self.scale * factor).detach() + self.scale * factor
        limited = (x / scale).clamp(*self.steps)
        return ((limited.round() - limited).detach() + limited) * scale


class NaiveWeights(nn.Module):
    """A quantiser of weights of ordinary operations, channel by channel."""

    def forward(self, weight: Tensor) -> Tensor:
        """(outputs, ...), the shape is kept."""
        scale = fake.weight_scale(weight).view(-1, *[1] * (weight.dim() - 1))
        steps = weight / scale
        return ((steps.round() - steps).detach() + steps) * scale


def model() -> nn.Module:
    """BC-ResNet-8 with 321,068 parameters."""
    torch.manual_seed(0)
    return BCResNet(8, 12, 5, mels=40, frames=101)


def ours(*, learned: bool) -> nn.Module:
    """This library's."""
    prepared = prepare(to_network(model().train()), learned=learned)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # untrained, as it says
        calibrate(prepared, [(EXAMPLES,)])
    return prepared


def composed() -> nn.Module:
    """The naive way."""
    whole = ours(learned=True)
    for branch in list(whole.modules()):
        for name, child in list(branch.named_children()):
            if isinstance(child, ActivationQuantiser):
                setattr(branch, name, Naive(child))
            elif isinstance(child, layers.WeightQuantiser):
                setattr(branch, name, NaiveWeights())
    return whole


def torchao() -> nn.Module:
    """torchao's, observers on as in training."""
    from torchao.quantization.pt2e import quantize_pt2e  # noqa: PLC0415 - for this alone

    exported = torch.export.export(model().train(), (EXAMPLES,)).module()
    return quantize_pt2e.prepare_qat_pt2e(exported, pt2e.x86(qat=True))


WAYS: dict[str, Callable[[], nn.Module]] = {
    FLOAT: lambda: model().train(),
    "ours": lambda: ours(learned=False),
    "ours, scales learned": lambda: ours(learned=True),
    "torchao": torchao,
    "naive, scales learned": composed,
}


def step(whole: nn.Module) -> Call:
    """Forward pass, backward pass, SGD."""
    optimizer = torch.optim.SGD(whole.parameters(), lr=1e-4)

    def once() -> None:
        loss = nn.functional.cross_entropy(whole(EXAMPLES), TARGETS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return once


def row(name: str, taken: list[float], reference: list[float]) -> list[str]:
    """Seconds of a way, and how many floating-point steps they are."""
    low, middle, high = np.quantile(ratios(taken, reference), (0.25, 0.5, 0.75))
    return [name, f"{np.median(taken):.3f}", f"{middle:.2f}", f"{low:.2f} - {high:.2f}"]


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--turns", type=int, default=20)
    turns = started(options).turns
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchao's remarks on what it imports
        steps = {name: step(build()) for name, build in WAYS.items()}
        times = alternate(steps, n=turns, least=0.0, device=torch.device("cpu"))
    first, _, about = str(__doc__).partition("\n\n    python -m benchmarks.speed.qat_step\n\n")
    packages = listed(f"{p} {importlib.metadata.version(p)}" for p in ("torch", "torchao"))
    text = page(
        "# A QAT step",
        first,
        about.strip(),
        f"{platform.machine()}, one thread, {turns} turns; {packages}.",
        table(
            ("way", "seconds a step, median", "times a floating-point step: median", "quartiles"),
            (row(name, taken, times[FLOAT]) for name, taken in times.items()),
        ),
    )
    publish(text, Path(__file__).with_suffix(".md"))


if __name__ == "__main__":
    main()
