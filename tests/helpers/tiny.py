"""Networks of a few hundred weights and generated data that they can learn in seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from compressor.inputs.batches import Batch

CLASSES = 4


class Tiny(nn.Module):
    """A residual block around a depthwise convolution, a strided one, a linear head."""

    def __init__(self, width: int = 8, *, norm: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1, bias=not norm)
        self.norm = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.pointwise = nn.Conv2d(width, width, 1)
        self.norm2 = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width, CLASSES)
        self.example_input_array = torch.zeros(1, 1, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = (x + self.norm2(self.pointwise(self.depthwise(x)))).relu()
        x = self.down(x).relu().mean((2, 3))
        return self.head(self.dropout(x))


class TwoInputs(nn.Module):
    """Adds what two convolutions say of two inputs."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.left = nn.Conv2d(1, width, 3, padding=1)
        self.right = nn.Conv2d(2, width, 3, padding=1)
        self.head = nn.Linear(width, CLASSES)
        self.example_input_array = (torch.zeros(1, 1, 6, 6), torch.zeros(1, 2, 6, 6))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.head((self.left(x) + self.right(y)).relu().mean((2, 3)))


class Tied(nn.Module):
    """One convolution used twice under two names."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second.weight = self.first.weight
        self.head = nn.Linear(width, CLASSES)
        self.example_input_array = torch.zeros(1, 1, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = x + self.first(x).relu()
        x = x + self.second(x).relu()
        return self.head(x.mean((2, 3)))


def scenes(count: int = 96, *, seed: int = 0, noise: float = 0.7) -> TensorDataset:
    """Noisy copies of one pattern per class: inputs (count, 1, 8, 8), labels (count,)."""
    patterns = torch.randn(CLASSES, 1, 8, 8, generator=torch.Generator().manual_seed(99))
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=random)
    clips = patterns[labels] + noise * torch.randn(count, 1, 8, 8, generator=random)
    return TensorDataset(clips, labels)


def loader(
    count: int = 96, *, batch: int = 32, seed: int = 0, generator: torch.Generator | None = None
) -> DataLoader[tuple[Tensor, ...]]:
    """A shuffling loader of `scenes`."""
    data = scenes(count, seed=seed)
    return DataLoader(data, batch_size=batch, shuffle=True, generator=generator)


def tiny(seed: int = 0, width: int = 8, **options: bool | float) -> Tiny:
    """A `Tiny` with seeded weights and running statistics that are not the initial ones."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Tiny(width, **options)  # type: ignore[arg-type]
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.5, 0.5)
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 1.5)
    return model


def equal(a: nn.Module, b: nn.Module) -> bool:
    """Whether two models' state dicts are equal bit for bit."""
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def refuses(match: str, error: type[Exception] = ValueError) -> object:
    """A block that has to raise this."""
    return pytest.raises(error, match=match)


class Counting:
    """A loader of one batch that counts how often it is read."""

    def __init__(self, data: TensorDataset) -> None:
        self.batch = tuple(data.tensors)
        self.passes = 0

    def __iter__(self) -> Iterator[Batch]:
        self.passes += 1
        yield self.batch
