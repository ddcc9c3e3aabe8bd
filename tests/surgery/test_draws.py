"""Networks that sample in eval mode are compared with draws alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from torch import Tensor, nn

from compressor import Budget, Structure, fit, shrink, trace
from compressor.errors import VerificationError
from compressor.surgery.draws import steady
from compressor.surgery.proof import verify

X = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Sampling(nn.Module):
    """A variational autoencoder: what is between its halves is drawn."""

    def __init__(self, draw: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.draw = draw
        self.body = nn.Sequential(
            nn.Conv2d(1, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(),
            nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(),
        )  # fmt: skip
        self.mean, self.spread = nn.Linear(32, 6), nn.Linear(32, 6)
        self.decode = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        return self.decode(self.draw(self.mean(x), torch.exp(0.5 * self.spread(x))))


DRAWS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "randn_like": lambda m, s: m + s * torch.randn_like(s),
    "randn": lambda m, s: m + s * torch.randn(s.shape),
    "rand_like": lambda m, s: m + s * torch.rand_like(s),
    "normal": torch.normal,
    "in place": lambda m, s: m + s * torch.empty_like(s).normal_(1, 2),
    "uniform": lambda m, s: m + s * torch.empty_like(s).uniform_(-1, 1),
    "randint": lambda m, s: m + s * torch.randint(1, 5, m.shape),
    "dropout": lambda m, s: F.dropout(m * s, 0.5),
    "dropout 0.3": lambda m, s: F.dropout(m * s, 0.3),
    "dropout2d": lambda m, s: F.dropout2d((m * s)[:, :, None, None], 0.5)[:, :, 0, 0],
    "alpha_dropout": lambda m, s: F.alpha_dropout(m * s, 0.5, training=True),
    "bernoulli": lambda m, s: m * torch.bernoulli(s.sigmoid()),
    "gumbel": lambda m, s: m * F.gumbel_softmax(s, dim=1),
    "multinomial": lambda m, s: m + torch.multinomial(s.softmax(1), 3).sum(1, keepdim=True),
    "poisson": lambda m, s: m + torch.poisson(s),
    "rrelu": lambda m, s: F.rrelu(m * s, training=True),
    "permutation": lambda m, s: m * s + m[:, torch.randperm(6)].mean(1, keepdim=True),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_network_that_draws_is_compressed_and_no_state_moves(name: str) -> None:
    torch.manual_seed(1)
    model = Sampling(DRAWS[name]).eval()
    state, params = torch.get_rng_state(), sum(p.numel() for p in model.parameters())
    report = fit(model, example=X, budget=Budget(params=params // 2)).report
    assert torch.equal(state, torch.get_rng_state())
    assert report.after.params <= params // 2
    assert max(shrink.difference for shrink in report.shrinks) < 1e-9


def test_a_mistake_is_seen_through_the_noise() -> None:
    torch.manual_seed(1)
    model = Sampling(DRAWS["randn_like"]).eval()
    graph = trace(model, X)
    keep = torch.ones(graph.units, dtype=torch.bool)
    keep[graph.axes[0].first] = False
    structure = Structure(graph, keep.numpy())
    small = shrink(model, graph, structure)
    assert verify(model, graph, structure, small, X) < 1e-9
    with torch.no_grad():
        small.spread.weight[[0, 1]] = small.spread.weight[[1, 0]]
    with pytest.raises(VerificationError, match="differ by"):
        verify(model, graph, structure, small, X)


def test_draws_are_the_same_in_every_place_and_run_and_not_in_every_operation() -> None:
    graph = trace(Sampling(DRAWS["randn_like"]).eval(), X)
    runs = []
    for size in (3, 7):
        with steady(graph):
            runs.append([torch.randn(2, size), torch.randn(size), torch.rand(size)])
    for first, second in zip(*runs, strict=True):
        assert len({*first.flatten().tolist(), *second.flatten().tolist()}) == 1
    assert runs[0][0][0, 0] != runs[0][1][0]
