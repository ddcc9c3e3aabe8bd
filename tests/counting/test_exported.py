"""MACs by the shapes of exported operations, beside PyTorch's counter on a run."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from compressor.counting import measuring
from compressor.counting.exported import multiply_accumulates
from compressor.graph.program import export


class Convolutions(nn.Module):
    """Plain, grouped, dilated and transposed ones, and a linear layer on rows."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 8, 3, groups=8, dilation=2, padding=2),
            nn.ConvTranspose2d(8, 12, 2, 2, groups=2),
            nn.AvgPool2d(2),
        )
        self.rows = nn.Linear(9, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.rows(self.layers(x).flatten(2).transpose(1, 2)[:, :, :9]).mean(1)


class Attending(nn.Module):
    """Attention with values wider than keys, and products of activations."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(6, 12)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.q(x)[:, None], self.k(x[:, 1:])[:, None], self.v(x[:, 1:])[:, None]
        mixed = scaled_dot_product_attention(q, k, v)
        return torch.bmm(mixed[:, 0], mixed[:, 0].mT) @ x


@pytest.mark.parametrize(
    ("model", "shape"), [(Convolutions(), (1, 3, 13, 11)), (Attending(), (1, 7, 6))]
)
def test_shapes_say_what_a_run_counts(model: nn.Module, shape: tuple[int, ...]) -> None:
    example = torch.randn(shape)
    counted = multiply_accumulates(export(model.eval(), (example,)))
    assert counted == measuring.multiply_accumulates(model, example)


def test_where_shapes_do_not_say_it_there_is_no_answer() -> None:
    model = nn.GRU(4, 3, batch_first=True).eval()
    assert multiply_accumulates(export(model, (torch.randn(1, 5, 4),))) is None
