"""Rows that make the queries of attention without a scale, and queries that no rows follow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from compressor import trace
from compressor.graph.structure import Structure
from compressor.surgery.cutting import shrink
from compressor.surgery.proof import verify
from tests.zoo.attention import Sequence
from tests.zoo.scaled import PARTS, PLACES, SCALED, Apart, Packed

attend = functional.scaled_dot_product_attention


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", SCALED)
def test_the_rows_are_those_that_the_queries_consist_of(name: str) -> None:
    """Whatever else there is of a tensor (keys, values) is in no query: its gradient is nought."""
    model = SCALED[name]().eval()
    seen: list[Tensor] = []

    def noted(q: Tensor, k: Tensor, v: Tensor, **_: object) -> Tensor:
        seen.append(q)
        return attend(q, k, v)

    graph = trace(model)
    functional.scaled_dot_product_attention = noted
    try:
        model(torch.randn(2, 6, 10))
    finally:
        functional.scaled_dot_product_attention = attend
    seen[0].sum().backward()
    assert [one.weight for one in graph.scaled] == list(PARTS[name])
    for one in graph.scaled:
        assert one.width.size == PLACES
        gradient = model.get_parameter(one.weight).grad
        assert gradient is not None
        others = [dim for dim in range(gradient.ndim) if dim != one.dim]
        heard = (gradient != 0).any(dim=others) if others else gradient != 0
        assert np.array_equal(one.rows, heard.numpy())


class Doubled(Apart):
    """What makes the queries makes the keys as well."""

    def forward(self, x: Tensor) -> Tensor:
        q, v = (self._heads(layer(x)) for layer in (self.to_q, self.to_v))
        return self.to_out(attend(q, q, v).transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Twice(Doubled):
    """The same queries for two kinds of keys."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self._heads(layer(x)) for layer in (self.to_q, self.to_k, self.to_v))
        found = attend(q, k, v) + attend(q, k.flip(2), v)
        return self.to_out(found.transpose(1, 2).flatten(2))


class Recurring(Apart):
    """The layers are used twice, one time after the other."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(super().forward(x))


class Bent(Doubled):
    """Something is done to the queries that is not in proportion to them."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self._heads(layer(x)) for layer in (self.to_q, self.to_k, self.to_v))
        return self.to_out(attend(torch.tanh(q), k, v).transpose(1, 2).flatten(2))


class Overwritten(Doubled):
    """Some of the queries are written over."""

    def forward(self, x: Tensor) -> Tensor:
        rows = self.to_q(x)
        k, v = (self._heads(layer(x)) for layer in (self.to_k, self.to_v))
        rows[:, :2].mul_(0.5)
        return self.to_out(attend(self._heads(rows), k, v).transpose(1, 2).flatten(2))


class Late(Doubled):
    """Queries are the first half of the tokens, and the second half is read otherwise."""

    def forward(self, x: Tensor) -> Tensor:
        k, v = (self._heads(layer(x)) for layer in (self.to_k, self.to_v))
        first, second = self.to_q(x).chunk(2, dim=1)
        found = attend(self._heads(first), k, v).transpose(1, 2).flatten(2)
        return self.to_out(torch.cat([found, second.relu()], dim=1))


class Weighed(Doubled):
    """The queries are multiplied with something that hears the input."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self._heads(layer(x)) for layer in (self.to_q, self.to_k, self.to_v))
        q = q * x.mean(-1, keepdim=True)[:, None]
        return self.to_out(attend(q, k, v).transpose(1, 2).flatten(2))


class Shifted(Doubled):
    """Something is added to the queries that no row makes."""

    def __init__(self) -> None:
        super().__init__()
        self.more = nn.Parameter(torch.randn(PLACES))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self._heads(layer(x)) for layer in (self.to_q, self.to_k, self.to_v))
        return self.to_out(attend(q + self.more, k, v).transpose(1, 2).flatten(2))


class Overheard(Doubled):
    """What has been made of the queries is read once more."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self._heads(layer(x)) for layer in (self.to_q, self.to_k, self.to_v))
        turned = q + q.flip(2)
        found = attend(turned, k, v) + turned.relu().mean()
        return self.to_out(found.transpose(1, 2).flatten(2))


def normed() -> nn.Module:
    """Queries by a layer whose weight is computed."""
    model = Apart()
    parametrizations.weight_norm(model.to_q)
    return model


def plain() -> nn.Module:
    """Queries that are normalised by a layer without weights."""
    model = Packed(own_width=True, normed=True)
    model.q_norm = nn.LayerNorm(PLACES, elementwise_affine=False)
    return model


REFUSED: dict[str, Callable[[], nn.Module]] = {
    "doubled": Doubled,
    "twice": Twice,
    "recurring": Recurring,
    "bent": Bent,
    "overwritten": Overwritten,
    "late": Late,
    "overheard": Overheard,
    "normed": normed,
    "plain": plain,
    "weighed": Weighed,
    "shifted": Shifted,
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_queries_keep_their_width(name: str) -> None:
    model = Sequence(REFUSED[name]()).eval()
    graph = trace(model)
    assert not graph.scaled
    free = [axis for axis in graph.axes if not axis.frozen]
    queries = {"block.attn.to_q", "block.attn.qkv"}
    assert not [axis.name for axis in free if axis.size == PLACES and queries & {*axis.layers}]
    keep = np.ones(graph.units, dtype=bool)
    for axis in free:
        keep[axis.first] = False
    structure = Structure(graph, keep)
    assert verify(model, graph, structure, shrink(model, graph, structure)) < 1e-9


def test_the_reason_names_the_line_and_the_remedy() -> None:
    model = Bent()
    model.heads = 1  # so that its places are all that could go
    why = trace(Sequence(model)).frozen["block.attn.to_q"]
    assert "divides by the root of the width that it finds" in why
    assert "test_queries.py" in why
    assert "pass it scale=" in why
