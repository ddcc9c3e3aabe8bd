"""What a step of quantisation-aware training costs, beside a step in floating point and torchao.

    python -m benchmarks.qat_step           # the table, into benchmarks/qat_step.md

BC-ResNet-8 as in keyword spotting, 12 classes of (batch, 1, 40, 101), batch 16, one thread: forward
pass, backward pass, one step of SGD. The ways take turns, so that they share whatever else the
machine does, and what is compared are ratios to the floating-point step of the same turn.

torchao's PT2E flow needs a quantiser: X86InductorQuantizer, the one that comes with it. The naive
way is the same network and the same quantisers, composed of ordinary differentiable operations, as
straight-through estimators are usually written.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import warnings
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np
import torch
from torch import Tensor, nn

from compressor.network import to_network
from compressor.network.grid import Grid
from compressor.quantization import fake, layers
from compressor.quantization.layers import ActivationQuantiser
from compressor.quantization.preparation import calibrate, prepare
from compressor.storage import write_bytes
from models import BCResNet

TABLE = Path(__file__).with_suffix(".md")
BATCH = 16
FLOAT = "floating point"


class Naive(nn.Module):
    """An activation quantiser of ordinary operations."""

    def __init__(self, ours: ActivationQuantiser) -> None:
        super().__init__()
        self.scale = nn.Parameter(ours.scale.detach())
        self.grid = ours.grid

    def forward(self, x: Tensor) -> Tensor:
        """Round, limit, and let the gradient pass what was not limited."""
        return naive(x, self.scale, self.grid)


def naive(x: Tensor, scale: Tensor, grid: Grid) -> Tensor:
    """LSQ as it is usually written (Esser et al. 2020, algorithm 1)."""
    factor = 1 / (x.numel() * grid.steps[1]) ** 0.5
    scale = (scale - scale * factor).detach() + scale * factor
    limited = (x / scale).clamp(*grid.steps)
    return ((limited.round() - limited).detach() + limited) * scale


def naive_weight(weight: Tensor) -> Tensor:
    """A weight, channel by channel."""
    scale = fake.weight_scale(weight).view(-1, *[1] * (weight.dim() - 1))
    steps = weight / scale
    return ((steps.round() - steps).detach() + steps) * scale


class NaiveWeights(nn.Module):
    """A quantiser of weights of ordinary operations."""

    def forward(self, weight: Tensor) -> Tensor:
        """(outputs, ...), the shape is kept."""
        return naive_weight(weight)


def examples() -> tuple[Tensor, Tensor]:
    """A batch; what is in it does not matter to time."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH, 1, 40, 101, generator=generator)
    return x, torch.randint(0, 12, (BATCH,), generator=generator)


def model() -> nn.Module:
    """BC-ResNet-8 with 321,068 parameters."""
    torch.manual_seed(0)
    return BCResNet(8, 12, 5, mels=40, frames=101)


def ours(*, learned: bool) -> nn.Module:
    """This library's."""
    prepared = prepare(to_network(model().train()), learned=learned)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # untrained, as it says
        calibrate(prepared, [(examples()[0],)])
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
    from torchao.quantization.pt2e.quantizer import (  # noqa: PLC0415
        x86_inductor_quantizer as x86,
    )

    exported = torch.export.export(model().train(), (examples()[0],)).module()
    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config(is_qat=True))
    return quantize_pt2e.prepare_qat_pt2e(exported, quantizer)


WAYS: dict[str, Callable[[], nn.Module]] = {
    FLOAT: lambda: model().train(),
    "ours": lambda: ours(learned=False),
    "ours, scales learned": lambda: ours(learned=True),
    "torchao": torchao,
    "naive, scales learned": composed,
}


def seconds(whole: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    """Processor time of one step."""
    x, target = examples()
    start = process_time()
    loss = nn.functional.cross_entropy(whole(x), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return process_time() - start


def measure(turns: int) -> dict[str, list[float]]:
    """Seconds of every way, turn by turn, after a turn that does not count."""
    built = {name: build() for name, build in WAYS.items()}
    steps = {n: torch.optim.SGD(m.parameters(), lr=1e-4) for n, m in built.items()}
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for turn in range(turns + 1):
        for name, whole in built.items():
            taken = seconds(whole, steps[name])
            if turn:
                times[name].append(taken)
    return times


def table(times: dict[str, list[float]]) -> str:
    """One row a way."""
    rows = [
        "| way | seconds a step, median | times a floating-point step: median | quartiles |",
        "|---|---|---|---|",
    ]
    for name, taken in times.items():
        ratios = np.array(taken) / np.array(times[FLOAT])
        low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        rows.append(f"| {name} | {np.median(taken):.3f} | {middle:.2f} | {low:.2f} - {high:.2f} |")
    return "\n".join(rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchao's remarks on what it imports
        content = table(measure(arguments.turns))
    print(content)
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in ("torch", "torchao"))
    head = (
        f"{str(__doc__).partition('    python')[0].strip()}\n\n{str(__doc__).split(chr(10), 4)[4]}"
    )
    where = f"{platform.machine()}, one thread, {arguments.turns} turns; {versions}."
    write_bytes(TABLE, f"# A QAT step\n\n{head.strip()}\n\n{where}\n\n{content}\n".encode())


if __name__ == "__main__":
    main()
