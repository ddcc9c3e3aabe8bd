"""Networks as filters, for the tests of single filters."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from compressor import trace
from compressor.graph.structure import Structure
from compressor.inputs.copies import private_copy
from compressor.phases.filters.reach import Reach
from compressor.phases.filters.slimming import slim
from compressor.phases.filters.uncoupled import Split, split
from compressor.tracing.trial import randomised
from models import BCResNet, BCResNetASC, ResidualCNN, SharedResNet
from tests.helpers.tiny import Tied, Tiny, TwoInputs
from tests.zoo import TRICKY


class Chain(nn.Module):
    """Three convolutions in a row and a linear layer, without biases and norms."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(1, 6, 3, padding=1, bias=False)
        self.b = nn.Conv2d(6, 5, 3, padding=1, bias=False)
        self.c = nn.Conv2d(5, 7, 1, bias=False)
        self.head = nn.Linear(7, 3, bias=False)
        self.example_input_array = torch.zeros(1, 1, 6, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c(self.b(self.a(x).relu()).relu()).relu()
        return self.head(x.mean((2, 3)))


TRAPS = (
    "residual_padded_shortcut",
    "depthwise_multiplier_2",
    "grouped_unequal",
    "concat_self",
    "squeeze_excite",
    "shared_conv",
    "shared_norm",
    "tied_depthwise",
    "conv_transpose",
    "flatten_linear",
    "chunk_gate",
    "channels_last",
    "gru",
    "group_norm",
    "instance_norm_affine",
    "residual_norm",
    "softmax_channels",
    "unused_conv",
)

NETS: dict[str, Callable[[], nn.Module]] = {
    "tiny": Tiny,
    "tiny without norms": lambda: Tiny(norm=False),
    "tied": Tied,
    "two inputs": TwoInputs,
    "residual": lambda: ResidualCNN(4, (6, 8), (2, 1), mels=16, frames=12),
    "bc-resnet": lambda: BCResNet(1, mels=64, frames=8),
    "bc-resnet-asc": lambda: BCResNetASC(20, mels=32, frames=8),
    "shared": lambda: SharedResNet(6, 3, mels=32, frames=16),
    **{name: TRICKY[name] for name in TRAPS},
}


@cache
def network(name: str) -> tuple[nn.Module, Split, Reach]:
    """A network with random weights and statistics, as filters, with its reachability."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = randomised(NETS[name]().eval())
    parts = split(model, trace(model, check=name in TRAPS))
    return model, parts, Reach(parts)


def inputs_of(model: nn.Module) -> tuple[Tensor, ...]:
    """The model's example as positional arguments."""
    example = model.example_input_array
    return example if isinstance(example, tuple) else (example,)


def slimmed(model: nn.Module, parts: Split, structure: Structure) -> nn.Module:
    """A smaller copy of a model."""
    small = private_copy(model)
    slim(small, parts, structure)
    return small


def empty(reach: Reach, structure: Structure) -> list[str]:
    """Names of the layers that have no filter left, or no input."""
    return [
        bank.name
        for bank, numbers in zip(reach.split.banks, reach.split.numbers, strict=True)
        for units in (numbers.filters, numbers.inputs)
        if len(units[units >= 0]) and not structure.keep[units[units >= 0]].any()
    ]
